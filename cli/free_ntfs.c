/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free space of NTFS by vdisk-ntfs, a process that may do nothing but ask for bytes and answer (ntfs/main.c). What it
 * tells is collected and checked, and believed when it has ended well.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/export.h"
#include "cli/free_part.h"
#include "ntfs/protocol.h"

#define RANGES_MAX (1u << 22)
#define LOOK_AGAIN 200 /* milliseconds, for whether a signal came */

static const char *const reasons[NTFS_REASONS] = {
    [NTFS_UNREADABLE] = "it cannot be read as one",
    [NTFS_UNCONFINED] = "this system cannot confine the program that reads it",
    [NTFS_DIRTY] = "it is not clean",
    [NTFS_HIBERNATED] =
        "a Windows is hibernated on it (fast start-up does that too: shut down with \"shutdown /s /f /t 0\")",
    [NTFS_LOG] = "its log holds changes: it was not unmounted, or by a Windows that is hibernated",
    [NTFS_SHADOWS] = "it has shadow copies, which need what it has deleted (in Windows: \"vssadmin delete shadows\")",
    [NTFS_LENGTH] = "it is longer than its partition",
    [NTFS_BACKUP] = "the backup of its boot sector does not stand at its end",
    [NTFS_BITMAP] = "its bitmap does not fit its size",
    [NTFS_SYSTEM] = "its bitmap says that the file system's own files are free",
};

struct range {
    uint64_t offset, length;
};

struct ntfs {
    struct free_part *part;
    pid_t process;
    int socket;
    struct range *range;
    size_t count, room;
    const char *why; /* it is left alone */
};

/* ---- The process ---- */

static int start(struct ntfs *n, const char *program)
{
    char length[24];
    char *argv[] = {"vdisk-ntfs", length, NULL}, *environment[] = {NULL};
    posix_spawn_file_actions_t files;
    int pair[2], err;

    snprintf(length, sizeof(length), "%llu", (unsigned long long)n->part->length);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    err = -posix_spawn_file_actions_init(&files);
    if (!err) {
        err = -posix_spawn_file_actions_adddup2(&files, pair[1], STDIN_FILENO);
        for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO && !err; fd++)
            err = -posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_WRONLY, 0);
        if (!err)
            err = -posix_spawn(&n->process, program, &files, NULL, argv, environment);
        posix_spawn_file_actions_destroy(&files);
    }
    close(pair[1]);
    n->socket = pair[0];
    if (err)
        close(pair[0]);
    return err;
}

/* Did it end by itself? */
static bool finish(struct ntfs *n)
{
    int status = 0;

    close(n->socket);
    if (n->why) /* it may be busy */
        kill(n->process, SIGKILL);
    while (waitpid(n->process, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
}

/* 1: all of it; 0: the process has gone; or -errno. */
static int transfer(struct ntfs *n, bool out, void *data, size_t length)
{
    for (uint8_t *at = data; length > 0;) {
        struct pollfd ready = {.fd = n->socket, .events = out ? POLLOUT : POLLIN};
        ssize_t done;

        if (cli_cancel)
            return -ECANCELED;
        if (poll(&ready, 1, LOOK_AGAIN) <= 0)
            continue;
        done =
            out ? send(n->socket, at, length, MSG_NOSIGNAL | MSG_DONTWAIT) : recv(n->socket, at, length, MSG_DONTWAIT);
        if (done < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (done <= 0)
            return 0;
        at += done;
        length -= (size_t)done;
    }
    return 1;
}

/* ---- What it says ---- */

static int answer(struct ntfs *n, const struct ntfs_message *message)
{
    uint8_t bytes[NTFS_READ_MAX];
    int err;

    if (message->length == 0 || message->length > sizeof(bytes) || message->offset % 512 || message->length % 512 ||
        message->offset > n->part->length || message->length > n->part->length - message->offset)
        return 0;
    err = free_part_read(n->part, bytes, message->offset, message->length);
    return err ? err : transfer(n, true, bytes, message->length);
}

/* In the volume, and behind the one before. */
static int keep(struct ntfs *n, const struct ntfs_message *message)
{
    const struct range *last = n->count ? &n->range[n->count - 1] : NULL;
    uint64_t end = last ? last->offset + last->length : 512;

    if (message->length == 0 || message->offset < end || message->offset > n->part->length ||
        message->length > n->part->length - message->offset || n->count == RANGES_MAX)
        return 0;
    if (n->count == n->room) {
        size_t room = n->room ? 2 * n->room : 1024;
        struct range *grown = realloc(n->range, room * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        n->range = grown;
        n->room = room;
    }
    n->range[n->count++] = (struct range){message->offset, message->length};
    return 1;
}

/* Until the end: 1, and n->why. 0: it is gone, or says what it must not. */
static int listen_to(struct ntfs *n)
{
    struct ntfs_message message;
    int got;

    while ((got = transfer(n, false, &message, sizeof(message))) > 0) {
        if (message.kind == NTFS_END && message.reason < NTFS_REASONS) {
            n->why = reasons[message.reason];
            return 1;
        }
        got = message.kind == NTFS_READ ? answer(n, &message) : message.kind == NTFS_FREE ? keep(n, &message) : 0;
        if (got <= 0)
            return got;
    }
    return got;
}

static int ask(struct ntfs *n)
{
    char program[PATH_MAX];
    int got;

    if (cli_find_ntfs(program) < 0) {
        n->why = "vdisk-ntfs is not installed: it is made where libntfs-3g is (make deps)";
        return 0;
    }
    got = start(n, program);
    if (got < 0)
        return got;
    got = listen_to(n);
    if (got <= 0)
        n->why = "the program that reads it has failed";
    if (!finish(n) && !n->why)
        n->why = "the program that reads it has failed";
    return got < 0 ? got : 0;
}

/* 1: there is one; 0: there is none; or -errno. */
static int is_there(struct free_part *part)
{
    uint8_t boot[4096];
    uint64_t unit = vdisk_sector_size(part->disk);
    int err = part->length < 2 * unit ? 0 : free_part_read(part, boot, 0, unit);

    return err ? err : part->length >= 2 * unit && memcmp(boot + 3, "NTFS    ", 8) == 0;
}

int free_ntfs(struct free_part *part)
{
    struct ntfs n = {.part = part};
    uint64_t before = part->bytes;
    int err = is_there(part);

    if (err <= 0)
        return err;
    err = ask(&n);
    if (!err && !n.why)
        err = free_part_alone(part, (const char *const[]){"ntfs", NULL}, &n.why);
    for (size_t i = 0; i < n.count && !n.why && !err; i++)
        err = free_part_discard(part, n.range[i].offset, n.range[i].length);
    if (!err)
        free_part_say(part, "NTFS", before, n.why);
    free(n.range);
    return err;
}
