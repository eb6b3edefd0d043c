/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdisk umount: undoes vdisk mount, from the inside out, and returns when the image is closed.
 *
 * The process that serves the mount tells its number by an attribute of the directory. It is told by another where to
 * send the outcome: closing the image may fail after the mount is gone, and that must not go unheard.
 */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/cli.h"

#define TYPE "fuse.vdisk"
#define TRIES 100 /* of 100 ms: a file system inside may have a process that is still writing (ntfs-3g) */
#define LOOKS 10  /* the same: what walks file systems in the background is gone by then */

extern char **environ;

static const struct cli_option options[] = {
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

struct mount {
    char *directory;
    int process; /* pidfd of who serves it; -1: it is dead, or not to be seen */
    int report;  /* socket; -1 */
};

/* ---- Finding it ---- */

/* The directory as the system calls it, which for a mount that died cannot be asked by looking at the directory itself. */
static char *directory_name(const char *path)
{
    char *name = realpath(path, NULL), *copy, *above, *slash, *whole = NULL;

    if (name || errno != ENOTCONN)
        return name;
    copy = strdup(path);
    while (copy && strlen(copy) > 1 && copy[strlen(copy) - 1] == '/')
        copy[strlen(copy) - 1] = '\0';
    slash = copy ? strrchr(copy, '/') : NULL;
    if (slash)
        *slash = '\0';
    above = copy ? realpath(!slash ? "." : slash == copy ? "/" : copy, NULL) : NULL;
    if (above && asprintf(&whole, "%s/%s", strcmp(above, "/") == 0 ? "" : above, slash ? slash + 1 : copy) < 0)
        whole = NULL;
    free(above);
    free(copy);
    return whole;
}

/* The last mount that is at directory, or beneath it where inside; NULL: none. Its type goes to type. */
static char *mount_find(const char *directory, bool inside, char type[32])
{
    size_t length = strlen(directory);
    FILE *table = setmntent("/proc/self/mounts", "r");
    struct mntent *entry;
    char *found = NULL;

    while (table && (entry = getmntent(table))) {
        bool beneath = strncmp(entry->mnt_dir, directory, length) == 0 && entry->mnt_dir[length] == '/';

        if (inside ? !beneath : strcmp(entry->mnt_dir, directory) != 0)
            continue;
        free(found);
        found = strdup(entry->mnt_dir);
        snprintf(type, 32, "%s", entry->mnt_type);
    }
    if (table)
        endmntent(table);
    return found;
}

/* ---- Who serves it ---- */

static int report_open(const char *directory)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t length = sizeof(address);
    char name[32], none[16];
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    /* The kernel chooses an abstract name: five characters behind a zero byte. */
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
        snprintf(name, sizeof(name), "user.vdisk.report.%.*s", (int)(length - sizeof(sa_family_t) - 1),
                 address.sun_path + 1) < (int)sizeof(name) &&
        getxattr(directory, name, none, sizeof(none)) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static void mount_look(struct mount *mount)
{
    char text[16] = "";
    ssize_t length = getxattr(mount->directory, "user.vdisk.pid", text, sizeof(text) - 1);

    mount->process = length > 0 && atoi(text) > 0 ? (int)syscall(SYS_pidfd_open, atoi(text), 0) : -1;
    mount->report = report_open(mount->directory);
}

/* Until the process has ended. 0, or -EIO: said, unless what is behind it was said before. */
static int mount_wait(struct cli *cli, const struct mount *mount, bool said)
{
    struct pollfd process = {.fd = mount->process, .events = POLLIN};
    char text[128];
    ssize_t length;

    if (mount->process < 0)
        return 0;
    while (poll(&process, 1, -1) < 0)
        if (errno != EINTR || cli_cancel)
            return -ECANCELED;
    length = mount->report < 0 ? -1 : recv(mount->report, text, sizeof(text) - 1, MSG_DONTWAIT);
    if (length == 2 && memcmp(text, "ok", 2) == 0)
        return 0;
    text[length > 0 ? length : 0] = '\0';
    if (said)
        return -EIO;
    cli_fail(cli, "%s: unmounted, but the process that served it %s%s", mount->directory,
             length > 0 ? "could not close the image in good order: " : "did not say how it ended", text);
    return -EIO;
}

/* ---- Unmounting ---- */

/* The way for who is not root. */
static int unmount_by_helper(const char *directory)
{
    char *const argv[] = {"fusermount3", "-u", "-q", (char *)directory, NULL};
    pid_t child;
    int status, err = posix_spawnp(&child, argv[0], NULL, NULL, argv, environ);

    if (err)
        return -err;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

static int unmount_one(const char *directory)
{
    if (umount2(directory, UMOUNT_NOFOLLOW) == 0)
        return 0;
    return errno == EPERM ? unmount_by_helper(directory) : -errno;
}

static int unmount(struct cli *cli, const char *directory, int tries)
{
    int err = unmount_one(directory);

    for (int i = 0; err == -EBUSY && i < tries && !cli_cancel; i++) {
        usleep(100000);
        err = unmount_one(directory);
    }
    if (err == -EBUSY)
        cli_fail(cli, "%s: is in use: a program has a file open there, or stands in it", directory);
    else if (err < 0)
        cli_fail(cli, "%s: %s", directory, strerror(-err));
    return err;
}

/* Everything written is durable, while there is still somebody to hear that it is not. */
static int flush(struct cli *cli, const char *directory)
{
    char *path;
    int fd, err = 0;

    if (asprintf(&path, "%s/disk", directory) < 0)
        return -ENOMEM;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fsync(fd) < 0)
        err = -errno;
    if (fd >= 0)
        close(fd);
    if (err < 0)
        cli_fail(cli, "%s: what was written could not be made durable: %s", path, strerror(-err));
    free(path);
    return err;
}

static int unmount_all(struct cli *cli, struct mount *mount)
{
    char *inside, type[32];
    bool nested = false;
    int err = 0, flushed;

    while (err == 0 && (inside = mount_find(mount->directory, true, type))) {
        nested = true;
        err = unmount(cli, inside, LOOKS);
        free(inside);
    }
    if (err < 0)
        return err;
    mount_look(mount);
    flushed = mount->process < 0 ? 0 : flush(cli, mount->directory);
    err = unmount(cli, mount->directory, nested ? TRIES : LOOKS);
    if (err == 0)
        err = mount_wait(cli, mount, flushed < 0);
    return err ? err : flushed;
}

static int run(struct cli *cli, char **operand)
{
    struct mount mount = {.directory = directory_name(operand[0]), .process = -1, .report = -1};
    char *found, type[32] = "";
    int err;

    if (!mount.directory)
        return cli_fail(cli, "%s: %s", operand[0], strerror(errno));
    found = mount_find(mount.directory, false, type);
    if (!found || strcmp(type, TYPE) != 0) {
        cli_fail(cli, "%s: no disk is mounted there", operand[0]);
        err = -EINVAL;
    } else {
        err = unmount_all(cli, &mount);
    }
    free(found);
    free(mount.directory);
    if (mount.process >= 0)
        close(mount.process);
    if (mount.report >= 0)
        close(mount.report);
    return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
}

const struct cli_command cli_umount = {
    .name = "umount",
    .summary = "undo vdisk mount",
    .operands = "DIR",
    .description = "Unmount a disk, and before it the file systems that are mounted from it beneath DIR. Returns when all is\n"
                   "durable and the image is closed. Removes also a mount whose process has died.",
    .examples = "vdisk umount /mnt/disk",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
