/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of an io, on the thread of its ring: split by map, walked down the chain, moved in pieces, published.
 *
 * An io is in one step at a time. While it runs it holds one count of its own pending, so that pieces that complete
 * early do not finish it. When map cannot answer, the io goes to a worker (blocking.c) and comes back by the ring's
 * inbox; its pieces that are in flight go on meanwhile. It is finished when all of it was issued and nothing is pending.
 *
 * Data first, then the entry: a write piece publishes only when its bytes are in the file.
 */
#include "engine.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "mirror.h"
#include "mutant.h"
#include "track.h"

#define PIECE_MAX (1u << 30)

enum outcome { OUTCOME_ISSUED, OUTCOME_BLOCKED, OUTCOME_HELD };

void engine_end(struct vdisk_io *io)
{
    if (io->engine.port)
        port_leave(io);
    io_list_add(&io->engine.ring->finished, io);
}

static void finished(struct vdisk_io *io)
{
    if (!io->engine.shadow || !mirror_takes(io))
        engine_end(io);
}

static void finish(struct vdisk_io *io)
{
    bool fua = io->op == VDISK_WRITE && io->flags & VDISK_FUA && !MUTANT("fua-ignored");

    if (fua && !io->engine.error && io->engine.step == STEP_RUN) {
        io->engine.step = STEP_SYNC;
        io->engine.pending = 1;
        worker_give(io);
        return;
    }
    finished(io);
}

static void drop_pending(struct vdisk_io *io)
{
    assert(io->engine.pending > 0);
    if (--io->engine.pending == 0)
        finish(io);
}

static void fail(struct vdisk_io *io, int error)
{
    if (!io->engine.error)
        io->engine.error = error;
    io->engine.at = io->length;
}

/* Steps the io's place in its buffers over length bytes; each part is given to use (may be NULL) of at most max parts.
 * Returns how many bytes it stepped over. */
static uint64_t take_iov(struct vdisk_io *io, uint64_t length, struct iovec *use, int max, int *used)
{
    uint64_t taken = 0;
    int count = 0;

    while (taken < length && count < max) {
        const struct iovec *iov = &io->iov[io->engine.iov_index];
        size_t part = iov->iov_len - io->engine.iov_skip;

        if (part > length - taken)
            part = (size_t)(length - taken);
        if (part > 0)
            use[count++] = (struct iovec){(char *)iov->iov_base + io->engine.iov_skip, part};
        taken += part;
        io->engine.iov_skip += part;
        if (io->engine.iov_skip == iov->iov_len) {
            io->engine.iov_index++;
            io->engine.iov_skip = 0;
        }
    }
    *used = count;
    return taken;
}

/* Puts back bytes that were taken but not used. */
static void untake_iov(struct vdisk_io *io, uint64_t length)
{
    while (length > 0) {
        if (io->engine.iov_skip == 0)
            io->engine.iov_skip = io->iov[--io->engine.iov_index].iov_len;
        if (io->engine.iov_skip > length) {
            io->engine.iov_skip -= (size_t)length;
            return;
        }
        length -= io->engine.iov_skip;
        io->engine.iov_skip = 0;
    }
}

/* The bytes of a range that is known to be zero. */
static void read_zeros(struct vdisk_io *io, uint64_t length)
{
    io->engine.at += length;
    while (length > 0) {
        struct iovec part;
        int used;

        length -= take_iov(io, length, &part, 1, &used);
        if (used)
            memset(part.iov_base, 0, part.iov_len);
    }
}

static enum outcome block(struct vdisk_io *io, struct vdisk *link, uint64_t offset, uint64_t length)
{
    io->engine.blocked_on = link;
    io->engine.blocked_at = offset;
    io->engine.blocked_length = length;
    return OUTCOME_BLOCKED;
}

