/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What map could not answer: loads pages of the BAT and bitmaps, gives blocks a home. All under the disk's lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd.h"

/* Blocks that one call looks after: map asks again for the rest. */
#define BLOCKS_AT_ONCE 16

static bool is_full(const uint8_t *bits, uint64_t sectors)
{
    for (uint64_t i = 0; i < sectors / 8; i++)
        if (bits[i] != 0xFF)
            return false;
    return sectors % 8 == 0 || (uint8_t)(bits[sectors / 8] | 0xFF >> sectors % 8) == 0xFF;
}

/* Words of 64 sectors for the bitmap of a block, kept until close. */
static _Atomic uint64_t *make_bitmap(struct vhd *v, uint32_t block)
{
    _Atomic uint64_t *words = atomic_load(&v->bitmap[block]);

    if (!words) {
        words = calloc(v->layout.bitmap_size / 8, sizeof(*words));
        atomic_store_explicit(&v->bitmap[block], words, memory_order_release);
    }
    return words;
}

static int read_bitmap(struct vhd *v, uint32_t block, uint32_t sector, bool *full)
{
    uint64_t position = (uint64_t)sector * VHD_SECTOR;
    _Atomic uint64_t *words;
    uint8_t *bits = malloc(v->layout.bitmap_size);
    int err;

    if (!bits)
        return -ENOMEM;
    err = file_read(v->disk.file, bits, v->layout.bitmap_size, position);
    if (err) {
        disk_error(&v->disk, err, "bitmap of block %u at 0x%llx: cannot be read: %s", block,
                   (unsigned long long)position, strerror(-err));
        goto free_bits;
    }
    *full = is_full(bits, vhd_block_bytes(&v->layout, block) / VHD_SECTOR);
    if (*full)
        goto free_bits;
    words = make_bitmap(v, block);
    if (!words) {
        err = -ENOMEM;
        goto free_bits;
    }
    for (uint32_t i = 0; i < v->layout.bitmap_size / 8; i++) {
        struct be64 word;

        memcpy(&word, bits + 8 * i, sizeof(word));
        atomic_store_explicit(&words[i], be64_get(word), memory_order_relaxed);
    }

free_bits:
    free(bits);
    return err;
}

int vhd_load_block(struct vhd *v, uint32_t block)
{
    uint64_t page_number = block / VHD_PAGE_ENTRIES;
    struct vhd_reason reason;
    const void *page;
    uint32_t sector;
    bool full;
    int err;

    if (atomic_load(&v->state[block]))
        return 0;
    if (!table_page(v->bat, page_number)) {
        err = table_load(v->bat, page_number);
        if (err)
            return disk_error(&v->disk, err, "BAT at 0x%llx: cannot be read: %s",
                              (unsigned long long)(v->layout.bat_at + page_number * TABLE_PAGE), strerror(-err));
    }
    page = table_page(v->bat, page_number);
    sector = vhd_bat_get(page, block);
    if (sector == VHD_UNUSED)
        return 0;
    err = vhd_entry_check(&v->layout, block, sector, &reason);
    if (err)
        return disk_error(&v->disk, err, "%s", reason.text);
    err = read_bitmap(v, block, sector, &full);
    if (err)
        return err;
    atomic_store_explicit(&v->state[block],
                          VHD_STATE_KNOWN | VHD_STATE_HOME | VHD_STATE_PUBLISHED | (full ? VHD_STATE_FULL : 0) | sector,
                          memory_order_release);
    return 0;
}

/* A home that map may give to writers; reads see it when the first of them publishes. */
static int give_home(struct vhd *v, uint32_t block)
{
    uint32_t sector;
    int err = vhd_load_block(v, block);

    if (err || atomic_load(&v->state[block]) & VHD_STATE_HOME)
        return err;
    if (v->disk.type == DISK_DIFFERENCING && !make_bitmap(v, block))
        return -ENOMEM;
    err = vhd_space_take(v, &sector);
    if (err)
        return err;
    v->moved = true;
    atomic_store_explicit(&v->state[block], VHD_STATE_KNOWN | VHD_STATE_HOME | sector, memory_order_release);
    return 0;
}

int vhd_reserve(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length)
{
    struct vhd *v = vhd_of(disk);
    uint64_t first, last;
    int err = 0;

    if (disk->type == DISK_FIXED)
        return 0;
    first = offset / v->layout.block_size;
    last = (offset + length - 1) / v->layout.block_size;
    if (last - first >= BLOCKS_AT_ONCE)
        last = first + BLOCKS_AT_ONCE - 1;
    pthread_mutex_lock(&v->lock);
    if (access == DISK_WRITE)
        err = vhd_begin(v);
    for (uint64_t block = first; block <= last && !err; block++)
        err = access == DISK_WRITE ? give_home(v, (uint32_t)block) : vhd_load_block(v, (uint32_t)block);
    pthread_mutex_unlock(&v->lock);
    return err;
}
