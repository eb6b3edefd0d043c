/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening inputs as the common options say, and refusing outputs that would destroy an input. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"

void cli_open_options(struct cli *cli, unsigned flags, struct vdisk_open_options *options)
{
    *options = (struct vdisk_open_options){
        .flags = flags,
        .format = cli->input_format,
        .parents = cli->parent_count > 0 ? cli->parents : NULL,
        .parent_map = cli->map_count > 0 ? cli->parent_map : NULL,
        .parent_dir = cli->parent_dir,
        .log = cli->log,
    };
}

int cli_open(struct cli *cli, const char *path, unsigned flags, struct vdisk **disk)
{
    struct vdisk_open_options options;

    cli_open_options(cli, flags, &options);
    return vdisk_open(path, &options, disk);
}

static int refuse(struct cli *cli, const char *path, const char *why)
{
    cli_say(cli, VDISK_ERROR, "%s: %s", path, why);
    return -EINVAL;
}

int cli_check_free(struct cli *cli, const char *path, bool force)
{
    struct stat file;

    if (lstat(path, &file) < 0)
        return 0;
    if (!S_ISREG(file.st_mode))
        return refuse(cli, path, "exists and is not a regular file: an image does not replace it");
    return force ? 0 : refuse(cli, path, "exists (--force replaces it)");
}

int cli_check_chain(struct cli *cli, const char *path, struct vdisk *chain)
{
    struct stat output, link;

    if (stat(path, &output) < 0)
        return 0;
    for (struct vdisk *disk = chain; disk; disk = vdisk_parent(disk)) {
        if (stat(vdisk_path(disk), &link) < 0 || link.st_dev != output.st_dev || link.st_ino != output.st_ino)
            continue;
        return refuse(cli, path,
                      disk == chain ? "source and destination are the same file"
                                    : "is a parent in the source's chain: it is not replaced");
    }
    return 0;
}

void cli_describe(struct vdisk *disk, char text[160])
{
    bool raw = strcmp(vdisk_format(disk), "raw") == 0;
    char size[64], block[32];

    snprintf(text, 160, "%s%s%s, %s%s%s", raw ? "" : vdisk_type(disk), raw ? "" : " ", vdisk_format(disk),
             cli_size_full(size, vdisk_size(disk)), vdisk_block_size(disk) > 0 ? ", blocks of " : "",
             vdisk_block_size(disk) > 0 ? cli_size_text(block, vdisk_block_size(disk)) : "");
}

void cli_report(struct cli *cli, const char *path, const char *text)
{
    if (cli->quiet)
        return;
    cli_put_text(stdout, path);
    printf(": %s\n", text);
}

void cli_say_backend(struct cli *cli)
{
    struct vdisk_ring *ring;

    if (!cli->verbose || vdisk_ring_open(1, VDISK_BACKEND_AUTO, &ring) < 0)
        return;
    cli_say(cli, VDISK_NOTE, "I/O by %s", vdisk_ring_backend(ring));
    vdisk_ring_close(ring);
}
