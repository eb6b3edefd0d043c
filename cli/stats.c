/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk stats: what came to a disk that is in use since it was opened. */
#include "cli/ask.h"
#include "cli/stats.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct {
    bool json;
} given;

static const struct cli_option options[] = {
    {"json", CLI_FLAG, NULL, &given.json, "print JSON"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static void print_text(const struct cli_stats *stats)
{
    char text[5][64];

    printf("open in %s, process %lld, %s\n", stats->program, stats->pid, cli_size_full(text[0], stats->size));
    if (stats->working_on[0])
        printf("working on: %s, %s of %s\n", stats->working_on, cli_size_text(text[0], stats->done),
               cli_size_text(text[1], stats->total));
    printf("%-8s %12s %8s %10s %10s %10s %10s %10s\n", "", "requests", "errors", "bytes", "mean", "50%", "99%", "99.9%");
    for (unsigned i = 0; i < CLI_STATS_OPS; i++) {
        const struct vdisk_stats_op *op = &stats->stats.op[i];

        printf("%-8s %12" PRIu64 " %8" PRIu64 " %10s %10s %10s %10s %10s\n", cli_stats_ops[i], op->count, op->errors,
               cli_size_text(text[0], op->bytes), cli_stats_duration(text[1], op->count ? op->nanoseconds / op->count : 0),
               cli_stats_duration(text[2], vdisk_stats_quantile(op, 0.5)),
               cli_stats_duration(text[3], vdisk_stats_quantile(op, 0.99)),
               cli_stats_duration(text[4], vdisk_stats_quantile(op, 0.999)));
    }
}

static int print_json(const struct cli_stats *stats)
{
    json_t *object = json_pack("{s:s, s:I, s:I}", "program", stats->program, "pid", (json_int_t)stats->pid,
                               "virtual-size", (json_int_t)stats->size);
    int err;

    if (stats->working_on[0])
        json_object_set_new(object, "working-on",
                            json_pack("{s:s, s:I, s:I}", "operation", stats->working_on, "done",
                                      (json_int_t)stats->done, "total", (json_int_t)stats->total));
    for (unsigned i = 0; i < CLI_STATS_OPS; i++) {
        const struct vdisk_stats_op *op = &stats->stats.op[i];

        json_object_set_new(
            object, cli_stats_ops[i],
            json_pack("{s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I}}", "requests", (json_int_t)op->count, "errors",
                      (json_int_t)op->errors, "bytes", (json_int_t)op->bytes, "latency-ns", "mean",
                      (json_int_t)(op->count ? op->nanoseconds / op->count : 0), "p50",
                      (json_int_t)vdisk_stats_quantile(op, 0.5), "p99", (json_int_t)vdisk_stats_quantile(op, 0.99),
                      "p99.9", (json_int_t)vdisk_stats_quantile(op, 0.999)));
    }
    err = json_dumpf(object, stdout, JSON_INDENT(2)) < 0 ? -ENOMEM : 0;
    putchar('\n');
    json_decref(object);
    return err;
}

static int run(struct cli *cli, char **operand)
{
    struct cli_stats stats;
    struct control *control;
    struct stat file;
    int err = control_open(operand[0], &control);

    if (err == -ENOENT && cli_ask_beneath(cli, operand[0]))
        return cli->command->failure;
    if (err == -ENOENT && stat(operand[0], &file) == 0)
        return cli_fail(cli, "%s: no process that can be asked has it open", operand[0]);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    err = cli_stats_get(cli, control, &stats);
    control_close(control);
    if (err == 0 && given.json)
        err = print_json(&stats);
    else if (err == 0)
        print_text(&stats);
    return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
}

const struct cli_command cli_stats = {
    .name = "stats",
    .summary = "show what came to a disk that is in use",
    .operands = "FILE",
    .description = "Print how many requests came to a disk since it was mounted or served, how many bytes they were, and how\n"
                   "long they took.",
    .examples = "vdisk stats disk.vhdx\n"
                "vdisk stats disk.vhdx --json | jq .read.requests",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