/* Fills the piece with as much of [offset, offset + extent) as its iov holds, in whole sectors. */
static int fill_piece(struct piece *piece, struct vdisk_io *io, struct vdisk *link, const struct disk_extent *extent,
                      uint64_t offset)
{
    uint64_t want = extent->length < PIECE_MAX ? extent->length : PIECE_MAX, odd;

    piece->io = io;
    piece->disk = link;
    piece->write = io->op == VDISK_WRITE;
    piece->publish = extent->publish;
    piece->offset = offset;
    piece->position = extent->position;
    piece->length = take_iov(io, want, piece->iov, PIECE_IOV, &piece->iov_left);
    odd = piece->length % link->sector_size;
    if (odd == piece->length)
        return -EINVAL; /* buffers so small that a piece's do not hold a sector */
    if (odd) {
        untake_iov(io, odd);
        piece->length -= odd;
        while (odd >= piece->iov[piece->iov_left - 1].iov_len)
            odd -= piece->iov[--piece->iov_left].iov_len;
        piece->iov[piece->iov_left - 1].iov_len -= odd;
    }
    return 0;
}

int engine_find(struct vdisk *top, enum disk_access access, uint64_t offset, uint64_t length, struct vdisk **owner,
                struct disk_extent *extent)
{
    struct vdisk *link = top;
    int err = 0;

    for (;; link = link->parent) {
        extent->kind = VDISK_EXTENT_ZERO;
        if (!link || offset >= link->size) /* a parent that is smaller than its child */
            break;
        *owner = link;
        if (length > link->size - offset)
            length = link->size - offset;
        err = link->format->map(link, access, offset, length, extent);
        if (err)
            break;
        length = extent->length;
        if (extent->kind != VDISK_EXTENT_BELOW)
            break;
        if (!link->parent && link->alone) {
            err = -ENXIO;
            break;
        }
    }
    extent->length = length;
    return err;
}

/* One extent of what is left of a READ or WRITE: finds it, inside the epoch, and starts the piece. */
static enum outcome step(struct vdisk_io *io, struct piece *piece)
{
    struct vdisk *top = io->engine.disk, *link = top;
    struct vdisk_ring *ring = io->engine.ring;
    enum disk_access access = io->op == VDISK_WRITE ? DISK_WRITE : DISK_READ;
    uint64_t offset = io->offset + io->engine.at, length = io->length - io->engine.at;
    enum outcome outcome = OUTCOME_ISSUED;
    struct disk_extent extent;
    int err;

    piece->parity = epoch_enter(&top->epoch, ring->slot);
    if (access == DISK_WRITE && hold_covers(&top->hold, offset, length) && !MUTANT("hold-write-enters")) {
        outcome = OUTCOME_HELD;
        goto leave;
    }
    err = engine_find(top, access, offset, length, &link, &extent);
    if (!err && extent.kind == VDISK_EXTENT_ZERO) {
        read_zeros(io, extent.length);
        goto leave;
    }
    if (!err)
        err = fill_piece(piece, io, link, &extent, offset);
    if (err == -EAGAIN)
        outcome = block(io, link, offset, extent.length);
    else if (err)
        fail(io, err);
    if (err)
        goto leave;
    if (MUTANT("publish-before-data") && piece->publish)
        top->format->publish(top, piece->offset, piece->length, piece->position);
    io->engine.at += piece->length;
    io->engine.pending++;
    ring_start(ring, piece);
    return OUTCOME_ISSUED;

leave:
    epoch_leave(&top->epoch, ring->slot, piece->parity);
    ring_piece_free(ring, piece);
    return outcome;
}

static void run(struct vdisk_io *io)
{
    while (io->engine.at < io->length) {
        struct piece *piece = ring_piece(io->engine.ring);

        if (!piece) {
            io_list_add(&io->engine.ring->starved, io);
            return;
        }
        switch (step(io, piece)) {
        case OUTCOME_ISSUED:
            break;
        case OUTCOME_BLOCKED:
            io->engine.step = STEP_RESERVE;
            worker_give(io);
            return;
        case OUTCOME_HELD:
            if (hold_park(io, STEP_HOLD))
                return;
            break;
        }
    }
    drop_pending(io);
}

