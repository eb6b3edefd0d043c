/* SPDX-License-Identifier: BSD-2-Clause */
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATH 4096
#define BACKLOG 16

/* ---- Directories ---- */

static void own_path(char path[PATH])
{
    const char *given = secure_getenv("VDISK_RUNTIME_DIR"), *runtime = secure_getenv("XDG_RUNTIME_DIR");

    if (given && *given)
        snprintf(path, PATH, "%s", given);
    else if (geteuid() == 0)
        snprintf(path, PATH, "/run/vdisk");
    else if (runtime && *runtime == '/')
        snprintf(path, PATH, "%s/vdisk", runtime);
    else
        snprintf(path, PATH, "/tmp/vdisk-%u", (unsigned)geteuid());
}

/* A directory that its owner alone may enter: not a link, and nobody else's. */
static int directory_open(const char *path, uid_t owner)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) == 0 && st.st_uid == owner && (st.st_mode & 077) == 0)
        return fd;
    close(fd);
    return -EPERM;
}

int place_open_own(char path[PATH])
{
    char own[PATH];

    own_path(own);
    if (path)
        memcpy(path, own, PATH);
    if (mkdir(own, 0700) < 0 && errno != EEXIST)
        return -errno;
    return directory_open(own, geteuid());
}

/* Where to look, one after the other: one's own directory, and for root those of the image's owner. */
static int directory_find(unsigned which, uid_t owner)
{
    char path[PATH];

    if (which == 0) {
        own_path(path);
        return directory_open(path, geteuid());
    }
    if (geteuid() != 0 || owner == 0 || which > 2)
        return -ENOENT;
    snprintf(path, sizeof(path), which == 1 ? "/run/user/%u/vdisk" : "/tmp/vdisk-%u", (unsigned)owner);
    return directory_open(path, owner);
}

/* ---- Sockets ---- */

uint64_t place_lot(void)
{
    uint64_t lot = 0;

    while (getrandom(&lot, sizeof(lot), 0) < 0 && errno == EINTR)
        ;
    return lot;
}

void place_name(const struct stat *file, enum place_role role, uint64_t lot, char name[PLACE_NAME_MAX])
{
    snprintf(name, PLACE_NAME_MAX, "%llx-%llx%c%016llx", (unsigned long long)file->st_dev,
             (unsigned long long)file->st_ino, role, (unsigned long long)lot);
}

void place_forget_beneath(int directory, uint64_t lot)
{
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    char end[PLACE_NAME_MAX];
    struct dirent *entry;

    snprintf(end, sizeof(end), "%c%016llx", PLACE_BENEATH, (unsigned long long)lot);
    while (stream && (entry = readdir(stream))) {
        const char *at = strchr(entry->d_name, PLACE_BENEATH);

        if (at && strcmp(at, end) == 0)
            unlinkat(directory, entry->d_name, 0);
    }
    if (stream)
        closedir(stream);
    else if (fd >= 0)
        close(fd);
}

/* By a descriptor, of the directory or of the socket itself (name ""): the path may be longer than an address. */
static int address_make(int fd, const char *name, struct sockaddr_un *address)
{
    int length = snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d%s%s", fd, *name ? "/" : "", name);

    address->sun_family = AF_UNIX;
    return length < (int)sizeof(address->sun_path) ? 0 : -ENAMETOOLONG;
}

int place_listen(int directory, const char *name)
{
    char early[PLACE_NAME_MAX + 8];
    struct sockaddr_un address;
    int fd, err;

    snprintf(early, sizeof(early), ".%s", name);
    err = address_make(directory, early, &address);
    if (err < 0)
        return err;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* It has its name when it listens: who finds one that does not may take it for dead. */
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        err = -errno;
        goto close_socket;
    }
    if (fchmodat(directory, early, 0600, 0) < 0 || listen(fd, BACKLOG) < 0 ||
        renameat(directory, early, directory, name) < 0) {
        err = -errno;
        goto remove_name;
    }
    return fd;

remove_name:
    unlinkat(directory, early, 0);
close_socket:
    close(fd);
    return err;
}

/* Ourselves, root, or for root anybody: its answers are read with care. */
static int peer_check(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return -errno;
    return geteuid() == 0 || peer.uid == geteuid() || peer.uid == 0 ? 0 : -EPERM;
}

/* Root looks where others put names, so a link is not followed. */
static int name_connect(int directory, const char *name)
{
    struct sockaddr_un address;
    struct stat st;
    int node = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), fd, err;

    if (node < 0)
        return -errno;
    if (fstat(node, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        close(node);
        return -ENOTSOCK;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    err = fd < 0 ? -errno : address_make(node, "", &address);
    if (err == 0)
        err = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : peer_check(fd);
    close(node);
    if (err == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    if (err == -ECONNREFUSED) {
        place_forget_beneath(directory, strtoull(name + strcspn(name, ".+") + 1, NULL, 16));
        unlinkat(directory, name, 0);
    }
    return err;
}

/* Takes the directory. */
static int directory_connect(int directory, const char *prefix)
{
    DIR *stream = fdopendir(directory);
    struct dirent *entry;
    int found = -ENOENT;

    if (!stream) {
        close(directory);
        return -ENOENT;
    }
    while (found < 0 && (entry = readdir(stream)))
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            found = name_connect(dirfd(stream), entry->d_name);
    closedir(stream);
    return found;
}

int place_connect(const char *file, enum place_role role)
{
    char prefix[PLACE_NAME_MAX];
    struct stat st;
    int directory, fd;

    if (stat(file, &st) < 0)
        return -ENOENT;
    snprintf(prefix, sizeof(prefix), "%llx-%llx%c", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, role);
    for (unsigned which = 0; which < 3; which++) {
        directory = directory_find(which, st.st_uid);
        fd = directory < 0 ? -ENOENT : directory_connect(directory, prefix);
        if (fd >= 0)
            return fd;
    }
    return -ENOENT;
}
