/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file's space: new blocks, growth, and the end.
 *
 * Whatever the moment of a power cut, a footer must be found. The copy at 0 is never touched. The footer at the end
 * moves when the file grows, several blocks at a time: the new one is written before anything is allocated behind
 * the old one, and the old one is left alone until the next sync, because it lies in the bitmap of the next block or in
 * the gap before it, never in its data (the data of new blocks begins at a multiple of 4 KiB behind the old end of the
 * file, as Windows places it), and sync writes bitmaps only after it has made data, and with it the new footer,
 * durable.
 *
 * All under the disk's lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhd.h"

#define GROW_BYTES (UINT64_C(64) << 20) /* at a time, and at least one block */

/* The file ends at end, which is behind the file's last block and bitmap, with the footer. */
int vhd_space_place_footer(struct vhd *v, uint64_t end)
{
    struct file *file = v->disk.file;
    uint64_t old = file->size;
    int err = end > old ? file_resize(file, end) : 0;

    if (!err)
        err = file_write(file, &v->footer, sizeof(v->footer), end - VHD_SECTOR);
    if (err) {
        disk_error(&v->disk, err, "footer at 0x%llx: cannot be written: %s", (unsigned long long)(end - VHD_SECTOR),
                   strerror(-err));
        if (file->size > old)
            file_resize(file, old); /* the old footer is the last again */
        return err;
    }
    v->end = end;
    return 0;
}

static uint64_t stride(const struct vhd *v)
{
    return vhd_align((uint64_t)v->layout.block_size + v->layout.bitmap_size, VHD_ALIGN);
}

/* What is between the last block and the footer may be anything: blocks of a session that ended in a power cut.
 * New blocks must be zero. */
static int clean_tail(struct vhd *v)
{
    uint64_t start = v->next - v->layout.bitmap_size, end = v->footers.end_at;
    int err;

    if (!v->tail_clean && start < end && !MUTANT("vhd-tail-unclean")) {
        err = file_zero(v->disk.file, start, end - start, false);
        if (err)
            return disk_error(&v->disk, err, "space behind the last block at 0x%llx: cannot be made zero: %s",
                              (unsigned long long)start, strerror(-err));
    }
    v->tail_clean = true;
    return 0;
}

/* Room for the block at `next`, and the next footer behind it. */
static int grow(struct vhd *v)
{
    uint64_t count = GROW_BYTES / stride(v);

    if (v->next < vhd_align(v->end, VHD_ALIGN))
        v->next = vhd_align(v->end, VHD_ALIGN);
    if (count > v->layout.blocks)
        count = v->layout.blocks;
    if (count == 0)
        count = 1;
    return vhd_space_place_footer(v, v->next + count * stride(v));
}

/* Behind the last block. */
static int take_next(struct vhd *v, uint32_t *sector)
{
    uint64_t position;
    int err = clean_tail(v);

    if (!err && v->next + stride(v) > v->end)
        err = grow(v);
    if (err)
        return err;
    position = v->next - v->layout.bitmap_size;
    if (position / VHD_SECTOR >= VHD_UNUSED)
        return disk_error(&v->disk, -EFBIG, "a block at 0x%llx is beyond the reach of a BAT entry",
                          (unsigned long long)position);
    *sector = (uint32_t)(position / VHD_SECTOR);
    return 0;
}

/* A place that reads as zeros. Its bitmap gets storage now, so that a full file system is told to the write, and not to
 * the sync that has no way back. */
int vhd_space_take(struct vhd *v, uint32_t *sector)
{
    struct vhd_space *space = v->free;
    int err = 0;

    if (space)
        *sector = space->sector;
    else
        err = take_next(v, sector);
    if (err)
        return err;
    if (!MUTANT("vhd-bitmap-no-space"))
        err = file_allocate(v->disk.file, (uint64_t)*sector * VHD_SECTOR, v->layout.bitmap_size);
    if (err)
        return disk_error(&v->disk, err, "block at 0x%llx: no space: %s", (unsigned long long)*sector * VHD_SECTOR,
                          strerror(-err));
    if (space) {
        v->free = space->next;
        free(space);
    } else {
        v->next += stride(v);
    }
    return 0;
}

/* Space that is in no BAT any more, on disk neither: zeroed, then for use again. What cannot be zeroed is left to waste,
 * like the place of a last block that was cut off. Takes the list; called without the lock. */
void vhd_space_return(struct vhd *v, struct vhd_space *list)
{
    const struct vhd_layout *l = &v->layout;

    while (list) {
        struct vhd_space *space = list;
        uint64_t start = (uint64_t)space->sector * VHD_SECTOR, end = start + l->bitmap_size + l->block_size;
        bool cut = start < l->limit && end > l->limit;

        list = space->next;
        if (cut)
            end = l->limit;
        if ((!MUTANT("vhd-freed-unclean") && file_zero(v->disk.file, start, end - start, false)) || cut) {
            free(space);
            continue;
        }
        pthread_mutex_lock(&v->lock);
        space->next = v->free;
        v->free = space;
        pthread_mutex_unlock(&v->lock);
    }
}

/* Everything is durable and the last block ends at last: the footer goes right behind it, and the file ends there. */
int vhd_space_cut(struct vhd *v, uint64_t last)
{
    uint64_t end = vhd_align(last + VHD_SECTOR, VHD_ALIGN);
    int err;

    if (end >= v->end)
        return 0;
    err = vhd_space_place_footer(v, end);
    /* Before the cut: a file that ends in what a guest had in a block must not be, it may look like a footer. */
    if (!err && !MUTANT("vhd-cut-before-footer"))
        err = file_sync(v->disk.file);
    if (!err)
        err = file_resize(v->disk.file, end);
    if (!err && !MUTANT("vhd-cut-unsynced"))
        err = file_sync(v->disk.file);
    if (err) { /* where the file ends now, and with which footer, nobody knows */
        disk_error(&v->disk, err, "end of the file at 0x%llx: cannot be tidied: %s", (unsigned long long)end,
                   strerror(-err));
        if (!MUTANT("vhd-cut-fails-softly"))
            disk_fail(&v->disk, err);
    }
    return err;
}

/* At close, when everything is durable: the footer goes right behind the last block, as it was before. Where there is no
 * room for it the file is as good with its end where it is. */
int vhd_space_trim(struct vhd *v)
{
    uint64_t last = v->floor, end;
    int err;

    if (!v->moved)
        return 0;
    for (uint32_t block = 0; block < v->layout.blocks; block++) {
        uint32_t sector = vhd_bat_get(table_page(v->bat, block / VHD_PAGE_ENTRIES), block);
        uint64_t block_end = (uint64_t)sector * VHD_SECTOR + v->layout.bitmap_size + v->layout.block_size;

        if (sector != VHD_UNUSED && block_end > last)
            last = block_end;
    }
    end = vhd_align(last + VHD_SECTOR, VHD_ALIGN);
    err = end < v->end ? file_allocate(v->disk.file, end - VHD_SECTOR, VHD_SECTOR) : 0;
    return err == -ENOSPC || err == -EDQUOT ? 0 : vhd_space_cut(v, last);
}

void vhd_space_close(struct vhd_space *list)
{
    while (list) {
        struct vhd_space *space = list;

        list = space->next;
        free(space);
    }
}
