/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names and attributes. Inode 1 is the directory, inode i + 2 node i. Sizes never change, so the kernel may keep what it
 * is told for a long time; a name that is not there may be there later (partitions), so that it is not told to keep.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "export.h"

#define FIRST_NODE 2
#define KEEP 86400.0 /* seconds */
#define KEEP_SIZE 1.0 /* of a disk that may get another one */
#define BLOCK 4096
#define GOOD_LENGTH (128 << 10) /* of a read or write: nothing is read ahead where nothing is cached */

static const char attribute_pid[] = "user.vdisk.pid", attribute_report[] = "user.vdisk.report.";

bool node_add(struct export *export, const char *name, const char *type, uint64_t offset, uint64_t length)
{
    unsigned count = atomic_load_explicit(&export->nodes, memory_order_relaxed);

    if (count == EXPORT_NODES)
        return false;
    snprintf(export->node[count].name, sizeof(export->node->name), "%s", name);
    snprintf(export->node[count].type, sizeof(export->node->type), "%s", type);
    export->node[count].offset = offset;
    export->node[count].length = length;
    atomic_store_explicit(&export->nodes, count + 1, memory_order_release);
    return true;
}

static const struct node *node_of(struct export *export, fuse_ino_t ino)
{
    unsigned count = atomic_load_explicit(&export->nodes, memory_order_acquire);

    return ino >= FIRST_NODE && ino - FIRST_NODE < count ? &export->node[ino - FIRST_NODE] : NULL;
}

const struct node *node_file(struct export *export, fuse_ino_t ino)
{
    const struct node *node = node_of(export, ino);

    return node && !node_is_directory(node) ? node : NULL;
}

/* How much of it takes space is not known without reading the whole map. It is said to be a page less than the size:
 * whoever looks for holes then does (cp, tar), and nobody believes that it is empty. */
static blkcnt_t blocks(uint64_t length)
{
    return (blkcnt_t)((length > BLOCK ? length - BLOCK : length) / 512);
}

static void attributes(struct export *export, fuse_ino_t ino, struct stat *st)
{
    const struct node *node = node_of(export, ino);

    *st = (struct stat){
        .st_ino = ino,
        .st_uid = export->uid,
        .st_gid = export->gid,
        .st_blksize = GOOD_LENGTH,
        .st_atim = export->opened,
        .st_mtim = export->opened,
        .st_ctim = export->opened,
    };
    if (!node || node_is_directory(node)) {
        st->st_mode = S_IFDIR | 0500;
        st->st_nlink = 2;
        return;
    }
    st->st_mode = S_IFREG | (export->writable ? 0600 : 0400);
    st->st_nlink = 1;
    st->st_size = (off_t)node_length(export, node);
    st->st_blocks = blocks(node_length(export, node));
    if (atomic_load(&export->written) > 0)
        st->st_mtim.tv_sec = st->st_ctim.tv_sec = atomic_load(&export->written);
}

static double kept(const struct export *export)
{
    return export->writable ? KEEP_SIZE : KEEP;
}

void node_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct export *export = fuse_req_userdata(req);
    unsigned count = atomic_load_explicit(&export->nodes, memory_order_acquire);

    for (unsigned i = 0; parent == FUSE_ROOT_ID && i < count; i++) {
        struct fuse_entry_param entry = {.ino = FIRST_NODE + i, .attr_timeout = kept(export), .entry_timeout = KEEP};

        if (strcmp(export->node[i].name, name) != 0)
            continue;
        attributes(export, entry.ino, &entry.attr);
        fuse_reply_entry(req, &entry);
        return;
    }
    fuse_reply_err(req, ENOENT);
}

void node_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct export *export = fuse_req_userdata(req);
    struct stat st;

    (void)fi;
    attributes(export, ino, &st);
    fuse_reply_attr(req, &st, kept(export));
}

