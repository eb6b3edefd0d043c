/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A look at each image in a directory, without a lock: it may be in use, and it is not to be kept from anybody.
 */
#include "family.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "mutant.h"

int family_add(struct family *family, const char *path)
{
    char **grown, *copy;

    for (size_t i = 0; i < family->count; i++)
        if (strcmp(family->path[i], path) == 0)
            return 0;
    grown = realloc(family->path, (family->count + 1) * sizeof(*grown));
    copy = strdup(path);
    if (grown)
        family->path = grown;
    if (!grown || !copy) {
        free(copy);
        return -ENOMEM;
    }
    family->path[family->count++] = copy;
    return 0;
}

void family_free(struct family *family)
{
    for (size_t i = 0; i < family->count; i++)
        free(family->path[i]);
    free(family->path);
    *family = (struct family){0};
}

static bool is_child(const char *path, struct vdisk *parent, struct vdisk *top)
{
    static const struct vdisk_log silent;
    char expected[64], found[64];
    struct vdisk *disk;
    struct file *file;
    bool is;

    if (chain_format_of_suffix(path) != parent->format || file_open(AT_FDCWD, path, FILE_PEEK, &silent, &file))
        return false;
    if (chain_find(top, file->device, file->inode) || parent->format->probe(file) != 1 || link_open(file, parent->format, true, &disk)) {
        file_close(file);
        return false;
    }
    is = disk->type == DISK_DIFFERENCING && parent->format->parent_matches(disk, parent, expected, found);
    link_close(disk);
    return is;
}

int family_find(struct family *family, struct vdisk *parent, const char *beside, struct vdisk *top)
{
    char *copy = strdup(beside), *path;
    const char *name = copy ? dirname(copy) : NULL;
    DIR *dir = name ? opendir(name) : NULL;
    struct dirent *entry;
    int err = !copy ? -ENOMEM : dir ? 0 : -errno;

    while (!err && (entry = readdir(dir))) {
        if (asprintf(&path, "%s/%s", name, entry->d_name) < 0) {
            err = -ENOMEM;
            break;
        }
        if (is_child(path, parent, top))
            err = family_add(family, path);
        free(path);
    }
    if (dir)
        closedir(dir);
    free(copy);
    return err;
}

int vdisk_childless(struct vdisk *disk)
{
    struct family family = {0};
    int err = disk->format->parent_matches ? family_find(&family, disk, disk->file->path, disk) : 0;

    if (err == -EACCES) /* a directory that we may not read: none is known */
        err = 0;
    if (!err && family.count > 0 && !MUTANT("family-forgotten"))
        err = disk_error(disk, -EBUSY, "has a child, %s, which would lose its parent", family.path[0]);
    family_free(&family);
    return err;
}
