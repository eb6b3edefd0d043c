/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A range of a disk that nobody changes for a while: whoever moves bytes holds what it moves.
 *
 * A writer asks inside an epoch whether its range is held, and goes on or waits. disk_hold says that the range is held and
 * then waits until these epochs have passed: who asked before is through, who asks later sees it. Two threads that look
 * at a changing range see nonsense for the old one, which is free, or are waited for.
 *
 * Who waits has no thread of its own: the io stands in a list, and disk_release posts it to its ring. So all workers stay
 * free for whoever holds the range.
 */
#include <assert.h>

#include "engine.h"
#include "mutant.h"

void hold_init(struct disk_hold *hold)
{
    epoch_init(&hold->zeroing);
    pthread_mutex_init(&hold->lock, NULL);
    io_list_init(&hold->waiting);
}

void hold_destroy(struct disk_hold *hold)
{
    pthread_mutex_destroy(&hold->lock);
    epoch_destroy(&hold->zeroing);
}

bool hold_covers(const struct disk_hold *hold, uint64_t offset, uint64_t length)
{
    return atomic_load(&hold->active) && offset < atomic_load(&hold->end) && atomic_load(&hold->start) < offset + length;
}

bool hold_park(struct vdisk_io *io, unsigned step)
{
    struct disk_hold *hold = &io->engine.disk->hold;
    bool held;

    pthread_mutex_lock(&hold->lock);
    held = hold_covers(hold, io->offset + io->engine.at, io->length - io->engine.at);
    if (held) {
        io->engine.step = step;
        io->engine.blocked_result = 0;
        io_list_add(&hold->waiting, io);
    }
    pthread_mutex_unlock(&hold->lock);
    return held;
}

void disk_hold(struct vdisk *disk, uint64_t offset, uint64_t length)
{
    struct disk_hold *hold = &disk->hold;

    pthread_mutex_lock(&hold->lock);
    assert(!hold->active);
    atomic_store(&hold->start, offset);
    atomic_store(&hold->end, offset + length);
    atomic_store(&hold->active, true);
    pthread_mutex_unlock(&hold->lock);
    if (!MUTANT("hold-writes-not-awaited"))
        epoch_grace(&disk->epoch);
    if (!MUTANT("hold-zeros-not-awaited"))
        epoch_grace(&hold->zeroing);
}

void disk_release(struct vdisk *disk)
{
    struct disk_hold *hold = &disk->hold;
    struct vdisk_io *io;

    pthread_mutex_lock(&hold->lock);
    assert(hold->active);
    atomic_store(&hold->active, false);
    while ((io = io_list_take(&hold->waiting)))
        ring_post(io->engine.ring, io);
    pthread_mutex_unlock(&hold->lock);
}
