/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another size for a disk at rest. There is no log: each step is one sector, durable before the next, and every state
 * between two steps is a whole disk of the old size or the new one.
 *
 * Dynamic and differencing, growing:
 *
 *     1. blocks that stand where the longer BAT is to be move to the end, as any block moves (relocate.c)
 *     2. the longer part of the BAT, or all of it at another place where locators are in the way
 *     3. the header's first sector, which holds its checksum, the BAT's place and its length: more entries than the
 * disk needs are allowed
 *     4. the footer at the end, then the copy: the new size. Who reads the copy first sees the old disk until then
 *
 * and shrinking: the footers, the entries, the header, the space. Entries behind the disk's end describe nothing.
 *
 * A fixed disk has one footer, behind its data, and no copy. So the file is longer than the disk for a while, with a
 * footer at its end that says the smaller size:
 *
 *     growing:    the footer, unchanged, at the new end; then the old one is made zero and the new space allocated;
 * then the footer says the new size shrinking:  the footer says the new size; then one stands behind it; then the file
 * is cut
 *
 * A file that grew without its footer (not every file system keeps a length back until the data is there) is found out
 * by open: see search.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhd.h"

#define LL(value) ((unsigned long long)(value))

static int say(struct vhd *v, int error, const char *what, uint64_t position)
{
    return disk_error(&v->disk, error, "%s at 0x%llx: cannot be written: %s", what, LL(position), strerror(-error));
}

/* Writes one sector and makes it durable, with all before it. */
static int put_sector(struct vhd *v, const void *sector, uint64_t position, const char *what)
{
    int err = file_write(v->disk.file, sector, VHD_SECTOR, position);

    if (!err && !MUTANT("vhd-resize-unsynced"))
        err = file_sync(v->disk.file);
    return err ? say(v, err, what, position) : 0;
}

/* ---- Fixed ---- */

/* The file is as long as the disk and its footer, which is to be `footer`; a longer file ends with it already. */
static int end_at(struct vhd *v, const struct vhd_footer *footer, uint64_t size)
{
    struct file *file = v->disk.file;
    int err = put_sector(v, footer, size, "footer");

    if (!err && file->size > size + VHD_SECTOR)
        err = file_resize(file, size + VHD_SECTOR);
    if (!err)
        err = file_sync(file);
    return err;
}

static int shrink_fixed(struct vhd *v, const struct vhd_footer *footer, uint64_t size)
{
    int err = MUTANT("vhd-fixed-cut-early") ? 0 : put_sector(v, footer, v->footers.end_at, "footer");

    return err ? err : end_at(v, footer, size);
}

/* The write makes the file longer, not a resize: most file systems keep both together. */
static int grow_fixed(struct vhd *v, const struct vhd_footer *footer, uint64_t size)
{
    struct file *file = v->disk.file;
    uint64_t old = v->disk.size;
    int err = MUTANT("vhd-fixed-moved-late") ? 0 : put_sector(v, &v->footer, size, "footer");

    if (!err && !MUTANT("vhd-fixed-footer-kept"))
        err = file_zero(file, old, VHD_SECTOR, true);
    if (!err)
        err = file_allocate(file, old, size - old);
    if (!err && !MUTANT("vhd-fixed-space-unsynced"))
        err = file_sync(file);
    if (!err)
        return put_sector(v, footer, size, "footer");
    say(v, err, "new space", old);
    end_at(v, &v->footer, old);
    return err;
}

static int resize_fixed(struct vhd *v, const struct vhd_footer *footer, uint64_t size)
{
    int err = v->footers.end_at > v->disk.size ? end_at(v, &v->footer, v->disk.size) : 0; /* what was left behind */

    if (err)
        return err;
    v->footers.end_at = v->disk.size;
    return size > v->disk.size ? grow_fixed(v, footer, size) : shrink_fixed(v, footer, size);
}

/* ---- Dynamic and differencing: the BAT ---- */

struct bat {
    uint64_t at;
    uint32_t entries;
};

static uint64_t bat_bytes(uint32_t entries)
{
    return vhd_align(4ull * entries, VHD_SECTOR);
}

/* Where a BAT of so many entries stands: where it is, or behind what stands behind it. */
static struct bat place_bat(const struct vhd *v, uint32_t entries)
{
    const struct vhd_layout *l = &v->layout;
    uint64_t bytes = bat_bytes(entries);

    for (unsigned i = 0; i < l->ranges; i++)
        if (l->range[i].start != l->bat_at && l->range[i].start < l->bat_at + bytes && l->bat_at < l->range[i].end)
            return (struct bat){vhd_align(l->metadata_end, VHD_SECTOR), entries};
    return (struct bat){l->bat_at, entries};
}

/* No new block is given a place before position, and a footer stands behind it. */
static int pass(struct vhd *v, uint64_t position)
{
    struct vhd_space **at = &v->free;
    uint64_t next = vhd_align(position + v->layout.bitmap_size, VHD_ALIGN),
             end = vhd_align(position + VHD_SECTOR, VHD_ALIGN);
    int err = 0;

    while (*at) {
        struct vhd_space *space = *at;

        if ((uint64_t)space->sector * VHD_SECTOR >= position) {
            at = &space->next;
            continue;
        }
        *at = space->next;
        free(space);
    }
    if (v->next < next)
        v->next = next;
    if (v->end - VHD_SECTOR < position)
        err = vhd_space_place_footer(v, end);
    return err ? err : file_sync(v->disk.file);
}

