/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/stats.h"

const char *const cli_stats_ops[CLI_STATS_OPS] = {"read", "write", "zero", "discard", "flush"};

/* Buckets come in their order. */
static int latency_read(const json_t *latency, struct vdisk_stats_op *op)
{
    unsigned bucket = 0;
    json_t *entry;
    size_t i;

    json_array_foreach (latency, i, entry) {
        json_int_t bound, count;

        if (json_unpack(entry, "[I, I]", &bound, &count) < 0)
            return -EPROTO;
        while (bucket < VDISK_STATS_BUCKETS && vdisk_stats_bound(bucket) < (uint64_t)bound)
            bucket++;
        if (bucket == VDISK_STATS_BUCKETS)
            return -EPROTO;
        op->latency[bucket] += (uint64_t)count;
    }
    return 0;
}

static int op_read(json_t *all, const char *name, struct vdisk_stats_op *op)
{
    json_int_t count, errors, bytes, nanoseconds;
    json_t *latency;

    if (json_unpack(json_object_get(all, name), "{s:I, s:I, s:I, s:I, s:o}", "count", &count, "errors", &errors,
                    "bytes", &bytes, "nanoseconds", &nanoseconds, "latency", &latency) < 0)
        return -EPROTO;
    *op = (struct vdisk_stats_op){.count = (uint64_t)count,
                                  .errors = (uint64_t)errors,
                                  .bytes = (uint64_t)bytes,
                                  .nanoseconds = (uint64_t)nanoseconds};
    return latency_read(latency, op);
}

static int read_all(json_t *result, struct cli_stats *stats)
{
    const char *program, *working_on = "";
    json_int_t pid, size, done = 0, total = 0;
    json_t *all;
    int err = 0;

    if (json_unpack(result, "{s:s, s:I, s:I, s:o}", "program", &program, "pid", &pid, "size", &size, "operations",
                    &all) < 0)
        return -EPROTO;
    json_unpack(json_object_get(result, "working-on"), "{s:s, s:I, s:I}", "operation", &working_on, "done", &done,
                "total", &total);
    *stats = (struct cli_stats){.size = (uint64_t)size, .pid = pid, .done = (uint64_t)done, .total = (uint64_t)total};
    snprintf(stats->program, sizeof(stats->program), "%s", program);
    snprintf(stats->working_on, sizeof(stats->working_on), "%s", working_on);
    for (unsigned i = 0; i < CLI_STATS_OPS && err == 0; i++)
        err = op_read(all, cli_stats_ops[i], &stats->stats.op[i]);
    return err;
}

int cli_stats_get(struct cli *cli, struct control *control, struct cli_stats *stats)
{
    const struct vdisk_progress progress = {.cancel = &cli_cancel};
    json_t *result;
    int err = control_call(control, json_pack("{s:s}", "do", "stats"), &progress, &cli->log, &result);

    if (err < 0)
        return err;
    err = read_all(result, stats);
    json_decref(result);
    if (err < 0)
        cli_say(cli, VDISK_ERROR, "the process that has the disk open gives figures that are not understood");
    return err;
}

void cli_stats_since(const struct cli_stats *before, const struct cli_stats *now, struct vdisk_stats *stats)
{
    *stats = now->stats;
    for (unsigned i = 0; i < CLI_STATS_OPS; i++) {
        const struct vdisk_stats_op *old = &before->stats.op[i];
        struct vdisk_stats_op *op = &stats->op[i];

        op->count -= old->count;
        op->errors -= old->errors;
        op->bytes -= old->bytes;
        op->nanoseconds -= old->nanoseconds;
        for (unsigned b = 0; b < VDISK_STATS_BUCKETS; b++)
            op->latency[b] -= old->latency[b];
    }
}

const char *cli_stats_duration(char text[24], uint64_t nanoseconds)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double value = (double)nanoseconds;
    unsigned unit = 0;

    while (value >= 1000 && unit < 3) {
        value /= 1000;
        unit++;
    }
    snprintf(text, 24, value < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}
