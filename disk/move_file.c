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
#include "mutant.h"

#define PART (UINT64_C(1) << 20)

char *move_file_name(const char *directory, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *whole;

    return asprintf(&whole, "%s/%s", directory, slash ? slash + 1 : path) < 0 ? NULL : whole;
}

void move_tell(const struct move *m, uint64_t done)
{
    uint64_t all = m->files + done;

    if (m->progress && m->progress->step)
        m->progress->step(m->progress->arg, all < m->total ? all : m->total, m->total);
}

static int part_copy(struct file *from, struct file *to, uint64_t position, uint64_t length, void *buffer)
{
    while (length > 0) {
        size_t part = length < PART ? (size_t)length : PART;
        int err = file_read(from, buffer, part, position);

        if (!err)
            err = file_write(to, buffer, part, position);
        if (err)
            return err;
        position += part;
        length -= part;
    }
    return 0;
}

static int bytes_copy(struct move *m, struct file *from, struct file *to)
{
    void *buffer = aligned_alloc(4096, PART);
    uint64_t at = 0, data, hole;
    int err = buffer ? file_resize(to, from->size) : -ENOMEM;

    while (!err && at < from->size) {
        err = file_seek_data(from, at, &data, &hole);
        if (err || data >= from->size)
            break;
        if (hole - data > PART)
            hole = data + PART;
        err = part_copy(from, to, data, hole - data, buffer);
        at = hole;
        if (!err) {
            m->result.moved += hole - data;
            move_tell(m, at);
            pace_keep(&m->pace, m->result.moved, m->progress);
            err = disk_cancelled(m->progress) ? -ECANCELED : 0;
        }
    }
    free(buffer);
    return err;
}

/* All of it, durable, under a name that nobody looks for. */
static int whole_copy(struct move *m, struct file *from, const char *temporary)
{
    struct file *to;
    int err = file_open(AT_FDCWD, temporary, FILE_WRITE | FILE_CREATE, NULL, &to);

    if (err)
        return err;
    if (from->fd >= 0 && to->fd >= 0 && ioctl(to->fd, FICLONE, from->fd) == 0)
        m->result.shared += from->size;
    else
        err = bytes_copy(m, from, to);
    if (!err && !MUTANT("move-parent-unsynced"))
        err = file_sync(to);
    file_close(to);
    if (err)
        unlink(temporary);
    return err;
}

int move_file_copy(struct move *m, const struct vdisk *link, const char *path)
{
    char *temporary;
    int err;

    if (asprintf(&temporary, "%s.%u.tmp", path, (unsigned)getpid()) < 0)
        return -ENOMEM;
    err = whole_copy(m, link->file, temporary);
    if (!err) {
        err = file_rename(temporary, path, false);
        if (err) {
            unlink(temporary);
        } else {
            err = file_sync_directory(path);
            if (err)
                unlink(path);
        }
    }
    free(temporary);
    return err && err != -ECANCELED
               ? chain_error(&m->log, err, "disk: %s: cannot be copied to %s: %s", link->file->path, path, strerror(-err))
               : err;
}