/* A disk keeps its size: cutting it to what it is, and new times, are agreed to and do nothing. */
void node_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int which, struct fuse_file_info *fi)
{
    struct export *export = fuse_req_userdata(req);
    const struct node *node = node_file(export, ino);
    int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW |
                FUSE_SET_ATTR_CTIME;

    if (which & ~(times | FUSE_SET_ATTR_SIZE) ||
        (which & FUSE_SET_ATTR_SIZE && (!node || (uint64_t)attr->st_size != node_length(export, node))))
        fuse_reply_err(req, EPERM);
    else
        node_getattr(req, ino, fi);
}

/* O_TRUNC is no request to cut (FUSE_CAP_ATOMIC_O_TRUNC): as with a block device it means nothing. The reply is put
 * together here because the library of this version has no word for parallel writes. */
void node_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct export *export = fuse_req_userdata(req);
    struct fuse_open_out out = {.open_flags = FOPEN_KEEP_CACHE};

    if (!node_file(export, ino)) {
        fuse_reply_err(req, EISDIR);
        return;
    }
    if (!export->writable && (fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, EROFS);
        return;
    }
    if (export->writable)
        out.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
    fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

void node_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct export *export = fuse_req_userdata(req);
    unsigned count = atomic_load_explicit(&export->nodes, memory_order_acquire);
    unsigned total = ino == FUSE_ROOT_ID ? count + 2 : 2;
    char buffer[4096];
    size_t used = 0;

    (void)fi;
    if (size > sizeof(buffer))
        size = sizeof(buffer);
    for (off_t i = offset; i >= 0 && (uint64_t)i < total; i++) {
        struct stat st = {.st_ino = i == 0 ? ino : FUSE_ROOT_ID, .st_mode = S_IFDIR};
        const char *name = i == 0 ? "." : "..";
        size_t need;

        if (i >= 2) {
            name = export->node[i - 2].name;
            attributes(export, (fuse_ino_t)i - 2 + FIRST_NODE, &st);
        }
        need = fuse_add_direntry(req, buffer + used, size - used, name, &st, i + 1);
        if (need > size - used)
            break;
        used += need;
    }
    fuse_reply_buf(req, buffer, used);
}

void node_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct export *export = fuse_req_userdata(req);
    struct statvfs st = {
        .f_bsize = BLOCK,
        .f_frsize = BLOCK,
        .f_blocks = vdisk_port_size(export->port) / BLOCK,
        .f_files = atomic_load(&export->nodes),
        .f_namemax = sizeof(export->node->name) - 1,
        .f_flag = export->writable ? 0 : ST_RDONLY,
    };

    (void)ino;
    fuse_reply_statfs(req, &st);
}

/* ---- Attributes by which `vdisk umount` finds this process ---- */

static void reply_value(fuse_req_t req, size_t size, const char *value, size_t length)
{
    if (size == 0)
        fuse_reply_xattr(req, length);
    else if (length > size)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, value, length);
}

/* Where the outcome is to be sent; the last that asks is told. Only the owner comes here (others are not let in, or not
 * heard), and the main thread reads it after all servers have ended. */
static int report_set(struct export *export, const struct fuse_ctx *who, const char *address)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    if (who->uid != export->uid && who->uid != 0)
        return -EPERM;
    if (strlen(address) >= sizeof(export->report))
        return -EINVAL;
    pthread_mutex_lock(&lock);
    snprintf(export->report, sizeof(export->report), "%s", address);
    pthread_mutex_unlock(&lock);
    return 0;
}

/* The address is a part of the name, and to read it is to set it: a mount for reading only takes nothing else. */
void node_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct export *export = fuse_req_userdata(req);
    char value[16] = "";
    int err = 0;

    if (ino == FUSE_ROOT_ID && strcmp(name, attribute_pid) == 0)
        snprintf(value, sizeof(value), "%d", (int)getpid());
    else if (ino == FUSE_ROOT_ID && strncmp(name, attribute_report, strlen(attribute_report)) == 0)
        err = report_set(export, fuse_req_ctx(req), name + strlen(attribute_report));
    else
        err = -ENODATA;
    if (err < 0)
        fuse_reply_err(req, -err);
    else
        reply_value(req, size, value, strlen(value));
}

void node_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    reply_value(req, size, attribute_pid, ino == FUSE_ROOT_ID ? sizeof(attribute_pid) : 0);
}
