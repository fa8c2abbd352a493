/* SPDX-License-Identifier: MIT */
/*
 * The program's own munmap, madvise and mremap against our moves.
 *
 * The kernel tells us of each by an event and holds the caller until we have
 * read it; then the caller goes on, before our books are right. So between the
 * reading and the applying, no page may be moved in or out of the range:
 *
 *   our thread                          the program
 *   ------------------------------      ------------------------------
 *   reads the slot of page x
 *                                       madvise(x, DONTNEED): event posted
 *   another of ours reads the event     (released by the reading) drops x,
 *                                       returns, touches x: wants zeros
 *   must not map the old x now
 *
 * The kernel itself refuses while the event is unread (EAGAIN). From the
 * reading on, `pending` refuses. To leave no gap between the two, reading
 * excludes moving: a move holds the gate shared around its look at `pending`
 * and its ioctl; a reader holds it alone around the read and the noting.
 */
#ifndef WEIR_LIVE_GATE_H
#define WEIR_LIVE_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct live;

#define GATE_PENDING_MAX 64

enum pending_kind { PENDING_REMOVE, PENDING_UNMAP, PENDING_REMAP };

struct pending {
	enum pending_kind kind;
	uint64_t start, end, to;
};

struct gate {
	_Atomic uint32_t word; /* readers count, or GATE_ALONE */
	_Atomic uint32_t alone_wanted;
	_Atomic uint32_t head, tail; /* ring of pending events */
	struct pending ring[GATE_PENDING_MAX];
	_Atomic uint32_t apply_lock; /* futex mutex: events in their order */
};

void gate_enter(struct gate *g);
void gate_leave(struct gate *g);
void gate_alone(struct gate *g);
void gate_open(struct gate *g);
/* => inside the gate. Does an event that is not applied touch the range? */
bool gate_pending(struct gate *g, uint64_t start, uint64_t end);
bool gate_any(struct gate *g);
bool gate_full(struct gate *g);
/* => alone */
void gate_note(struct gate *g, enum pending_kind kind, uint64_t start,
	       uint64_t end, uint64_t to);
/* Applies what is pending to the books, in order. May sleep. */
void gate_apply(struct live *l);
/*
 * Between the two nothing is applied, and what was read before is. For whoever
 * brings into the books what he finds in /proc: without it, a mapping that has
 * just been moved there would be taken for a new one while its pages arrive.
 */
void gate_hold(struct live *l);
void gate_unhold(struct live *l);

#endif
