/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdisk-fuse: what `vdisk mount` runs. A program of its own, so that vdisk and what links libvdisk need neither libfuse
 * nor libblkid, and because what serves a mount outlives the command that made it.
 *
 * The process forks before it opens anything: threads and rings do not live through a fork. The child says by a pipe
 * that everything stands; until then it speaks on the user's terminal, and its exit status is the command's.
 *
 * The end is always the same: file systems inside are unmounted, what was taken is answered, the mount is undone, the
 * disk is closed (which makes everything durable), and whoever asked is told how that went.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/server.h"
#include "export.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define PARENTS_MAX 255
#define MAP_MAX 64
#define BACKGROUND_REQUESTS 128 /* that the kernel may have waiting: read-ahead, direct I/O in parts */

static struct {
    bool read_only, overlay, filesystems, foreground, allow_other;
    const char *format, *parent_dir, *parents[PARENTS_MAX + 1];
    const char *parent_map[MAP_MAX + 1];
    unsigned parent_count, map_count;
    const char *image;
    char *directory; /* as it is called from anywhere */
} given;

static const struct option options[] = {
    {"read-only", no_argument, NULL, 'r'},     {"overlay", no_argument, NULL, 'o'},
    {"fs", no_argument, NULL, 's'},            {"foreground", no_argument, NULL, 'f'},
    {"allow-other", no_argument, NULL, 'a'},   {"input-format", required_argument, NULL, 'i'},
    {"parent", required_argument, NULL, 'p'},  {"parent-dir", required_argument, NULL, 'd'},
    {"parent-map", required_argument, NULL, 'm'},
    {"quiet", no_argument, NULL, 'q'},         {"verbose", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

static struct control_log control_words = CONTROL_LOG_INIT(MESSAGE_LOG);

static const char dead[] = "what is mounted there has died (vdisk umount removes it)";

/* The process goes elsewhere, and what is done to the disk later is told to it by path. */
static const char *absolute(const char *path)
{
    char *here = path[0] == '/' ? NULL : getcwd(NULL, 0), *whole = NULL;

    if (asprintf(&whole, "%s%s%s", here ? here : "", here ? "/" : "", path) < 0)
        whole = NULL;
    free(here);
    return whole;
}

static int parse(int argc, char **argv)
{
    int which;

    while ((which = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (which) {
        case 'r': given.read_only = true; break;
        case 'o': given.overlay = true; break;
        case 's': given.filesystems = true; break;
        case 'f': given.foreground = true; break;
        case 'a': given.allow_other = true; break;
        case 'i': given.format = optarg; break;
        case 'd': given.parent_dir = optarg; break;
        case 'm':
            if (given.map_count < MAP_MAX)
                given.parent_map[given.map_count++] = optarg;
            break;
        case 'q': message_quiet = true; break;
        case 'v': message_verbose = true; break;
        case 'p':
            if (given.parent_count < PARENTS_MAX)
                given.parents[given.parent_count++] = optarg;
            break;
        default: return -EINVAL;
        }
    }
    if (argc - optind != 2) {
        message_say(VDISK_ERROR, "vdisk-fuse serves vdisk mount: see vdisk mount --help");
        return -EINVAL;
    }
    given.image = absolute(argv[optind]);
    if (!given.image)
        return -ENOMEM;
    given.directory = realpath(argv[optind + 1], NULL);
    if (given.directory)
        return 0;
    message_say(VDISK_ERROR, "%s: %s", argv[optind + 1],
                errno == ENOTCONN ? dead : strerror(errno));
    return -EINVAL;
}

/* ---- The mount ---- */

static char last_words[200]; /* of libfuse */

static void libfuse_says(enum fuse_log_level level, const char *format, va_list args)
{
    (void)level;
    vsnprintf(last_words, sizeof(last_words), format, args);
    last_words[strcspn(last_words, "\n")] = '\0';
}

static void init(void *data, struct fuse_conn_info *connection)
{
    (void)data;
    connection->max_write = EXPORT_TRANSFER;
    connection->max_read = EXPORT_TRANSFER;
    connection->max_readahead = EXPORT_TRANSFER;
    connection->max_background = BACKGROUND_REQUESTS;
    connection->congestion_threshold = BACKGROUND_REQUESTS;
    /* A message is copied once, to where the ring takes it from: pipes would cost more than that. */
    connection->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    connection->want |= connection->capable & (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_DIO | FUSE_CAP_ASYNC_READ);
}

static const struct fuse_lowlevel_ops operations = {
    .init = init,
    .lookup = node_lookup,
    .getattr = node_getattr,
    .setattr = node_setattr,
    .open = node_open,
    .readdir = node_readdir,
    .statfs = node_statfs,
    .getxattr = node_getxattr,
    .listxattr = node_listxattr,
    .read = request_read,
    .write = request_write,
    .fsync = request_fsync,
    .fallocate = request_fallocate,
    .lseek = request_lseek,
};

/* errno is not 0 where it cannot be opened. */
static bool is_empty(const char *directory)
{
    DIR *stream = opendir(directory);
    int count = 0;

    errno = stream ? 0 : errno;
    while (stream && count <= 2 && readdir(stream))
        count++;
    if (stream)
        closedir(stream);
    return count <= 2;
}

/* An empty directory where nothing is mounted: what is in it would be hidden, and umount would not know which of two
 * mounts is meant. */
static int directory_check(const char *directory)
{
    struct stat here, above;
    char *parent;
    int err;

    if (asprintf(&parent, "%s/..", directory) < 0)
        return -ENOMEM;
    err = stat(directory, &here);
    if (err == 0 && !S_ISDIR(here.st_mode)) {
        message_say(VDISK_ERROR, "%s: is not a directory", directory);
        err = -ENOTDIR;
    } else if (err < 0 || stat(parent, &above) < 0) {
        message_say(VDISK_ERROR, "%s: %s", directory, strerror(errno));
        err = -EINVAL;
    } else if (here.st_dev != above.st_dev || here.st_ino == above.st_ino) {
        is_empty(directory);
        message_say(VDISK_ERROR, "%s: %s", directory, errno == ENOTCONN ? dead : "something is mounted there already");
        err = -EBUSY;
    } else if (!is_empty(directory)) {
        message_say(VDISK_ERROR, "%s: is not empty: a mount would hide what is in it", directory);
        err = -ENOTEMPTY;
    }
    free(parent);
    return err;
}

static int disk_open(struct export *export)
{
    struct vdisk_open_options how = {
        .flags = given.read_only || given.overlay ? 0 : VDISK_OPEN_WRITE,
        .format = given.format,
        .parents = given.parent_count > 0 ? given.parents : NULL,
        .parent_map = given.map_count > 0 ? given.parent_map : NULL,
        .parent_dir = given.parent_dir,
        .log = control_log(&control_words),
    };
    struct vdisk *disk;
    int err = given.overlay ? overlay_open(given.image, &how, &disk) : vdisk_open(given.image, &how, &disk);

    if (err == 0) {
        err = vdisk_port_of(disk, &export->port);
        if (err < 0)
            vdisk_close(disk);
    }
    if (err < 0 && message_errors() == 0)
        message_say(VDISK_ERROR, "%s: %s", given.image, strerror(-err));
    if (err < 0)
        return err;
    export->writable = !given.read_only;
    export->sector_size = vdisk_sector_size(disk);
    export->uid = getuid();
    export->gid = getgid();
    clock_gettime(CLOCK_REALTIME, &export->opened);
    range_init(&export->lock);
    node_add(export, "disk", "", 0, vdisk_size(disk));
    return 0;
}

/* What `mount` shows as the source: the image's path. */
static int arguments_make(struct fuse_args *args)
{
    char *image = realpath(given.image, NULL), *name = NULL, *whole = NULL;
    int err = -ENOMEM;

    if (asprintf(&name, "fsname=%s", image ? image : given.image) < 0)
        name = NULL;
    if (name && fuse_opt_add_opt_escaped(&whole, name) == 0 &&
        fuse_opt_add_opt(&whole, "subtype=vdisk,max_read=1048576,default_permissions,nosuid,nodev") == 0 &&
        fuse_opt_add_opt(&whole, given.read_only ? "ro" : "rw") == 0 &&
        (!given.allow_other || fuse_opt_add_opt(&whole, "allow_other") == 0) &&
        fuse_opt_add_arg(args, "vdisk") == 0 && fuse_opt_add_arg(args, "-o") == 0 &&
        fuse_opt_add_arg(args, whole) == 0)
        err = 0;
    free(whole);
    free(name);
    free(image);
    return err;
}

static int session_open(struct export *export)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    int err = arguments_make(&args);

    fuse_set_log_func(libfuse_says);
    if (err == 0) {
        export->session = fuse_session_new(&args, &operations, sizeof(operations), export);
        err = export->session ? 0 : -EINVAL;
    }
    fuse_opt_free_args(&args);
    if (err < 0) {
        message_say(VDISK_ERROR, "%s: cannot be mounted on: %s", given.directory, *last_words ? last_words : strerror(-err));
        return err;
    }
    if (fuse_session_mount(export->session, given.directory) == 0)
        return 0;
    message_say(VDISK_ERROR, "%s: cannot be mounted on: %s", given.directory, last_words);
    fuse_session_destroy(export->session);
    return -EIO;
}

/* ---- The life of it ---- */

/* Tells the command that waits that everything stands, and lets go of its terminal. */
static void detach(int ready)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setsid();
    if (chdir("/") < 0)
        message_say(VDISK_NOTE, "cannot leave the directory: %s", strerror(errno));
    message_to_system();
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && null >= 0; fd++)
        dup2(null, fd);
    if (null > STDERR_FILENO)
        close(null);
    while (write(ready, "", 1) < 0 && errno == EINTR)
        ;
    close(ready);
}

