/* SPDX-License-Identifier: BSD-2-Clause */
/* See names.h. One thread at a time changes names: the one that moves, while the test waits. */
#include "tests/names.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMES 24

/* Weak: all tests are linked with this file, and some have their own. */
#define WEAK __attribute__((weak))
WEAK int __wrap_file_open(int dir_fd, const char *path, unsigned flags, const struct vdisk_log *log,
                          struct file **file);
WEAK int __wrap_file_sync_directory(const char *path);
WEAK int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
WEAK int __wrap_unlink(const char *path);

static struct name table[NAMES];
static unsigned count;
void (*names_made)(struct name *name);

static struct {
    enum names_call call;
    const char *part;
    int error;
    bool happened;
} fault;

static bool fails(enum names_call call, const char *path)
{
    bool is = fault.call == call && !fault.happened && strstr(path, fault.part);

    fault.happened |= is;
    return is;
}

void names_fail(enum names_call call, const char *part, int error)
{
    fault.call = call;
    fault.part = part;
    fault.error = error;
    fault.happened = false;
}

bool names_failed(void)
{
    return fault.happened;
}

/* ---- The table ---- */

struct name *names_find(const char *path)
{
    struct name *last = NULL;

    for (unsigned i = 0; i < count; i++)
        if (strcmp(table[i].path, path) == 0 && (!last || table[i].stands || !last->stands))
            last = &table[i];
    return last;
}

static struct name *standing(const char *path)
{
    struct name *name = names_find(path);

    return name && name->stands ? name : NULL;
}

unsigned names_standing(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++)
        n += table[i].stands;
    return n;
}

static struct name *add(const char *path, struct storage *storage, struct stat *st)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    test_ok(fd);
    test_ok(fstat(fd, st));
    close(fd);
    test_true(count < NAMES);
    table[count] = (struct name){.storage = storage, .stands = true};
    snprintf(table[count].path, sizeof(table[count].path), "%s", path);
    return &table[count++];
}

void names_add(const char *path, struct storage *storage, struct vdisk *disk)
{
    struct stat st;

    add(path, storage, &st);
    free(disk->file->path);
    disk->file->path = strdup(path);
    disk->file->device = st.st_dev;
    disk->file->inode = st.st_ino;
}

void names_clear(void)
{
    for (unsigned i = 0; i < count; i++) {
        if (table[i].stands)
            syscall(SYS_unlinkat, AT_FDCWD, table[i].path, 0);
        if (table[i].ours)
            storage_free(table[i].storage);
    }
    count = 0;
}

/* ---- In place of the library's and the system's ---- */

int __wrap_file_open(int dir_fd, const char *path, unsigned flags, const struct vdisk_log *log, struct file **file)
{
    struct name *name = standing(path);
    struct stat st;

    test_true(dir_fd == AT_FDCWD);
    if (flags & FILE_CREATE && fails(NAMES_CREATE, path))
        return fault.error;
    if (flags & FILE_CREATE ? name != NULL : !name)
        return flags & FILE_CREATE ? -EEXIST : -ENOENT;
    if (!name) {
        name = add(path, storage_new(), &st);
        name->ours = true;
        if (names_made)
            names_made(name);
    }
    test_ok(stat(path, &st));
    test_ok(storage_open(name->storage, path, flags & FILE_WRITE, log, file));
    (*file)->device = st.st_dev;
    (*file)->inode = st.st_ino;
    return 0;
}

static size_t directory_length(const char *path)
{
    return (size_t)(strrchr(path, '/') - path);
}

int __wrap_file_sync_directory(const char *path)
{
    size_t length = directory_length(path);

    if (fails(NAMES_SYNC, path))
        return fault.error;
    for (unsigned i = 0; i < count; i++)
        if (directory_length(table[i].path) == length && strncmp(table[i].path, path, length) == 0 && !table[i].durable)
            table[i].durable = storage_clock();
    return 0;
}

int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    struct name *name = standing(from);
    int result;

    if (name && fails(NAMES_RENAME, to)) {
        errno = -fault.error;
        return -1;
    }
    result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (result == 0 && name) {
        snprintf(name->path, sizeof(name->path), "%s", to);
        name->given = storage_clock();
        name->durable = 0;
    }
    return result;
}

int __wrap_unlink(const char *path)
{
    struct name *name = standing(path);
    int result;

    if (name && fails(NAMES_UNLINK, path)) {
        errno = -fault.error;
        return -1;
    }
    if (name)
        name->removing = storage_clock();
    result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (name && result == 0) {
        name->removed = storage_clock();
        name->stands = false;
    }
    return result;
}
