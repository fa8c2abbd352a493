/* SPDX-License-Identifier: MIT */
/*
 * libweir. So far it says its version: regions, groups and hints for a program
 * that manages memory of its own are to come behind this header.
 */
#ifndef WEIR_H
#define WEIR_H

#ifdef __cplusplus
extern "C" {
#endif

/* "MAJOR.MINOR.PATCH" of the library in use. */
const char *weir_version(void);

#ifdef __cplusplus
}
#endif

#endif
