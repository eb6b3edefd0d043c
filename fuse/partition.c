/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Partitions and file systems, as libblkid sees them: it reads DIR/disk like anybody else. What a table says is the
 * guest's word: a partition that does not lie inside the disk is not shown.
 */
#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export.h"

#define BLKID_SECTOR 512u /* libblkid counts in these, whatever the disk's are */

struct probe {
    blkid_probe probe;
    int fd;
};

/* The part of DIR/disk; length 0: all of it. */
static int probe_open(struct probe *probe, const struct export *export, const char *directory, uint64_t offset,
                      uint64_t length)
{
    char *path;
    int err = 0;

    if (asprintf(&path, "%s/disk", directory) < 0)
        return -ENOMEM;
    probe->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (probe->fd < 0)
        err = -errno;
    free(path);
    if (err < 0)
        return err;
    probe->probe = blkid_new_probe();
    if (!probe->probe || blkid_probe_set_device(probe->probe, probe->fd, (off_t)offset, (off_t)length) < 0 ||
        blkid_probe_set_sectorsize(probe->probe, (unsigned)export->sector_size) < 0) {
        blkid_free_probe(probe->probe);
        close(probe->fd);
        return -ENOMEM;
    }
    return 0;
}

static void probe_close(struct probe *probe)
{
    blkid_free_probe(probe->probe);
    close(probe->fd);
}

/* Is there something in this range that mount could mount? */
static bool is_filesystem(const struct export *export, const char *directory, uint64_t offset, uint64_t length,
                          char type[16])
{
    const char *usage = "", *found = "";
    struct probe probe;

    type[0] = '\0';
    if (probe_open(&probe, export, directory, offset, length) < 0)
        return false;
    blkid_probe_enable_partitions(probe.probe, 0);
    blkid_probe_enable_superblocks(probe.probe, 1);
    blkid_probe_set_superblocks_flags(probe.probe, BLKID_SUBLKS_USAGE | BLKID_SUBLKS_TYPE);
    if (blkid_do_safeprobe(probe.probe) == 0 && blkid_probe_lookup_value(probe.probe, "USAGE", &usage, NULL) == 0 &&
        strcmp(usage, "filesystem") == 0 && blkid_probe_lookup_value(probe.probe, "TYPE", &found, NULL) == 0)
        snprintf(type, 16, "%s", found);
    probe_close(&probe);
    return type[0] != '\0';
}

static void add(struct export *export, blkid_partition partition, const char *directory, bool filesystems)
{
    uint64_t start = (uint64_t)blkid_partition_get_start(partition);
    uint64_t size = (uint64_t)blkid_partition_get_size(partition);
    uint64_t disk = vdisk_port_size(export->port) / BLKID_SECTOR;
    int number = blkid_partition_get_partno(partition);
    char name[16], type[16];

    if (number <= 0 || size == 0 || blkid_partition_is_extended(partition))
        return;
    if (start >= disk || size > disk - start) {
        message_say(VDISK_WARNING, "partition %d (%llu sectors at %llu) does not lie inside the disk: it is not shown",
                    number, (unsigned long long)size, (unsigned long long)start);
        return;
    }
    snprintf(name, sizeof(name), "p%d", number);
    node_add(export, name, "", start * BLKID_SECTOR, size * BLKID_SECTOR);
    snprintf(name, sizeof(name), "fs%d", number);
    if (filesystems && is_filesystem(export, directory, start * BLKID_SECTOR, size * BLKID_SECTOR, type))
        node_add(export, name, type, start * BLKID_SECTOR, size * BLKID_SECTOR);
}

int partition_add_all(struct export *export, const char *directory, bool filesystems)
{
    blkid_partlist list;
    struct probe probe;
    char type[16];
    int count = 0;
    int err = probe_open(&probe, export, directory, 0, 0);

    if (err < 0)
        return err;
    blkid_probe_enable_superblocks(probe.probe, 0);
    blkid_probe_enable_partitions(probe.probe, 1);
    blkid_probe_set_partitions_flags(probe.probe, BLKID_PARTS_ENTRY_DETAILS);
    list = blkid_probe_get_partitions(probe.probe);
    if (list)
        count = blkid_partlist_numof_partitions(list);
    for (int i = 0; i < count; i++)
        add(export, blkid_partlist_get_partition(list, i), directory, filesystems);
    probe_close(&probe);
    if (count <= 0 && filesystems && is_filesystem(export, directory, 0, 0, type))
        node_add(export, "fs", type, 0, vdisk_port_size(export->port));
    return 0;
}
