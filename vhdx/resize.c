/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another size for a disk at rest. The size is an item of the metadata, and where the BAT stands is in the region
 * table: both change in one log entry, so that a power cut leaves the old disk or the new one.
 * [MS-VHDX] 2.2.3, 2.3, 2.6.2.2
 *
 * Growing: entries of blocks that the disk does not have yet describe nothing, so they are made right before, by
 * entries of the log of their own where the BAT stays, and directly where it moves: its new place is in nobody's name
 * until the region table says so. Shrinking: first the size, then the entries that describe nothing any more, then
 * their space.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhdx.h"

#define REGION_PAGES (VHDX_TABLE_SIZE / VHDX_PAGE)

struct resize {
    struct vhdx *v;
    struct vhdx_shape old, new;
    uint64_t bat, bat_length; /* the region as it is to be */
    uint64_t first;           /* FIXED: where the new blocks stand */
    bool hide;                /* new blocks are zero, not the parent's */
    struct vhdx_batch *batch;
};

/* Makes what the batch holds durable through the log, and in place. */
static int commit(struct resize *r)
{
    struct vhdx *v = r->v;
    int err = 0;

    if (r->batch->count == 0)
        return 0;
    if (MUTANT("vhdx-resize-unlogged"))
        for (unsigned i = 0; i < r->batch->count && !err; i++)
            err = file_write(v->disk.file, r->batch->entry.page[i], VHDX_PAGE,
                             le64_get(r->batch->entry.descriptor[i].file_offset));
    else
        err = vhdx_log_commit(v, r->batch, v->disk.file->size & ~(VHDX_MIB - 1), v->end);
    r->batch->count = 0;
    if (!err)
        return 0;
    disk_error(&v->disk, err, "the new size cannot be made durable: %s", strerror(-err));
    disk_fail(&v->disk, err);
    return err;
}

/* The file's page in the batch, to be changed there; it has storage from now on. */
static int take_page(struct resize *r, uint64_t position, uint8_t **page)
{
    struct vhdx_batch *batch = r->batch;
    struct file *file = r->v->disk.file;
    int err;

    for (unsigned i = 0; i < batch->count; i++)
        if (le64_get(batch->entry.descriptor[i].file_offset) == position) {
            *page = batch->entry.page[i];
            return 0;
        }
    assert(batch->count < VHDX_BATCH_PAGES);
    err = file_allocate(file, position, VHDX_PAGE);
    if (!err)
        err = file_read(file, batch->entry.page[batch->count], VHDX_PAGE, position);
    if (err)
        return disk_error(&r->v->disk, err, "metadata at 0x%" PRIx64 ": no space, or cannot be read: %s", position,
                          strerror(-err));
    *page = batch->entry.page[batch->count];
    batch->entry.descriptor[batch->count++].file_offset = le64_of(position);
    return 0;
}

static int put(struct resize *r, uint64_t position, const void *bytes, size_t length)
{
    while (length > 0) {
        uint64_t skip = position % VHDX_PAGE;
        size_t part = VHDX_PAGE - skip < length ? (size_t)(VHDX_PAGE - skip) : length;
        uint8_t *page = NULL;
        int err = take_page(r, position - skip, &page);

        if (err)
            return err;
        memcpy(page + skip, bytes, part);
        bytes = (const uint8_t *)bytes + part;
        position += part;
        length -= part;
    }
    return 0;
}

/* What the entry of a block is that the disk gains, or of its chunk's sector bitmap; keep: an entry that stays. */
static uint64_t new_entry(const struct resize *r, uint64_t index, uint64_t keep)
{
    uint64_t block = vhdx_shape_block(&r->new, index);

    if (vhdx_shape_is_bitmap(&r->new, index))
        return r->old.differencing && index < r->old.entries ? keep : VHDX_NOT_PRESENT;
    if (block >= r->new.blocks)
        return VHDX_NOT_PRESENT;
    if (r->first)
        return (r->first + ((block - r->old.blocks) << r->new.block_shift)) | VHDX_FULLY_PRESENT;
    return r->hide && !MUTANT("vhdx-resize-shines") ? VHDX_ZERO : VHDX_NOT_PRESENT;
}

