/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk read in order: a row of slots, each a run of zeros or a read in flight, filled ahead and consumed in turn.
 * Runs come from the map; short runs of zeros between data are read with it rather than asked for one by one.
 */
#include <errno.h>
#include <stdlib.h>

#include "cli/cli.h"

#define SLOTS 8
#define CHUNK (UINT64_C(1) << 20)
#define ZERO_RUN (UINT64_C(64) << 10)  /* shorter ones are read along with their neighbours */
#define ZERO_STEP (UINT64_C(16) << 20) /* how much of a run is given at once */

struct slot {
    struct vdisk_io io; /* first: done finds the slot by it */
    struct iovec iov;
    uint64_t offset, length;
    bool zero, busy;
    int error;
};

struct stream {
    struct vdisk *disk;
    struct vdisk_ring *ring;
    uint64_t begin, end;    /* what is wanted */
    uint64_t next, aligned; /* where the next slot begins, and where the last ends: whole sectors */
    struct slot slot[SLOTS];
    unsigned filled, taken;
    uint8_t *memory;
    const struct vdisk_progress *progress;
    cli_stream_fn *consume;
    void *arg;
};

static void read_done(struct vdisk_io *io, int error)
{
    struct slot *slot = (struct slot *)io;

    slot->busy = false;
    slot->error = error;
}

/* The run at stream->next: zeros of any length, or at most a chunk to be read. */
static int run_find(struct stream *stream, struct slot *slot)
{
    struct vdisk_extent extent;
    uint64_t at = stream->next;
    int err = vdisk_map(stream->disk, at, stream->aligned - at, VDISK_MAP_HOLES, &extent);

    if (err < 0)
        return err;
    slot->offset = at;
    slot->length = extent.length;
    slot->zero = extent.kind == VDISK_EXTENT_ZERO && extent.length >= ZERO_RUN;
    if (slot->zero)
        return 0;
    while (slot->length < CHUNK && at + slot->length < stream->aligned) {
        err = vdisk_map(stream->disk, at + slot->length, stream->aligned - at - slot->length, VDISK_MAP_HOLES, &extent);
        if (err < 0)
            return err;
        if (extent.kind == VDISK_EXTENT_ZERO && extent.length >= ZERO_RUN)
            break;
        slot->length += extent.length;
    }
    if (slot->length > CHUNK)
        slot->length = CHUNK;
    return 0;
}

static int slot_fill(struct stream *stream)
{
    unsigned index = stream->filled % SLOTS;
    struct slot *slot = &stream->slot[index];
    int err = run_find(stream, slot);

    if (err < 0)
        return err;
    slot->error = 0;
    stream->filled++;
    stream->next += slot->length;
    if (slot->zero)
        return 0;
    slot->iov = (struct iovec){stream->memory + index * CHUNK, slot->length};
    slot->io = (struct vdisk_io){
        .op = VDISK_READ,
        .offset = slot->offset,
        .length = slot->length,
        .iov = &slot->iov,
        .iovcnt = 1,
        .done = read_done,
    };
    slot->busy = true;
    vdisk_submit(stream->disk, stream->ring, &slot->io);
    return 0;
}

/* Gives the part of the slot that is wanted. */
static int slot_give(struct stream *stream, const struct slot *slot)
{
    uint64_t from = slot->offset > stream->begin ? slot->offset : stream->begin;
    uint64_t to = slot->offset + slot->length < stream->end ? slot->offset + slot->length : stream->end;
    int err = 0;

    while (from < to && err == 0) {
        uint64_t part = slot->zero && to - from > ZERO_STEP ? ZERO_STEP : to - from;
        const uint8_t *data = slot->zero ? NULL : (uint8_t *)slot->iov.iov_base + (from - slot->offset);

        if (*stream->progress->cancel)
            return -ECANCELED;
        err = stream->consume(stream->arg, data, part);
        from += part;
        stream->progress->step(stream->progress->arg, from - stream->begin, stream->end - stream->begin);
    }
    return err;
}

static int slots_run(struct stream *stream)
{
    int err = 0;

    while (err == 0 && (stream->taken < stream->filled || stream->next < stream->aligned)) {
        struct slot *slot = &stream->slot[stream->taken % SLOTS];

        while (err == 0 && stream->next < stream->aligned && stream->filled - stream->taken < SLOTS)
            err = slot_fill(stream);
        if (err < 0)
            break;
        while (slot->busy)
            vdisk_ring_poll(stream->ring, true);
        err = slot->error ? slot->error : slot_give(stream, slot);
        stream->taken++;
    }
    for (unsigned i = 0; i < SLOTS; i++)
        while (stream->slot[i].busy)
            vdisk_ring_poll(stream->ring, true);
    return err;
}

int cli_stream(struct vdisk *disk, uint64_t offset, uint64_t length, const struct vdisk_progress *progress,
               cli_stream_fn *consume, void *arg)
{
    uint64_t sector = vdisk_sector_size(disk), size = vdisk_size(disk), end = offset + length;
    struct stream stream = {
        .disk = disk,
        .begin = offset,
        .end = end,
        .next = offset - offset % sector,
        .aligned = size - end < sector ? size : (end + sector - 1) / sector * sector,
        .progress = progress,
        .consume = consume,
        .arg = arg,
    };
    int err;

    if (length == 0)
        return 0;
    stream.memory = aligned_alloc(4096, SLOTS * CHUNK);
    if (!stream.memory)
        return -ENOMEM;
    err = vdisk_ring_open(0, VDISK_BACKEND_AUTO, &stream.ring);
    if (err < 0)
        goto free_memory;
    err = slots_run(&stream);
    vdisk_ring_close(stream.ring);
free_memory:
    free(stream.memory);
    return err;
}
