/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk compact: the file of a disk as small as what it holds. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cli/ask.h"
#include "cli/free.h"

static struct {
    uint64_t rate;
    bool no_filesystems;
} given;

static const struct cli_option options[] = {
    {"rate-limit", CLI_SIZE, "SIZE", &given.rate, "read and move at most so much a second"},
    {"no-filesystems", CLI_FLAG, NULL, &given.no_filesystems,
     "do not look into file systems for what they do\nnot use"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

/* What the file takes of its file system. */
static uint64_t used(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static void report(struct cli *cli, const char *path, const struct vdisk_compact_result *r, uint64_t unused)
{
    uint64_t returned = r->used_before > r->used_after ? r->used_before - r->used_after : 0;
    char back[64], moved[64], dropped[64], size[64], text[400];

    cli_size_full(back, returned);
    cli_size_full(moved, r->bytes_moved);
    cli_size_full(dropped, r->bytes_dropped + unused);
    cli_size_full(size, r->size_after);
    snprintf(text, sizeof(text), "returned %s; moved %s, found %s unused or zero; the file has %s", back, moved,
             dropped, size);
    cli_report(cli, path, text);
}

static int compact(struct cli *cli, const char *path, struct vdisk_port *port)
{
    const struct vdisk_compact_options options_of = {.rate = given.rate};
    struct vdisk_compact_result result = {0};
    struct vdisk_progress progress;
    uint64_t unused = 0, before = used(path);
    int err = vdisk_childless(vdisk_port_disk(port));

    if (!err && !given.no_filesystems)
        err = cli_free_discard(cli, vdisk_port_disk(port), &unused);
    if (err)
        return err;
    cli_progress_begin(cli, &progress);
    err = vdisk_compact(port, &options_of, &progress, &result);
    cli_progress_end(cli);
    result.used_before = before;
    if (!err || err == -ECANCELED)
        report(cli, path, &result, unused);
    return err;
}

/* By who has the disk open, which does not look into file systems: they are in motion. 1; 0: nobody; or -errno, said.
 */
static int ask(struct cli *cli, const char *path)
{
    json_int_t moved = 0, dropped = 0, before = 0, after = 0, size = 0;
    json_t *result;
    int err = cli_ask(cli, path, json_pack("{s:s, s:I}", "do", "compact", "rate", (json_int_t)given.rate), &result);

    if (err <= 0)
        return err;
    json_unpack(result, "{s:I, s:I, s:I, s:I, s:I}", "moved", &moved, "dropped", &dropped, "used-before", &before,
                "used-after", &after, "file-size", &size);
    json_decref(result);
    report(cli, path,
           &(struct vdisk_compact_result){.bytes_moved = (uint64_t)moved,
                                          .bytes_dropped = (uint64_t)dropped,
                                          .used_before = (uint64_t)before,
                                          .used_after = (uint64_t)after,
                                          .size_after = (uint64_t)size},
           0);
    return 1;
}

static int run(struct cli *cli, char **operand)
{
    struct vdisk_open_options open;
    struct vdisk_port *port;
    int err, closed;

    if (given.rate > INT64_MAX)
        return cli_fail(cli, "--rate-limit is too large");
    err = ask(cli, operand[0]);
    if (err != 0)
        return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
    cli_open_options(cli, VDISK_OPEN_WRITE, &open);
    err = vdisk_port_open(operand[0], &open, &port);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    err = compact(cli, operand[0], port);
    closed = vdisk_port_close(port);
    err = err < 0 ? err : closed;
    return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
}

const struct cli_command cli_compact = {
    .name = "compact",
    .summary = "make the file of a disk as small as what it holds",
    .operands = "FILE",
    .description =
        "Give back to the file system what a disk does not need: blocks and runs that hold only zeros, what the file\n"
        "systems in it (ext2, ext3, ext4, NTFS) do not use, and space in the file that belongs to no block; the last blocks "
        "move\n"
        "to free places before them, and the file is cut. What a guest reads from its files does not change. "
        "Interrupted,\n"
        "it keeps what it reached; run again, it goes on.",
    .examples = "vdisk compact disk.vhdx\n"
                "vdisk compact disk.vhd --rate-limit 50M",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
