/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compaction of a disk that may be in use. Two passes over the blocks, each block held while it is changed (disk_hold),
 * and the port paused at the end for the truncation alone:
 *
 *     1. a block that reads as zeros is dropped; runs of zeros in others become holes of the file
 *     2. the blocks that stand last in the file move to the free places that stand first (the format's relocate), until
 * no free place stands before a block
 *     3. the disk is settled: everything is durable, and the file ends behind its last block
 *
 * Each step leaves a disk that reads the same, so it may be interrupted anywhere; the next run goes on.
 */
#include "compact.h"

#include <errno.h>
#include <isa-l/mem_routines.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine.h"
#include "mutant.h"
#include "pace.h"
#include "port.h"

#define UNIT (UINT64_C(1) << 20) /* of reading, and of disks without blocks */
#define HOLE 65536u              /* shorter runs of zeros stay as they are */
#define SYNC_EVERY (UINT64_C(256) << 20)
#define RUNS_MAX ((256u << 20) / HOLE)

struct compact {
    struct vdisk *disk;
    const struct vdisk_compact_options *options;
    const struct vdisk_progress *progress;
    struct vdisk_compact_result result;
    uint64_t unit;             /* a block, or as much of a disk without blocks */
    uint64_t total, at;        /* progress: bytes */
    uint64_t worked, unsynced; /* bytes read and moved; moved since the last sync */
    struct pace pace;
    uint8_t *buffer;
    bool *zero; /* of the unit in hand, by HOLE */
};

/* ---- Reading what a guest would, on no ring ---- */

/* The first part of the range. Inside an epoch like any piece, so that what is read stays where it is. */
static int64_t read_part(struct vdisk *disk, uint8_t *to, uint64_t offset, uint64_t length)
{
    unsigned parity = epoch_enter(&disk->epoch, EPOCH_WORKER);
    struct vdisk *link = disk;
    struct disk_extent extent;
    int err = engine_find(disk, DISK_READ, offset, length, &link, &extent);

    length = extent.length;
    if (!err && extent.kind == VDISK_EXTENT_DATA) {
        uint64_t there = length, size = link->file->size;

        if (link->tail_reads_zero && extent.position + there > size)
            there = extent.position < size ? size - extent.position : 0;
        memset(to + there, 0, length - there);
        err = there ? file_read(link->file, to, there, extent.position) : 0;
    } else if (!err) {
        memset(to, 0, length);
    }
    epoch_leave(&disk->epoch, EPOCH_WORKER, parity);
    if (err == -EAGAIN)
        err = link->format->reserve(link, DISK_READ, offset, length);
    else if (!err)
        return (int64_t)length;
    return err;
}

int disk_read(struct vdisk *disk, void *buffer, uint64_t offset, uint64_t length)
{
    for (uint64_t at = 0; at < length;) {
        int64_t part = read_part(disk, (uint8_t *)buffer + at, offset + at, length - at);

        if (part < 0)
            return (int)part;
        at += (uint64_t)part;
    }
    return 0;
}

/* After some work: tells, waits as the rate demands. -ECANCELED. */
static int goes_on(struct compact *c)
{
    if (c->progress && c->progress->step)
        c->progress->step(c->progress->arg, c->at < c->total ? c->at : c->total, c->total);
    pace_keep(&c->pace, c->worked, c->progress);
    return disk_cancelled(c->progress) ? -ECANCELED : 0;
}

/* ---- Zeros ---- */

/* Which parts of the range read as zeros; how many do. */
static int find_zeros(struct compact *c, uint64_t offset, uint64_t length, uint64_t *count)
{
    *count = 0;
    for (uint64_t at = 0; at < length; at += UNIT) {
        uint64_t part = length - at < UNIT ? length - at : UNIT;
        int err = disk_read(c->disk, c->buffer, offset + at, part);

        if (err)
            return err;
        for (uint64_t n = 0; n < part; n += HOLE) {
            uint64_t run = part - n < HOLE ? part - n : HOLE;
            bool zero = isal_zero_detect(c->buffer + n, (int)run) == 0;

            c->zero[(at + n) / HOLE] = zero;
            *count += zero;
        }
    }
    c->worked += length;
    return 0;
}

/* The disk's own bytes of a range that reads as zeros become a hole of its file. Nobody writes there. */
static int punch(struct compact *c, uint64_t offset, uint64_t length)
{
    while (length > 0) {
        struct disk_extent extent;
        int err = link_map(c->disk, offset, length, &extent);

        if (!err && extent.kind == VDISK_EXTENT_DATA && extent.position + extent.length <= c->disk->file->size)
            err = file_zero(c->disk->file, extent.position, extent.length, false);
        if (err)
            return disk_error(c->disk, err, "space at 0x%llx cannot be given back: %s",
                              (unsigned long long)extent.position, strerror(-err));
        offset += extent.length;
        length -= extent.length;
    }
    return 0;
}

/* What the unit, which is held, does not need. */
static int give_back(struct compact *c, uint64_t offset, uint64_t length)
{
    uint64_t parts = (length + HOLE - 1) / HOLE, zeros;
    int err = find_zeros(c, offset, length, &zeros);

    if (!err && zeros == parts && c->disk->type != DISK_FIXED && c->disk->format->drop) {
        int64_t done = c->disk->format->drop(c->disk, offset, length);

        if (done == (int64_t)length)
            c->result.bytes_dropped += length;
        if (done)
            return done < 0 ? (int)done : 0;
    }
    for (uint64_t n = 0, end; n < parts && !err; n = end) {
        for (end = n; end < parts && c->zero[end] == c->zero[n];)
            end++;
        if (c->zero[n])
            err = punch(c, offset + n * HOLE, (end * HOLE < length ? end * HOLE : length) - n * HOLE);
    }
    return err;
}

static int clean_unit(struct compact *c, uint64_t offset, uint64_t length)
{
    uint64_t zeros, position;
    int err = c->disk->format->locate ? c->disk->format->locate(c->disk, offset, &position) : 1;

    if (err <= 0)
        return err;
    err = find_zeros(c, offset, length, &zeros); /* most need nothing, and need not be held */
    if (err || zeros == 0)
        return err;
    if (!MUTANT("compact-not-held"))
        disk_hold(c->disk, offset, length);
    err = give_back(c, offset, length);
    if (!MUTANT("compact-not-held"))
        disk_release(c->disk);
    return err;
}

/* How much from offset on has no space in the file already: there is nothing to read in it, nor to give back. */
static int find_hole(struct compact *c, uint64_t offset, uint64_t *length)
{
    struct disk_extent extent;
    int err = link_map(c->disk, offset, c->disk->size - offset, &extent);

    *length = !err && extent.kind == VDISK_EXTENT_DATA
                  ? file_without_space(c->disk->file, extent.position, extent.length)
                  : 0;
    return err;
}

/* A block that can be dropped is read, though it be a hole: its entry goes. */
static int clean(struct compact *c)
{
    uint64_t size = c->disk->size, length, hole = 0;
    int err = 0;

    for (uint64_t offset = 0; offset < size && !err; offset += length) {
        length = size - offset < c->unit ? size - offset : c->unit;
        if (c->disk->type == DISK_FIXED || c->disk->block_size == 0)
            err = find_hole(c, offset, &hole);
        if (!err && hole >= length)
            length = hole == size - offset ? hole : hole / c->unit * c->unit;
        else if (!err)
            err = clean_unit(c, offset, length);
        c->at = offset + length;
        if (!err)
            err = goes_on(c);
    }
    return err;
}

/* ---- Relocation ---- */

struct place {
    uint64_t position, offset;
};

static int from_the_end(const void *a, const void *b)
{
    uint64_t x = ((const struct place *)a)->position, y = ((const struct place *)b)->position;

    return x > y ? -1 : x < y;
}

static int find_places(struct compact *c, struct place **places, uint64_t *count)
{
    uint64_t blocks = (c->disk->size + c->unit - 1) / c->unit, room = 0;
    struct place *list = NULL;

    *count = 0;
    for (uint64_t block = 0; block < blocks; block++) {
        struct place place = {.offset = block * c->unit};
        int err = c->disk->format->locate(c->disk, place.offset, &place.position);

        if (err > 0 && *count == room) {
            struct place *more = realloc(list, (room = room ? 2 * room : 1024) * sizeof(*list));

            err = more ? 1 : -ENOMEM;
            list = more ? more : list;
        }
        if (err < 0) {
            free(list);
            return err;
        }
        if (err)
            list[(*count)++] = place;
    }
    if (*count)
        qsort(list, *count, sizeof(*list), from_the_end);
    *places = list;
    return 0;
}

/* Moves one block, unless it has moved. 1: moved, or gone; 0: there is no place before it. */
static int move(struct compact *c, const struct place *place)
{
    uint64_t left = c->disk->size - place->offset, length = left < c->unit ? left : c->unit, position, moved = 0;
    int err;

    disk_hold(c->disk, place->offset, length);
    err = c->disk->format->locate(c->disk, place->offset, &position);
    if (err > 0 && position == place->position)
        err = c->disk->format->relocate(c->disk, place->offset, &moved);
    else if (err >= 0)
        err = 1;
    disk_release(c->disk);
    c->result.bytes_moved += moved;
    c->worked += moved;
    c->unsynced += moved;
    return err;
}

/* Everything is durable, and what nothing names is free. */
static int reclaim(struct vdisk_port *port, struct vdisk *disk)
{
    int err;

    port_pause(port);
    err = disk->format->sync(disk);
    if (!err)
        err = disk->format->reclaim(disk);
    port_resume(port);
    return err;
}

static int pack(struct compact *c, struct vdisk_port *port)
{
    struct place *places = NULL;
    uint64_t count = 0;
    int err = reclaim(port, c->disk);

    if (!err)
        err = find_places(c, &places, &count);
    for (uint64_t i = 0, more = 1; i < count && more && !err; i++) {
        err = move(c, &places[i]);
        more = err > 0;
        err = err < 0 ? err : 0;
        c->at += c->unit;
        if (!err && c->unsynced >= SYNC_EVERY) {
            c->unsynced = 0;
            err = c->disk->format->sync(c->disk);
        }
        if (!err)
            err = goes_on(c);
    }
    free(places);
    if (!err)
        err = c->disk->format->sync(c->disk); /* most of the work before the port is paused */
    return err ? err : reclaim(port, c->disk);
}

/* ---- All of it ---- */

static uint64_t bytes_used(const struct vdisk *disk)
{
    struct stat st;

    return disk->file->fd >= 0 && fstat(disk->file->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : disk->file->size;
}

static int prepare(struct compact *c)
{
    struct vdisk *d = c->disk;
    int err;

    if (!d->writable)
        return disk_error(d, -EROFS, "is not open for writing");
    c->unit = d->block_size ? d->block_size : UNIT;
    c->buffer = aligned_alloc(4096, UNIT);
    c->zero = calloc(RUNS_MAX, sizeof(*c->zero));
    if (!c->buffer || !c->zero)
        return -ENOMEM;
    pace_begin(&c->pace, c->options ? c->options->rate : 0);
    c->total = d->size;
    err = d->format->sync(d);
    if (!err && d->type == DISK_DIFFERENCING && !d->parent)
        err = disk_error(d, -EOPNOTSUPP, "a differencing disk is not compacted without its parent");
    return err;
}

static int run(struct vdisk_port *port, struct compact *c)
{
    struct vdisk *d = c->disk;
    int err = clean(c), settled = 0;

    if (!err) /* what was dropped is free now */
        err = d->format->sync(d);
    if (!err && d->format->relocate)
        err = pack(c, port);
    if (!d->failed) {
        port_pause(port);
        settled = d->format->settle ? d->format->settle(d) : d->format->sync(d);
        port_resume(port);
    }
    return err ? err : settled;
}

int vdisk_compact(struct vdisk_port *port, const struct vdisk_compact_options *options,
                  const struct vdisk_progress *progress, struct vdisk_compact_result *result)
{
    struct compact c = {.options = options, .progress = progress};
    int err = port_begin(port);

    if (err)
        return err;
    c.disk = vdisk_port_disk(port);
    err = prepare(&c);
    if (!err) {
        c.result.used_before = bytes_used(c.disk);
        c.result.size_before = c.disk->file->size;
        err = run(port, &c);
        c.result.used_after = bytes_used(c.disk);
        c.result.size_after = c.disk->file->size;
    }
    free(c.buffer);
    free(c.zero);
    port_end(port);
    if (result)
        *result = c.result;
    return err;
}