/* Until a signal asks for the end or the kernel has let go of the mount. */
static void wait_for_end(const struct export *export, int signals)
{
    struct pollfd what[] = {{.fd = signals, .events = POLLIN}, {.fd = export->over, .events = POLLIN}};

    while (poll(what, 2, -1) < 0 && errno == EINTR)
        ;
}

static bool is_over(const struct export *export)
{
    struct pollfd over = {.fd = export->over, .events = POLLIN};

    return poll(&over, 1, 0) > 0;
}

/* The image's path leads to the disk; to an overlay, of which an image may have many, the file of the mount. Or it is
 * served without. */
static struct control_server *control_start(const struct export *export)
{
    static struct control_holder holder = {.program = "vdisk mount"};
    struct control_server *control = NULL;
    char *file = NULL;

    if (given.overlay && asprintf(&file, "%s/%s", given.directory, export->node[0].name) < 0)
        return NULL;
    holder.file = file; /* for as long as the process lives */
    control_server_open(export->port, &holder, &control_words, &control);
    return control;
}

/* Serves the mount; 0 once it has ended in good order. ready: the pipe, or -1 in the foreground. */
static int serve(struct export *export, int signals, int ready, struct control_server **control)
{
    int err = server_start(export);
    bool over;

    if (err < 0) {
        message_say(VDISK_ERROR, "%s: cannot be served: %s", given.directory, strerror(-err));
        fuse_session_unmount(export->session);
        return err;
    }
    *control = control_start(export);
    err = partition_add_all(export, given.directory, given.filesystems);
    if (err < 0)
        message_say(VDISK_WARNING, "%s: its partitions cannot be read: %s", given.image, strerror(-err));
    err = given.filesystems ? filesystem_mount_all(export, given.directory) : 0;
    if (err == 0) {
        if (ready >= 0)
            detach(ready);
        wait_for_end(export, signals);
    }
    over = is_over(export);
    if (!over)
        filesystem_unmount_all(export, given.directory);
    server_stop(export);
    if (!over)
        fuse_session_unmount(export->session); /* which ends what was not taken with an error */
    return err;
}

