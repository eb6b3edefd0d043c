/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Image files: whole transfers over a file's operations, and messages that name the file. The operations of a file
 * of the kernel are in file_posix.c.
 */
#include "file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mutant.h"

void file_close(struct file *file)
{
    if (file)
        file->ops->close(file);
}

/* Moves the range in as many steps as the storage takes. A read that ends early ends the file. */
static int transfer(struct file *file, bool write, void *buffer, size_t length, uint64_t position)
{
    struct iovec iov = {buffer, length};

    while (iov.iov_len > 0) {
        ssize_t n = write ? file->ops->pwritev(file, &iov, 1, position) : file->ops->preadv(file, &iov, 1, position);

        if ((n == -EINTR || n == -EAGAIN) && !MUTANT("file-again-is-an-error"))
            continue;
        if (n < 0)
            return (int)n;
        if (n == 0)
            return write ? -EIO : -ENODATA;
        iov.iov_base = (char *)iov.iov_base + n;
        iov.iov_len -= MUTANT("file-short-taken") ? iov.iov_len : (size_t)n;
        position += (uint64_t)n;
    }
    return 0;
}

int file_read(struct file *file, void *buffer, size_t length, uint64_t position)
{
    return transfer(file, false, buffer, length, position);
}

int file_write(struct file *file, const void *buffer, size_t length, uint64_t position)
{
    uint64_t end = position + length, size = file->size;
    int err = transfer(file, true, (void *)buffer, length, position);

    while (!err && size < end && !atomic_compare_exchange_weak(&file->size, &size, end))
        ;
    return err;
}

int file_resize(struct file *file, uint64_t size)
{
    int err;

    do
        err = file->ops->resize(file, size);
    while (err == -EINTR);
    if (!err)
        file->size = size;
    return err;
}

/* What no operation of the storage can make zero is written. */
static int write_zeros(struct file *file, uint64_t position, uint64_t length)
{
    static const char zeros[65536];

    while (length > 0) {
        size_t part = length < sizeof(zeros) ? (size_t)length : sizeof(zeros);
        int err = file_write(file, zeros, part, position);

        if (err)
            return err;
        position += part;
        length -= part;
    }
    return 0;
}

int file_zero(struct file *file, uint64_t position, uint64_t length, bool keep)
{
    int err = position + length > file->size ? file_resize(file, position + length) : 0;

    if (err || length == 0)
        return err;
    do
        err = file->ops->zero(file, position, length, keep);
    while (err == -EINTR);
    return err == -EOPNOTSUPP ? write_zeros(file, position, length) : err;
}

int file_allocate(struct file *file, uint64_t position, uint64_t length)
{
    uint64_t end = position + length;
    int err;

    do
        err = file->ops->allocate(file, position, length);
    while (err == -EINTR);
    if (!err && file->size < end)
        file->size = end;
    return err;
}

int file_seek_data(struct file *file, uint64_t position, uint64_t *data, uint64_t *hole)
{
    uint64_t size = file->size;
    int err;

    *data = position < size ? position : size;
    if (hole)
        *hole = size;
    if (position >= size)
        return 0;
    err = file->ops->seek_data(file, position, data, hole);
    return err == -EOPNOTSUPP ? 0 : err;
}

int file_sync(struct file *file)
{
    int err = file->failed;

    if (err)
        return err;
    do
        err = MUTANT("sync-skipped") ? 0 : file->ops->sync(file);
    while (err == -EINTR); /* it was not tried to the end: nothing was dropped */
    if (err && !MUTANT("sync-retried"))
        file->failed = err;
    if (!err)
        file->told_full = false;
    return err;
}

static void say(const struct file *file, enum vdisk_level level, const char *who, const char *format, va_list args)
{
    char text[1024];
    int n;

    if (!file->log.print)
        return;
    n = snprintf(text, sizeof(text), "%s: %s: ", who, file->path);
    if (n > 0 && (size_t)n < sizeof(text))
        vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
    for (char *c = text; *c; c++) /* the names in it are the file's words */
        *c = *c == '\n' ? ' ' : *c;
    file->log.print(file->log.arg, level, text);
}

int file_error(struct file *file, const char *who, int error, const char *format, ...)
{
    va_list args;

    if (error == -ENOSPC && atomic_exchange(&file->told_full, true))
        return error;
    va_start(args, format);
    say(file, VDISK_ERROR, who, format, args);
    va_end(args);
    return error;
}

void file_say(const struct file *file, enum vdisk_level level, const char *who, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(file, level, who, format, args);
    va_end(args);
}

#define COPY_BYTES (1u << 20)

int file_copy_data(struct file *file, uint64_t from, uint64_t to, uint64_t length, uint64_t *moved)
{
    uint8_t *buffer = aligned_alloc(FILE_DIRECT_MAX, COPY_BYTES);
    int err = buffer ? 0 : -ENOMEM;

    for (uint64_t at = 0; at < length && !err;) {
        uint64_t data, hole, part;

        err = file_seek_data(file, from + at, &data, &hole);
        if (err || data >= from + length)
            break;
        if (data > from + at)
            at = data - from;
        part = hole < from + length ? hole - data : from + length - data;
        part = part < COPY_BYTES ? part : COPY_BYTES;
        err = file_read(file, buffer, part, from + at);
        if (!err)
            err = file_write(file, buffer, part, to + at);
        at += part;
        if (moved)
            *moved += part;
    }
    free(buffer);
    return err;
}
