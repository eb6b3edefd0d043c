/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file that FUSE serves from nothing: each read gets the same bytes at once, what is written is dropped. One thread of
 * libfuse's own loop, two system calls a request: what the kernel and the protocol leave to any server.
 *
 *     fuse_floor DIR SIZE      serves DIR/disk in the background until it is unmounted
 */
#define FUSE_USE_VERSION 312
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRANSFER (1u << 20)
#define FILE_INO 2
#define KEEP 86400.0 /* seconds */

static char bytes[TRANSFER];
static off_t file_size;

static struct stat attributes(fuse_ino_t ino)
{
    bool file = ino == FILE_INO;

    return (struct stat){
        .st_ino = ino,
        .st_mode = file ? S_IFREG | 0600 : S_IFDIR | 0500,
        .st_nlink = 1,
        .st_size = file ? file_size : 0,
    };
}

static void lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {
        .ino = FILE_INO, .attr = attributes(FILE_INO), .attr_timeout = KEEP, .entry_timeout = KEEP};

    if (parent == FUSE_ROOT_ID && strcmp(name, "disk") == 0)
        fuse_reply_entry(req, &entry);
    else
        fuse_reply_err(req, ENOENT);
}

static void getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st = attributes(ino);

    (void)fi;
    fuse_reply_attr(req, &st, KEEP);
}

static void open_file(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fi->direct_io = 1;
    fuse_reply_open(req, fi);
}

static void read_file(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    (void)ino;
    (void)offset;
    (void)fi;
    fuse_reply_buf(req, bytes, size < TRANSFER ? size : TRANSFER);
}

static void write_file(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    (void)ino;
    (void)data;
    (void)offset;
    (void)fi;
    fuse_reply_write(req, size);
}

static void init(void *data, struct fuse_conn_info *connection)
{
    (void)data;
    connection->max_write = connection->max_read = TRANSFER;
    connection->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static const struct fuse_lowlevel_ops operations = {
    .init = init,
    .lookup = lookup,
    .getattr = getattr,
    .open = open_file,
    .read = read_file,
    .write = write_file,
};

int main(int argc, char **argv)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session;
    int err;

    file_size = argc == 3 ? strtoll(argv[2], NULL, 10) : 0;
    if (file_size <= 0) {
        fprintf(stderr, "fuse_floor DIR SIZE\n");
        return EXIT_FAILURE;
    }
    if (fuse_opt_add_arg(&args, "fuse_floor") < 0 || fuse_opt_add_arg(&args, "-omax_read=1048576") < 0)
        return EXIT_FAILURE;
    session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
    fuse_opt_free_args(&args);
    if (!session || fuse_session_mount(session, argv[1]) < 0)
        return EXIT_FAILURE;
    err = fuse_daemonize(0) < 0 ? -1 : fuse_session_loop(session);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
