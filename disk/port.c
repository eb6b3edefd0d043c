/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports. A request enters the port's epoch, looks whether the port is paused, takes the disk, and leaves when it is
 * finished. port_pause says so first and waits for the epoch then (epoch.c): who did not see it is waited for. On the fast
 * path there is neither a lock nor a cache line that threads share for writing.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "mirror.h"
#include "mutant.h"
#include "port.h"

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int vdisk_port_of(struct vdisk *disk, struct vdisk_port **port)
{
    /* The epoch's counters have cache lines of their own. */
    struct vdisk_port *p = aligned_alloc(64, (sizeof(*p) + 63) / 64 * 64);

    if (!p)
        return -ENOMEM;
    memset(p, 0, sizeof(*p));
    p->stats = stats_open();
    if (!p->stats) {
        free(p);
        return -ENOMEM;
    }
    atomic_store(&p->disk, disk);
    atomic_store(&p->size, disk->size);
    p->sector = disk->sector_size;
    epoch_init(&p->epoch);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->resumed, NULL);
    pthread_mutex_init(&p->operation, NULL);
    io_list_init(&p->waiting);
    *port = p;
    return 0;
}

int vdisk_port_open(const char *path, const struct vdisk_open_options *options, struct vdisk_port **port)
{
    struct vdisk *disk;
    int err = vdisk_open(path, options, &disk);

    if (err)
        return err;
    err = vdisk_port_of(disk, port);
    if (err)
        vdisk_close(disk);
    return err;
}

int vdisk_port_close(struct vdisk_port *port)
{
    int err;

    if (!port)
        return 0;
    err = vdisk_close(port->disk);
    pthread_mutex_destroy(&port->operation);
    pthread_cond_destroy(&port->resumed);
    pthread_mutex_destroy(&port->lock);
    epoch_destroy(&port->epoch);
    stats_close(port->stats);
    free(port);
    return err;
}

struct vdisk *vdisk_port_disk(const struct vdisk_port *port)
{
    return atomic_load(&port->disk);
}

uint64_t vdisk_port_size(const struct vdisk_port *port)
{
    return atomic_load(&port->size);
}

void vdisk_port_stats(const struct vdisk_port *port, struct vdisk_stats *stats)
{
    stats_sum(port->stats, stats);
}

/* False: the port has gone on meanwhile. */
static bool park(struct vdisk_port *port, struct vdisk_io *io)
{
    bool held;

    pthread_mutex_lock(&port->lock);
    held = atomic_load(&port->held);
    if (held) {
        io->engine.step = STEP_PORT;
        io_list_add(&port->waiting, io);
    }
    pthread_mutex_unlock(&port->lock);
    return held;
}

void port_enter(struct vdisk_io *io)
{
    struct vdisk_port *port = io->engine.port;
    unsigned slot = io->engine.ring->slot;
    struct mirror *mirror;

    for (;;) {
        unsigned parity = epoch_enter(&port->epoch, slot);

        if (!atomic_load(&port->held)) {
            io->engine.port_parity = parity;
            io->engine.disk = atomic_load_explicit(&port->disk, memory_order_acquire);
            mirror = atomic_load_explicit(&port->mirror, memory_order_acquire);
            if (mirror)
                mirror_begin(mirror, io);
            engine_begin(io);
            return;
        }
        epoch_leave(&port->epoch, slot, parity);
        if (park(port, io))
            return;
    }
}

void port_leave(struct vdisk_io *io)
{
    struct vdisk_port *port = io->engine.port;

    stats_add(port->stats, io->engine.ring->slot, io, io->engine.error, now() - io->engine.began);
    epoch_leave(&port->epoch, io->engine.ring->slot, io->engine.port_parity);
}

void vdisk_port_submit(struct vdisk_port *port, struct vdisk_ring *ring, struct vdisk_io *io)
{
    memset(&io->engine, 0, sizeof(io->engine));
    io->engine.port = port;
    io->engine.ring = ring;
    io->engine.began = now();
    ring->lent++;
    port_enter(io);
}

int vdisk_port_map(struct vdisk_port *port, uint64_t offset, uint64_t length, unsigned flags,
                   struct vdisk_extent *extent)
{
    unsigned parity = epoch_enter(&port->epoch, EPOCH_WORKER);
    int err;

    while (atomic_load(&port->held)) {
        epoch_leave(&port->epoch, EPOCH_WORKER, parity);
        pthread_mutex_lock(&port->lock);
        while (atomic_load(&port->held))
            pthread_cond_wait(&port->resumed, &port->lock);
        pthread_mutex_unlock(&port->lock);
        parity = epoch_enter(&port->epoch, EPOCH_WORKER);
    }
    err = vdisk_map(port->disk, offset, length, flags, extent);
    epoch_leave(&port->epoch, EPOCH_WORKER, parity);
    return err;
}

/* ---- Operations ---- */

int port_begin(struct vdisk_port *port)
{
    if (pthread_mutex_trylock(&port->operation) == 0)
        return 0;
    return disk_error(vdisk_port_disk(port), -EBUSY, "another operation on this disk is under way");
}

void port_end(struct vdisk_port *port)
{
    pthread_mutex_unlock(&port->operation);
}

void port_pause(struct vdisk_port *port)
{
    assert(!port->held && !vdisk_port_disk(port)->hold.active);
    port->paused = now();
    atomic_store(&port->held, true);
    if (!MUTANT("port-not-drained"))
        epoch_grace(&port->epoch);
}

void port_swap(struct vdisk_port *port, struct vdisk *top)
{
    assert(port->held && top->sector_size == port->sector);
    atomic_store(&port->disk, top);
}

uint64_t port_resume(struct vdisk_port *port)
{
    struct vdisk_io *io;

    assert(port->held);
    atomic_store(&port->size, vdisk_port_disk(port)->size);
    pthread_mutex_lock(&port->lock);
    atomic_store(&port->held, false);
    while ((io = io_list_take(&port->waiting)))
        ring_post(io->engine.ring, io);
    pthread_cond_broadcast(&port->resumed);
    pthread_mutex_unlock(&port->lock);
    return now() - port->paused;
}