/* Blocks that stand before position and behind the start of the BAT's space. */
static int make_room(struct vhd *v, uint64_t start, uint64_t position)
{
    const struct vhd_layout *l = &v->layout;
    int err = pass(v, position);

    for (uint32_t block = 0; block < l->blocks && !err; block++) {
        uint32_t sector = vhd_home(v, block), to;
        uint64_t at = (uint64_t)sector * VHD_SECTOR;

        if (sector == VHD_UNUSED || at >= position || at + l->bitmap_size + l->block_size <= start)
            continue;
        err = vhd_load_block(v, block);
        if (!err)
            err = vhd_space_take(v, &to);
        if (!err)
            err = vhd_relocate(v, block, to, NULL);
    }
    return err ? err : vhd_sync(&v->disk);
}

/* The BAT's sectors from the one that holds entry first on, unused from there on; what is before is copied. */
static int write_entries(struct vhd *v, const struct bat *bat, uint32_t first, const uint32_t *given, uint32_t givens)
{
    uint64_t bytes = bat_bytes(bat->entries),
             skip = bat->at == v->layout.bat_at ? 4ull * first / VHD_SECTOR * VHD_SECTOR : 0;
    struct be32 sector[VHD_SECTOR_ENTRIES];
    int err = 0;

    for (uint64_t at = skip; at < bytes && !err; at += VHD_SECTOR) {
        uint32_t number = (uint32_t)(at / 4);

        memset(sector, 0xFF, sizeof(sector));
        if (number < first)
            err = file_read(v->disk.file, sector, sizeof(sector), v->layout.bat_at + at);
        for (uint32_t i = 0; i < VHD_SECTOR_ENTRIES; i++)
            if (number + i >= first)
                sector[i] = be32_of(number + i - first < givens ? given[number + i - first] : VHD_UNUSED);
        if (!err)
            err = file_write(v->disk.file, sector, sizeof(sector), bat->at + at);
    }
    if (!err && !MUTANT("vhd-resize-bat-unsynced"))
        err = file_sync(v->disk.file);
    return err ? say(v, err, "BAT", bat->at) : 0;
}

/* The header's first sector has all that changes. */
static int write_header(struct vhd *v, const struct bat *bat)
{
    struct vhd_header *h = &v->header;

    h->table_offset = be64_of(bat->at);
    h->max_entries = be32_of(bat->entries);
    h->checksum = be32_of(vhd_checksum(h, sizeof(*h), offsetof(struct vhd_header, checksum)));
    return put_sector(v, h, v->layout.header_at, "header");
}

static int write_footers(struct vhd *v, const struct vhd_footer *footer)
{
    int err = put_sector(v, footer, v->end - VHD_SECTOR, "footer");

    if (!err)
        v->footer = *footer;
    return err ? err : put_sector(v, footer, 0, "footer copy");
}

/* ---- Dynamic and differencing ---- */

/* Blocks of zeros, for what a parent holds behind the disk's end: a child has no other word for zero. */
static int hide_parent(struct vhd *v, uint32_t *sectors, uint32_t count)
{
    uint8_t *full = malloc(v->layout.bitmap_size);
    int err = full ? 0 : -ENOMEM;

    if (full)
        memset(full, 0xFF, v->layout.bitmap_size);
    for (uint32_t i = 0; i < count && !err; i++)
        err = vhd_space_take(v, &sectors[i]);
    if (!err) /* the footer before the last may stand in one of the bitmaps */
        err = file_sync(v->disk.file);
    for (uint32_t i = 0; i < count && !err; i++)
        err = file_write(v->disk.file, full, v->layout.bitmap_size, (uint64_t)sectors[i] * VHD_SECTOR);
    free(full);
    return err;
}

static uint32_t blocks_of(const struct vhd *v, uint64_t size)
{
    return (uint32_t)((size + v->layout.block_size - 1) / v->layout.block_size);
}

/* The end of the last block, of those given too. */
static uint64_t last_end(const struct vhd *v, uint32_t blocks, const uint32_t *given, uint32_t givens, uint64_t floor)
{
    uint64_t bytes = (uint64_t)v->layout.bitmap_size + v->layout.block_size, last = floor;

    for (uint32_t i = 0; i < blocks + givens; i++) {
        uint32_t sector = i < blocks ? vhd_home(v, i) : given[i - blocks];
        uint64_t end = (uint64_t)sector * VHD_SECTOR + bytes;

        if (sector != VHD_UNUSED && end > last)
            last = end;
    }
    return last;
}

