/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk: the table of commands. */
#include "cli/cli.h"

static const struct cli_command *const commands[] = {
    &cli_create, &cli_info,  &cli_map,  &cli_convert, &cli_compare, &cli_check,
    &cli_read,   &cli_write, &cli_hash, &cli_resize, &cli_compact, &cli_bench,   &cli_mount, &cli_umount, &cli_serve,
    &cli_snapshot, &cli_relink, &cli_merge, &cli_move, &cli_point, &cli_changes, &cli_stats, &cli_top, NULL,
};

static const struct cli_program program = {
    .name = "vdisk",
    .operands = "FILE...",
    .summary = "Create, read, write, convert and check virtual disks (VHD, VHDX, raw).",
    .tour = "  vdisk create base.vhdx --size 127G          a dynamic disk: takes space as it is filled\n"
            "  vdisk create child.vhdx --parent base.vhdx  a differencing disk: keeps changes apart\n"
            "  vdisk convert child.vhdx flat.vhd           the whole content in another format\n"
            "  vdisk compare child.vhdx flat.vhd           the same bytes?\n"
            "  vdisk check child.vhdx                      is the file sound?\n",
    .commands = commands,
};

int main(int argc, char **argv)
{
    return cli_main(&program, argc, argv);
}
