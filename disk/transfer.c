/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocking requests, of any alignment.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "port.h"

#define SECTOR_MAX 4096u

struct request {
    struct vdisk_io io;
    bool done;
    int error;
};

static void request_done(struct vdisk_io *io, int error)
{
    struct request *request = (struct request *)io;

    request->done = true;
    request->error = error;
}

/* Who is asked: a port, or a disk. */
struct target {
    struct vdisk_port *port;
    struct vdisk *disk;
    uint64_t size, sector;
};

/* One aligned request, start to end. */
static int run(const struct target *target, struct vdisk_ring *ring, enum vdisk_op op, void *buffer, uint64_t offset,
               uint64_t length)
{
    struct iovec iov = {buffer, length};
    struct request request = {
        .io = {.op = op, .offset = offset, .length = length, .iov = &iov, .iovcnt = 1, .done = request_done}};

    if (target->port)
        vdisk_port_submit(target->port, ring, &request.io);
    else
        vdisk_submit(target->disk, ring, &request.io);
    while (!request.done)
        vdisk_ring_poll(ring, true);
    return request.error;
}

/* A part of one sector: the sector is read, and for a write changed and written. */
static int run_part(const struct target *target, struct vdisk_ring *ring, enum vdisk_op op, char *buffer,
                    uint64_t offset, uint64_t length)
{
    char sector[SECTOR_MAX] __attribute__((aligned(SECTOR_MAX)));
    uint64_t skip = offset % target->sector;
    int err = run(target, ring, VDISK_READ, sector, offset - skip, target->sector);

    if (err)
        return err;
    if (op == VDISK_READ) {
        memcpy(buffer, sector + skip, length);
        return 0;
    }
    memcpy(sector + skip, buffer, length);
    return run(target, ring, VDISK_WRITE, sector, offset - skip, target->sector);
}

static int transfer(const struct target *target, struct vdisk_ring *ring, enum vdisk_op op, void *buffer,
                    uint64_t offset, uint64_t length)
{
    uint64_t sector = target->sector;
    char *at = buffer;

    if (op != VDISK_READ && op != VDISK_WRITE)
        return run(target, ring, op, NULL, offset, length);
    if (offset > target->size || length > target->size - offset)
        return -ERANGE;
    while (length > 0) {
        uint64_t skip = offset % sector, part;
        int err;

        if (skip || length < sector) {
            part = sector - skip < length ? sector - skip : length;
            err = run_part(target, ring, op, at, offset, part);
        } else {
            part = length - length % sector;
            err = run(target, ring, op, at, offset, part);
        }
        if (err)
            return err;
        at += part;
        offset += part;
        length -= part;
    }
    return 0;
}

int vdisk_transfer(struct vdisk *disk, struct vdisk_ring *ring, enum vdisk_op op, void *buffer, uint64_t offset,
                   uint64_t length)
{
    struct target target = {.disk = disk, .size = disk->size, .sector = disk->sector_size};

    return transfer(&target, ring, op, buffer, offset, length);
}

int vdisk_port_transfer(struct vdisk_port *port, struct vdisk_ring *ring, enum vdisk_op op, void *buffer,
                        uint64_t offset, uint64_t length)
{
    struct target target = {.port = port, .size = vdisk_port_size(port), .sector = port->sector};

    return transfer(&target, ring, op, buffer, offset, length);
}