void engine_continue(struct vdisk_io *io)
{
    run(io);
}

void engine_piece_done(struct vdisk_ring *ring, struct piece *piece, int error)
{
    struct vdisk_io *io = piece->io;
    struct vdisk *top = io->engine.disk;

    if ((!error || MUTANT("publish-failed-write")) && piece->publish)
        top->format->publish(top, piece->offset, piece->length, piece->position);
    if (piece->write)
        engine_changed(top, piece->offset, piece->length);
    epoch_leave(&top->epoch, ring->slot, piece->parity);
    ring_piece_free(ring, piece);
    if (error && !io->engine.error)
        io->engine.error = error;
    drop_pending(io);
}

void engine_resume(struct vdisk_io *io)
{
    int err = io->engine.blocked_result;

    switch ((enum io_step)io->engine.step) {
    case STEP_PORT:
        port_enter(io);
        return;
    case STEP_HOLD_ZERO:
        io->engine.step = STEP_ZERO;
        worker_give(io);
        return;
    case STEP_HOLD:
    case STEP_TRACK:
    case STEP_RESERVE:
        io->engine.step = STEP_RUN;
        if (err || io->engine.error)
            fail(io, err);
        run(io);
        return;
    case STEP_RUN:
    case STEP_ZERO:
    case STEP_SYNC:
        break;
    }
    if (err)
        fail(io, err);
    drop_pending(io);
}

static uint64_t iov_bytes(const struct vdisk_io *io)
{
    uint64_t bytes = 0;

    for (int i = 0; i < io->iovcnt; i++)
        bytes += io->iov[i].iov_len;
    return bytes;
}

/* What a caller may ask of this disk. */
static int validate(struct vdisk *disk, const struct vdisk_io *io)
{
    if (io->op == VDISK_FLUSH)
        return disk_failure(disk);
    if (io->op > VDISK_FLUSH)
        return -EOPNOTSUPP;
    if (io->offset > disk->size || io->length > disk->size - io->offset)
        return -ERANGE;
    if (io->offset % disk->sector_size || io->length % disk->sector_size)
        return -EINVAL;
    if ((io->op == VDISK_READ || io->op == VDISK_WRITE) && iov_bytes(io) < io->length)
        return -EINVAL;
    if (io->op == VDISK_READ)
        return 0;
    return !disk->writable ? -EROFS : MUTANT("failed-disk-written") ? 0 : disk_failure(disk);
}

/* May it begin at once? */
static bool is_tracked(const struct vdisk_io *io)
{
    struct track *track = io->engine.disk->track;

    return !track || track_covers(track, io->engine.ring->slot, io->offset, io->length);
}

void vdisk_submit(struct vdisk *disk, struct vdisk_ring *ring, struct vdisk_io *io)
{
    memset(&io->engine, 0, sizeof(io->engine));
    io->engine.disk = disk;
    io->engine.ring = ring;
    ring->lent++;
    engine_begin(io);
}

void engine_begin(struct vdisk_io *io)
{
    struct vdisk *disk = io->engine.disk;

    io->engine.pending = 1;
    io->engine.step = STEP_RUN;
    io->engine.error = validate(disk, io);
    if (io->op == VDISK_FLUSH && !io->engine.error && disk->writable) {
        io->engine.step = STEP_SYNC;
        worker_give(io);
    } else if (io->engine.error || io->op == VDISK_FLUSH) {
        finished(io);
    } else if (io->op == VDISK_READ || (io->op == VDISK_WRITE && is_tracked(io))) {
        run(io);
    } else if (io->op == VDISK_WRITE) {
        io->engine.step = STEP_TRACK;
        worker_give(io);
    } else {
        io->engine.step = STEP_ZERO;
        worker_give(io);
    }
}
