/* SPDX-License-Identifier: BSD-2-Clause */
/* One link of a chain into the next. merge.c does it, chain_merge.c chooses which, and looks who else is concerned. */
#ifndef DISK_MERGE_H
#define DISK_MERGE_H

#include "disk.h"

struct merge {
    struct vdisk_port *port;
    struct vdisk *higher, *above;  /* above the child, and above that; NULL: there is none */
    struct vdisk *child, *parent;
    struct vdisk **child_of; /* other children of the child, open for writing, alone */
    size_t children;
    const char *other; /* another child of the parent, which is then not written: it must show already what it would show */
    bool left_over; /* other is a chain that the child is not in */
    const struct vdisk_progress *progress;
    struct vdisk_merge_result *result;

    /* merge.c's */
    bool above_frozen, child_frozen; /* they were open for reading */
    struct disk_dirty *dirty;
    struct vdisk_ring *ring;
    char *buffer;
};

/* In an operation of the port. On success the child is gone from the chain and from the disk. */
int merge_one(struct merge *m);

/* -EBUSY, said: the parent has another child, and does not show all that is merged. */
int merge_has_other(const struct merge *m);

#endif
