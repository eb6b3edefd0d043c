/* SPDX-License-Identifier: BSD-2-Clause */
/* How fast something may be, shared by all who use it: any thread, no lock; and who waits for it, on a thread each. */
#ifndef BASE_THROTTLE_H
#define BASE_THROTTLE_H

#include <stdatomic.h>
#include <stdint.h>

#include "loop.h"

struct throttle {
    uint64_t iops, bytes_per_second;        /* 0: no limit */
    _Atomic uint64_t iops_next, bytes_next; /* when the next request may begin, nanoseconds of the monotonic clock */
};

/* When a request of so many bytes may begin, by the same clock; 0: at once. It takes its part of what may be. What was
 * not used is saved for a tenth of a second. */
uint64_t throttle_reserve(struct throttle *throttle, uint64_t bytes);

/* One that waits: its owner's. */
struct throttle_wait {
    struct throttle_wait *next;
    uint64_t start;
};

/* Those that wait on one thread, by whose loop the timer is watched. */
struct throttle_line {
    struct loop_source timer;    /* for the first */
    struct throttle_wait *first; /* by start */
    void (*turn)(struct throttle_wait *wait);
};

int throttle_line_open(struct throttle_line *line, void (*turn)(struct throttle_wait *wait));
void throttle_line_close(struct throttle_line *line);

/* False: a request of so many bytes may begin at once. True: it waits, and turn is called when it may. */
bool throttle_line_enter(struct throttle_line *line, struct throttle *throttle, uint64_t bytes,
                         struct throttle_wait *wait);

/* Whose turn comes next, taken out; NULL: nobody waits. */
struct throttle_wait *throttle_line_take(struct throttle_line *line);

#endif
