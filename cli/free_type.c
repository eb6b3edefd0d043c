/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a part is, by libblkid, which works on a descriptor: it gets a file in memory of the part's length with the
 * part's first and last bytes, where superblocks and their kind are.
 */
#include <blkid/blkid.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/free_part.h"

#define ENDS (UINT64_C(1) << 20)

static int carry(struct free_part *part, int fd, uint64_t at, uint64_t length)
{
    void *bytes = malloc(length);
    int err = bytes ? free_part_read(part, bytes, at, length) : -ENOMEM;

    if (!err && pwrite(fd, bytes, length, (off_t)at) != (ssize_t)length)
        err = -EIO;
    free(bytes);
    return err;
}

/* The file system itself is not looked for: of NTFS libblkid wants to see the MFT, which may be anywhere. */
static int probe(struct free_part *part, int fd, const char *const *names, const char **why)
{
    blkid_probe probe = blkid_new_probe();
    int err = 0;

    if (!probe || blkid_probe_set_device(probe, fd, 0, (blkid_loff_t)part->length) < 0 ||
        blkid_probe_set_sectorsize(probe, vdisk_sector_size(part->disk)) < 0) {
        err = -ENOMEM;
        goto free_probe;
    }
    blkid_probe_enable_partitions(probe, 0);
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE);
    if (blkid_probe_filter_superblocks_type(probe, BLKID_FLTR_NOTIN, (char **)names) < 0)
        err = -ENOMEM;
    else if (blkid_do_safeprobe(probe) != 1) /* 1: there is nothing */
        *why = "something else is there too, and it may be an old one";

free_probe:
    blkid_free_probe(probe);
    return err;
}

int free_part_alone(struct free_part *part, const char *const *names, const char **why)
{
    uint64_t ends = part->length < ENDS ? part->length : ENDS;
    int fd = memfd_create("part", MFD_CLOEXEC), err;

    if (fd < 0)
        return -errno;
    err = ftruncate(fd, (off_t)part->length) < 0 ? -errno : carry(part, fd, 0, ends);
    if (!err)
        err = carry(part, fd, part->length - ends, ends);
    if (!err)
        err = probe(part, fd, names, why);
    close(fd);
    return err;
}
