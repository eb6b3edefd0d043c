/* SPDX-License-Identifier: BSD-2-Clause */
/* What those that know a file system's free space (free_ext.c, free_ntfs.c) work with. */
#ifndef CLI_FREE_PART_H
#define CLI_FREE_PART_H

#include "cli/cli.h"

/* A part of the disk that may hold a file system. */
struct free_part {
    struct cli *cli;
    struct vdisk *disk;
    struct vdisk_ring *ring;
    uint64_t offset, length; /* bytes of the disk */
    uint64_t bytes;          /* found free, of all parts */
};

/* Bytes of the part, sectors. */
int free_part_read(struct free_part *part, void *data, uint64_t at, uint64_t length);

/* The file system does not use this range of the part: as much of it as is whole sectors, and in the part, goes. */
int free_part_discard(struct free_part *part, uint64_t at, uint64_t length);

/* Does libblkid find nothing in the part but what has these names, of which the last is NULL? If it does, *why says it: an
 * old superblock may stand in what is another thing by now. 0 or -errno. */
int free_part_alone(struct free_part *part, const char *const *names, const char **why);

/* Says what was found (why NULL: the bytes since before), or why the file system is left alone. */
void free_part_say(struct free_part *part, const char *what, uint64_t before, const char *why);

/* Each discards what its file system in the part does not use. 0 where there is none, and where it is left alone. */
int free_ext(struct free_part *part);
int free_ntfs(struct free_part *part);

#endif
