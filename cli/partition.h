/* SPDX-License-Identifier: BSD-2-Clause */
/* The partition table of a disk that nobody uses, for the commands that change where the disk ends. */
#ifndef CLI_PARTITION_H
#define CLI_PARTITION_H

#include "disk/vdisk.h"

struct cli_partitions {
    char label[16];     /* "gpt", "dos", another; "": there is none */
    uint64_t end;       /* of the last partition, bytes; 0: there is none */
    unsigned last;      /* its number */
    uint64_t reserved;  /* what the table needs behind the partitions at the disk's end */
    uint64_t backup;    /* where the backup of a GPT begins; 0: there is none, or not at the disk's end */
};

/* 0 or -errno. */
int cli_partitions_read(struct vdisk *disk, struct cli_partitions *partitions);

/* Each partition, bytes; anything but 0 ends it. An extended one and those inside it are not seen, and neither are those
 * of Windows's dynamic disks: what begins in one may go on elsewhere. *divided: there are partitions, of whatever kind, so
 * the disk as a whole is nothing else. */
int cli_partitions_each(struct vdisk *disk, int (*each)(void *arg, uint64_t offset, uint64_t length), void *arg,
                        bool *divided);

/* Writes a GPT again, with its backup at the disk's end, or right behind the last partition (near). The backup is durable
 * before the primary names it. */
int cli_partitions_place_backup(struct vdisk *disk, bool near);

#endif
