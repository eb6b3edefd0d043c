/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Epochs: how freeing and moving space waits for the requests that may still use it, without a lock or a shared cache
 * line on the data path.
 *
 * A piece enters the current epoch before it asks map and leaves when it is complete. Whoever takes space away changes
 * the map first and calls disk_grace, which starts a new epoch and waits until the old one is empty: every piece that
 * saw the old map is then done, those that come later see the new one. Enter counts and looks again whether the epoch
 * is still the same, all sequentially consistent: either grace sees the count, or the piece sees the new epoch and,
 * with it, the new map. Two parities are enough because one grace ends before the next begins.
 *
 * An io that waits for a worker holds no epoch with that wait: grace in one worker never waits for another.
 */
#include <time.h>

#include "engine.h"
#include "mutant.h"

void epoch_init(struct disk_epoch *epoch)
{
    pthread_mutex_init(&epoch->lock, NULL);
}

void epoch_destroy(struct disk_epoch *epoch)
{
    pthread_mutex_destroy(&epoch->lock);
}

unsigned epoch_enter(struct disk_epoch *epoch, unsigned slot)
{
    for (;;) {
        unsigned now = atomic_load(&epoch->current);

        atomic_fetch_add(&epoch->slot[slot].pieces[now & 1], 1);
        if (atomic_load(&epoch->current) == now)
            return now & 1;
        atomic_fetch_sub(&epoch->slot[slot].pieces[now & 1], 1);
    }
}

void epoch_leave(struct disk_epoch *epoch, unsigned slot, unsigned parity)
{
    atomic_fetch_sub_explicit(&epoch->slot[slot].pieces[parity], 1, memory_order_release);
}

void disk_grace(struct vdisk *disk)
{
    if (MUTANT("grace-skipped"))
        return;
    epoch_grace(&disk->epoch);
    if (disk->walked_by)
        epoch_grace(&disk->walked_by->epoch);
}

void epoch_grace(struct disk_epoch *epoch)
{
    struct timespec nap = {.tv_nsec = 20000};
    unsigned old;

    pthread_mutex_lock(&epoch->lock);
    old = atomic_fetch_add(&epoch->current, 1) & 1;
    for (unsigned slot = 0; slot < DISK_EPOCH_SLOTS; slot++)
        while (atomic_load(&epoch->slot[slot].pieces[old]) > 0)
            nanosleep(&nap, NULL);
    pthread_mutex_unlock(&epoch->lock);
}
