/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A mirror: while a disk moves, what is written to it goes to the disk that it will be too.
 *
 * The disk is divided into regions. A region is dirty (the two differ, or may), being copied, or clean. A change goes to
 * the source as ever; when it is through there, it goes to the target if a region of it is clean. If none is, they are
 * dirty from then on, and will be copied (once more, if that was going on). What the guest is told never depends on the
 * target; where that fails, the source is whole.
 *
 * Two changes that overlap in time and place may reach the two disks in different orders: they leave their regions dirty.
 * So does a DISCARD, after which two disks need not read alike.
 *
 * While a range is copied it is held on the source (disk_hold), and the changes that are on their way to the target are
 * waited for first: so no change reaches the range of the target before what was read for it, and however hot a region
 * is, it becomes clean. When nothing is in flight, all that differs is in regions that are dirty.
 */
#ifndef DISK_MIRROR_H
#define DISK_MIRROR_H

#include "port.h"

struct mirror;

/* Every region is dirty. From return on, all changes that come through the port are mirrored. */
int mirror_open(struct vdisk_port *port, struct vdisk *source, struct vdisk *target, struct mirror **mirror);

/* No change is mirrored any more, and none is on its way. The port may be paused. */
void mirror_close(struct mirror *mirror);

/* The first failure of the target, or 0. Not 0: the two are not alike any more. */
int mirror_failure(struct mirror *mirror);
void mirror_fail(struct mirror *mirror, int error);

uint64_t mirror_dirty(struct mirror *mirror);  /* bytes of regions that are not clean */
uint64_t mirror_written(struct mirror *mirror); /* bytes of changes that went to the target too */

/* The next dirty regions at or after *at (from there on around), at most max bytes or one region. False: there are none. */
bool mirror_next(struct mirror *mirror, uint64_t *at, uint64_t max, uint64_t *offset, uint64_t *length);

/* Around the copying of such a range. It is held on the source meanwhile; quiet: nothing is in flight, so there is no need.
 * begin says whether the target may hold anything there: what reads as zeros has to be made zero then. */
bool mirror_copy_begin(struct mirror *mirror, uint64_t offset, uint64_t length, bool quiet);
void mirror_copy_end(struct mirror *mirror, uint64_t offset, uint64_t length, int error);

/* ---- For the port and the engine, on the io's ring ---- */

void mirror_begin(struct mirror *mirror, struct vdisk_io *io);

/* The io is through at the source. True: it goes on at the target, and engine_end is called when it is through there. */
bool mirror_takes(struct vdisk_io *io);

#endif
