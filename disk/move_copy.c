/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranges of a disk, copied while they are held: what the storage shares is shared, the rest is read and written, several
 * chunks at a time, on the thread of the move.
 */
#include <errno.h>
#include <isa-l/mem_routines.h>
#include <stdlib.h>

#include "clone.h"
#include "move.h"

#define CHUNKS 16
#define CHUNK (UINT64_C(256) << 10)

struct chunk {
    struct vdisk_io io; /* first: done finds the chunk by it */
    struct move_copy *copy;
    struct chunk *next;
    struct iovec iov;
    uint8_t *buffer;
};

struct move_copy {
    struct vdisk *source, *target;
    struct vdisk_ring *ring;
    struct clone *clone;
    bool alone;
    bool written; /* of the range that is being copied */
    int error;
    unsigned busy;
    uint64_t moved, shared;
    struct chunk chunk[CHUNKS], *free;
};

int move_copy_open(struct vdisk *source, struct vdisk *target, bool alone, struct move_copy **out)
{
    struct move_copy *copy = calloc(1, sizeof(*copy));
    int err;

    if (!copy)
        return -ENOMEM;
    copy->source = source;
    copy->target = target;
    copy->alone = alone;
    err = vdisk_ring_open(0, VDISK_BACKEND_AUTO, &copy->ring);
    if (!err)
        err = clone_open(source, target, true, &copy->clone);
    for (unsigned i = 0; i < CHUNKS && !err; i++) {
        struct chunk *chunk = &copy->chunk[i];

        chunk->copy = copy;
        chunk->buffer = aligned_alloc(4096, CHUNK);
        chunk->next = copy->free;
        copy->free = chunk;
        err = chunk->buffer ? 0 : -ENOMEM;
    }
    if (err) {
        move_copy_close(copy);
        return err;
    }
    *out = copy;
    return 0;
}

void move_copy_close(struct move_copy *copy)
{
    if (!copy)
        return;
    for (unsigned i = 0; i < CHUNKS; i++)
        free(copy->chunk[i].buffer);
    clone_close(copy->clone);
    vdisk_ring_close(copy->ring);
    free(copy);
}

struct vdisk_ring *move_copy_ring(struct move_copy *copy)
{
    return copy->ring;
}

uint64_t move_copy_moved(const struct move_copy *copy)
{
    return copy->moved;
}

uint64_t move_copy_shared(const struct move_copy *copy)
{
    return copy->shared;
}

static void drain(struct move_copy *copy)
{
    while (copy->busy > 0)
        vdisk_ring_poll(copy->ring, true);
}

static void submit(struct chunk *chunk, struct vdisk *disk, enum vdisk_op op, uint64_t offset, uint64_t length,
                   void (*done)(struct vdisk_io *io, int error))
{
    chunk->iov = (struct iovec){chunk->buffer, length};
    chunk->io = (struct vdisk_io){
        .op = op, .offset = offset, .length = length, .iov = &chunk->iov, .iovcnt = 1, .done = done};
    vdisk_submit(disk, chunk->copy->ring, &chunk->io);
}

static void chunk_done(struct vdisk_io *io, int error)
{
    struct chunk *chunk = (struct chunk *)io;
    struct move_copy *copy = chunk->copy;

    if (error && !copy->error)
        copy->error = error;
    chunk->next = copy->free;
    copy->free = chunk;
    copy->busy--;
}

static void chunk_read(struct vdisk_io *io, int error)
{
    struct chunk *chunk = (struct chunk *)io;
    struct move_copy *copy = chunk->copy;
    bool zero = !error && isal_zero_detect(chunk->buffer, io->length) == 0;

    if (!error)
        copy->moved += io->length;
    if (error || (zero && !copy->written && !copy->alone))
        chunk_done(io, error);
    else
        submit(chunk, copy->target, zero ? VDISK_ZERO : VDISK_WRITE, io->offset, io->length, chunk_done);
}

static struct chunk *chunk_take(struct move_copy *copy)
{
    struct chunk *chunk;

    while (!copy->free)
        vdisk_ring_poll(copy->ring, true);
    chunk = copy->free;
    copy->free = chunk->next;
    copy->busy++;
    return chunk;
}

static void move_data(struct move_copy *copy, uint64_t offset, uint64_t end)
{
    while (offset < end && !copy->error) {
        uint64_t length = CHUNK - offset % CHUNK < end - offset ? CHUNK - offset % CHUNK : end - offset;

        submit(chunk_take(copy), copy->source, VDISK_READ, offset, length, chunk_read);
        offset += length;
    }
    vdisk_ring_poll(copy->ring, false);
}

/* How much of the extent, from its beginning, the storage has shared. */
static uint64_t share(struct move_copy *copy, const struct vdisk_extent *extent)
{
    uint64_t done = 0;

    if (copy->clone->way == CLONE_NOT || extent->length < CLONE_MIN)
        return 0;
    drain(copy);
    while (extent->length - done >= CLONE_MIN && !copy->error) {
        int64_t n = clone_range(copy->clone, extent->offset + done, extent->length - done, extent->owner->file,
                                extent->position + done);

        if (n < 0)
            copy->error = (int)n;
        if (n <= 0)
            break;
        done += (uint64_t)n;
        copy->shared += (uint64_t)n;
    }
    return done;
}

int move_copy_range(struct move_copy *copy, uint64_t offset, uint64_t length, bool written)
{
    uint64_t at = offset, end = offset + length, data = offset; /* [data, at): to be moved, seen and not begun */
    unsigned flags = VDISK_MAP_HOLES | (copy->alone ? VDISK_MAP_ALONE : 0);

    copy->written = written;
    while (at < end && !copy->error) {
        struct vdisk_extent extent;
        uint64_t shared;
        int err = vdisk_map(copy->source, at, end - at, flags, &extent);

        if (err) {
            copy->error = err;
            break;
        }
        shared = extent.kind == VDISK_EXTENT_DATA ? share(copy, &extent) : 0;
        if (extent.kind != VDISK_EXTENT_DATA || shared > 0 || at - data >= CHUNK) {
            move_data(copy, data, at);
            data = at + (extent.kind == VDISK_EXTENT_DATA ? shared : extent.length);
        }
        if (extent.kind == VDISK_EXTENT_ZERO && (written || copy->alone) && !copy->error)
            submit(chunk_take(copy), copy->target, VDISK_ZERO, at, extent.length, chunk_done);
        at += extent.length;
    }
    if (!copy->error)
        move_data(copy, data, at);
    drain(copy);
    return copy->error;
}
