/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one place where bytes meet the storage: an image file as formats and the ring see it.
 *
 * A file's behaviour is a table of operations, so that a replayed log can be laid over a file that may not be written
 * (overlay) and a test can stand in for the storage (power cuts, faults). A file with a descriptor (fd >= 0) may be
 * read and written by the ring through the kernel; one without is driven through its operations.
 *
 * Units are bytes. Blocking. All functions may be called from several threads at once. 0 or -errno.
 */
#ifndef DISK_FILE_H
#define DISK_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "vdisk.h"

struct file;

struct file_ops {
    ssize_t (*preadv)(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position);
    ssize_t (*pwritev)(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position);
    int (*resize)(struct file *file, uint64_t size);
    int (*zero)(struct file *file, uint64_t position, uint64_t length, bool keep);
    int (*allocate)(struct file *file, uint64_t position, uint64_t length);
    int (*seek_data)(struct file *file, uint64_t position, uint64_t *data, uint64_t *hole); /* hole: NULL, not asked for */
    int (*sync)(struct file *file);
    void (*close)(struct file *file);
};

struct file {
    const struct file_ops *ops;
    struct file *beneath; /* of a view: the file whose bytes it shows; NULL: it is none */
    int fd; /* -1: not the kernel's */
    bool writable;
    bool in_memory; /* tmpfs: a transfer is a copy, and a queue for it costs more than the copy */
    /* Past the page cache (O_DIRECT): what buffers, and what positions and lengths, are multiples of. 0: not so. */
    unsigned direct_memory, direct_unit;
    char *path;
    struct vdisk_log log;
    uint64_t device, inode; /* identity, for cycles */
    _Atomic uint64_t size;
    _Atomic int failed; /* the first failed sync, for ever */
    _Atomic bool told_full; /* that its storage has no room was said, and since then no sync has succeeded */
};

#define FILE_WRITE 0x1u
#define FILE_CREATE 0x2u /* must not exist */
#define FILE_DEVICE 0x4u /* a block device is welcome too; otherwise regular files only */
#define FILE_DIRECT 0x8u /* past the page cache */
#define FILE_CLAIMED 0x10u /* this process has it open and has claimed it: whose locks are on it is not asked */

#define FILE_PEEK 0x20u    /* reading, whoever writes to it meanwhile: no lock is taken or asked for */

#define FILE_DIRECT_MAX 4096u /* no alignment that direct I/O asks for is larger */

/* Opens and locks. dir_fd: AT_FDCWD, or a directory that the path may not leave (and then symbolic links may not
 * either). The message names the file and what is wrong. */
int file_open(int dir_fd, const char *path, unsigned flags, const struct vdisk_log *log, struct file **file);

/* A file that was opened for reading becomes one that nobody else may open, for whoever opens it for writing next with
 * FILE_CLAIMED: -EBUSY, not said, where somebody else has it open. And what is open for writing a file like any that is
 * read, and back. Locks only (and file->writable); of views, those of the file beneath. */
int file_claim(struct file *file);
void file_yield(struct file *file);

/* The same file opened once more, for writing; it has been claimed. */
int file_reopen(struct file *file, struct file **fresh);

/* Takes its name away, durably. A file that has lost it already is no error; another one that bears it stays: -ESTALE.
 * A symbolic link to it stays, and leads nowhere. *gone: it has lost its name, and an error says only that it may have it again after a power cut. */
int file_remove(const struct file *file, bool *gone);

/* Gives what bears the name from the name to. -EEXIST: something bears that, and is not to be replaced. Not yet durable. */
int file_rename(const char *from, const char *to, bool replace);

/* The names in the directory that path is in are durable. */
int file_sync_directory(const char *path);

/* Takes a file whose operations are given (tests, layers): fields ops, size and writable are the caller's to set. */
void file_close(struct file *file); /* NULL is allowed */

/* The whole range or an error; past the end of the file is -ENODATA. */
int file_read(struct file *file, void *buffer, size_t length, uint64_t position);
int file_write(struct file *file, const void *buffer, size_t length, uint64_t position);

/* New space reads as zeros. */
int file_resize(struct file *file, uint64_t size);

/* The range reads as zeros (the file grows if need be). Gives the space back unless keep; writes zeros where the storage can do
 * neither. */
int file_zero(struct file *file, uint64_t position, uint64_t length, bool keep);

/* How much of the range, from its start, has no space at all, not even for what is to be written there (SEEK_HOLE finds that
 * too); 0 also where that cannot be told. */
uint64_t file_without_space(const struct file *file, uint64_t position, uint64_t length);

/* Reserves storage for the range, growing the file if need be; contents stay, new space reads as zeros. */
int file_allocate(struct file *file, uint64_t position, uint64_t length);

/* Copies a range to one that reads as zeros and that it does not overlap; holes stay holes. Adds to *moved (may be NULL)
 * what was copied. */
int file_copy_data(struct file *file, uint64_t from, uint64_t to, uint64_t length, uint64_t *moved);

/* The next data at or after position and the hole behind it (both at most the file's size; data == size: none). hole may be
 * NULL: long data is walked through for it, or all that is in the page cache.
 * Where the storage cannot say, everything is data. */
int file_seek_data(struct file *file, uint64_t position, uint64_t *data, uint64_t *hole);

/* Advice: what is in the page cache may begin to go to the storage now, so that a sync to come has less to wait for. */
void file_push(struct file *file);

/* Everything written before is durable. After a failure every later call fails: what the kernel dropped once, a
 * second call would call durable. */
int file_sync(struct file *file);

/* Says one sentence, "<who>: <path>: <text>", and returns error, so that a check is one statement:
 * return file_error(f, "vhdx", -EINVAL, "header at 0x%x: ...", ...). -ENOSPC is said once until the next sync: it
 * meets every write that is in flight, and those of a guest that goes on. */
int file_error(struct file *file, const char *who, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void file_say(const struct file *file, enum vdisk_level level, const char *who, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- Past the page cache: file_direct.c ---- */

/* Does the kernel take this transfer as it is? */
bool file_direct_takes(const struct file *file, const struct iovec *iov, int iovcnt, uint64_t position);

static inline bool file_takes(const struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    return file->direct_unit == 0 || file_direct_takes(file, iov, iovcnt, position);
}

/* One that it does not: through a buffer that it does, in part if it is large. A read may begin and end anywhere, a
 * write is whole units. */
ssize_t file_direct_read(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position);
ssize_t file_direct_write(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position);

/* ---- Layers ---- */

/* A read-only view of base with 4 KiB pages laid over it and a size of its own: a log replayed in memory. Takes base
 * on success. pages: page i covers file bytes [i * 4096, ...). */
struct file_overlay_page {
    uint64_t position; /* multiple of 4096 */
    uint8_t *data;     /* 4096 bytes, owned by the overlay from now on; NULL: zeros */
};
/* pages (malloced, each position once) becomes the overlay's on success. */
int file_overlay_open(struct file *base, struct file_overlay_page *pages, size_t count, uint64_t size,
                      struct file **file);

#endif
