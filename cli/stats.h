/* SPDX-License-Identifier: BSD-2-Clause */
/* The figures of a disk that is in use, as its holder gives them. */
#ifndef CLI_STATS_H
#define CLI_STATS_H

#include <jansson.h>

#include "cli/cli.h"
#include "control/client.h"

#define CLI_STATS_OPS (VDISK_FLUSH + 1)

extern const char *const cli_stats_ops[CLI_STATS_OPS];

struct cli_stats {
    struct vdisk_stats stats;
    uint64_t size;
    char program[32];
    long long pid;
    char working_on[32]; /* empty: nothing */
    uint64_t done, total;
};

/* Asks. 0 or -errno, said. */
int cli_stats_get(struct cli *cli, struct control *control, struct cli_stats *stats);

/* What came between two of them. */
void cli_stats_since(const struct cli_stats *before, const struct cli_stats *now, struct vdisk_stats *stats);

/* "87 us" */
const char *cli_stats_duration(char text[24], uint64_t nanoseconds);

#endif
