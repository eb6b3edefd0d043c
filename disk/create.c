/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Creating: an image is made under a temporary name beside its own and renamed when whole, so that nobody ever sees a
 * half of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chain.h"
#include "mutant.h"

#define SECTOR_DEFAULT 512u
#define PHYSICAL_DEFAULT 4096u
#define AZURE_UNIT (UINT64_C(1) << 20)

static int parse_type(const struct vdisk_create_options *o, enum disk_type *type)
{
    static const char *const names[] = {"fixed", "dynamic", "differencing"};

    *type = o->parent ? DISK_DIFFERENCING : o->flags & VDISK_CREATE_AZURE ? DISK_FIXED : DISK_DYNAMIC;
    if (!o->type)
        return 0;
    for (int i = 0; i < 3; i++)
        if (strcmp(o->type, names[i]) == 0) {
            *type = (enum disk_type)i;
            return 0;
        }
    return chain_error(&o->log, -EINVAL, "disk: there is no type '%s'; it is fixed, dynamic or differencing", o->type);
}

static bool is_sector_size(uint32_t size)
{
    return size == 512 || size == 4096;
}

/* Sizes and combinations that are wrong for every format; what is wrong for one, the format refuses. */
static int parse_geometry(const char *path, const struct vdisk_create_options *o, const struct disk_format *format,
                          struct disk_geometry *g)
{
    const struct vdisk_log *log = &o->log;
    const struct vdisk *parent = g->parent;

    g->size = o->size ? o->size : parent ? parent->size : 0;
    g->sector_size = o->sector_size ? o->sector_size : parent ? parent->sector_size : SECTOR_DEFAULT;
    g->physical_sector_size = o->physical_sector_size ? o->physical_sector_size : PHYSICAL_DEFAULT;
    g->block_size = o->block_size;
    g->azure = o->flags & VDISK_CREATE_AZURE;
    if (g->azure && (g->type != DISK_FIXED || strcmp(format->name, "vhd") != 0))
        return chain_error(log, -EINVAL, "disk: %s: Azure takes fixed VHD files only", path);
    if (g->azure && g->size <= UINT64_MAX - AZURE_UNIT)
        g->size = (g->size + AZURE_UNIT - 1) / AZURE_UNIT * AZURE_UNIT;
    if (!is_sector_size(g->sector_size) || !is_sector_size(g->physical_sector_size))
        return chain_error(log, -EINVAL, "disk: %s: the sector size is 512 or 4096, not %u", path,
                           is_sector_size(g->sector_size) ? g->physical_sector_size : g->sector_size);
    if (parent && parent->sector_size != g->sector_size)
        return chain_error(log, -EINVAL, "disk: %s: the sector size is the parent's, %u, not %u", path,
                           parent->sector_size, g->sector_size);
    if (g->size == 0)
        return chain_error(log, -EINVAL, "disk: %s: the size is 0: a disk has at least one sector", path);
    if (g->size % g->sector_size)
        return chain_error(log, -EINVAL, "disk: %s: the size %llu is not a multiple of the sector size %u", path,
                           (unsigned long long)g->size, g->sector_size);
    if (g->size > INT64_MAX / 2)
        return chain_error(log, -EINVAL, "disk: %s: the size %llu is too large", path, (unsigned long long)g->size);
    return 0;
}

static int open_parent(const char *path, const struct vdisk_create_options *o, const struct disk_format *format,
                       struct vdisk **parent)
{
    struct vdisk_open_options how = o->parent_options ? *o->parent_options : (struct vdisk_open_options){0};
    int err;

    how.flags = 0;
    how.format = o->parent_format;
    how.log = o->log;
    err = vdisk_open(o->parent, &how, parent);
    if (err)
        return err;
    if ((*parent)->format == format)
        return 0;
    err = chain_error(&o->log, -EINVAL, "disk: %s: a differencing %s needs a %s parent, %s is %s", path, format->name,
                      format->name, o->parent, (*parent)->format->name);
    vdisk_close(*parent);
    *parent = NULL;
    return err;
}

/* Where a child finds its parent from its own directory: "./p.vhdx", "../base/p.vhdx". Both paths are absolute. */
static char *relative_path(const char *child, const char *parent)
{
    size_t same = 0, ups = 0;
    char *text, *end;

    for (size_t i = 0; child[i] && child[i] == parent[i]; i++)
        if (child[i] == '/')
            same = i + 1;
    for (const char *c = child + same; *c; c++)
        ups += *c == '/';
    text = malloc(2 + 3 * ups + strlen(parent + same) + 1);
    if (!text)
        return NULL;
    end = ups ? text : stpcpy(text, "./");
    while (ups-- > 0)
        end = stpcpy(end, "../");
    strcpy(end, parent + same);
    return text;
}

