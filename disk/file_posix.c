/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files of the kernel: opening, locking, and the operations as system calls.
 *
 * Locks are QEMU's, so that QEMU and we refuse each other's open images: open file description locks on single bytes.
 * A shared lock on byte 100 + n says "I use permission n", one on byte 200 + n says "nobody else may". Permissions:
 * 0 consistent read, 1 write, 3 resize.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "file.h"
#include "mutant.h"

#define LOCK_USED 100
#define LOCK_UNSHARED 200
#define PERM_READ 0x1u
#define PERM_WRITE 0x2u
#define PERM_RESIZE 0x8u

static ssize_t posix_preadv(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    ssize_t n;

    if (!file_takes(file, iov, iovcnt, position))
        return file_direct_read(file, iov, iovcnt, position);
    n = iovcnt == 1 ? pread(file->fd, iov->iov_base, iov->iov_len, (off_t)position)
                    : preadv(file->fd, iov, iovcnt, (off_t)position);
    return n < 0 ? -errno : n;
}

static ssize_t posix_pwritev(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    ssize_t n;

    if (!file_takes(file, iov, iovcnt, position))
        return file_direct_write(file, iov, iovcnt, position);
    n = iovcnt == 1 ? pwrite(file->fd, iov->iov_base, iov->iov_len, (off_t)position)
                    : pwritev(file->fd, iov, iovcnt, (off_t)position);
    return n < 0 ? -errno : n;
}

static int posix_resize(struct file *file, uint64_t size)
{
    return ftruncate(file->fd, (off_t)size) < 0 ? -errno : 0;
}

static int posix_zero(struct file *file, uint64_t position, uint64_t length, bool keep)
{
    int mode = FALLOC_FL_KEEP_SIZE | (keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);

    if (fallocate(file->fd, mode, (off_t)position, (off_t)length) == 0)
        return 0;
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV || errno == EINVAL)
        return -EOPNOTSUPP;
    return -errno;
}

