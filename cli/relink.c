/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk relink: records where a child's parent is now. */
#include <stdlib.h>

#include "cli/ask.h"

static struct {
    const char *link;
    bool force;
} given;

static const struct cli_option options[] = {
    {"link", CLI_TEXT, "FILE", &given.link, "relink this file of CHILD's chain, and leave CHILD itself"},
    {"force", CLI_FLAG, NULL, &given.force,
     "also a parent whose identity is not the recorded one:\nyou vouch that it is the right disk, unchanged; not "
     "while\n"
     "CHILD is in use"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

/* By who has the disk open: 1; 0: nobody; or -errno, said. */
static int ask(struct cli *cli, const char *path, const char *child, const char *parent, double *pause)
{
    char *link = cli_ask_path(child), *target = cli_ask_path(parent);
    json_t *request = json_pack("{s:s, s:s, s:s}", "do", "relink", "link", link, "parent", target), *result;
    bool beneath;
    int err = cli_ask_link(cli, path, request, &beneath, &result);

    free(target);
    free(link);
    if (err <= 0)
        return err;
    *pause = (double)json_integer_value(json_object_get(result, "pause-ns")) / 1e6;
    json_decref(result);
    return 1;
}

static int run(struct cli *cli, char **operand)
{
    const char *parent = cli->parents[0], *child = given.link ? given.link : operand[0];
    struct vdisk_open_options how;
    char text[1200];
    double pause = 0;
    int err, asked;

    if (cli->parent_count == 0)
        return cli_fail(cli, "--parent is needed: the file that is the parent");
    asked = err = ask(cli, operand[0], child, parent, &pause);
    if (asked == 0) {
        cli_open_options(cli, 0, &how);
        err = vdisk_relink(child, parent, given.force ? VDISK_RELINK_FORCE : 0, &how);
    }
    if (err < 0)
        return cli_error(cli, child, err);
    if (asked)
        snprintf(text, sizeof(text), "its parent is %.1000s, requests waited %.1f ms", parent, pause);
    else
        snprintf(text, sizeof(text), "its parent is %.1000s", parent);
    cli_report(cli, child, text);
    return EXIT_SUCCESS;
}

const struct cli_command cli_relink = {
    .name = "relink",
    .summary = "tell a child where its parent is now",
    .operands = "CHILD",
    .description = "Record the path of the file given with --parent in CHILD, which finds it by itself from then on in its\n"
                   "own directory, and elsewhere with --parent-dir. It must be the parent that CHILD was made from,\n"
                   "unchanged: its identity is compared. A chain that is mounted or served, or that a machine runs on,\n"
                   "goes on over it, whichever of its files CHILD is, and the old file is not needed any more.",
    .examples = "vdisk relink child.vhdx --parent /mnt/vms/base.vhdx\n"
                "vdisk relink top.vhdx --link child.vhdx --parent /mnt/vms/base.vhdx\n"
                "vdisk relink child.vhd --parent copy.vhd --force   the identity was lost; you know better",
    .parent_help = "the file that is the parent",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
