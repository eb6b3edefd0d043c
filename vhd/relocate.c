/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A block moves to another place in the file. The order is that of any new block: its bytes, durable; its bitmap at the
 * new place, durable; the entry (sync.c). The old place keeps the block until then, and is free once whoever reads
 * there has finished.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhd.h"

#define COPY_BYTES (1u << 20)

/* The sector where the block lives, VHD_UNUSED where it does not. vhd_begin has loaded and checked the whole BAT. */
uint32_t vhd_home(const struct vhd *v, uint32_t block)
{
    uint64_t state = atomic_load(&v->state[block]);

    if (state)
        return state & VHD_STATE_HOME ? (uint32_t)(state & VHD_STATE_SECTOR) : VHD_UNUSED;
    return vhd_bat_get(table_page(v->bat, block / VHD_PAGE_ENTRIES), block);
}

/* Holes stay holes: the new place reads as zeros. *moved counts what was. */
static int copy(struct vhd *v, uint64_t from, uint64_t to, uint64_t length, uint64_t *moved)
{
    struct file *file = v->disk.file;
    uint8_t *buffer = aligned_alloc(VHD_ALIGN, COPY_BYTES);
    int err = buffer ? 0 : -ENOMEM;

    for (uint64_t at = 0; at < length && !err;) {
        uint64_t data, hole, part;

        err = file_seek_data(file, from + at, &data, &hole);
        if (err || data >= from + length)
            break;
        if (data > from + at)
            at = data - from;
        part = hole < from + length ? hole - data : from + length - data;
        part = part < COPY_BYTES ? part : COPY_BYTES;
        err = file_read(file, buffer, part, from + at);
        if (!err)
            err = file_write(file, buffer, part, to + at);
        at += part;
        if (moved)
            *moved += part;
    }
    free(buffer);
    return err;
}

/* The block, to which nobody writes, lives at the sector from now on, which reads as zeros. Not yet durable; after a
 * sync the old place is in nobody's name. */
int vhd_relocate(struct vhd *v, uint32_t block, uint32_t to, uint64_t *moved)
{
    const struct vhd_layout *l = &v->layout;
    uint64_t from = (uint64_t)vhd_home(v, block) * VHD_SECTOR, there = (uint64_t)to * VHD_SECTOR;
    uint64_t bytes = vhd_block_bytes(l, block), state;
    int err = vhd_load_block(v, block);

    if (!err)
        err = copy(v, from + l->bitmap_size, there + l->bitmap_size, bytes, moved);
    if (err)
        return disk_error(&v->disk, err, "block %u at 0x%llx: cannot be moved to 0x%llx: %s", block,
                          (unsigned long long)from, (unsigned long long)there, strerror(-err));
    state = atomic_load(&v->state[block]) & ~VHD_STATE_SECTOR;
    atomic_store(&v->state[block], state | to | VHD_STATE_DIRTY);
    table_mark(v->bat, block / VHD_PAGE_ENTRIES);
    v->moved = true;
    return 0;
}
