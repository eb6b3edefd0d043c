/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Comparing: ranges that both maps know to be zero are stepped over; the rest is read from both, a row of chunks at a
 * time, and compared in order, so that the first difference is the first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"

#define ROW 8
#define CHUNK (UINT64_C(1) << 20)

struct half {
    struct vdisk_io io;
    struct comparison *comparison;
    struct iovec iov;
    char *buffer;
};

struct comparison {
    struct vdisk *disk[2];
    struct vdisk_ring *ring;
    const struct vdisk_progress *progress;
    uint64_t at, size; /* size: of the longer */
    uint64_t unit;     /* the larger sector */
    unsigned pending;
    int error;
    struct pair {
        uint64_t offset, length;
        struct half half[2];
    } row[ROW];
};

static void half_done(struct vdisk_io *io, int error)
{
    struct comparison *c = ((struct half *)io)->comparison;

    if (error && !c->error)
        c->error = error;
    c->pending--;
}

/* Reads what the disk has of the range; behind its end are zeros. */
static void read_half(struct comparison *c, struct pair *pair, int side)
{
    struct half *half = &pair->half[side];
    struct vdisk *disk = c->disk[side];
    uint64_t length = pair->offset >= disk->size               ? 0
                      : disk->size - pair->offset < pair->length ? disk->size - pair->offset
                                                                 : pair->length;

    memset(half->buffer + length, 0, pair->length - length);
    if (length == 0)
        return;
    half->iov = (struct iovec){half->buffer, length};
    half->io = (struct vdisk_io){
        .op = VDISK_READ, .offset = pair->offset, .length = length, .iov = &half->iov, .iovcnt = 1, .done = half_done};
    c->pending++;
    vdisk_submit(disk, c->ring, &half->io);
}

/* How far from c->at both maps say zero, in units; 0: not at all. */
static int zeros_ahead(struct comparison *c, uint64_t *length)
{
    *length = c->size - c->at;
    for (int side = 0; side < 2; side++) {
        struct vdisk_extent extent;
        int err;

        if (c->at >= c->disk[side]->size)
            continue;
        err = vdisk_map(c->disk[side], c->at, *length, VDISK_MAP_HOLES, &extent);
        if (err)
            return err;
        if (extent.kind != VDISK_EXTENT_ZERO) {
            *length = 0;
            return 0;
        }
        if (extent.length < *length)
            *length = extent.length;
    }
    if (*length < c->size - c->at)
        *length -= *length % c->unit;
    return 0;
}

/* The next row of chunks that have to be looked at; returns how many. */
static int fill_row(struct comparison *c, int *count)
{
    *count = 0;
    while (*count < ROW && c->at < c->size) {
        struct pair *pair = &c->row[*count];
        uint64_t zeros;
        int err;

        if (disk_cancelled(c->progress))
            return -ECANCELED;
        err = zeros_ahead(c, &zeros);
        if (err)
            return err;
        if (zeros > 0) {
            c->at += zeros;
            continue;
        }
        pair->offset = c->at;
        pair->length = CHUNK - c->at % CHUNK;
        if (pair->length > c->size - c->at)
            pair->length = c->size - c->at;
        c->at += pair->length;
        for (int side = 0; side < 2; side++)
            read_half(c, pair, side);
        ++*count;
    }
    return 0;
}

static int compare_row(const struct comparison *c, int count, uint64_t *where)
{
    for (int i = 0; i < count; i++) {
        const struct pair *pair = &c->row[i];
        const char *a = pair->half[0].buffer, *b = pair->half[1].buffer;

        if (memcmp(a, b, pair->length) == 0)
            continue;
        for (*where = pair->offset; *a == *b; a++, b++)
            ++*where;
        return 1;
    }
    return 0;
}

static int run(struct comparison *c, uint64_t *where)
{
    int result = 0;

    while (c->at < c->size && !result) {
        int count, err = fill_row(c, &count);

        while (c->pending > 0)
            vdisk_ring_poll(c->ring, true);
        if (!err)
            err = c->error;
        result = err ? err : compare_row(c, count, where);
        if (c->progress && c->progress->step)
            c->progress->step(c->progress->arg, c->at, c->size);
    }
    return result;
}

int vdisk_compare(struct vdisk *a, struct vdisk *b, const struct vdisk_progress *progress, uint64_t *where)
{
    struct comparison *c = calloc(1, sizeof(*c));
    int result;

    if (!c)
        return -ENOMEM;
    c->disk[0] = a;
    c->disk[1] = b;
    c->progress = progress;
    c->unit = a->sector_size > b->sector_size ? a->sector_size : b->sector_size;
    c->size = a->size > b->size ? a->size : b->size;
    result = vdisk_ring_open(0, VDISK_BACKEND_AUTO, &c->ring);
    for (int i = 0; i < 2 * ROW && !result; i++) {
        struct half *half = &c->row[i / 2].half[i % 2];

        half->comparison = c;
        half->buffer = aligned_alloc(4096, CHUNK);
        result = half->buffer ? 0 : -ENOMEM;
    }
    if (!result)
        result = run(c, where);
    for (int i = 0; i < 2 * ROW; i++)
        free(c->row[i / 2].half[i % 2].buffer);
    vdisk_ring_close(c->ring);
    free(c);
    return result;
}
