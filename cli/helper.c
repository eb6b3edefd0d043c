/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The helpers stand beside the program in a build tree, and in directories of their own where they are installed
 * (the Makefile says which when it links the installed program).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/export.h"

#ifndef VDISK_LIBEXECDIR
#define VDISK_LIBEXECDIR ""
#endif
#ifndef VDISK_PLUGINDIR
#define VDISK_PLUGINDIR ""
#endif

#define FUSE_PROGRAM "vdisk-fuse"
#define NTFS_PROGRAM "vdisk-ntfs"
#define NBD_PLUGIN "nbdkit-vdisk-plugin.so"

/* Beside the program, where it was installed to, and where it would be had the whole tree been moved. */
static int find(const char *name, const char *installed, const char *moved, char path[PATH_MAX])
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (length > 0) {
        self[length] = '\0';
        slash = strrchr(self, '/');
        *slash = '\0';
        if (snprintf(path, PATH_MAX, "%s/%s", self, name) < PATH_MAX && access(path, R_OK) == 0)
            return 0;
        if (snprintf(path, PATH_MAX, "%s/%s/%s", self, moved, name) < PATH_MAX && access(path, R_OK) == 0)
            return 0;
    }
    if (*installed && snprintf(path, PATH_MAX, "%s/%s", installed, name) < PATH_MAX && access(path, R_OK) == 0)
        return 0;
    return -ENOENT;
}

int cli_find_fuse(char path[PATH_MAX])
{
    return find(FUSE_PROGRAM, VDISK_LIBEXECDIR, "../libexec/vdisk", path);
}

int cli_find_ntfs(char path[PATH_MAX])
{
    return find(NTFS_PROGRAM, VDISK_LIBEXECDIR, "../libexec/vdisk", path);
}

int cli_find_nbd(char path[PATH_MAX])
{
    return find(NBD_PLUGIN, VDISK_PLUGINDIR, "../lib/nbdkit/plugins", path);
}