static int grow_blocks(struct vhd *v, const struct vhd_footer *footer, uint64_t size, uint64_t below)
{
    uint32_t old = v->layout.blocks, blocks = blocks_of(v, size);
    uint64_t hidden = below < size ? below : size;
    uint32_t hide = v->disk.type == DISK_DIFFERENCING && hidden > v->disk.size ? blocks_of(v, hidden) - old : 0;
    uint32_t entries = blocks > v->layout.max_entries ? blocks : v->layout.max_entries;
    uint32_t *given = calloc(hide + 1, sizeof(*given));
    struct bat bat = place_bat(v, entries);
    uint64_t start = bat.at == v->layout.bat_at ? bat.at + bat_bytes(v->layout.max_entries) : bat.at;
    uint64_t end = bat.at + bat_bytes(entries);
    int err = given ? 0 : -ENOMEM;

    if (!err && end > start)
        err = make_room(v, start, end);
    if (!err && !MUTANT("vhd-resize-shines"))
        err = hide_parent(v, given, hide);
    if (!err)
        err = file_sync(v->disk.file);
    if (!err && MUTANT("vhd-resize-footers-first"))
        err = write_footers(v, footer);
    if (!err)
        err = write_entries(v, &bat, old, given, MUTANT("vhd-resize-shines") ? 0 : hide);
    if (!err)
        err = write_header(v, &bat);
    if (!err)
        err = write_footers(v, footer);
    if (!err)
        err = vhd_space_cut(v, last_end(v, old, given, hide, v->floor > end ? v->floor : end));
    free(given);
    return err;
}

/* The space of the blocks from `blocks` on, which no entry names any more. */
static int give_back(struct vhd *v, uint32_t blocks, uint64_t end)
{
    int err = 0;

    for (uint32_t block = blocks; block < v->layout.blocks && !err; block++) {
        uint32_t sector = vhd_home(v, block);
        uint64_t start = (uint64_t)sector * VHD_SECTOR, stop = start + v->layout.bitmap_size + v->layout.block_size;

        if (sector != VHD_UNUSED && start < end)
            err = file_zero(v->disk.file, start, (stop < end ? stop : end) - start, false);
    }
    return err ? disk_error(&v->disk, err, "space of blocks cannot be given back: %s", strerror(-err)) : 0;
}

static int shrink_blocks(struct vhd *v, const struct vhd_footer *footer, uint64_t size)
{
    uint32_t blocks = blocks_of(v, size), none = 0;
    struct bat bat = {v->layout.bat_at, v->layout.max_entries};
    uint64_t last = last_end(v, blocks, &none, 0, v->floor);
    int err = write_footers(v, footer);

    if (!err)
        err = write_entries(v, &bat, blocks, NULL, 0);
    bat.entries = blocks;
    if (!err)
        err = write_header(v, &bat);
    if (!err)
        err = give_back(v, blocks, last);
    return err ? err : vhd_space_cut(v, last);
}

/* A last block that a writer cut off where the disk ended goes to where there is room for all of it. */
static int complete_last(struct vhd *v)
{
    const struct vhd_layout *l = &v->layout;
    uint32_t block = l->blocks - 1, sector = vhd_home(v, block), to;
    int err;

    if (sector == VHD_UNUSED || (uint64_t)sector * VHD_SECTOR + l->bitmap_size + l->block_size <= l->limit)
        return 0;
    err = vhd_load_block(v, block);
    if (!err)
        err = vhd_space_take(v, &to);
    if (!err)
        err = vhd_relocate(v, block, to, NULL);
    return err ? err : vhd_sync(&v->disk);
}

static int resize_blocks(struct vhd *v, const struct vhd_footer *footer, uint64_t size, uint64_t below)
{
    int err;

    if ((size + v->layout.block_size - 1) / v->layout.block_size > VHD_ENTRIES_MAX)
        return disk_error(&v->disk, -EINVAL, "a size of %llu bytes is too many blocks for the BAT", LL(size));
    pthread_mutex_lock(&v->lock);
    err = vhd_begin(v);
    pthread_mutex_unlock(&v->lock);
    if (!err && size > v->disk.size)
        err = complete_last(v);
    if (!err)
        err = disk_clear_tail(&v->disk, size, below);
    if (!err)
        err = size > v->disk.size ? grow_blocks(v, footer, size, below) : shrink_blocks(v, footer, size);
    atomic_store(&v->begun, false);
    return err;
}

int vhd_resize(struct vdisk *disk, uint64_t size, uint64_t below)
{
    struct vhd *v = vhd_of(disk);
    struct vhd_footer footer = v->footer;

    if (size == 0 || size % VHD_SECTOR)
        return disk_error(disk, -EINVAL, "a size of %llu bytes is not a positive multiple of 512", LL(size));
    if (size > VHD_SIZE_MAX)
        return disk_error(disk, -EINVAL, "a size of %llu bytes is more than a VHD can have, 2040 GiB", LL(size));
    if (v->footers.end_at % VHD_SECTOR)
        return disk_error(disk, -EOPNOTSUPP,
                          "has a footer of 511 bytes, as Virtual PC made them before 2004: convert it to resize it");
    vhd_footer_set_size(&footer, size);
    return disk->type == DISK_FIXED ? resize_fixed(v, &footer, size) : resize_blocks(v, &footer, size, below);
}
