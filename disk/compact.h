/* SPDX-License-Identifier: BSD-2-Clause */
/* What an operation on a disk in use needs beside its requests. */
#ifndef DISK_COMPACT_H
#define DISK_COMPACT_H

#include "disk.h"

/* What a guest would read, without a ring: by the files' own operations, blocking. Bytes that a request changes meanwhile are
 * the old or the new ones. */
int disk_read(struct vdisk *disk, void *buffer, uint64_t offset, uint64_t length);

#endif
