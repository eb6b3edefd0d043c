/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Parents: found by name, accepted by identity.
 *
 * The names in a child come from a file that anybody may have made. They are only ever looked up beneath a directory
 * that the caller chose (or the child's own), by the kernel's RESOLVE_BENEATH; what is found must be a regular file of
 * the child's format with the identity that the child recorded, and not yet part of the chain.
 */
#include "chain.h"
#include "mutant.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the search for one link's parent has seen. */
struct search {
    struct vdisk *top, *child;
    struct vdisk *parent;
    unsigned flags;         /* for file_open */
    int refused;            /* the error of a candidate that was there but could not be taken; said already */
    char found_path[PATH_MAX]; /* a candidate with another identity */
    char expected[64], found[64];
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* A name with a ".." part is never followed; its last part may be looked for like any other. */
static bool goes_up(const char *path)
{
    for (const char *part = MUTANT("parent-above") ? NULL : path; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (part[0] == '.' && part[1] == '.' && (part[2] == '/' || part[2] == '\0'))
            return true;
    }
    return false;
}

struct vdisk *chain_find(struct vdisk *top, uint64_t device, uint64_t inode)
{
    while (top && (top->file->device != device || top->file->inode != inode))
        top = top->parent;
    return top;
}

struct vdisk *chain_named(struct vdisk *top, const char *path)
{
    struct vdisk *link;
    struct stat st;

    if (stat(path, &st) < 0) {
        chain_error(&top->log, -errno, "disk: %s: %s", path, strerror(errno));
        return NULL;
    }
    link = chain_find(top, st.st_dev, st.st_ino);
    if (!link)
        chain_error(&top->log, -EINVAL, "disk: %s: is not in the chain of %s", path, top->file->path);
    return link;
}

struct vdisk *chain_above(struct vdisk *top, const struct vdisk *link)
{
    while (top && top->parent != link)
        top = top->parent;
    return top;
}

/* An open file: is it the parent? Takes the file. One that is in the chain already may bear the parent's name, as a child does
 * whose parent is called like it in another directory; it is the parent by its identity only, and then that is a circle. */
static int consider(struct search *s, struct file *file)
{
    const struct disk_format *format = s->child->format;
    struct vdisk *parent, *seen = chain_find(s->top, file->device, file->inode);
    char expected[64], found[64];
    int err, probe = format->probe(file);

    if (seen && !format->parent_matches(s->child, seen, expected, found) && !MUTANT("parent-circle-by-name")) {
        file_close(file);
        return 0;
    }
    if (seen && !MUTANT("parent-circle"))
        err = file_error(file, "chain", -ELOOP, "is its own ancestor: the chain is a circle");
    else if (probe < 0)
        err = file_error(file, "chain", probe, "cannot read: %s", strerror(-probe));
    else if (probe == 0)
        err = file_error(file, "chain", -EINVAL, "is not a %s file and cannot be the parent of %s", format->name,
                         s->child->file->path);
    else
        err = link_open(file, format, false, &parent);
    if (err) {
        file_close(file);
        return err;
    }
    if (!format->parent_matches(s->child, parent, s->expected, s->found) && !MUTANT("parent-unknown")) {
        snprintf(s->found_path, sizeof(s->found_path), "%s", file->path);
        link_close(parent);
        return 0;
    }
    if (parent->sector_size != s->child->sector_size) {
        err = disk_error(parent, -EINVAL, "has sectors of %u bytes, its child %s of %u", parent->sector_size,
                         s->child->file->path, s->child->sector_size);
        link_close(parent);
        return err;
    }
    s->parent = parent;
    return 0;
}

/* One that is in the chain already is only looked at: it may be open for writing. */
static int open_candidate(const struct search *s, int dir_fd, const char *name, const struct vdisk_log *log,
                          struct file **file)
{
    static const struct vdisk_log silent;

    if (file_open(dir_fd, name, FILE_PEEK, &silent, file) == 0) {
        if (chain_find(s->top, (*file)->device, (*file)->inode))
            return 0;
        file_close(*file);
    }
    return file_open(dir_fd, name, s->flags, log, file);
}

/* One name beneath one directory. A name that leads nowhere is no error: the next place is tried. */
static void look_in(struct search *s, int dir_fd, const char *dir, const char *name)
{
    struct vdisk_log silent = {0};
    struct file *file;
    char *path;
    int err;

    err = open_candidate(s, dir_fd, name, &silent, &file);
    if (err == -ENOENT || err == -ENOTDIR)
        return;
    if (asprintf(&path, "%s/%s", dir, name) < 0) {
        if (!err)
            file_close(file);
        s->refused = -ENOMEM;
        return;
    }
    if (err) {
        const char *why = err == -EXDEV   ? "the name leaves the directory"
                          : err == -EINVAL ? "not a regular file"
                                           : strerror(-err);

        if (!s->refused)
            s->refused = chain_error(&s->child->log, err, "chain: %.512s: cannot be opened as the parent of %s: %s", path,
                                     s->child->file->path, why);
        free(path);
        return;
    }
    free(file->path);
    file->path = path;
    file->log = s->child->log;
    err = consider(s, file);
    if (err && !s->refused)
        s->refused = err;
}

/* The recorded names beneath a directory: whole, then the last part alone. */
static void look_beneath(struct search *s, const char *dir, char *const *names, bool whole)
{
    int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir_fd < 0) {
        s->refused = chain_error(&s->child->log, -errno, "chain: %s: cannot be opened as a directory of parents: %s",
                                 dir, strerror(errno));
        return;
    }
    for (int i = 0; i < DISK_PARENT_NAMES && names[i] && whole && !s->parent && !s->refused; i++)
        if (names[i][0] != '\0' && !goes_up(names[i]))
            look_in(s, dir_fd, dir, names[i]);
    for (int i = 0; i < DISK_PARENT_NAMES && names[i] && !s->parent && !s->refused; i++) {
        const char *last = base_name(names[i]);

        if (last[0] != '\0' && !goes_up(last))
            look_in(s, dir_fd, dir, last);
    }
    close(dir_fd);
}

/* As it is compared: '/' between the parts, without what Windows puts before a long path. malloced. */
static char *plain_path(const char *path)
{
    char *copy = strdup(path), *from = copy, *plain;

    if (!copy)
        return NULL;
    for (char *c = copy; *c; c++)
        *c = *c == '\\' ? '/' : *c;
    if (strncmp(from, "//?/UNC/", 8) == 0) {
        from += 6;
        *from = '/'; /* "//server/share" */
    } else if (strncmp(from, "//?/", 4) == 0 || strncmp(from, "//./", 4) == 0) {
        from += 4;
    }
    plain = strdup(from);
    free(copy);
    return plain;
}

/* What is left of path behind the prefix, which ends at a part; NULL: it begins otherwise. */
static const char *rest_of(const char *path, const char *prefix)
{
    size_t length = strlen(prefix);

    while (length > 0 && prefix[length - 1] == '/')
        length--;
    if (length == 0 || strncasecmp(path, prefix, length) != 0 || path[length] != '/')
        return NULL;
    path += length;
    while (*path == '/')
        path++;
    return *path ? path : NULL;
}

/* One recorded path by one line of the map. */
static void look_by_line(struct search *s, const char *path, const char *line)
{
    const char *equals = strrchr(line, '='), *rest;
    char *from = equals ? strndup(line, (size_t)(equals - line)) : NULL, *prefix = from ? plain_path(from) : NULL;
    int dir_fd;

    if (!prefix) {
        s->refused = equals ? -ENOMEM
                            : chain_error(&s->child->log, -EINVAL, "chain: '%.512s' maps nothing: it must be OLD=NEW", line);
        goto free_names;
    }
    rest = rest_of(path, prefix);
    if (!rest || (goes_up(rest) && !MUTANT("parent-map-leaves")))
        goto free_names;
    dir_fd = open(equals + 1, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0) {
        s->refused = chain_error(&s->child->log, -errno, "chain: %.512s: cannot be opened as a directory of parents: %s",
                                 equals + 1, strerror(errno));
        goto free_names;
    }
    look_in(s, dir_fd, equals + 1, rest);
    close(dir_fd);

free_names:
    free(prefix);
    free(from);
}

static int look_by_map(struct search *s, const char *const *map)
{
    char *paths[DISK_PARENT_NAMES] = {NULL};
    int err = map ? s->child->format->parent_paths(s->child, paths) : 0;

    for (int i = 0; map && i < DISK_PARENT_NAMES && !err; i++) {
        char *path = paths[i] ? plain_path(paths[i]) : NULL;

        err = paths[i] && !path ? -ENOMEM : 0;
        for (const char *const *line = map; path && *line && !s->parent && !s->refused; line++)
            look_by_line(s, path, *line);
        free(path);
    }
    for (int i = 0; i < DISK_PARENT_NAMES; i++)
        free(paths[i]);
    return err;
}

static void look_in_list(struct search *s, const char *const *parents)
{
    for (; parents && *parents && !s->parent && !s->refused; parents++) {
        struct file *file;

        s->refused = open_candidate(s, AT_FDCWD, *parents, &s->child->log, &file);
        if (s->refused)
            return;
        if (chain_find(s->top, file->device, file->inode)) { /* the list serves the whole chain */
            file_close(file);
            continue;
        }
        s->refused = consider(s, file);
    }
}

static int not_found(const struct search *s, char *const *names)
{
    if (s->refused)
        return s->refused;
    if (s->found_path[0])
        return disk_error(s->child, -EINVAL, "the parent's identity is %s, but %s has %s", s->expected, s->found_path,
                          s->found);
    return disk_error(s->child, -ENOENT, "its parent '%.512s' was not found; name it, or a directory to look in",
                      names[0] ? names[0] : "(no name recorded)");
}

static int open_parent(struct vdisk *top, struct vdisk *child, const struct vdisk_open_options *options)
{
    struct search s = {
        .top = top, .child = child, .flags = options->flags & VDISK_OPEN_DIRECT ? FILE_DIRECT : 0};
    char *names[DISK_PARENT_NAMES] = {NULL};
    char *copy;
    int err = child->format->parent_names(child, names);

    if (err)
        goto free_names;
    copy = strdup(child->file->path);
    if (!copy) {
        err = -ENOMEM;
        goto free_names;
    }
    look_in_list(&s, options->parents);
    if (!s.parent && !s.refused)
        err = look_by_map(&s, options->parent_map);
    if (!s.parent && !s.refused && options->parent_dir)
        look_beneath(&s, options->parent_dir, names, true);
    if (!s.parent && !s.refused)
        look_beneath(&s, dirname(copy), names, false);
    free(copy);
    if (!s.parent)
        err = err ? err : not_found(&s, names);
    child->parent = s.parent;

free_names:
    for (int i = 0; i < DISK_PARENT_NAMES; i++)
        free(names[i]);
    return err;
}

int chain_refuse_child(const struct vdisk *parent, const char *path, const struct vdisk_log *log)
{
    int links = 1;

    for (const struct vdisk *link = parent; link; link = link->parent)
        links++;
    if (links <= DISK_CHAIN_MAX || MUTANT("chain-child-too-deep"))
        return 0;
    return chain_error(log, -ELOOP, "disk: %s: its chain would have more than %d links: merge some first", path,
                       DISK_CHAIN_MAX);
}

int chain_open_parents(struct vdisk *disk, const struct vdisk_open_options *options)
{
    struct vdisk *link = disk;

    for (int links = 1; link->type == DISK_DIFFERENCING; links++, link = link->parent) {
        int err;

        if (links >= DISK_CHAIN_MAX && !MUTANT("chain-endless"))
            return disk_error(disk, -ELOOP, "the chain has more than %d links", DISK_CHAIN_MAX);
        err = open_parent(disk, link, options);
        if (err)
            return err;
    }
    return 0;
}
