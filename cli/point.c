/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk point: names the disk as it is now, so that what changes since can be told. */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/ask.h"
#include "cli/json.h"

static struct {
    bool delete;
} given;

static const struct cli_option options[] = {
    {"delete", CLI_FLAG, NULL, &given.delete, "the point goes; older ones keep what changed since it"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static int work(struct cli *cli, const char *path, const char *name, uint64_t *paused)
{
    struct vdisk_open_options how;
    struct vdisk_pause pause = {0};
    struct vdisk_port *port;
    int err, closed;

    cli_open_options(cli, VDISK_OPEN_WRITE, &how);
    err = vdisk_port_open(path, &how, &port);
    if (err < 0)
        return err;
    err = given.delete ? vdisk_point_delete(port, name, &pause) : vdisk_point_create(port, name, &pause);
    closed = vdisk_port_close(port);
    *paused = pause.longest;
    return err < 0 ? err : closed;
}

static int run(struct cli *cli, char **operand)
{
    uint64_t paused = 0;
    json_t *result = NULL;
    char text[160];
    int err = cli_ask(cli, operand[0],
                      json_pack("{s:s, s:o, s:b}", "do", "point", "name", cli_json_text(operand[1]), "delete",
                                given.delete),
                      &result);

    if (err == 1)
        paused = (uint64_t)json_integer_value(json_object_get(result, "pause-ns"));
    json_decref(result);
    if (err == 0)
        err = work(cli, operand[0], operand[1], &paused);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    snprintf(text, sizeof(text), "point %.63s %s (requests waited for %.1f ms)", operand[1],
             given.delete ? "deleted" : "made", (double)paused / 1e6);
    cli_report(cli, operand[0], text);
    return EXIT_SUCCESS;
}

const struct cli_command cli_point = {
    .name = "point",
    .summary = "name a moment of a disk, to tell what changes since",
    .operands = "FILE NAME",
    .description = "Make a point of the disk as it is now. From then on every program that writes to FILE through this\n"
                   "library keeps account of what it changes, in FILE.points; \"vdisk changes\" tells.",
    .examples = "vdisk point disk.vhdx monday\n"
                "vdisk changes disk.vhdx --since monday --json\n"
                "vdisk point disk.vhdx monday --delete",
    .options = options,
    .operand_count = 2,
    .failure = EXIT_FAILURE,
    .run = run,
};
