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

/* The sector where the block lives, VHD_UNUSED where it does not. vhd_begin has loaded and checked the whole BAT. */
uint32_t vhd_home(const struct vhd *v, uint32_t block)
{
    uint64_t state = atomic_load(&v->state[block]);

    if (state)
        return state & VHD_STATE_HOME ? (uint32_t)(state & VHD_STATE_SECTOR) : VHD_UNUSED;
    return vhd_bat_get(table_page(v->bat, block / VHD_PAGE_ENTRIES), block);
}

/* The block, to which nobody writes, lives at the sector from now on, which reads as zeros. Not yet durable; after a
 * sync the old place is in nobody's name. */
int vhd_relocate(struct vhd *v, uint32_t block, uint32_t to, uint64_t *moved)
{
    const struct vhd_layout *l = &v->layout;
    uint64_t from = (uint64_t)vhd_home(v, block) * VHD_SECTOR, there = (uint64_t)to * VHD_SECTOR;
    uint64_t bytes = vhd_block_bytes(l, block), state;
    int err = file_copy_data(v->disk.file, from + l->bitmap_size, there + l->bitmap_size, bytes, moved);
    if (err)
        return disk_error(&v->disk, err, "block %u at 0x%llx: cannot be moved to 0x%llx: %s", block,
                          (unsigned long long)from, (unsigned long long)there, strerror(-err));
    state = atomic_load(&v->state[block]) & ~VHD_STATE_SECTOR;
    atomic_store(&v->state[block], state | to | (MUTANT("vhd-relocated-bitmap-kept") ? 0 : VHD_STATE_DIRTY));
    table_mark(v->bat, block / VHD_PAGE_ENTRIES);
    v->moved = true;
    return 0;
}
