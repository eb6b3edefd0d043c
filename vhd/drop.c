/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taking whole blocks of a dynamic disk away. The order:
 *
 *     1. the words say REVOKED: reads see zeros, writes come to reserve and wait for the lock
 *     2. grace: whoever was told the old place has finished, publish included
 *     3. the words say absent, the pages are marked, the space goes to `freed`
 *     4. a sync that began after 3 makes the removal durable, then zeroes the space and gives it to `free`
 *
 * A differencing disk has no word for "zero": a block that is not there shows the parent. Nothing is dropped there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhd.h"

/* A guest that discards and writes but never flushes must not make the file grow without end. */
#define FREED_MAX 64u

/* Step 1. The list is made first, so that nothing can fail between the words and the list. */
static int revoke_blocks(struct vhd *v, uint32_t first, uint32_t end, struct vhd_space **list)
{
    for (uint32_t block = first; block < end; block++) {
        uint32_t sector = vhd_home(v, block);
        struct vhd_space *space;

        if (sector == VHD_UNUSED)
            continue;
        space = malloc(sizeof(*space));
        if (!space)
            return -ENOMEM;
        *space = (struct vhd_space){*list, sector};
        *list = space;
        atomic_store(&v->state[block], VHD_STATE_KNOWN | VHD_STATE_REVOKED | sector);
    }
    return 0;
}

/* Step 3. */
static void remove_revoked(struct vhd *v, uint32_t first, uint32_t end)
{
    for (uint32_t block = first; block < end; block++)
        if (atomic_load(&v->state[block]) & VHD_STATE_REVOKED) {
            atomic_store(&v->state[block], VHD_STATE_KNOWN);
            table_mark(v->bat, block / VHD_PAGE_ENTRIES);
        }
}

static void add_freed(struct vhd *v, struct vhd_space *list)
{
    while (list) {
        struct vhd_space *space = list;

        list = space->next;
        space->next = v->freed;
        v->freed = space;
        v->freed_count++;
    }
}

int64_t vhd_drop(struct vdisk *disk, uint64_t offset, uint64_t length)
{
    struct vhd *v = vhd_of(disk);
    uint64_t unit = v->layout.block_size, end = offset + length;
    struct vhd_space *list = NULL;
    uint32_t first, last;
    bool many;
    int err;

    if (disk->type != DISK_DYNAMIC || offset % unit)
        return 0;
    if (end < disk->size)
        end -= end % unit;
    if (end <= offset)
        return 0;
    first = (uint32_t)(offset / unit);
    last = (uint32_t)((end + unit - 1) / unit);
    pthread_mutex_lock(&v->lock);
    err = vhd_begin(v);
    if (!err)
        err = revoke_blocks(v, first, last, &list);
    if (list) {
        disk_grace(disk);
        remove_revoked(v, first, last);
        if (MUTANT("vhd-freed-at-once"))
            v->free = list;
        else
            add_freed(v, list);
        v->moved = true;
    }
    many = v->freed_count > FREED_MAX;
    pthread_mutex_unlock(&v->lock);
    if (!err && many)
        err = vhd_sync(disk);
    return err ? err : (int64_t)(end - offset);
}
