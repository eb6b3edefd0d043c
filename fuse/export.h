/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk as files: "disk" is the whole of it, "p1" and so on are its partitions, all windows on the same bytes.
 *
 * Threads. Each of a few threads takes requests from the kernel, has a ring of its own, and sleeps only where it waits
 * for both (server.c). A request lives in a slot of the thread that took it, from the message to the reply; only that
 * thread touches it. What threads share: the table of nodes (it only grows), the lock of ranges.
 *
 * Nothing is cached while the disk may change: two files may show the same bytes, and each must show the newest.
 */
#ifndef FUSE_EXPORT_H
#define FUSE_EXPORT_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "disk/vdisk.h"
#include "range.h"

#define EXPORT_TRANSFER (1u << 20) /* bytes of the largest read or write */
#define EXPORT_NODES 200           /* files and directories; what a table has beyond is not shown */
#define EXPORT_SERVERS 8

/* A file, or a directory to mount a file system on. */
struct node {
    char name[16];
    char type[16]; /* of the file system; empty: a file */
    uint64_t offset, length; /* of the disk */
};

struct export {
    struct vdisk_port *port;
    bool writable;
    uint64_t sector_size;
    struct fuse_session *session;
    char report[108]; /* an abstract socket's name: who wants to know how it ended */

    struct node node[EXPORT_NODES];
    _Atomic unsigned nodes; /* those below this are there and do not change */
    uid_t uid;
    gid_t gid;
    struct timespec opened;
    _Atomic int64_t written; /* seconds: the last change */

    struct range_lock lock; /* of the disk's ranges, among writers */

    atomic_bool stopping; /* threads must end */
    int stop;             /* eventfd: readable since then */
    int over; /* eventfd: readable when the kernel has let go of the mount */
    unsigned servers, threads; /* that there are; the first of them that run */
    struct server *server[EXPORT_SERVERS];
    atomic_uint listening; /* the first of them take messages (server.c) */
    atomic_bool helped;    /* one that is not the first has taken a message */
    atomic_uint longs;     /* requests that may keep their threads waiting */
};

/* ---- node.c: names and attributes ---- */

/* Publishes a node; false: there is no room. One thread. */
bool node_add(struct export *export, const char *name, const char *type, uint64_t offset, uint64_t length);

static inline bool node_is_directory(const struct node *node)
{
    return node->type[0] != '\0';
}

/* How long the file is. That of the whole disk changes with it. */
static inline uint64_t node_length(const struct export *export, const struct node *node)
{
    return node == &export->node[0] ? vdisk_port_size(export->port) : node->length;
}

/* The node of an inode that is a file, or NULL. */
const struct node *node_file(struct export *export, fuse_ino_t ino);

void node_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void node_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void node_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int which, struct fuse_file_info *fi);
void node_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void node_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void node_statfs(fuse_req_t req, fuse_ino_t ino);
void node_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void node_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);

/* ---- request.c: bytes. In a server's thread. ---- */

void request_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void request_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                   struct fuse_file_info *fi);
void request_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void request_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                       struct fuse_file_info *fi);
void request_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi);

/* ---- server.c: threads ---- */

/* A request in work. */
struct slot {
    struct vdisk_io io; /* first: its done finds the slot by it */
    struct slot *next;  /* free, or granted */
    struct server *server;
    struct export *export;
    fuse_req_t req;
    struct range range;
    uint8_t *memory;  /* all of what follows */
    uint8_t *message; /* as the kernel sends it, so placed that a write's bytes stand at data */
    uint8_t *data;    /* page-aligned: room for the largest transfer and a sector on either side */
    uint8_t *edge;    /* two sectors */
    struct iovec iov[3];
    void (*done)(struct slot *slot, int error); /* of the io */
    int step;
    bool zero;                /* FALLOCATE; otherwise a write */
    bool durable;             /* a write that is durable when it is done */
    const char *payload;      /* in message */
    uint64_t offset, length;  /* of the disk, as asked */
};

/* The slot whose message this thread handles, made the owner of the request: server_done gives it back. */
struct slot *server_slot(fuse_req_t req);
void server_done(struct slot *slot);

/* Submits slot->io; slot->done is called when it is done. */
void server_submit(struct slot *slot);

/* A range was granted, on whatever thread: the slot's thread goes on with it by request_granted. */
void server_granted(struct slot *slot);
void request_granted(struct slot *slot);

/* From begin to end a request may keep its thread waiting: others take what comes meanwhile. */
void server_begin_long(struct export *export);
void server_end_long(struct export *export);

/* Returns when no io of this thread is in flight: until then it may not block on the disk's metadata. */
void server_drain(void);

int server_start(struct export *export);
void server_stop(struct export *export); /* joins; what was taken is answered first */

/* ---- partition.c, filesystem.c. Main thread, while the mount is served. ---- */

/* Adds p1.. for the partitions, and with filesystems fs, fs1.. for what may be mounted; reads DIR/disk. */
int partition_add_all(struct export *export, const char *directory, bool filesystems);

/* Mounts DIR/disk or DIR/pN on each fs directory. -ENOENT: there is none. 0: at least one is mounted. */
int filesystem_mount_all(struct export *export, const char *directory);
void filesystem_unmount_all(const struct export *export, const char *directory);

/* overlay.c: opens a temporary child of the image for writing; its name is gone when this returns. */
int overlay_open(const char *image, const struct vdisk_open_options *options, struct vdisk **disk);

/* message.c */
void message_print(void *arg, enum vdisk_level level, const char *text);
#define MESSAGE_LOG {message_print, NULL} /* of a disk */

extern bool message_quiet, message_verbose;

void message_say(enum vdisk_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
unsigned message_errors(void); /* said so far */
void message_to_system(void);  /* from now on to syslog: there is no terminal any more */

#endif
