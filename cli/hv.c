/* SPDX-License-Identifier: BSD-2-Clause */
/* hv: the table of commands. */
#include "cli/cli.h"

static const struct cli_command *const commands[] = {&cli_hv_run, NULL};

static const struct cli_program program = {
    .name = "hv",
    .operands = "...",
    .summary = "Run virtual machines on virtual disks (VHD, VHDX, raw).",
    .tour = "  hv run debian.vhdx                          a machine on this terminal; Ctrl-] q ends it\n"
            "  hv run --disk debian.vhdx,overlay           the same, and the disk stays as it is\n"
            "  hv run debian.vhdx --memory 4G --cpus 4     larger\n"
            "  hv run debian.vhdx --dry-run                what the machine would be\n",
    .commands = commands,
};

int main(int argc, char **argv)
{
    return cli_main(&program, argc, argv);
}
