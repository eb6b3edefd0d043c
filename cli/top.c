/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk top: the figures of a disk that is in use, second by second. On a terminal the picture stays in its place;
 * elsewhere one follows the other. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/stats.h"

static struct {
    uint64_t interval, count;
} given = {.interval = 1, .count = CLI_NONE};

static const struct cli_option options[] = {
    {"interval", CLI_SIZE, "SECONDS", &given.interval, "how long each picture is of: 1 to 3600, otherwise 1"},
    {"count", CLI_SIZE, "N", &given.count, "end after so many; otherwise when interrupted"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void print(const char *path, const struct cli_stats *stats, const struct vdisk_stats *moved, double seconds)
{
    char text[5][64];
    struct stat file;

    cli_put_text(stdout, path);
    printf(": %s, process %lld, %s", stats->program, stats->pid, cli_size_text(text[0], stats->size));
    if (stat(path, &file) == 0)
        printf(", %s allocated", cli_size_text(text[0], (uint64_t)file.st_blocks * 512));
    puts("");
    printf("%-8s %10s %12s %10s %10s %10s %8s\n", "", "IOPS", "bytes/s", "50%", "99%", "99.9%", "errors");
    for (unsigned i = 0; i < CLI_STATS_OPS; i++) {
        const struct vdisk_stats_op *op = &moved->op[i];

        printf("%-8s %10.0f %12s %10s %10s %10s %8" PRIu64 "\n", cli_stats_ops[i], (double)op->count / seconds,
               cli_size_text(text[0], (uint64_t)((double)op->bytes / seconds)),
               cli_stats_duration(text[1], vdisk_stats_quantile(op, 0.5)),
               cli_stats_duration(text[2], vdisk_stats_quantile(op, 0.99)),
               cli_stats_duration(text[3], vdisk_stats_quantile(op, 0.999)), op->errors);
    }
    if (stats->working_on[0])
        printf("%s: %s of %s\n", stats->working_on, cli_size_text(text[0], stats->done),
               cli_size_text(text[1], stats->total));
}

/* 0 at the end, or -errno, said. */
static int watch(struct cli *cli, const char *path, struct control *control)
{
    bool terminal = isatty(STDOUT_FILENO);
    struct cli_stats before, after;
    struct vdisk_stats moved;
    double began = now(), ended;
    int err = cli_stats_get(cli, control, &before);

    for (uint64_t i = 0; err == 0 && i < given.count; i++) {
        struct timespec pause = {.tv_sec = (time_t)given.interval};

        if (nanosleep(&pause, NULL) < 0 || cli_cancel)
            break;
        err = cli_stats_get(cli, control, &after);
        ended = now();
        if (err < 0)
            break;
        cli_stats_since(&before, &after, &moved);
        if (terminal)
            fputs("\033[H\033[J", stdout);
        else if (i > 0)
            putchar('\n');
        print(path, &after, &moved, ended - began);
        fflush(stdout);
        before = after;
        began = ended;
    }
    return err;
}

static int run(struct cli *cli, char **operand)
{
    struct control *control;
    struct stat file;
    int err;

    if (given.interval < 1 || given.interval > 3600)
        return cli_fail(cli, "--interval: 1 to 3600 seconds");
    err = control_open(operand[0], &control);
    if (err == -ENOENT && cli_ask_beneath(cli, operand[0]))
        return cli->command->failure;
    if (err == -ENOENT && stat(operand[0], &file) == 0)
        return cli_fail(cli, "%s: no process that can be asked has it open", operand[0]);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    err = watch(cli, operand[0], control);
    control_close(control);
    return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
}

const struct cli_command cli_top = {
    .name = "top",
    .summary = "watch what comes to a disk that is in use",
    .operands = "FILE",
    .description = "Show, second by second, the requests that come to a disk that is mounted or served: how many, how many\n"
                   "bytes, how long they take, and what the image occupies. Ctrl-C ends it.",
    .examples = "vdisk top disk.vhdx\n"
                "vdisk top disk.vhdx --interval 5 --count 12 >log",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