/* The first entry that growing decides about. */
static uint64_t first_new(const struct resize *r)
{
    uint64_t index = vhdx_shape_index(&r->old, r->old.blocks);

    return index < r->old.entries ? index : r->old.entries;
}

/* The entries of one page of the BAT as they are to be, over what it holds. False: it holds that. */
static bool fill_page(const struct resize *r, uint64_t number, struct le64 *entry)
{
    uint64_t start = number * VHDX_ENTRIES_PER_PAGE, from = first_new(r);
    bool news = false;

    for (uint64_t i = from > start ? from - start : 0; i < VHDX_ENTRIES_PER_PAGE && start + i < r->new.entries; i++) {
        uint64_t now = le64_get(entry[i]), then = new_entry(r, start + i, now);

        news |= then != now;
        entry[i] = le64_of(then);
    }
    return news;
}

/* The BAT stays: its entries through the log, before anything says that they mean something. */
static int extend_entries(struct resize *r)
{
    uint64_t last = (r->new.entries - 1) / VHDX_ENTRIES_PER_PAGE;
    int err = 0;

    for (uint64_t page = first_new(r) / VHDX_ENTRIES_PER_PAGE; page <= last && !err; page++) {
        struct le64 entry[VHDX_ENTRIES_PER_PAGE];
        uint64_t position = r->bat + page * VHDX_PAGE;

        err = file_read(r->v->disk.file, entry, sizeof(entry), position);
        if (err)
            return disk_error(&r->v->disk, err, "BAT at 0x%" PRIx64 ": cannot read: %s", position, strerror(-err));
        if (!fill_page(r, page, entry))
            continue;
        err = put(r, position, entry, sizeof(entry));
        if (!err && r->batch->count == VHDX_BATCH_PAGES)
            err = commit(r);
    }
    return err ? err : commit(r);
}

/* The BAT moves to new space, which reads as zeros. */
static int move_entries(struct resize *r, uint64_t from)
{
    struct file *file = r->v->disk.file;
    uint64_t pages = (r->new.entries + VHDX_ENTRIES_PER_PAGE - 1) / VHDX_ENTRIES_PER_PAGE;
    int err = file_allocate(file, r->bat, r->bat_length);

    for (uint64_t page = 0; page < pages && !err; page++) {
        static const struct le64 zeros[VHDX_ENTRIES_PER_PAGE];
        struct le64 entry[VHDX_ENTRIES_PER_PAGE];

        memset(entry, 0, sizeof(entry));
        if (page * VHDX_ENTRIES_PER_PAGE < r->old.entries)
            err = file_read(file, entry, sizeof(entry), from + page * VHDX_PAGE);
        fill_page(r, page, entry);
        if (!err && memcmp(entry, zeros, sizeof(entry)) != 0)
            err = file_write(file, entry, sizeof(entry), r->bat + page * VHDX_PAGE);
    }
    return err ? disk_error(&r->v->disk, err, "BAT: cannot be moved to 0x%" PRIx64 ": %s", r->bat, strerror(-err)) : 0;
}

/* Both copies of the region table name the BAT's new place. */
static int put_regions(struct resize *r)
{
    struct file *file = r->v->disk.file;
    uint8_t *table = malloc(VHDX_TABLE_SIZE);
    int err = table ? vhdx_regions_load(file, table) : -ENOMEM;

    if (!err)
        err = vhdx_regions_set_bat(table, r->bat, r->bat_length);
    for (unsigned slot = 0; slot < 2 && !err; slot++)
        err = put(r, VHDX_REGION_TABLE_AT(slot), table, VHDX_TABLE_SIZE);
    free(table);
    return err;
}

static int put_size(struct resize *r)
{
    struct le64 size = le64_of(r->new.size);

    return put(r, r->v->metadata.size_position, &size, sizeof(size));
}

/* Space of a fixed disk's new blocks. */
static int allocate_blocks(struct resize *r)
{
    struct vhdx *v = r->v;
    uint64_t length = (r->new.blocks - r->old.blocks) << r->new.block_shift;
    int err;

    if (v->disk.type != DISK_FIXED || length == 0)
        return 0;
    r->first = v->end;
    err = file_allocate(v->disk.file, r->first, length);
    if (err)
        return disk_error(&v->disk, err, "cannot grow by %" PRIu64 " bytes: %s", length, strerror(-err));
    v->end += length;
    return 0;
}

