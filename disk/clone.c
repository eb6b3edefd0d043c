/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sharing blocks (FICLONERANGE: XFS, btrfs), or a file server's own copy (copy_file_range). On other file systems
 * copy_file_range moves bytes like we do, without finding the zeros among them: there it is not used.
 *
 * The range gets its home and is published like any write, inside the epoch, so that a drop at the same time waits
 * before it gives the home away.
 */
#include "clone.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "engine.h"

#define SHARE_MAX (UINT64_C(1) << 30) /* at a time: what a cancel waits for */
#define SERVER_MAX (UINT64_C(64) << 20)

#ifndef CIFS_SUPER_MAGIC
#define CIFS_SUPER_MAGIC 0xFF534D42
#endif
#ifndef SMB2_SUPER_MAGIC
#define SMB2_SUPER_MAGIC 0xFE534D42
#endif
#ifndef CEPH_SUPER_MAGIC
#define CEPH_SUPER_MAGIC 0x00c36400
#endif

static bool is_server(const struct statfs *fs)
{
    static const uint32_t magics[] = {NFS_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC, CEPH_SUPER_MAGIC};

    for (size_t i = 0; i < sizeof(magics) / sizeof(*magics); i++)
        if ((uint32_t)fs->f_type == magics[i])
            return true;
    return false;
}

/* The way that the file system has. Sharing is asked for with a range onto itself: where it exists at all, that is
 * -EINVAL. */
static enum clone_way way_on(int fd)
{
    struct file_clone_range itself = {.src_fd = fd, .src_length = 1};
    struct statfs fs;

    if (ioctl(fd, FICLONERANGE, &itself) == 0 || errno == EINVAL)
        return CLONE_SHARE;
    return fstatfs(fd, &fs) == 0 && is_server(&fs) ? CLONE_SERVER : CLONE_NOT;
}

/* Between regular files only, and from a source that stays as it is: its links are open read-only, with a lock against
 * writers. */
static enum clone_way way_of(struct vdisk *source, struct vdisk *target, bool held)
{
    struct stat st;

    for (struct vdisk *link = source; link; link = link->parent)
        if (link->writable && !held)
            return CLONE_NOT;
    if (target->file->fd < 0 || target->file->in_memory || fstat(target->file->fd, &st) < 0 || !S_ISREG(st.st_mode))
        return CLONE_NOT;
    return way_on(target->file->fd);
}

int clone_open(struct vdisk *source, struct vdisk *target, bool held, struct clone **clone)
{
    struct clone *c = calloc(1, sizeof(*c));
    struct statfs fs;

    if (!c)
        return -ENOMEM;
    c->target = target;
    c->way = way_of(source, target, held);
    if (c->way != CLONE_NOT && fstatfs(target->file->fd, &fs) < 0)
        c->way = CLONE_NOT;
    if (c->way != CLONE_NOT)
        c->unit = (uint64_t)fs.f_bsize;
    if (c->way != CLONE_NOT && (c->unit == 0 || c->unit > UINT32_MAX))
        c->way = CLONE_NOT;
    *clone = c;
    return 0;
}

void clone_close(struct clone *clone)
{
    free(clone);
}

/* Errors that say "not like this": the bytes are moved instead, and what is really wrong shows then. */
static bool is_refusal(int error)
{
    return error == EOPNOTSUPP || error == ENOTTY || error == EXDEV || error == EINVAL || error == ENOSYS ||
           error == EPERM || error == EBADF || error == ETXTBSY;
}

/* Returns as clone_range. */
static int64_t give(const struct clone *clone, uint64_t to, uint64_t length, const struct file *file, uint64_t from)
{
    struct file *target = clone->target->file;
    ssize_t n;

    if (clone->way == CLONE_SHARE) {
        struct file_clone_range range = {.src_fd = file->fd, .src_offset = from, .dest_offset = to};

        length -= length % clone->unit;
        if (length > SHARE_MAX)
            length = SHARE_MAX - SHARE_MAX % clone->unit;
        if (length == 0 || to % clone->unit || from % clone->unit)
            return 0;
        range.src_length = length;
        n = ioctl(target->fd, FICLONERANGE, &range) < 0 ? -1 : (ssize_t)length;
    } else {
        off_t in = (off_t)from, out = (off_t)to;

        n = copy_file_range(file->fd, &in, target->fd, &out, length < SERVER_MAX ? length : SERVER_MAX, 0);
    }
    if (n >= 0)
        return n - n % clone->target->sector_size;
    if (is_refusal(errno))
        return 0;
    return disk_error(clone->target, -errno, "cannot be given %llu bytes of %s at 0x%llx: %s",
                      (unsigned long long)length, file->path, (unsigned long long)to, strerror(errno));
}

int64_t clone_range(struct clone *clone, uint64_t offset, uint64_t length, struct file *file, uint64_t position)
{
    struct vdisk *disk = clone->target;
    struct disk_extent extent;
    unsigned parity;
    int64_t done;
    int err;

    /* Before the range gets a home that nothing may be written to. */
    if (clone->way == CLONE_NOT || file->fd < 0 || file->device != disk->file->device)
        return 0;
    if (clone->way == CLONE_SHARE ? position % clone->unit != offset % clone->unit || length < clone->unit
                                  : file->direct_unit || disk->file->direct_unit)
        return 0;
    if (disk_failure(disk))
        return disk_failure(disk);
    err = engine_home(disk, offset, length, &extent, &parity);
    if (err)
        return err;
    done = give(clone, extent.position, extent.length, file, position);
    if (done > 0 && extent.publish)
        disk->format->publish(disk, offset, (uint64_t)done, extent.position);
    epoch_leave(&disk->epoch, EPOCH_WORKER, parity);
    return done;
}
