/* SPDX-License-Identifier: BSD-2-Clause */
/* A parent's file, as it is: its identity goes with its bytes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "chain.h"
#include "move.h"

#define PART (UINT64_C(8) << 20)

char *move_file_name(const char *directory, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *whole;

    return asprintf(&whole, "%s/%s", directory, slash ? slash + 1 : path) < 0 ? NULL : whole;
}

static int part_copy(const struct file *from, int to, uint64_t position, uint64_t length, void *buffer)
{
    while (length > 0) {
        size_t part = length < PART ? (size_t)length : PART;
        int err = file_read((struct file *)from, buffer, part, position);

        for (size_t at = 0; at < part && !err;) {
            ssize_t n = pwrite(to, (char *)buffer + at, part - at, (off_t)(position + at));

            if (n < 0 && errno != EINTR)
                err = -errno;
            at += n > 0 ? (size_t)n : 0;
        }
        if (err)
            return err;
        position += part;
        length -= part;
    }
    return 0;
}

static int bytes_copy(struct file *from, int to, const struct vdisk_progress *progress, uint64_t done, uint64_t total)
{
    void *buffer = aligned_alloc(4096, PART);
    uint64_t at = 0, data, hole;
    int err = buffer ? 0 : -ENOMEM;

    if (!err && ftruncate(to, (off_t)from->size) < 0)
        err = -errno;
    while (!err && at < from->size) {
        err = file_seek_data(from, at, &data, &hole);
        if (err || data >= from->size)
            break;
        if (hole - data > PART)
            hole = data + PART;
        err = part_copy(from, to, data, hole - data, buffer);
        at = hole;
        if (!err && disk_cancelled(progress))
            err = -ECANCELED;
        if (!err && progress && progress->step)
            progress->step(progress->arg, done + at < total ? done + at : total, total);
    }
    free(buffer);
    return err;
}

int move_file_copy(const struct vdisk *link, const char *path, const struct vdisk_progress *progress, uint64_t done,
                   uint64_t total)
{
    const struct vdisk_log *log = &link->log;
    char *temporary;
    int fd, err = 0;

    if (asprintf(&temporary, "%s.%u.tmp", path, (unsigned)getpid()) < 0)
        return -ENOMEM;
    fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        err = chain_error(log, -errno, "disk: %s: cannot be created: %s", path, strerror(errno));
        goto free_name;
    }
    if (link->file->fd < 0 || ioctl(fd, FICLONE, link->file->fd) < 0)
        err = bytes_copy(link->file, fd, progress, done, total);
    if (!err && fsync(fd) < 0)
        err = -errno;
    close(fd);
    if (!err && renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) < 0)
        err = -errno;
    if (err)
        unlink(temporary);
    if (err && err != -ECANCELED)
        chain_error(log, err, "disk: %s: cannot be copied to %s: %s", link->file->path, path, strerror(-err));
    if (!err)
        err = file_sync_directory(path);
free_name:
    free(temporary);
    return err;
}