static int grow(struct resize *r)
{
    struct vhdx *v = r->v;
    struct vhdx_region old = v->regions.bat;
    uint64_t bytes = r->new.entries * sizeof(uint64_t), end = v->end, length = v->disk.file->size;
    int err = allocate_blocks(r);

    if (!err && bytes > old.length) {
        r->bat_length = (bytes + VHDX_MIB - 1) & ~(VHDX_MIB - 1);
        err = vhdx_space_take(v, r->bat_length, &r->bat);
        if (!err)
            err = move_entries(r, old.position);
    } else if (!err) {
        err = extend_entries(r);
    }
    if (!err && r->bat != old.position)
        err = put_regions(r);
    if (!err)
        err = put_size(r);
    if (!err)
        return commit(r);
    if (!v->disk.failed) { /* nothing names the new space */
        v->end = end;
        file_resize(v->disk.file, length);
    }
    return err;
}

/* The space of an entry that describes nothing any more; the entry is empty then. */
static int forget(struct resize *r, uint64_t index, uint64_t length)
{
    struct vhdx *v = r->v;
    uint64_t entry = 0;
    int err = vhdx_entry_load(v, index, false);

    vhdx_entry_get(v, index, &entry);
    if (err || entry == VHDX_NOT_PRESENT)
        return err;
    err = vhdx_entry_load(v, index, true);
    if (err)
        return err;
    entry = le64toh(atomic_exchange(vhdx_entry_at(v, index), htole64(VHDX_NOT_PRESENT)));
    vhdx_entry_mark(v, index);
    if (vhdx_entry_owns(entry) || entry & VHDX_ENTRY_HOME)
        vhdx_runs_add(&v->pending, entry & VHDX_ENTRY_POSITION, length);
    return 0;
}

static int shrink(struct resize *r)
{
    struct vhdx *v = r->v;
    int err = put_size(r);

    if (!err)
        err = commit(r);
    for (uint64_t block = r->new.blocks; block < r->old.blocks && !err; block++)
        err = forget(r, vhdx_shape_index(&r->old, block), r->old.block_size);
    for (uint64_t chunk = r->new.chunks; r->old.differencing &&chunk < r->old.chunks && !err; chunk++)
        err = forget(r, vhdx_shape_bitmap_index(&r->old, chunk), VHDX_BITMAP_SIZE);
    return err ? err : vhdx_sync(&v->disk);
}

static int check_size(struct vhdx *v, uint64_t size)
{
    if (size == 0 || size % v->shape.sector_size)
        return disk_error(&v->disk, -EINVAL, "a size of %" PRIu64 " bytes is not a multiple of its sectors of %u", size,
                          v->shape.sector_size);
    if (size > VHDX_SIZE_MAX)
        return disk_error(&v->disk, -EINVAL, "a size of %" PRIu64 " bytes is more than a VHDX can have, 64 TiB", size);
    return 0;
}

int vhdx_resize(struct vdisk *disk, uint64_t size, uint64_t below)
{
    struct vhdx *v = vhdx_of(disk);
    struct vhdx_metadata metadata = v->metadata;
    struct vhdx_region bat = v->regions.bat;
    struct resize r = {.v = v, .old = v->shape, .bat = bat.position, .bat_length = bat.length};
    int err = check_size(v, size);

    if (err)
        return err;
    metadata.size = size;
    r.new = vhdx_shape_of(&metadata);
    r.hide = v->shape.differencing && below > v->shape.size;
    r.batch = malloc(sizeof(*r.batch));
    if (!r.batch)
        return -ENOMEM;
    r.batch->next = NULL;
    r.batch->count = 0;
    err = vhdx_space_begin(v);
    if (!err)
        err = disk_clear_tail(disk, size, below);
    if (!err)
        err = size > v->shape.size ? grow(&r) : shrink(&r);
    free(r.batch);
    if (!v->disk.failed && v->begun) {
        int done = vhdx_settle(disk);

        err = err ? err : done;
        if (!err && r.bat != bat.position && file_zero(disk->file, bat.position, bat.length, false))
            file_say(disk->file, VDISK_WARNING, "vhdx", "the BAT's old place at 0x%" PRIx64 " cannot be given back",
                     bat.position);
    }
    atomic_store(&v->begun, false);
    return err;
}
