/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk resize: another size for a disk, in place. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ask.h"
#include "cli/partition.h"

static struct {
    bool shrink_data;
} given;

static const struct cli_option options[] = {
    {"shrink-data", CLI_FLAG, NULL, &given.shrink_data,
     "data behind the new end may be lost; without it\nonly zeros are cut off. Partitions are never cut"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

/* What a shrink would cut off but the backup of a GPT, which moves. */
struct look {
    uint64_t at;
    bool found;
};

static int look_at(void *arg, const void *data, uint64_t length)
{
    struct look *look = arg;
    const char *bytes = data;

    for (uint64_t i = 0; data && i < length; i++)
        if (bytes[i]) {
            look->at += i;
            look->found = true;
            return -ENOTEMPTY;
        }
    look->at += length;
    return 0;
}

static int check_data(struct cli *cli, struct vdisk *disk, uint64_t from, uint64_t to)
{
    struct vdisk_progress progress;
    struct look look = {.at = from};
    int err = 0;

    if (from >= to)
        return 0;
    cli_progress_begin(cli, &progress);
    err = cli_stream(disk, from, to - from, &progress, look_at, &look);
    cli_progress_end(cli);
    if (look.found)
        cli_say(cli, VDISK_ERROR,
                "%s: there is data behind the new end, first at 0x%llx: it would be cut off (--shrink-data)",
                vdisk_path(disk), (unsigned long long)look.at);
    return err;
}

/* Where the backup of a GPT was. */
static int forget(struct vdisk *disk, uint64_t from, uint64_t to)
{
    struct vdisk_ring *ring;
    int err = vdisk_ring_open(1, VDISK_BACKEND_AUTO, &ring);

    if (err)
        return err;
    err = vdisk_transfer(disk, ring, VDISK_ZERO, NULL, from, to - from);
    vdisk_ring_close(ring);
    return err;
}

/* Before a shrink: no partition may be cut, and the backup of a GPT goes to where it is not cut. */
static int prepare(struct cli *cli, struct vdisk *disk, uint64_t size, const struct cli_partitions *p)
{
    uint64_t sector = vdisk_sector_size(disk);
    char text[64];
    int err;

    if (size < p->reserved || p->end > size - p->reserved) {
        cli_say(cli, VDISK_ERROR, "%s: partition %u ends at %s: with its %s table it does not fit into the new size",
                vdisk_path(disk), p->last, cli_size_full(text, p->end), p->label);
        return -EINVAL;
    }
    if (!p->backup)
        return 0;
    if (size % sector) /* the library says it */
        return 0;
    err = given.shrink_data ? 0 : check_data(cli, disk, size, p->backup);
    if (!err)
        err = cli_partitions_place_backup(disk, true);
    return err ? err : forget(disk, p->backup, vdisk_size(disk));
}

static int resize(struct cli *cli, struct vdisk_port *port, uint64_t size)
{
    uint64_t old = vdisk_port_size(port);
    struct cli_partitions partitions;
    struct vdisk_progress progress;
    int err = vdisk_childless(vdisk_port_disk(port));

    if (!err)
        err = cli_partitions_read(vdisk_port_disk(port), &partitions);
    if (!err && size < old)
        err = prepare(cli, vdisk_port_disk(port), size, &partitions);
    if (err)
        return err;
    cli_progress_begin(cli, &progress);
    err = vdisk_resize(port, size, given.shrink_data ? VDISK_RESIZE_SHRINK_DATA : 0, &progress);
    cli_progress_end(cli);
    if (partitions.backup && size != old) { /* at the end, whichever it is */
        int moved = cli_partitions_place_backup(vdisk_port_disk(port), false);

        if (!moved && vdisk_port_size(port) > old)
            moved = forget(vdisk_port_disk(port), partitions.backup, old);
        if (moved)
            cli_say(cli, VDISK_WARNING, "%s: the backup of its GPT is not at its end: sgdisk -e in the guest moves it",
                    vdisk_path(vdisk_port_disk(port)));
    }
    return err;
}

/* By who has the disk open: 1; 0: nobody; or -errno, said. The GPT's backup is the guest's to move. */
static int ask(struct cli *cli, const char *path, uint64_t size)
{
    char text[64], line[96];
    json_t *result;
    int err = cli_ask(cli, path, json_pack("{s:s, s:I}", "do", "resize", "size", (json_int_t)size), &result);

    if (err <= 0)
        return err;
    snprintf(line, sizeof(line), "%s now",
             cli_size_full(text, (uint64_t)json_integer_value(json_object_get(result, "virtual-size"))));
    json_decref(result);
    cli_report(cli, path, line);
    return 1;
}

static int run(struct cli *cli, char **operand)
{
    struct vdisk_open_options open;
    struct vdisk_port *port;
    const char *why;
    char before[64], after[64], text[160];
    uint64_t size, old;
    int err;

    if (cli_size_parse(operand[1], &size, &why) < 0)
        return cli_fail(cli, "%s: %s", operand[1], why);
    err = ask(cli, operand[0], size);
    if (err != 0)
        return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
    cli_open_options(cli, VDISK_OPEN_WRITE, &open);
    err = vdisk_port_open(operand[0], &open, &port);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    old = vdisk_port_size(port);
    err = resize(cli, port, size);
    size = vdisk_port_size(port);
    if (!err)
        err = vdisk_port_close(port);
    else
        vdisk_port_close(port);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    snprintf(text, sizeof(text), "from %s to %s", cli_size_full(before, old), cli_size_full(after, size));
    cli_report(cli, operand[0], text);
    return EXIT_SUCCESS;
}

const struct cli_command cli_resize = {
    .name = "resize",
    .summary = "give a disk another size",
    .operands = "FILE SIZE",
    .description =
        "Make a disk larger or smaller, in place. What it gains reads as zeros, whatever a parent holds. Only zeros "
        "are\n"
        "cut off, unless --shrink-data allows it, and no partition is. The backup of a GPT moves to the new end; file\n"
        "systems and partitions are the guest's to make larger or, before a shrink, smaller.",
    .examples = "vdisk resize disk.vhdx 200G\n"
                "vdisk resize disk.vhd 20G",
    .options = options,
    .operand_count = 2,
    .failure = EXIT_FAILURE,
    .run = run,
};
