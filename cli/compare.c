/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk compare: do two disks show a guest the same bytes? */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cli/cli.h"

#define EQUAL 0
#define DIFFERENT 1
#define CANNOT_TELL 2

static const struct cli_option options[] = {
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static int result_say(struct cli *cli, struct vdisk *a, struct vdisk *b, int result, uint64_t where)
{
    char sizes[2][64], text[256];

    if (result == 0 && vdisk_size(a) == vdisk_size(b))
        snprintf(text, sizeof(text), "equal, %s", cli_size_full(sizes[0], vdisk_size(a)));
    else if (result == 0)
        snprintf(text, sizeof(text), "equal but for the size: %s and %s, the rest is zero",
                 cli_size_full(sizes[0], vdisk_size(a)), cli_size_full(sizes[1], vdisk_size(b)));
    else
        snprintf(text, sizeof(text), "different from byte %" PRIu64 " (0x%" PRIx64 ") on", where, where);
    if (!cli->quiet) {
        cli_put_text(stdout, vdisk_path(a));
        fputs(" and ", stdout);
        cli_report(cli, vdisk_path(b), text);
    }
    return result == 0 ? EQUAL : DIFFERENT;
}

static int compare(struct cli *cli, struct vdisk *a, struct vdisk *b)
{
    struct vdisk_progress progress;
    uint64_t where = 0;
    int result;

    cli_say_backend(cli);
    cli_progress_begin(cli, &progress);
    result = vdisk_compare(a, b, &progress, &where);
    cli_progress_end(cli);
    return result < 0 ? cli_error(cli, vdisk_path(b), result) : result_say(cli, a, b, result, where);
}

static int run(struct cli *cli, char **operand)
{
    struct vdisk *a, *b;
    int status, err = cli_open(cli, operand[0], 0, &a);

    if (err < 0)
        return cli_error(cli, operand[0], err);
    err = cli_open(cli, operand[1], 0, &b);
    status = err < 0 ? cli_error(cli, operand[1], err) : compare(cli, a, b);
    if (err == 0)
        vdisk_close(b);
    vdisk_close(a);
    return status;
}

const struct cli_command cli_compare = {
    .name = "compare",
    .summary = "tell whether two disks hold the same bytes",
    .operands = "A B",
    .description = "Compare what two disks show to a guest, whatever their formats. A longer disk is equal when the\n"
                   "rest of it is zero. Exit status: 0 equal, 1 different, 2 cannot tell.",
    .examples = "vdisk compare disk.vhdx disk.img\n"
                "vdisk compare child.vhdx flat.vhd --quiet && echo same",
    .options = options,
    .operand_count = 2,
    .failure = CANNOT_TELL,
    .run = run,
};
