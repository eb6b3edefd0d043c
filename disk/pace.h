/* SPDX-License-Identifier: BSD-2-Clause */
/* Long work beside requests, not faster than allowed. One thread. */
#ifndef DISK_PACE_H
#define DISK_PACE_H

#include <stdint.h>

struct vdisk_progress;

struct pace {
    uint64_t rate; /* bytes a second; 0: no limit */
    uint64_t done; /* bytes when it was last kept */
    int64_t due;   /* of CLOCK_MONOTONIC, nanoseconds: when these may have been done */
};

void pace_begin(struct pace *pace, uint64_t rate);

/* done bytes are done by now, in all: sleeps until that many may be, or until the work is cancelled. Time that was not
 * used is lost but for a little, so that a pause is not made up for by a flood. */
void pace_keep(struct pace *pace, uint64_t done, const struct vdisk_progress *progress);

#endif
