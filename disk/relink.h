/* SPDX-License-Identifier: BSD-2-Clause */
/* Who a child's parent is: what all that records it have in common. */
#ifndef DISK_RELINK_H
#define DISK_RELINK_H

#include "disk.h"

/* The child, which is at path and open for writing, records the parent with its paths, as disk_format.relink does. */
int relink_record(struct vdisk *child, const char *path, struct vdisk *parent);

/* What a child is about to rely on outlives a power cut: the files of the parent's chain, and the names by which they
 * are found. They may be copies that were just made of what will be removed next. */
int relink_settle(struct vdisk *parent);

#endif
