/* SPDX-License-Identifier: BSD-2-Clause */
/* Ranges that the storage gives to a disk without the bytes passing through here: shared blocks, copies by a server. */
#ifndef DISK_CLONE_H
#define DISK_CLONE_H

#include "disk.h"

#define CLONE_MIN 65536u /* below it, moving the bytes is cheaper */

enum clone_way { CLONE_NOT, CLONE_SHARE, CLONE_SERVER };

struct clone {
    struct vdisk *target;
    enum clone_way way;
    uint64_t unit; /* what positions and lengths are multiples of, to be shared */
};

/* By which way target may be given what source holds, if any. */
/* held: the source may be written to, but not while and where it is cloned. */
int clone_open(struct vdisk *source, struct vdisk *target, bool held, struct clone **clone);
void clone_close(struct clone *clone); /* NULL is allowed */

/* Makes the first part of [offset, offset + length) of the target the bytes of file at position, which nobody changes.
 * Returns how many bytes it did; 0: the bytes have to be moved; or -errno, said. Blocks: the caller has nothing in
 * flight. Any thread, several at once. */
int64_t clone_range(struct clone *clone, uint64_t offset, uint64_t length, struct file *file, uint64_t position);

#endif
