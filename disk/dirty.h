/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What of a disk was changed while its bytes are copied elsewhere. A change is marked when its bytes are in the file, so
 * whoever takes a mark and then reads sees it; who read before is told to read again.
 */
#ifndef DISK_DIRTY_H
#define DISK_DIRTY_H

#include "disk.h"

struct disk_dirty {
    uint64_t unit, size; /* bytes: of a mark, of the disk */
    uint64_t words;
    _Atomic uint64_t marks[];
};

int dirty_open(const struct vdisk *disk, struct disk_dirty **dirty);
void dirty_mark(struct disk_dirty *dirty, uint64_t offset, uint64_t length); /* any thread */
uint64_t dirty_bytes(struct disk_dirty *dirty);                              /* that are marked, about */

/* Takes the first run of marks at or after *offset, of at most max bytes (at least one mark). False: there is none. */
bool dirty_take(struct disk_dirty *dirty, uint64_t *offset, uint64_t *length, uint64_t max);

#endif
