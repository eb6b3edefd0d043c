/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk read: the disk's bytes to standard output; into a regular file with its holes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

static struct {
    uint64_t offset, length;
} given = {.offset = 0, .length = CLI_NONE};

static const struct cli_option options[] = {
    {"offset", CLI_SIZE, "N", &given.offset, "where to begin, in bytes or with K, M, G, T; 0x is hexadecimal"},
    {"length", CLI_SIZE, "N", &given.length, "how much; otherwise to the end of the disk"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static const uint8_t zeros[1 << 20];

struct output {
    bool seekable;
    int error;
};

static int output_write(struct output *output, const void *data, uint64_t length)
{
    const uint8_t *at = data;

    while (length > 0) {
        ssize_t count = write(STDOUT_FILENO, at, length);
        if (count < 0 && errno == EINTR && !cli_cancel)
            continue;
        if (count < 0) {
            output->error = cli_cancel ? -ECANCELED : -errno;
            return output->error;
        }
        at += count;
        length -= (uint64_t)count;
    }
    return 0;
}

/* A hole is left only past the end of the file: what stands there already would shine through. */
static bool output_skip(struct output *output, uint64_t length)
{
    struct stat file;
    off_t at = output->seekable ? lseek(STDOUT_FILENO, 0, SEEK_CUR) : -1;

    if (at < 0 || fstat(STDOUT_FILENO, &file) < 0 || file.st_size > at)
        return false;
    return lseek(STDOUT_FILENO, (off_t)length, SEEK_CUR) >= 0;
}

static int output_put(void *arg, const void *data, uint64_t length)
{
    struct output *output = arg;
    int err = 0;

    if (data)
        return output_write(output, data, length);
    if (output_skip(output, length))
        return 0;
    while (length > 0 && err == 0) {
        uint64_t part = length < sizeof(zeros) ? length : sizeof(zeros);
        err = output_write(output, zeros, part);
        length -= part;
    }
    return err;
}

/* A hole at the end has been skipped but is not part of the file yet. */
static int output_end(struct output *output)
{
    struct stat file;
    off_t at = output->seekable ? lseek(STDOUT_FILENO, 0, SEEK_CUR) : -1;

    if (at < 0 || fstat(STDOUT_FILENO, &file) < 0 || file.st_size >= at)
        return 0;
    output->error = ftruncate(STDOUT_FILENO, at) < 0 ? -errno : 0;
    return output->error;
}

static int output_open(struct cli *cli, struct output *output)
{
    struct stat file;
    int flags = fcntl(STDOUT_FILENO, F_GETFL);

    if (isatty(STDOUT_FILENO))
        return cli_fail(cli, "standard output is a terminal: send the disk's bytes to a file or a pipe");
    output->seekable = fstat(STDOUT_FILENO, &file) == 0 && S_ISREG(file.st_mode) && flags >= 0 && !(flags & O_APPEND);
    return 0;
}

static int copy_out(struct cli *cli, struct vdisk *disk, struct output *output)
{
    struct vdisk_progress progress;
    uint64_t size = vdisk_size(disk);
    int err;

    if (given.offset > size || (given.length != CLI_NONE && given.length > size - given.offset)) {
        char text[64];
        return cli_fail(cli, "%s: the range ends beyond the disk, which has %s", vdisk_path(disk),
                        cli_size_full(text, size));
    }
    cli_say_backend(cli);
    cli_progress_begin(cli, &progress);
    err = cli_stream(disk, given.offset, given.length == CLI_NONE ? size - given.offset : given.length, &progress,
                     output_put, output);
    if (err == 0)
        err = output_end(output);
    cli_progress_end(cli);
    if (err == 0)
        return EXIT_SUCCESS;
    if (err == -EPIPE && output->error == err)
        return EXIT_FAILURE;
    return cli_error(cli, output->error ? "standard output" : vdisk_path(disk), err);
}

static int run(struct cli *cli, char **operand)
{
    struct output output = {.error = 0};
    struct vdisk *disk;
    int err, status = output_open(cli, &output);

    if (status != 0)
        return status;
    err = cli_open(cli, operand[0], 0, &disk);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    status = copy_out(cli, disk, &output);
    vdisk_close(disk);
    return status;
}

const struct cli_command cli_read = {
    .name = "read",
    .summary = "copy a range of a disk to standard output",
    .operands = "FILE",
    .description = "Copy the bytes of a disk to standard output. Into a regular file, runs of zeros become holes.",
    .examples = "vdisk read disk.vhdx --length 512 | xxd | head\n"
                "vdisk read disk.vhdx --offset 1M --length 64K > part\n"
                "vdisk read disk.vhd > disk.img",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
