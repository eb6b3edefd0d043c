/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk write: standard input into a disk, in place. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define CHUNK ((size_t)4 << 20)

static struct {
    uint64_t offset;
} given;

static const struct cli_option options[] = {
    {"offset", CLI_SIZE, "N", &given.offset, "where to begin, in bytes or with K, M, G, T; 0x is hexadecimal"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

struct input {
    uint8_t *buffer;
    uint64_t done;
    bool failed; /* the error is standard input's */
};

/* Fills the buffer but at the end of input. Bytes, or -errno. */
static ssize_t input_read(struct input *input)
{
    size_t length = 0;

    while (length < CHUNK) {
        ssize_t count = cli_cancel ? -1 : read(STDIN_FILENO, input->buffer + length, CHUNK - length);
        if (cli_cancel)
            return -ECANCELED;
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            input->failed = true;
            return -errno;
        }
        if (count == 0)
            break;
        length += (size_t)count;
    }
    return (ssize_t)length;
}

/* Writes as much as fits; -ENOSPC where the input goes on beyond the end of the disk. */
static int input_copy(struct vdisk *disk, struct vdisk_ring *ring, struct input *input,
                      const struct vdisk_progress *progress)
{
    uint64_t room = vdisk_size(disk) - given.offset;

    for (;;) {
        ssize_t length = input_read(input);
        uint64_t part = length > 0 && (uint64_t)length > room - input->done ? room - input->done : (uint64_t)length;
        int err;

        if (length <= 0)
            return (int)length;
        err = part > 0 ? vdisk_transfer(disk, ring, VDISK_WRITE, input->buffer, given.offset + input->done, part) : 0;
        if (err < 0)
            return err;
        input->done += part;
        progress->step(progress->arg, input->done, room);
        if (part < (uint64_t)length)
            return -ENOSPC;
    }
}

static int result_say(struct cli *cli, struct vdisk *disk, const struct input *input, int err, bool full)
{
    char text[160], size[64];

    if (full && err == 0)
        return cli_fail(cli, "%s: the input is longer than the disk: %" PRIu64 " bytes written, up to its end",
                        vdisk_path(disk), input->done);
    if (err == -ECANCELED && cli_cancel)
        return cli_fail(cli, "interrupted: %" PRIu64 " bytes written to %s", input->done, vdisk_path(disk));
    if (err < 0)
        return cli_error(cli, input->failed ? "standard input" : vdisk_path(disk), err);
    snprintf(text, sizeof(text), "wrote %s at offset %" PRIu64, cli_size_full(size, input->done), given.offset);
    cli_report(cli, vdisk_path(disk), text);
    return EXIT_SUCCESS;
}

static int copy_in(struct cli *cli, struct vdisk *disk, struct vdisk_ring *ring)
{
    struct input input = {.buffer = aligned_alloc(4096, CHUNK)};
    struct vdisk_progress progress;
    bool full;
    int err, flushed;

    if (!input.buffer)
        return cli_error(cli, vdisk_path(disk), -ENOMEM);
    cli_progress_begin(cli, &progress);
    err = input_copy(disk, ring, &input, &progress);
    full = err == -ENOSPC && input.done == vdisk_size(disk) - given.offset;
    flushed = vdisk_transfer(disk, ring, VDISK_FLUSH, NULL, 0, 0);
    cli_progress_end(cli);
    free(input.buffer);
    return result_say(cli, disk, &input, err < 0 && !full ? err : flushed, full);
}

static int ring_use(struct cli *cli, struct vdisk *disk)
{
    struct vdisk_ring *ring;
    char text[64];
    int status, err;

    if (given.offset > vdisk_size(disk))
        return cli_fail(cli, "%s: offset %" PRIu64 " is beyond the disk, which has %s", vdisk_path(disk), given.offset,
                        cli_size_full(text, vdisk_size(disk)));
    err = vdisk_ring_open(0, VDISK_BACKEND_AUTO, &ring);
    if (err < 0)
        return cli_error(cli, vdisk_path(disk), err);
    cli_say(cli, VDISK_NOTE, "I/O by %s", vdisk_ring_backend(ring));
    status = copy_in(cli, disk, ring);
    vdisk_ring_close(ring);
    return status;
}

static int run(struct cli *cli, char **operand)
{
    struct vdisk *disk;
    int status, err = cli_open(cli, operand[0], VDISK_OPEN_WRITE, &disk);

    if (err < 0)
        return cli_error(cli, operand[0], err);
    status = ring_use(cli, disk);
    err = vdisk_close(disk);
    return err < 0 && status == EXIT_SUCCESS ? cli_error(cli, operand[0], err) : status;
}

const struct cli_command cli_write = {
    .name = "write",
    .summary = "copy standard input into a disk",
    .operands = "FILE",
    .description = "Copy standard input into a disk, in place, up to the end of the input; durable when the command\n"
                   "ends. Input beyond the end of the disk is an error.",
    .examples = "vdisk write disk.vhdx < disk.img\n"
                "printf hello | vdisk write child.vhdx --offset 1M",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
