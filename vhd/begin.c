/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Before the first modification of an open disk: the whole BAT is read and believed or the disk is not written at all.
 * What a duplicate or misplaced entry leads to is damage to another block, and that cannot be taken back.
 *
 * From the entries follows where space is free: behind the last block, and in the gaps that discards left before others
 * (only where the storage says that a gap is a hole: then nothing unknown can be in it, and it reads as zeros).
 * Both footers are made good before anything relies on them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhd.h"

#define GAPS_MAX 65536u /* places in them that are looked at */

struct scan {
    uint64_t *used; /* sector << 32 | block, then in order */
    uint64_t count;
};

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int load_bat(struct vhd *v)
{
    for (uint64_t page = 0; page < table_pages(v->bat); page++) {
        int err = table_page(v->bat, page) ? 0 : table_load(v->bat, page);

        if (err)
            return disk_error(&v->disk, err, "BAT at 0x%llx: cannot be read: %s",
                              (unsigned long long)(v->layout.bat_at + page * TABLE_PAGE), strerror(-err));
    }
    return 0;
}

/* All used entries, each checked alone. */
static int collect(struct vhd *v, struct scan *scan)
{
    struct vhd_reason reason;
    uint64_t count = 0;

    for (uint32_t block = 0; block < v->layout.blocks; block++)
        count += vhd_bat_get(table_page(v->bat, block / VHD_PAGE_ENTRIES), block) != VHD_UNUSED;
    scan->used = malloc(count * sizeof(*scan->used) + 1);
    if (!scan->used)
        return -ENOMEM;
    scan->count = 0;
    for (uint32_t block = 0; block < v->layout.blocks; block++) {
        uint32_t sector = vhd_bat_get(table_page(v->bat, block / VHD_PAGE_ENTRIES), block);

        if (sector == VHD_UNUSED)
            continue;
        if (vhd_entry_check(&v->layout, block, sector, &reason))
            return disk_error(&v->disk, -EINVAL, "is not written to: %s", reason.text);
        scan->used[scan->count++] = (uint64_t)sector << 32 | block;
    }
    qsort(scan->used, scan->count, sizeof(*scan->used), by_value);
    return 0;
}

static uint64_t start_of(uint64_t used)
{
    return (used >> 32) * VHD_SECTOR;
}

/* A writer may have cut off the last block where the disk ends. */
static uint64_t end_of(const struct vhd_layout *l, uint64_t used)
{
    uint64_t end = start_of(used) + l->bitmap_size + l->block_size;

    return end < l->limit ? end : l->limit;
}

static int check_overlap(struct vhd *v, const struct scan *scan)
{
    const struct vhd_layout *l = &v->layout;

    for (uint64_t i = 1; i < scan->count; i++) {
        uint32_t a = (uint32_t)scan->used[i - 1], b = (uint32_t)scan->used[i];

        if (start_of(scan->used[i]) < start_of(scan->used[i - 1]) + l->bitmap_size + vhd_block_bytes(l, a))
            return disk_error(
                &v->disk, -EINVAL, "is not written to: BAT entries %u and %u: blocks at 0x%llx and 0x%llx overlap", a,
                b, (unsigned long long)start_of(scan->used[i - 1]), (unsigned long long)start_of(scan->used[i]));
    }
    return 0;
}

static bool is_hole(struct file *file, uint64_t start, uint64_t end)
{
    uint64_t data;

    return file_seek_data(file, start, &data, NULL) == 0 && data >= end;
}

/* A bitmap shares its 4 KiB with what stands before it, and is seldom in a hole. */
static bool is_zero(struct file *file, uint64_t start, uint32_t length)
{
    static const uint8_t zeros[VHD_BLOCK_MAX / VHD_SECTOR / 8];
    uint8_t *data = malloc(length);
    bool zero = data && file_read(file, data, length, start) == 0 && memcmp(data, zeros, length) == 0;

    free(data);
    return zero;
}

