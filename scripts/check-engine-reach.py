#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The engine reaches nothing outside: every symbol that its archive needs is
either its own or on the list below. usage: check-engine-reach.py ARCHIVE"""
import subprocess
import sys

ALLOWED = {"memcpy", "memset", "memmove", "memcmp", "_GLOBAL_OFFSET_TABLE_",
           "__stack_chk_fail"}


def symbols(archive, option):
    out = subprocess.run(["nm", option, archive], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    return {line.split()[-1] for line in out.splitlines()
            if line.strip() and not line.endswith(":")}


def main(archive):
    own = symbols(archive, "--defined-only")
    if not own:
        print("%s is empty" % archive)
        return 1
    reached = symbols(archive, "--undefined-only") - own
    for name in sorted(reached - ALLOWED):
        print("the engine reaches %s" % name)
    return 1 if reached - ALLOWED else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
