/* SPDX-License-Identifier: BSD-2-Clause */
/* Resizing, as vdisk_resize does it in two steps. */
#ifndef DISK_RESIZE_H
#define DISK_RESIZE_H

#include "disk.h"

/* May the disk have this size? Without VDISK_RESIZE_SHRINK_DATA, -ENOTEMPTY where something that is not zero would be cut
 * off. Every other error is one of disk_resize. May run beside requests. */
int disk_resize_allowed(struct vdisk *disk, uint64_t size, unsigned flags, const struct vdisk_progress *progress);

/* Gives a disk at rest another size; *disk is the disk then, whatever is returned: of the old size or the new one, or, if
 * its file could not be opened again, of size 0. */
int disk_resize(struct vdisk **disk, uint64_t size);

#endif
