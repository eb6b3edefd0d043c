/* SPDX-License-Identifier: BSD-2-Clause */
/* What the file systems of a disk that nobody uses do not use. */
#ifndef CLI_FREE_H
#define CLI_FREE_H

#include "cli/cli.h"

/* Discards the free space of every ext2, ext3, ext4 and NTFS that is found: on the whole disk or in a partition, clean,
 * and not mounted by whoever wrote to it last. Adds to *bytes how much that is. What it leaves alone it says. */
int cli_free_discard(struct cli *cli, struct vdisk *disk, uint64_t *bytes);

#endif
