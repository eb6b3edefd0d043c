/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk relink: records where a child's parent is now. */
#include <stdlib.h>

#include "cli/cli.h"

static struct {
    bool force;
} given;

static const struct cli_option options[] = {
    {"force", CLI_FLAG, NULL, &given.force,
     "also a parent whose identity is not the recorded one:\nyou vouch that it is the right disk, unchanged"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static int run(struct cli *cli, char **operand)
{
    const char *parent = cli->parents[0];
    struct vdisk_open_options how;
    char text[1200];
    int err;

    if (cli->parent_count == 0)
        return cli_fail(cli, "--parent is needed: the file that is the parent");
    cli_open_options(cli, 0, &how);
    err = vdisk_relink(operand[0], parent, given.force ? VDISK_RELINK_FORCE : 0, &how);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    snprintf(text, sizeof(text), "its parent is %.1000s", parent);
    cli_report(cli, operand[0], text);
    return EXIT_SUCCESS;
}

const struct cli_command cli_relink = {
    .name = "relink",
    .summary = "tell a child where its parent is now",
    .operands = "CHILD",
    .description = "Record the path of the file given with --parent in CHILD, which finds it by itself from then on.\n"
                   "It must be the parent that CHILD was made from, unchanged: its identity is compared.",
    .examples = "vdisk relink child.vhdx --parent /mnt/vms/base.vhdx\n"
                "vdisk relink child.vhd --parent copy.vhd --force   the identity was lost; you know better",
    .parent_help = "the file that is the parent",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
