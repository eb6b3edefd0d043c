/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where bytes live, for those who may wait for the answer: block status, copies, pictures.
 */
#include <errno.h>

#include "engine.h"

int link_map(struct vdisk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
    for (;;) {
        int err = disk->format->map(disk, DISK_READ, offset, length, extent);

        if (err != -EAGAIN)
            return err;
        err = disk->format->reserve(disk, DISK_READ, offset, length);
        if (err)
            return err;
    }
}

/* file_seek_data, but a position in the run of data that was seen last is in it still: what has become a hole since may
 * be called data, and finding the end of a long run takes the kernel as long as the run is. */
static int seek_data(struct vdisk *link, uint64_t position, uint64_t *data, uint64_t *hole)
{
    int err = 0;

    pthread_mutex_lock(&link->data_lock);
    if (position >= link->data_start && position < link->data_end) {
        *data = position;
        *hole = link->data_end;
        pthread_mutex_unlock(&link->data_lock);
        return 0;
    }
    pthread_mutex_unlock(&link->data_lock);
    err = file_seek_data(link->file, position, data, hole);
    if (err || *data > position)
        return err;
    pthread_mutex_lock(&link->data_lock);
    link->data_start = *data;
    link->data_end = *hole;
    pthread_mutex_unlock(&link->data_lock);
    return 0;
}

/* DATA in a hole of the file reads as zeros: says so, for the first part that is one or the other. */
static int look_for_hole(struct vdisk *link, struct vdisk_extent *extent)
{
    uint64_t data, hole, unit = link->sector_size;
    int err = seek_data(link, extent->position, &data, &hole);

    if (err)
        return err;
    if (data > extent->position) { /* a hole first: whole sectors of it */
        uint64_t zeros = (data - extent->position) / unit * unit;

        if (zeros == 0)
            return 0;
        if (zeros < extent->length)
            extent->length = zeros;
        extent->kind = VDISK_EXTENT_ZERO;
        extent->state = "hole";
    } else if (hole - extent->position < extent->length) {
        uint64_t bytes = (hole - extent->position + unit - 1) / unit * unit;

        if (bytes < extent->length)
            extent->length = bytes;
    }
    return 0;
}

/* Down the chain to the link that has the first part of the range, as far as that goes without waiting. Whatever is
 * returned, extent says which link and part it is about. */
static int find(struct vdisk *disk, uint64_t offset, uint64_t length, unsigned flags, struct vdisk_extent *extent)
{
    struct disk_extent found = {.kind = VDISK_EXTENT_ZERO, .state = "beyond-parent"};
    struct vdisk *link = disk;
    unsigned depth = 0;
    int err = 0;

    for (;; link = link->parent, depth++) {
        found = (struct disk_extent){.kind = VDISK_EXTENT_ZERO, .state = "beyond-parent"};
        if (offset >= link->size)
            break;
        if (length > link->size - offset)
            length = link->size - offset;
        err = link->format->map(link, DISK_READ, offset, length, &found);
        if (err)
            break;
        length = found.length;
        if (found.kind != VDISK_EXTENT_BELOW || flags & VDISK_MAP_ALONE)
            break;
        if (!link->parent) {
            found.kind = VDISK_EXTENT_ZERO;
            err = link->alone ? -ENXIO : 0;
            break;
        }
    }
    *extent = (struct vdisk_extent){.kind = found.kind, .offset = offset, .length = length, .owner = link,
                                    .depth = depth, .position = found.position, .state = found.state};
    return err;
}

/* Inside an epoch like any piece: what a position holds is this range's until that is left. A reserve is not, because who
 * waits for the epoch to end may hold what it needs. */
int vdisk_map(struct vdisk *disk, uint64_t offset, uint64_t length, unsigned flags, struct vdisk_extent *extent)
{
    uint64_t part;
    int err;

    if (offset >= disk->size || length == 0)
        return -ERANGE;
    if (length > disk->size - offset)
        length = disk->size - offset;
    part = length % disk->sector_size;
    if (part && !MUTANT("map-part-of-sector")) /* a format has no answer for less than a sector */
        length += disk->sector_size - part;
    for (;;) {
        unsigned parity = MUTANT("map-in-no-epoch") ? 0 : epoch_enter(&disk->epoch, EPOCH_WORKER);
        bool again;

        err = find(disk, offset, length, flags, extent);
        again = err == -EAGAIN;
        if (!err && flags & VDISK_MAP_HOLES && extent->kind == VDISK_EXTENT_DATA)
            err = look_for_hole(extent->owner, extent);
        if (!MUTANT("map-in-no-epoch"))
            epoch_leave(&disk->epoch, EPOCH_WORKER, parity);
        if (again)
            err = extent->owner->format->reserve(extent->owner, DISK_READ, offset, extent->length);
        if (err || !again)
            return err;
    }
}