/* To who asked by the attribute user.vdisk.report.ADDRESS (vdisk umount): "ok", or that it failed. */
static void report(const struct export *export, int err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(export->report);
    const char *text = err ? strerror(-err) : "ok";
    int fd;

    if (length == 0)
        return;
    memcpy(address.sun_path + 1, export->report, length); /* an abstract name */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length));
    close(fd);
}

static int run(int ready)
{
    static struct export export;
    struct control_server *control = NULL;
    sigset_t set;
    int signals, err, closed;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* What we allocate must not wait for pages that can only be written through us. Needs a privilege; then so does the
     * loop device that makes it matter. */
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    export.stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    export.over = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (signals < 0 || export.stop < 0 || export.over < 0) {
        message_say(VDISK_ERROR, "%s", strerror(errno));
        return EXIT_FAILURE;
    }
    if (directory_check(given.directory) < 0 || disk_open(&export) < 0)
        return EXIT_FAILURE;
    err = session_open(&export);
    if (err == 0) {
        err = serve(&export, signals, ready, &control);
        control_server_close(control);
        fuse_session_destroy(export.session);
    }
    closed = vdisk_port_close(export.port);
    if (closed < 0 && err == 0)
        message_say(VDISK_ERROR, "%s: cannot be closed in good order: %s", given.image, strerror(-closed));
    err = err ? err : closed;
    report(&export, err);
    return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The command's status: 0 as soon as the child says so, otherwise the child's. */
static int wait_for_child(pid_t child, int ready)
{
    char byte;
    ssize_t n;
    int status;

    do {
        n = read(ready, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1)
        return EXIT_SUCCESS;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        message_say(VDISK_ERROR, "%s: the process that served it was killed by signal %d", given.image,
                    WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    int ready[2];
    pid_t child;

    if (parse(argc, argv) < 0)
        return EXIT_FAILURE;
    if (given.foreground)
        return run(-1);
    child = pipe2(ready, O_CLOEXEC) < 0 ? -1 : fork();
    if (child < 0) {
        message_say(VDISK_ERROR, "%s", strerror(errno));
        return EXIT_FAILURE;
    }
    if (child == 0) {
        close(ready[0]);
        return run(ready[1]);
    }
    close(ready[1]);
    signal(SIGINT, SIG_IGN); /* the child has it too, and ends in good order */
    return wait_for_child(child, ready[0]);
}
