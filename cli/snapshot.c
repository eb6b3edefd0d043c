/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk snapshot: a new child over a disk, which becomes a point to go back to. */
#include <stdlib.h>

#include "cli/ask.h"

static struct {
    uint64_t block_size;
    bool back;
} given;

static const struct cli_option options[] = {
    {"block-size", CLI_SIZE, "SIZE", &given.block_size, "of CHILD: its unit of allocation"},
    {"back", CLI_FLAG, NULL, &given.back,
     "go back to the point: CHILD holds nothing any more, and\nshows its parent; not while it is in use"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

/* By who has the disk open: 1; 0: nobody; or -errno, said. */
static int ask(struct cli *cli, char **operand)
{
    char text[200], *child = cli_ask_path(operand[1]);
    json_t *result;
    int err = cli_ask(
        cli, operand[0],
        json_pack("{s:s, s:s, s:I}", "do", "snapshot", "child", child, "block-size", (json_int_t)given.block_size),
        &result);

    free(child);
    if (err <= 0)
        return err;
    cli_ask_describe(result, text);
    json_decref(result);
    cli_report(cli, operand[1], text);
    return 1;
}

static int go_back(struct cli *cli, const char *child)
{
    struct vdisk_open_options how;
    int err;

    cli_open_options(cli, 0, &how);
    err = vdisk_revert(child, &how);
    if (err < 0)
        return cli_error(cli, child, err);
    cli_report(cli, child, "is back at its parent");
    return EXIT_SUCCESS;
}

static int run(struct cli *cli, char **operand)
{
    struct vdisk_create_options create = {.block_size = (uint32_t)given.block_size, .log = cli->log};
    struct vdisk_open_options how;
    struct vdisk_port *port;
    char text[160];
    int err, closed;

    if (given.back)
        return operand[1] || given.block_size
                   ? cli_fail(cli, "--back takes one file, the child, and keeps its block size")
                   : go_back(cli, operand[0]);
    if (!operand[1])
        return cli_fail(cli, "CHILD is needed: the file to go on in (or --back)");
    if (given.block_size > UINT32_MAX)
        return cli_fail(cli, "a block of 4 GiB or more does not exist");
    if (cli_check_free(cli, operand[1], false) < 0)
        return EXIT_FAILURE;
    err = ask(cli, operand);
    if (err != 0)
        return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
    cli_open_options(cli, VDISK_OPEN_WRITE, &how);
    err = vdisk_port_open(operand[0], &how, &port);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    err = vdisk_snapshot(port, operand[1], &create, NULL);
    if (err == 0)
        cli_describe(vdisk_port_disk(port), text);
    closed = vdisk_port_close(port);
    err = err < 0 ? err : closed;
    if (err < 0)
        return cli_error(cli, operand[1], err);
    cli_report(cli, operand[1], text);
    return EXIT_SUCCESS;
}

const struct cli_command cli_snapshot = {
    .name = "snapshot",
    .summary = "keep a disk as it is, and go on in a new child",
    .operands = "FILE CHILD | CHILD --back",
    .description =
        "Make CHILD, a differencing disk on FILE that holds nothing yet. Whoever uses the disk goes on with\n"
        "CHILD; FILE stays as it is from now on, and may be the parent of more children (a template).\n"
        "CHILD has the format of FILE. To go back to the point, --back, while nobody uses the disk; to drop the\n"
        "point, \"vdisk merge CHILD\", at any time.",
    .examples = "vdisk snapshot disk.vhdx monday.avhdx\n"
                "vdisk snapshot monday.avhdx tuesday.avhdx --block-size 1M\n"
                "vdisk snapshot tuesday.avhdx --back      as it was when tuesday began",
    .options = options,
    .operand_count = 2,
    .operand_optional = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
