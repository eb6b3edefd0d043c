/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk mount: gives the work to vdisk-fuse, which stays when this command has ended. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/export.h"

#define FIXED_ARGUMENTS 20

static struct {
    bool read_only, overlay, filesystems, foreground, allow_other;
} given;

static const struct cli_option options[] = {
    {"read-only", CLI_FLAG, NULL, &given.read_only, "nothing can be written; others may read the image meanwhile"},
    {"overlay", CLI_FLAG, NULL, &given.overlay,
     "what is written goes to a temporary child in $TMPDIR,\nwhich is gone afterwards; the image stays as it is"},
    {"fs", CLI_FLAG, NULL, &given.filesystems,
     "also mount the file systems inside: on DIR/fs, or for\npartitions on DIR/fs1 and so on"},
    {"allow-other", CLI_FLAG, NULL, &given.allow_other, "other users may enter DIR, root too (see fuse.conf)"},
    {"foreground", CLI_FLAG, NULL, &given.foreground, "stay until it is unmounted or a signal ends it"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static void add(char **argv, unsigned *argc, const char *option, const char *value)
{
    argv[(*argc)++] = (char *)option;
    if (value)
        argv[(*argc)++] = (char *)value;
}

static int run(struct cli *cli, char **operand)
{
    char program[PATH_MAX], *argv[FIXED_ARGUMENTS + 2 * (CLI_PARENTS_MAX + CLI_MAP_MAX)];
    char directory[PATH_MAX];
    unsigned argc = 0;

    if (given.read_only && given.overlay)
        return cli_fail(cli, "--overlay is for writing: without --read-only");
    if (cli_find_fuse(program) < 0)
        return cli_fail(cli, "vdisk-fuse is not installed: it is made where libfuse3 and libblkid are (make deps)");
    add(argv, &argc, "vdisk-fuse", NULL);
    if (given.read_only)
        add(argv, &argc, "--read-only", NULL);
    if (given.overlay)
        add(argv, &argc, "--overlay", NULL);
    if (given.filesystems)
        add(argv, &argc, "--fs", NULL);
    if (given.allow_other)
        add(argv, &argc, "--allow-other", NULL);
    if (given.foreground)
        add(argv, &argc, "--foreground", NULL);
    if (cli->quiet)
        add(argv, &argc, "--quiet", NULL);
    if (cli->verbose)
        add(argv, &argc, "--verbose", NULL);
    if (cli->input_format)
        add(argv, &argc, "--input-format", cli->input_format);
    if (cli->parent_dir)
        add(argv, &argc, "--parent-dir", cli->parent_dir);
    for (unsigned i = 0; i < cli->map_count; i++)
        add(argv, &argc, "--parent-map", cli->parent_map[i]);
    for (unsigned i = 0; i < cli->parent_count; i++)
        add(argv, &argc, "--parent", cli->parents[i]);
    add(argv, &argc, "--", NULL);
    /* Absolute, so that one is told from another among the processes. */
    add(argv, &argc, operand[0], realpath(operand[1], directory) ? directory : operand[1]);
    argv[argc] = NULL;
    execv(program, argv);
    return cli_fail(cli, "%s: %s", program, strerror(errno));
}

const struct cli_command cli_mount = {
    .name = "mount",
    .summary = "show a disk and its partitions as files",
    .operands = "FILE DIR",
    .description = "Mount a disk on the empty directory DIR: DIR/disk is the whole disk, DIR/p1 and so on its partitions.\n"
                   "The command returns when they can be used, and a process stays to serve them. Unmounting ends it:\n"
                   "everything is durable and the image closed when vdisk umount returns.",
    .examples = "vdisk mount disk.vhdx /mnt/disk\n"
                "mount -o loop /mnt/disk/p1 /mnt/system\n"
                "vdisk mount disk.vhdx /mnt/disk --fs --read-only\n"
                "vdisk mount disk.vhdx /mnt/disk --overlay",
    .options = options,
    .operand_count = 2,
    .failure = EXIT_FAILURE,
    .run = run,
};
