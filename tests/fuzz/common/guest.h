/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that knows a few places of a disk by heart: it learns what is there, changes some of it, and wants to find
 * the rest as it was.
 */
#ifndef FUZZ_GUEST_H
#define FUZZ_GUEST_H

#include "tests/support.h"

#define GUEST_SPOTS 6u
#define GUEST_SPOT (16u << 10)

struct guest_spot {
    uint64_t offset, length; /* none overlap */
    uint8_t bytes[GUEST_SPOT];
};

struct guest {
    struct rng rng;
    struct vdisk_ring *ring; /* shared by all guests */
    uint64_t size;
    unsigned spots;
    bool known; /* the spots hold what the disk showed */
    bool must;  /* and it must show the same: else the process ends */
    struct guest_spot spot[GUEST_SPOTS];
};

void guest_init(struct guest *guest, uint64_t seed);

/* Learns the spots, or compares with what it knows. 0 or the error of a read. */
int guest_look(struct guest *guest, struct vdisk *disk);

/* Writes, zeroes, discards, flushes; looks again after each. 0 or the first error. */
int guest_work(struct guest *guest, struct vdisk *disk);

#endif
