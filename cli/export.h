/* SPDX-License-Identifier: BSD-2-Clause */
/* What the commands that run helpers, or draw a disk, share. */
#ifndef CLI_EXPORT_H
#define CLI_EXPORT_H

#include <limits.h>

#include "cli/cli.h"

/* ---- helper.c: -ENOENT where it is not installed ---- */

int cli_find_fuse(char path[PATH_MAX]);
int cli_find_ntfs(char path[PATH_MAX]);
int cli_find_nbd(char path[PATH_MAX]);

/* ---- picture.c ---- */

/* Draws where the disk's data lives, each file of the chain in its colour: an SVG at path, or on the terminal where
 * path is "-". flags are vdisk_map's. -errno, said where it is about path. */
int cli_picture(struct cli *cli, struct vdisk *disk, unsigned flags, const char *path);

#endif