/* The absolute path of a file that is yet to be. */
static char *absolute_path(const char *path)
{
    char *dir_copy = strdup(path), *base_copy = strdup(path), *dir = NULL, *whole = NULL;

    if (dir_copy && base_copy)
        dir = realpath(dirname(dir_copy), NULL);
    if (dir && asprintf(&whole, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, basename(base_copy)) < 0)
        whole = NULL;
    free(dir);
    free(dir_copy);
    free(base_copy);
    return whole;
}

int create_paths_make(const char *child, const char *parent, const struct vdisk_log *log, struct create_paths *paths)
{
    char *absolute = realpath(parent, NULL), *whole = absolute ? absolute_path(child) : NULL;
    int err;

    *paths = (struct create_paths){.absolute = absolute};
    paths->relative = whole ? relative_path(whole, absolute) : NULL;
    if (paths->relative) {
        free(whole);
        return 0;
    }
    err = chain_error(log, -errno, "disk: %s: %s", absolute ? child : parent, strerror(errno));
    free(whole);
    free(absolute);
    return err;
}

void create_paths_free(struct create_paths *paths)
{
    free(paths->relative);
    free(paths->absolute);
}

/* A new file ".NAME.NUMBER.tmp" beside path, that speaks of itself as path. temporary NULL: its name is gone at once.
 */
static int temporary_open(const char *path, const struct vdisk_log *log, unsigned flags, struct file **file,
                          char **temporary)
{
    char *dir_copy = strdup(path), *base_copy = strdup(path), *name = NULL;
    int err = dir_copy && base_copy ? -EEXIST : -ENOMEM;
    const char *dir = dir_copy ? dirname(dir_copy) : NULL, *base = base_copy ? basename(base_copy) : NULL;

    for (unsigned try = 0; err == -EEXIST && try < 1000; try++) {
        free(name);
        if (asprintf(&name, "%s/.%s.%u.tmp", dir, base, (unsigned)getpid() * 1000u + try) < 0) {
            name = NULL;
            err = -ENOMEM;
        } else if (access(name, F_OK) < 0) {
            err = file_open(AT_FDCWD, name, FILE_WRITE | FILE_CREATE | flags, NULL, file);
        }
    }
    free(dir_copy);
    free(base_copy);
    if (err) {
        free(name);
        chain_error(log, err, "disk: %s: cannot be created: %s", path, strerror(-err));
        return err;
    }
    (*file)->log = *log;
    free((*file)->path);
    (*file)->path = strdup(path);
    if ((*file)->path && temporary) {
        *temporary = name;
        return 0;
    }
    unlink(name);
    free(name);
    if ((*file)->path)
        return 0;
    file_close(*file);
    return -ENOMEM;
}

static int write_image(const char *path, const struct vdisk_create_options *o, const struct disk_format *format,
                       struct disk_geometry *g, unsigned flags, struct vdisk **disk)
{
    struct file *file;
    char *temporary = NULL;
    int err = temporary_open(path, &o->log, flags, &file, o->flags & VDISK_CREATE_UNNAMED ? NULL : &temporary);

    if (err)
        return err;
    err = format->create(file, g);
    if (!err)
        err = link_open(file, format, false, disk);
    if (err) {
        if (temporary)
            unlink(temporary);
        free(temporary);
        file_close(file);
        return err;
    }
    (*disk)->parent = g->parent;
    (*disk)->temporary = temporary;
    (*disk)->replace = o->flags & VDISK_CREATE_OVERWRITE;
    return 0;
}

/* A name that is taken is refused at once, not after hours of copying. */
static int look_at_target(const char *path, const struct vdisk_create_options *o)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : chain_error(&o->log, -errno, "disk: %s: %s", path, strerror(errno));
    if (!(o->flags & VDISK_CREATE_OVERWRITE))
        return chain_error(&o->log, -EEXIST, "disk: %s: exists already", path);
    if (!S_ISREG(st.st_mode))
        return chain_error(&o->log, -EINVAL, "disk: %s: is not a regular file and is not replaced", path);
    return 0;
}

/* What is replaced is in use by nobody, and by nobody who comes until then: they would go on with a file that has no name any
 * more, or find another disk under their own. One that we cannot open others are not kept from. */
static int replaced_claim(const char *path, const struct vdisk_create_options *o, struct vdisk *parent,
                          struct file **replaced)
{
    static const struct vdisk_log silent;
    int err;

    *replaced = NULL;
    if (!(o->flags & VDISK_CREATE_OVERWRITE) || file_open(AT_FDCWD, path, FILE_PEEK, &silent, replaced))
        return 0;
    if (chain_find(parent, (*replaced)->device, (*replaced)->inode))
        err = chain_error(&o->log, -EINVAL, "disk: %s: is in the chain of what is to replace it", path);
    else if ((err = MUTANT("create-replaces-used") ? 0 : file_claim(*replaced)))
        chain_error(&o->log, err, "disk: %s: is not replaced: %s", path,
                    err == -EBUSY ? "it is in use, another process has it open" : strerror(-err));
    if (err) {
        file_close(*replaced);
        *replaced = NULL;
    }
    return err;
}