/* Places for blocks between start and end that hold nothing and touch no metadata. */
static void use_gap(struct vhd *v, uint64_t start, uint64_t end, unsigned *left)
{
    const struct vhd_layout *l = &v->layout;
    uint64_t data = vhd_align(start + l->bitmap_size, VHD_ALIGN);

    for (; *left > 0 && data + l->block_size <= end;
         data = vhd_align(data + l->block_size + l->bitmap_size, VHD_ALIGN)) {
        uint32_t sector = (uint32_t)((data - l->bitmap_size) / VHD_SECTOR);
        struct vhd_reason reason;
        struct vhd_space *space;

        --*left;
        if (vhd_entry_check(l, 0, sector, &reason) ||
            !(is_hole(v->disk.file, data, data + l->block_size) || MUTANT("vhd-gap-unclean")) ||
            !is_zero(v->disk.file, data - l->bitmap_size, l->bitmap_size))
            continue;
        space = malloc(sizeof(*space));
        if (!space)
            return;
        *space = (struct vhd_space){v->free, sector};
        v->free = space;
    }
}

/* Where the next block goes. Without blocks, behind the footer, and nothing before it is touched: the file may
 * hold what we do not know (XenServer's map of full blocks). Behind the last block there is nothing but the footer. */
static void find_space(struct vhd *v, const struct scan *scan)
{
    const struct vhd_layout *l = &v->layout;
    uint64_t size = v->disk.file->size, last;
    unsigned left = GAPS_MAX;

    v->end = size;
    if (scan->count == 0) {
        v->floor = vhd_align(l->limit > l->metadata_end ? l->limit : l->metadata_end, VHD_SECTOR);
        v->next = vhd_align(v->floor + l->bitmap_size, VHD_ALIGN);
        return;
    }
    v->floor = start_of(scan->used[0]);
    if (v->floor < l->metadata_end)
        v->floor = l->metadata_end;
    last = l->metadata_end;
    for (uint64_t i = 0; i < scan->count; i++) {
        use_gap(v, last, start_of(scan->used[i]), &left);
        if (end_of(l, scan->used[i]) > last)
            last = end_of(l, scan->used[i]);
    }
    v->next = vhd_align(last + l->bitmap_size, VHD_ALIGN);
}

/* Whoever lost one footer relies on the other. The one at the end goes behind everything that is in the file. */
static int repair_footers(struct vhd *v)
{
    struct file *file = v->disk.file;
    uint64_t end;
    int err;

    if (!v->footers.copy_valid || memcmp(&v->footers.copy, &v->footer, sizeof(v->footer)) != 0) {
        err = file_write(file, &v->footer, sizeof(v->footer), 0);
        if (!err && !MUTANT("vhd-footers-at-once"))
            err = file_sync(file);
        if (err)
            return disk_error(&v->disk, err, "footer copy at 0x0: cannot be written: %s", strerror(-err));
        v->footers.copy = v->footer;
        v->footers.copy_valid = true;
    }
    if (v->footers.end_valid)
        return 0;
    end = vhd_align(v->end, VHD_ALIGN);
    if (end < v->next)
        end = v->next;
    err = vhd_space_place_footer(v, end);
    if (err)
        return err;
    v->footers.end_valid = true;
    v->footers.end_at = end - VHD_SECTOR;
    return 0;
}

/* Under the disk's lock. */
int vhd_begin(struct vhd *v)
{
    struct scan scan = {0};
    int err = v->begin_error;

    if (err || atomic_load(&v->begun))
        return err;
    err = load_bat(v);
    if (!err)
        err = collect(v, &scan);
    if (!err && !MUTANT("vhd-overlap-written"))
        err = check_overlap(v, &scan);
    if (!err)
        err = vhd_batch_open(&v->layout, &v->batch);
    if (!err) {
        find_space(v, &scan);
        err = repair_footers(v);
    }
    free(scan.used);
    if (err) { /* what may be better next time is tried again */
        vhd_space_close(v->free);
        v->free = NULL;
        if (err != -ENOMEM && err != -ENOSPC && err != -EDQUOT)
            v->begin_error = err;
        return err;
    }
    atomic_store_explicit(&v->begun, true, memory_order_release);
    return 0;
}
