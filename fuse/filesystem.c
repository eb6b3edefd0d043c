/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file systems inside, mounted by those who know them: ntfs-3g for NTFS where it is installed (it needs no loop
 * device and no root), mount(8) by a loop device for the rest. They read DIR/disk and DIR/pN, which this process serves.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "export.h"

#define TRIES 100 /* of 100 ms: a file system's own process may still be writing */

extern char **environ;

/* 0; -ENOENT: no such program; -EIO: it failed, and has said why unless quiet. */
static int spawn(char *const *argv, bool quiet)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int status, err;
    pid_t child;

    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (quiet)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    err = -posix_spawnp(&child, argv[0], &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (err < 0)
        return err;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static int mount_one(const struct export *export, const char *type, const char *source, const char *target)
{
    const char *how = export->writable ? "loop,nosuid,nodev" : "loop,ro,nosuid,nodev";
    const char *ntfs_how = export->writable ? "nosuid,nodev" : "ro,nosuid,nodev";
    char *const ntfs[] = {"ntfs-3g", "-o", (char *)ntfs_how, (char *)source, (char *)target, NULL};
    char *const mount[] = {"mount", "-o", (char *)how, (char *)source, (char *)target, NULL};
    int err = strcmp(type, "ntfs") == 0 ? spawn(ntfs, false) : -ENOENT;

    return err == -ENOENT ? spawn(mount, false) : err;
}

int filesystem_mount_all(struct export *export, const char *directory)
{
    unsigned count = atomic_load(&export->nodes), mounted = 0, wanted = 0;

    for (unsigned i = 0; i < count; i++) {
        const char *name = export->node[i].name, *number = name + 2;
        char *source, *target;

        if (!node_is_directory(&export->node[i]))
            continue;
        wanted++;
        if (asprintf(&source, "%s/%s%s", directory, *number ? "p" : "disk", number) < 0)
            return -ENOMEM;
        if (asprintf(&target, "%s/%s", directory, name) < 0) {
            free(source);
            return -ENOMEM;
        }
        if (mount_one(export, export->node[i].type, source, target) == 0)
            mounted++;
        else
            message_say(VDISK_WARNING, "%s: cannot be mounted", source);
        free(target);
        free(source);
    }
    if (mounted > 0)
        return 0;
    message_say(VDISK_ERROR, "%s: %s", directory,
                wanted > 0 ? "no file system of the disk could be mounted" : "no file system is found on the disk");
    return -ENOENT;
}

static int unmount_one(char *target)
{
    char *const fuse[] = {"fusermount3", "-u", "-q", target, NULL};

    if (umount2(target, UMOUNT_NOFOLLOW) == 0 || errno == EINVAL)
        return 0;
    if (errno == EPERM)
        return spawn(fuse, true);
    return -errno;
}

void filesystem_unmount_all(const struct export *export, const char *directory)
{
    unsigned count = atomic_load(&export->nodes);

    for (unsigned i = count; i-- > 0;) {
        char *target;
        int err;

        if (!node_is_directory(&export->node[i]) || asprintf(&target, "%s/%s", directory, export->node[i].name) < 0)
            continue;
        err = unmount_one(target);
        for (int try = 0; err == -EBUSY && try < TRIES; try++) {
            usleep(100000);
            err = unmount_one(target);
        }
        if (err < 0)
            message_say(VDISK_WARNING, "%s: cannot be unmounted: %s", target, strerror(-err));
        free(target);
    }
}