/* How the child finds its parent, and then the child. */
static int write_child(const char *path, const char *parent, const struct vdisk_create_options *o,
                       const struct disk_format *format, struct disk_geometry *g, unsigned flags, struct vdisk **disk)
{
    struct create_paths paths;
    int err = chain_refuse_child(g->parent, path, &o->log);

    if (!err)
        err = create_paths_make(path, parent, &o->log, &paths);
    if (err)
        return err;
    g->parent_relative = paths.relative;
    g->parent_absolute = paths.absolute;
    err = parse_geometry(path, o, format, g);
    if (!err)
        err = write_image(path, o, format, g, flags, disk);
    create_paths_free(&paths);
    return err;
}

int create_child(const char *path, const struct vdisk_create_options *o, struct vdisk *parent, struct vdisk **disk)
{
    struct disk_geometry g = {.type = DISK_DIFFERENCING, .parent = parent};
    int err = look_at_target(path, o);

    return err ? err
               : write_child(path, parent->file->path, o, parent->format, &g,
                             parent->file->direct_unit ? FILE_DIRECT : 0, disk);
}

int vdisk_create(const char *path, const struct vdisk_create_options *o, struct vdisk **disk)
{
    const struct disk_format *format =
        o->format ? chain_format_named(o->format, &o->log) : chain_format_of_suffix(path);
    struct disk_geometry g = {0};
    struct file *replaced = NULL;
    int err;

    if (!format)
        return o->format ? -EINVAL
                         : chain_error(&o->log, -EINVAL, "disk: %s: its name tells no format; name one", path);
    err = parse_type(o, &g.type);
    if (!err)
        err = look_at_target(path, o);
    if (err)
        return err;
    if (o->parent ? g.type != DISK_DIFFERENCING : g.type == DISK_DIFFERENCING)
        return chain_error(&o->log, -EINVAL, "disk: %s: %s", path,
                           o->parent ? "only a differencing disk has a parent" : "a differencing disk needs a parent");
    if (o->parent)
        err = open_parent(path, o, format, &g.parent);
    if (!err)
        err = replaced_claim(path, o, g.parent, &replaced);
    if (!err && o->parent) {
        err = write_child(path, o->parent, o, format, &g, 0, disk);
    } else if (!err) {
        err = parse_geometry(path, o, format, &g);
        if (!err)
            err = write_image(path, o, format, &g, 0, disk);
    }
    if (err) {
        file_close(replaced);
        vdisk_close(g.parent);
    } else {
        (*disk)->replaced = replaced;
    }
    return err;
}

int vdisk_commit(struct vdisk *disk)
{
    char *from = disk->temporary, *to = strdup(disk->file->path);
    bool replace = disk->replace;
    struct vdisk_log log = disk->log;
    struct file *replaced = disk->replaced; /* until the name is another's */
    int err;

    if (!from) {
        vdisk_close(disk);
        free(to);
        return -EINVAL;
    }
    disk->temporary = NULL; /* from here on the file is ours, not vdisk_close's */
    disk->replaced = NULL;
    err = vdisk_close(disk);
    if (!err && !to)
        err = -ENOMEM;
    if (!err) {
        err = file_rename(from, to, replace);
        if (err)
            chain_error(&log, err, "disk: %s: cannot be given its name: %s", to, strerror(-err));
    }
    if (err)
        unlink(from);
    else
        err = MUTANT("create-name-unsynced") ? 0 : file_sync_directory(to);
    file_close(replaced);
    free(from);
    free(to);
    return err;
}

int create_appear(struct vdisk *disk)
{
    const char *to = disk->file->path;
    int err = MUTANT("appear-unsynced") ? 0 : file_sync(disk->file);

    if (err)
        return disk_error(disk, err, "cannot be made durable: %s", strerror(-err));
    err = file_rename(disk->temporary, to, disk->replace);
    if (err)
        return disk_error(disk, err, "cannot be given its name: %s", strerror(-err));
    free(disk->temporary);
    disk->temporary = NULL;
    err = MUTANT("appear-name-unsynced") ? 0 : file_sync_directory(to);
    return err ? disk_error(disk, err, "its directory cannot be made durable: %s", strerror(-err)) : 0;
}

int vdisk_hydrate(struct vdisk *disk)
{
    int err = file_allocate(disk->file, 0, disk->file->size);

    return err ? disk_error(disk, err, "cannot reserve %llu bytes: %s", (unsigned long long)disk->file->size,
                            strerror(-err))
               : 0;
}
