/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk move: a disk goes to another file, also while it is in use. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/ask.h"

static struct {
    const char *format;
    uint64_t rate;
    bool chain, flatten;
} given;

static const struct cli_option options[] = {
    {"format", CLI_TEXT, "FORMAT", &given.format, "vhd, vhdx or raw; otherwise by DESTINATION's suffix"},
    {"chain", CLI_FLAG, NULL, &given.chain, "DESTINATION is a directory: the parents are copied there too"},
    {"flatten", CLI_FLAG, NULL, &given.flatten, "of a differencing disk: one that needs no parent"},
    {"rate-limit", CLI_SIZE, "SIZE", &given.rate, "copy no more than that in a second"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

/* Into a directory under its own name; malloced. */
static char *destination_path(const char *source, const char *destination)
{
    const char *slash = strrchr(source, '/');
    char *whole = NULL;
    struct stat st;

    if (given.chain || stat(destination, &st) < 0 || !S_ISDIR(st.st_mode))
        return strdup(destination);
    return asprintf(&whole, "%s/%s", destination, slash ? slash + 1 : source) < 0 ? NULL : whole;
}

static void report(struct cli *cli, const char *path, uint64_t moved, uint64_t shared, uint64_t mirrored, uint64_t pause)
{
    char text[200], size[3][32];

    snprintf(text, sizeof(text), "%s copied, %s shared, %s written to both meanwhile, requests waited %.1f ms",
             cli_size_text(size[0], moved), cli_size_text(size[1], shared), cli_size_text(size[2], mirrored),
             (double)pause / 1e6);
    cli_report(cli, path, text);
}

static json_t *request(const char *destination)
{
    char *whole = cli_ask_path(destination);
    json_t *object = json_pack("{s:s, s:s, s:b, s:b, s:I}", "do", "move", "destination", whole, "chain", given.chain,
                               "flatten", given.flatten, "rate", (json_int_t)given.rate);

    free(whole);
    if (object && given.format)
        json_object_set_new(object, "format", json_string(given.format));
    return object;
}

/* By who has the disk open: 1; 0: nobody; or -errno, said. */
static int ask(struct cli *cli, const char *source, const char *destination)
{
    json_int_t moved = 0, shared = 0, mirrored = 0, pause = 0;
    json_t *result;
    int err = cli_ask(cli, source, request(destination), &result);

    if (err <= 0)
        return err;
    json_unpack(result, "{s:I, s:I, s:I, s:I}", "moved", &moved, "shared", &shared, "mirrored", &mirrored, "pause-ns",
                &pause);
    json_decref(result);
    report(cli, destination, (uint64_t)moved, (uint64_t)shared, (uint64_t)mirrored, (uint64_t)pause);
    return 1;
}

static int move(struct cli *cli, const char *source, const char *destination)
{
    struct vdisk_move_options how = {
        .flags = (given.chain ? VDISK_MOVE_CHAIN : 0) | (given.flatten ? VDISK_MOVE_FLATTEN : 0),
        .format = given.format,
        .rate = given.rate,
        .log = cli->log,
    };
    struct vdisk_move_result result;
    struct vdisk_open_options open;
    struct vdisk_progress progress;
    struct vdisk_port *port;
    int err = ask(cli, source, destination), closed;

    if (err != 0)
        return err < 0 ? err : 0;
    cli_open_options(cli, VDISK_OPEN_WRITE, &open);
    err = vdisk_port_open(source, &open, &port);
    if (err < 0)
        return err;
    cli_progress_begin(cli, &progress);
    err = vdisk_move(port, destination, &how, &progress, &result);
    cli_progress_end(cli);
    closed = vdisk_port_close(port);
    if (err == 0 && closed == 0)
        report(cli, destination, result.moved, result.shared, result.mirrored, result.pause);
    return err < 0 ? err : closed;
}

static int run(struct cli *cli, char **operand)
{
    char *destination;
    int err;

    if (given.chain && given.flatten)
        return cli_fail(cli, "--chain keeps the parents, --flatten needs none: one of them");
    destination = destination_path(operand[0], operand[1]);
    err = destination ? move(cli, operand[0], destination) : -ENOMEM;
    free(destination);
    return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
}

const struct cli_command cli_move = {
    .name = "move",
    .summary = "move a disk to another file, also while it is in use",
    .operands = "FILE DESTINATION",
    .description = "Copy a disk to DESTINATION, a new file or a directory, while whoever uses it goes on; then that goes on\n"
                   "there, and FILE is removed. Where this fails or is interrupted, the disk stays where it is, whole. A\n"
                   "differencing disk keeps its parents, which stay where they are.",
    .examples = "vdisk move disk.vhdx /mnt/other/disk.vhdx\n"
                "vdisk move disk.vhd disk.vhdx --rate-limit 100M\n"
                "vdisk move child.avhdx /mnt/other --chain\n"
                "vdisk move child.avhdx whole.vhdx --flatten",
    .options = options,
    .operand_count = 2,
    .failure = EXIT_FAILURE,
    .run = run,
};
