/* SPDX-License-Identifier: BSD-2-Clause */
/* What a port counts: by slot of the ring, so that threads do not share a line, and added up when somebody asks. */
#ifndef DISK_STATS_H
#define DISK_STATS_H

#include <stdatomic.h>

#include "vdisk.h"

#define STATS_OPS (VDISK_FLUSH + 1)

struct stats;

struct stats *stats_open(void); /* NULL: out of memory */
void stats_close(struct stats *stats);

/* An io has ended. Any thread, several of one slot at once. */
void stats_add(struct stats *stats, unsigned slot, const struct vdisk_io *io, int error, uint64_t nanoseconds);

void stats_sum(const struct stats *stats, struct vdisk_stats *sum);

#endif
