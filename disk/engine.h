/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the engine say to each other. */
#ifndef DISK_ENGINE_H
#define DISK_ENGINE_H

#include "dirty.h"
#include "mutant.h"
#include "ring.h"

/* engine.c: the life of an io on its ring's thread. */
void engine_piece_done(struct vdisk_ring *ring, struct piece *piece, int error);
void engine_resume(struct vdisk_io *io);  /* a worker has answered */
void engine_continue(struct vdisk_io *io); /* there are free pieces again */
void engine_begin(struct vdisk_io *io);    /* its disk and ring are set, and it is lent to the ring */
void engine_end(struct vdisk_io *io);      /* it is through: done is called by the next poll */
/* Down the chain, inside the epoch, to the link that has the first part of the range, or to the end: then it is zeros.
 * extent->length is that part. -EAGAIN: *owner needs a reserve of that part first. */
int engine_find(struct vdisk *top, enum disk_access access, uint64_t offset, uint64_t length, struct vdisk **owner,
                struct disk_extent *extent);

/* The bytes of a range may be others now. */
static inline void engine_changed(struct vdisk *disk, uint64_t offset, uint64_t length)
{
    struct disk_dirty *dirty = atomic_load(&disk->dirty);

    if (dirty && !MUTANT("merge-change-not-noted"))
        dirty_mark(dirty, offset, length);
}

/* port.c */
void port_enter(struct vdisk_io *io); /* begins it, now or when the port goes on */
void port_leave(struct vdisk_io *io); /* it uses the disk no more */

/* epoch.c: pieces that may use an old answer of map. Slot: the ring's, or EPOCH_WORKER. */
#define EPOCH_WORKER (DISK_EPOCH_SLOTS - 1)
void epoch_init(struct disk_epoch *epoch);
void epoch_destroy(struct disk_epoch *epoch);
unsigned epoch_enter(struct disk_epoch *epoch, unsigned slot); /* returns the parity */
void epoch_leave(struct disk_epoch *epoch, unsigned slot, unsigned parity);
void epoch_grace(struct disk_epoch *epoch); /* returns when all that entered before have left */

/* hold.c. covers is asked inside the epoch that disk_hold waits for. */
void hold_init(struct disk_hold *hold);
void hold_destroy(struct disk_hold *hold);
bool hold_covers(const struct disk_hold *hold, uint64_t offset, uint64_t length);
/* What is left of the io waits, in step, until the release posts it. False: nothing holds it up any more. */
bool hold_park(struct vdisk_io *io, unsigned step);

/* worker.c: threads of a disk that may block. */
int worker_open(struct vdisk *disk);
void worker_close(struct vdisk *disk);
void worker_give(struct vdisk_io *io); /* runs engine_block, then ring_post */

/* blocking.c: what workers do. The result goes to io->engine.blocked_result. False: the io waits elsewhere, is not
 * to be posted, and may be gone already. */
bool engine_block(struct vdisk_io *io);
/* Where the first part of the range may be written in the disk's own file; on success inside an epoch, which the caller
 * leaves with *parity. Blocks. */
int engine_home(struct vdisk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent, unsigned *parity);
/* Makes the first part of the range, which is in the disk's blocks, zero in the disk's own file, giving it a home if it has
 * none. How many bytes, or -errno. */
int64_t engine_zero(struct vdisk *disk, uint64_t offset, uint64_t length, bool keep);

/* map.c: one link, loading what it needs. Blocks. */
int link_map(struct vdisk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent);

/* Where an io stands. */
enum io_step {
    STEP_RUN,     /* pieces are being issued */
    STEP_RESERVE, /* with a worker: map could not answer */
    STEP_ZERO,    /* with a worker: ZERO, DISCARD */
    STEP_PORT,    /* with a port that is paused */
    STEP_HOLD,    /* a write in a range that is held */
    STEP_HOLD_ZERO,
    STEP_TRACK,   /* with a worker: a write whose range does not count as changed yet */
    STEP_SYNC,    /* with a worker: FLUSH, or the end of a FUA write */
};

/* The failure of a disk as an io sees it. */
static inline int disk_failure(struct vdisk *disk)
{
    return atomic_load_explicit(&disk->failed, memory_order_relaxed);
}

#endif
