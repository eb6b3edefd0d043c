/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What workers do: reserve, sync, and the ops that change the map (ZERO, DISCARD).
 *
 * Whole blocks go by metadata alone (the format's drop). The rest is made zero in its home, inside the epoch like any
 * write, so that a drop that runs at the same time waits before it gives the home away.
 */
#include <errno.h>
#include <string.h>

#include "engine.h"
#include "mutant.h"
#include "track.h"

int engine_home(struct vdisk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent, unsigned *parity)
{
    for (;;) {
        int err;

        *parity = epoch_enter(&disk->epoch, EPOCH_WORKER);
        err = disk->format->map(disk, DISK_WRITE, offset, length, extent);
        if (!err)
            return 0;
        epoch_leave(&disk->epoch, EPOCH_WORKER, *parity);
        if (err == -EAGAIN)
            err = disk->format->reserve(disk, DISK_WRITE, offset, length);
        if (err)
            return err;
    }
}

int64_t engine_zero(struct vdisk *disk, uint64_t offset, uint64_t length, bool keep)
{
    struct disk_extent extent;
    unsigned parity;
    int err;

    err = engine_home(disk, offset, length, &extent, &parity);
    if (err)
        return err;
    err = file_zero(disk->file, extent.position, extent.length, keep);
    if (err)
        disk_error(disk, err, "cannot zero %llu bytes at 0x%llx: %s", (unsigned long long)extent.length,
                   (unsigned long long)extent.position, strerror(-err));
    else if (extent.publish && !MUTANT("zero-not-published"))
        disk->format->publish(disk, offset, extent.length, extent.position);
    epoch_leave(&disk->epoch, EPOCH_WORKER, parity);
    return err ? err : (int64_t)extent.length;
}

/* Has the first part of the range a home that map does not show to readers yet? */
static bool has_home(struct vdisk *disk, uint64_t offset, uint64_t length)
{
    struct disk_extent extent;
    unsigned parity = epoch_enter(&disk->epoch, EPOCH_WORKER);
    int err = disk->format->map(disk, DISK_WRITE, offset, length, &extent);

    epoch_leave(&disk->epoch, EPOCH_WORKER, parity);
    return err == 0;
}

/* A part of a block. What reads as zeros already is left alone, unless it has a home: a write that failed there may
 * have left bytes that the next one to publish would show. A DISCARD also leaves what is the parent's. */
static int zero_part(struct vdisk *disk, enum vdisk_op op, uint64_t offset, uint64_t length)
{
    while (length > 0) {
        struct vdisk_extent extent;
        int64_t done;
        int err = vdisk_map(disk, offset, length, op == VDISK_DISCARD ? VDISK_MAP_ALONE : 0, &extent);

        if (err)
            return err;
        if (op == VDISK_ZERO ? extent.kind == VDISK_EXTENT_DATA ||
                                   (!MUTANT("zero-leaves-home") && has_home(disk, offset, extent.length))
                             : extent.kind == VDISK_EXTENT_DATA && disk->type != DISK_FIXED)
            done = engine_zero(disk, offset, extent.length, op == VDISK_ZERO);
        else
            done = (int64_t)extent.length;
        if (done < 0)
            return (int)done;
        offset += (uint64_t)done;
        length -= (uint64_t)done;
    }
    return 0;
}

/* How many bytes of the range are done, from its beginning; or -errno. */
static int64_t zero_some(struct vdisk *disk, enum vdisk_op op, uint64_t offset, uint64_t length)
{
    int64_t done = disk->format->drop ? disk->format->drop(disk, offset, length) : 0;
    uint64_t part = disk->block_size ? disk->block_size - offset % disk->block_size : length;
    int err;

    if (done)
        return done;
    if (part > length)
        part = length;
    err = zero_part(disk, op, offset, part);
    return err ? err : (int64_t)part;
}

/* False: what is left of it waits for a range that is held. */
static bool zero_range(struct vdisk_io *io)
{
    struct vdisk *disk = io->engine.disk;

    io->engine.blocked_result = MUTANT("track-zero-forgotten") ? 0 : disk_track(disk, io->offset, io->length);
    while (io->engine.at < io->length && !io->engine.blocked_result) {
        uint64_t offset = io->offset + io->engine.at, length = io->length - io->engine.at;
        unsigned parity = epoch_enter(&disk->hold.zeroing, EPOCH_WORKER);
        int64_t done;

        if (hold_covers(&disk->hold, offset, length) && !MUTANT("hold-zero-enters")) {
            epoch_leave(&disk->hold.zeroing, EPOCH_WORKER, parity);
            if (hold_park(io, STEP_HOLD_ZERO))
                return false;
            continue;
        }
        done = zero_some(disk, io->op, offset, length);
        engine_changed(disk, offset, done < 0 ? length : (uint64_t)done);
        epoch_leave(&disk->hold.zeroing, EPOCH_WORKER, parity);
        if (done < 0) {
            io->engine.blocked_result = (int)done;
            return true;
        }
        io->engine.at += (uint64_t)done;
    }
    return true;
}

bool engine_block(struct vdisk_io *io)
{
    struct vdisk *disk = io->engine.disk, *link = io->engine.blocked_on;

    switch ((enum io_step)io->engine.step) {
    case STEP_RESERVE:
        io->engine.blocked_result = link->format->reserve(link, io->op == VDISK_WRITE ? DISK_WRITE : DISK_READ,
                                                          io->engine.blocked_at, io->engine.blocked_length);
        break;
    case STEP_ZERO:
        return zero_range(io);
    case STEP_TRACK:
        io->engine.blocked_result = disk_track(disk, io->offset, io->length);
        break;
    case STEP_SYNC:
        io->engine.blocked_result = MUTANT("flush-does-nothing") ? 0 : disk->format->sync(disk);
        if (disk->track && !io->engine.blocked_result)
            track_flushed(disk->track);
        break;
    case STEP_RUN:
    case STEP_PORT:
    case STEP_HOLD:
    case STEP_HOLD_ZERO:
        break;
    }
    return true;
}
