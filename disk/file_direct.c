/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Past the page cache: transfers that the kernel does not take as they are go through a buffer that it does.
 *
 * Everything of a file goes past the cache, or nothing: cached and direct writes that meet in one page lose one of them.
 * Nor is a part of a unit ever written, which would write its neighbour's older bytes with it. No format needs that: a
 * disk opens only where the storage's unit is no larger than its sector.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

#define WINDOW (UINT64_C(256) << 10) /* at a time */

bool file_direct_takes(const struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    if (position % file->direct_unit)
        return false;
    for (int i = 0; i < iovcnt; i++)
        if ((uintptr_t)iov[i].iov_base % file->direct_memory || iov[i].iov_len % file->direct_unit)
            return false;
    return true;
}

/* Copies at most length bytes between buffer and the vector; returns how many. */
static uint64_t copy(char *buffer, const struct iovec *iov, int iovcnt, uint64_t length, bool gather)
{
    uint64_t copied = 0;

    for (int i = 0; i < iovcnt && copied < length; i++) {
        size_t part = iov[i].iov_len < length - copied ? iov[i].iov_len : (size_t)(length - copied);

        if (gather)
            memcpy(buffer + copied, iov[i].iov_base, part);
        else
            memcpy(iov[i].iov_base, buffer + copied, part);
        copied += part;
    }
    return copied;
}

static uint64_t total(const struct iovec *iov, int iovcnt)
{
    uint64_t bytes = 0;

    for (int i = 0; i < iovcnt; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

ssize_t file_direct_read(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    uint64_t skip = position % file->direct_unit, length = skip + total(iov, iovcnt);
    char *buffer = aligned_alloc(FILE_DIRECT_MAX, WINDOW);
    ssize_t n;

    if (!buffer)
        return -ENOMEM;
    length = (length + file->direct_unit - 1) / file->direct_unit * file->direct_unit;
    n = pread(file->fd, buffer, length < WINDOW ? length : WINDOW, (off_t)(position - skip));
    if (n < 0)
        n = -errno;
    else
        n = (uint64_t)n > skip ? (ssize_t)copy(buffer + skip, iov, iovcnt, (uint64_t)n - skip, false) : 0;
    free(buffer);
    return n;
}

ssize_t file_direct_write(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    uint64_t length = total(iov, iovcnt);
    char *buffer;
    ssize_t n;

    if (position % file->direct_unit || length % file->direct_unit)
        return -EINVAL;
    buffer = aligned_alloc(FILE_DIRECT_MAX, WINDOW);
    if (!buffer)
        return -ENOMEM;
    length = copy(buffer, iov, iovcnt, length < WINDOW ? length : WINDOW, true);
    n = pwrite(file->fd, buffer, length, (off_t)position);
    if (n < 0)
        n = -errno;
    free(buffer);
    return n;
}