/* Where the storage cannot reserve, growing is all there is. */
static int posix_allocate(struct file *file, uint64_t position, uint64_t length)
{
    if (fallocate(file->fd, 0, (off_t)position, (off_t)length) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return -errno;
    return position + length > file->size ? posix_resize(file, position + length) : 0;
}

static int posix_seek_data(struct file *file, uint64_t position, uint64_t *data, uint64_t *hole)
{
    off_t at = lseek(file->fd, (off_t)position, SEEK_DATA), end = at;
    struct stat st;

    if (at < 0 && errno == ENXIO) { /* what somebody has cut off is no hole: who reads it is to hear of that */
        if (fstat(file->fd, &st) < 0 || (uint64_t)st.st_size < file->size)
            return -EOPNOTSUPP;
        at = end = (off_t)file->size;
    } else if (at >= 0 && hole) {
        end = lseek(file->fd, at, SEEK_HOLE);
    }
    if (at < 0 || end < 0) /* ENXIO: the data has gone meanwhile */
        return errno == EINVAL || errno == ENXIO ? -EOPNOTSUPP : -errno;
    *data = (uint64_t)at;
    if (hole)
        *hole = (uint64_t)end;
    return 0;
}

uint64_t file_without_space(const struct file *file, uint64_t position, uint64_t length)
{
    union {
        struct fiemap map;
        char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
    } found = {.map = {.fm_start = position, .fm_length = length, .fm_extent_count = 1}};
    const struct fiemap_extent *first = found.map.fm_extents;

    if (file->fd < 0 || ioctl(file->fd, FS_IOC_FIEMAP, &found) < 0)
        return 0;
    if (found.map.fm_mapped_extents == 0)
        return length;
    return first->fe_logical > position ? first->fe_logical - position : 0;
}

static int posix_sync(struct file *file)
{
    return fdatasync(file->fd) < 0 ? -errno : 0;
}

void file_push(struct file *file)
{
    if (file->fd >= 0 && !file->in_memory && file->direct_unit == 0)
        sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static void posix_close(struct file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    free(file);
}

static const struct file_ops posix_ops = {
    .preadv = posix_preadv,
    .pwritev = posix_pwritev,
    .resize = posix_resize,
    .zero = posix_zero,
    .allocate = posix_allocate,
    .seek_data = posix_seek_data,
    .sync = posix_sync,
    .close = posix_close,
};

static int lock_byte(int fd, off_t byte, bool lock_it)
{
    struct flock lock = {.l_type = lock_it ? F_RDLCK : F_UNLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* Does anybody else hold a lock on this byte? */
static int test_byte(int fd, off_t byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type == F_UNLCK ? 0 : -EBUSY;
}

/* First says what this open uses and does not share, then looks whether others said the opposite: two that meet both
 * see each other. What was said before and is not any more is taken back. */
static int lock_image(int fd, bool writable, bool look)
{
    unsigned used = PERM_READ | (writable ? PERM_WRITE | PERM_RESIZE : 0), unshared = PERM_WRITE | PERM_RESIZE;
    int err = 0;

    for (int n = 0; n < 4 && !err; n++) {
        err = lock_byte(fd, LOCK_USED + n, used & 1u << n);
        if (!err && unshared & 1u << n)
            err = lock_byte(fd, LOCK_UNSHARED + n, true);
    }
    for (int n = 0; look && n < 4 && !err; n++) {
        if (used & 1u << n)
            err = test_byte(fd, LOCK_UNSHARED + n);
        if (!err && unshared & 1u << n)
            err = test_byte(fd, LOCK_USED + n);
    }
    return err;
}

static int open_descriptor(int dir_fd, const char *path, unsigned flags)
{
    /* Not blocking: a FIFO must not hang us before we have seen that it is one. */
    int mode = (flags & FILE_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    struct open_how how = {.flags = (uint64_t)mode,
                           .resolve = MUTANT("parent-anywhere") ? 0 : RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd;

    if (flags & FILE_CREATE)
        mode |= O_CREAT | O_EXCL;
    else if (flags & FILE_DEVICE && flags & FILE_WRITE && !MUTANT("device-shared"))
        mode |= O_EXCL; /* of a block device: nobody has mounted it, or opened it so. Of a file it means nothing */
    if (dir_fd == AT_FDCWD)
        fd = open(path, mode, 0666);
    else
        fd = (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
    if (fd < 0)
        return -errno;
    /* io_uring and pipes of our own would take the flag for "never wait". */
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

/* The size, and the refusal of everything that is not storage. */
static int look_at(struct file *file, unsigned flags)
{
    struct stat st;
    struct statfs fs;

    if (fstat(file->fd, &st) < 0)
        return file_error(file, "file", -errno, "cannot read its attributes: %s", strerror(errno));
    file->device = st.st_dev;
    file->inode = st.st_ino;
    file->in_memory = fstatfs(file->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
    if (S_ISREG(st.st_mode)) {
        file->size = (uint64_t)st.st_size;
    } else if (S_ISBLK(st.st_mode) && flags & FILE_DEVICE) {
        uint64_t bytes;

        if (ioctl(file->fd, BLKGETSIZE64, &bytes) < 0)
            return file_error(file, "file", -errno, "cannot read the device's size: %s", strerror(errno));
        file->size = bytes;
    } else {
        return file_error(file, "file", -EINVAL, "is not a regular file%s",
                          flags & FILE_DEVICE ? " or block device" : "");
    }
    return 0;
}

/* A file in memory has no cache to pass by. */
static int go_direct(struct file *file)
{
    struct statx st;

    if (file->in_memory)
        return 0;
    if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) < 0)
        return file_error(file, "file", -errno, "cannot read its attributes: %s", strerror(errno));
    if (!(st.stx_mask & STATX_DIOALIGN) || st.stx_dio_offset_align == 0 || st.stx_dio_mem_align == 0 ||
        st.stx_dio_offset_align > FILE_DIRECT_MAX || st.stx_dio_mem_align > FILE_DIRECT_MAX ||
        fcntl(file->fd, F_SETFL, fcntl(file->fd, F_GETFL) | O_DIRECT) < 0)
        return file_error(file, "file", -EINVAL, "its storage has no direct I/O");
    file->direct_memory = st.stx_dio_mem_align;
    file->direct_unit = st.stx_dio_offset_align;
    return 0;
}

static int prepare(struct file *file, int dir_fd, unsigned flags)
{
    int err;

    file->fd = open_descriptor(dir_fd, file->path, flags);
    if (file->fd < 0)
        return file_error(file, "file", file->fd, "cannot open for %s: %s", flags & FILE_WRITE ? "writing" : "reading",
                          file->fd == -EXDEV   ? "leaves the directory"
                          : file->fd == -EBUSY ? "is in use: it is mounted, part of another device, or open for writing"
                                               : strerror(-file->fd));
    err = look_at(file, flags);
    if (err)
        return err;
    err = flags & FILE_DIRECT ? go_direct(file) : 0;
    if (err)
        return err;
    err = flags & FILE_PEEK ? 0 : lock_image(file->fd, flags & FILE_WRITE, !(flags & FILE_CLAIMED));
    if (err == -EBUSY || err == -EAGAIN || err == -EACCES)
        return file_error(file, "file", -EBUSY, "is in use: %s",
                          flags & FILE_WRITE ? "another process has it open"
                                             : "another process has it open for writing");
    if (err && err != -EINVAL && err != -EOPNOTSUPP && err != -ENOLCK)
        return file_error(file, "file", err, "cannot lock: %s", strerror(-err));
    return 0;
}

int file_claim(struct file *file)
{
    struct file *locked = file;
    int err;

    while (locked->beneath)
        locked = locked->beneath;
    err = locked->ops == &posix_ops ? lock_image(locked->fd, true, true) : 0;
    if (err == -EINVAL || err == -EOPNOTSUPP || err == -ENOLCK)
        return 0; /* as where it was opened: there are no locks here */
    if (err)
        file_yield(file);
    return err == -EAGAIN || err == -EACCES ? -EBUSY : err;
}

void file_yield(struct file *file)
{
    while (file->beneath)
        file = file->beneath;
    if (file->ops == &posix_ops)
        lock_image(file->fd, false, false);
}

int file_open(int dir_fd, const char *path, unsigned flags, const struct vdisk_log *log, struct file **file)
{
    struct file *f = calloc(1, sizeof(*f));
    int err = -ENOMEM;

    if (!f)
        return -ENOMEM;
    f->ops = &posix_ops;
    f->fd = -1;
    f->writable = flags & FILE_WRITE;
    if (log)
        f->log = *log;
    f->path = strdup(path);
    if (f->path)
        err = prepare(f, dir_fd, flags);
    if (err) {
        file_close(f);
        return err;
    }
    *file = f;
    return 0;
}

/* By its descriptor: it may have another name by now, and the process another directory. */
int file_reopen(struct file *file, struct file **fresh)
{
    char link[40];
    struct file *base = file, *f;
    int err;

    while (base->beneath)
        base = base->beneath;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", base->fd);
    err = file_open(AT_FDCWD, link, FILE_WRITE | FILE_CLAIMED | (base->direct_unit ? FILE_DIRECT : 0), NULL, &f);
    if (err)
        return file_error(file, "file", err, "cannot open for writing: %s", strerror(-err));
    f->log = file->log;
    free(f->path);
    f->path = strdup(file->path);
    if (!f->path || f->device != file->device || f->inode != file->inode) {
        err = f->path ? -ESTALE : -ENOMEM;
        file_close(f);
        return file_error(file, "file", err, "cannot open for writing: %s", strerror(-err));
    }
    *fresh = f;
    return 0;
}

/* The one that the path is in; or -errno. */
static int directory_open(const char *path)
{
    char *copy = strdup(path);
    int fd;

    if (!copy)
        return -ENOMEM;
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        fd = -errno;
    free(copy);
    return fd;
}

static int directory_sync(int fd)
{
    return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

/* NFS, and what others make by FUSE, cannot be told not to replace. A link is made over nothing. */
int file_rename(const char *from, const char *to, bool replace)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, replace ? 0 : RENAME_NOREPLACE) == 0)
        return 0;
    if (replace || (errno != EINVAL && errno != ENOSYS) || MUTANT("rename-not-by-link"))
        return -errno;
    if (link(from, to) < 0)
        return -errno;
    unlink(from); /* it has its name; where this fails it has two */
    return 0;
}

int file_sync_directory(const char *path)
{
    int fd = directory_open(path), err;

    if (fd < 0)
        return fd;
    err = directory_sync(fd);
    close(fd);
    return err;
}

/* real: its path without symbolic links. */
static int remove_real(const struct file *file, const char *real, bool *gone)
{
    struct stat st;
    int fd, err = 0;

    if (lstat(real, &st) < 0)
        return -errno;
    if (st.st_dev != file->device || st.st_ino != file->inode || !S_ISREG(st.st_mode))
        return -ESTALE;
    fd = directory_open(real); /* what can fail before fails before */
    if (fd < 0)
        return fd;
    if (unlink(real) < 0)
        err = -errno;
    *gone = !err;
    if (!err)
        err = directory_sync(fd);
    close(fd);
    return err;
}

int file_remove(const struct file *file, bool *gone)
{
    char *real = realpath(file->path, NULL);
    int err;

    *gone = !real && errno == ENOENT;
    if (!real)
        return *gone ? 0 : -errno;
    err = remove_real(file, real, gone);
    free(real);
    return err;
}
