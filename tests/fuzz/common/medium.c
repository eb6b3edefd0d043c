/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages are found by a hash table; what a table does not know its base does, up to the shortest size there ever was.
 */
#include "tests/fuzz/common/medium.h"

#include <fcntl.h>

#include "tests/support.h"

#define PAGE 4096u
#define SIZE_LIMIT (UINT64_C(1) << 50) /* as a file system has one */
#define PAGES_LIMIT (64u << 10)        /* 256 MiB in one file, then the storage is full */

struct slot {
    uint64_t number; /* of the page, plus 1; 0: empty */
    uint8_t *page;   /* NULL: zeros */
};

struct medium {
    pthread_mutex_t lock;
    struct medium *base;
    uint64_t size, base_limit;
    struct slot *slots;
    size_t count, room; /* room: a power of two */
};

struct memory_file {
    struct file file;
    struct medium *memory;
};

static struct {
    const char *name;
    struct medium *memory;
} names[MEDIUM_NAMES];

static struct slot *slot_of(const struct medium *m, uint64_t number)
{
    size_t at = (size_t)((number + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (m->room - 1);

    while (m->slots[at].number && m->slots[at].number != number + 1)
        at = (at + 1) & (m->room - 1);
    return &m->slots[at];
}

static void make_room(struct medium *m)
{
    struct slot *old = m->slots;
    size_t room = m->room;

    if (2 * m->count < room)
        return;
    m->room = room ? 2 * room : 64;
    m->slots = calloc(m->room, sizeof(*m->slots));
    test_true(m->slots);
    for (size_t i = 0; i < room; i++)
        if (old[i].number)
            *slot_of(m, old[i].number - 1) = old[i];
    free(old);
}

static void set_page(struct medium *m, uint64_t number, uint8_t *page)
{
    struct slot *slot;

    make_room(m);
    slot = slot_of(m, number);
    m->count += slot->number == 0;
    if (slot->number)
        free(slot->page);
    *slot = (struct slot){number + 1, page};
}

/* NULL: zeros. */
static const uint8_t *page_of(const struct medium *m, uint64_t number)
{
    for (; m; m = m->base) {
        const struct slot *slot = m->room ? slot_of(m, number) : NULL;

        if (slot && slot->number)
            return slot->page;
        if (number * PAGE >= m->base_limit)
            return NULL;
    }
    return NULL;
}

/* The page as this memory's own, to be written; NULL: the storage is full. */
static uint8_t *own_page(struct medium *m, uint64_t number)
{
    const uint8_t *old = page_of(m, number);
    struct slot *slot = m->room ? slot_of(m, number) : NULL;
    uint8_t *page;

    if (slot && slot->number && slot->page)
        return slot->page;
    if (m->count >= PAGES_LIMIT)
        return NULL;
    page = calloc(1, PAGE);
    test_true(page);
    if (old)
        memcpy(page, old, PAGE);
    set_page(m, number, page);
    return page;
}

/* data NULL: zeros. In one page. */
static int put(struct medium *m, const uint8_t *data, size_t length, uint64_t position)
{
    uint8_t *page;

    if (!data && !page_of(m, position / PAGE))
        return 0;
    page = own_page(m, position / PAGE);
    if (!page)
        return -ENOSPC;
    if (data)
        memcpy(page + position % PAGE, data, length);
    else
        memset(page + position % PAGE, 0, length);
    return 0;
}

/* Whole pages [first, end) become zeros. */
static void clear_pages(struct medium *m, uint64_t first, uint64_t end)
{
    for (size_t i = 0; i < m->room; i++) {
        struct slot *slot = &m->slots[i];

        if (slot->number && slot->page && slot->number - 1 >= first && slot->number - 1 < end) {
            free(slot->page);
            slot->page = NULL;
        }
    }
    for (const struct medium *level = m->base; level; level = level->base)
        for (size_t i = 0; i < level->room; i++) {
            uint64_t number = level->slots[i].number - 1;

            if (level->slots[i].number && number >= first && number < end && page_of(m, number))
                set_page(m, number, NULL);
        }
}

static int zero(struct medium *m, uint64_t position, uint64_t length)
{
    uint64_t end = position + length, first = (position + PAGE - 1) / PAGE, last = end / PAGE;
    int err = 0;

    if (first > last)
        return put(m, NULL, (size_t)length, position);
    if (position % PAGE)
        err = put(m, NULL, (size_t)(first * PAGE - position), position);
    if (!err && end % PAGE)
        err = put(m, NULL, (size_t)(end - last * PAGE), last * PAGE);
    clear_pages(m, first, last);
    return err;
}

static int resize(struct medium *m, uint64_t size)
{
    int err = 0;

    if (size > SIZE_LIMIT)
        return -EFBIG;
    if (size < m->size)
        err = zero(m, size, m->size - size);
    if (size < m->base_limit)
        m->base_limit = (size + PAGE - 1) / PAGE * PAGE;
    m->size = size;
    return err;
}

static int write_at(struct medium *m, const uint8_t *data, size_t length, uint64_t position)
{
    int err = position + length > m->size ? resize(m, position + length) : 0;

    while (length > 0 && !err) {
        size_t part = PAGE - position % PAGE < length ? (size_t)(PAGE - position % PAGE) : length;

        err = put(m, data, part, position);
        data += part;
        position += part;
        length -= part;
    }
    return err;
}

struct medium *medium_new(void)
{
    struct medium *m = calloc(1, sizeof(*m));

    test_true(m);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

struct medium *medium_over(struct medium *base)
{
    struct medium *m = medium_new();

    m->base = base;
    m->size = m->base_limit = base->size;
    return m;
}

struct medium *medium_copy(const struct medium *from)
{
    struct medium *m = medium_new();

    test_true(!from->base);
    m->size = from->size;
    for (size_t i = 0; i < from->room; i++)
        if (from->slots[i].number && from->slots[i].page)
            memcpy(own_page(m, from->slots[i].number - 1), from->slots[i].page, PAGE);
    return m;
}

void medium_free(struct medium *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->room; i++)
        free(m->slots[i].page);
    free(m->slots);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

uint64_t medium_size(const struct medium *m)
{
    return m->size;
}

void medium_read(const struct medium *m, void *buffer, size_t length, uint64_t position)
{
    uint8_t *at = buffer;

    while (length > 0) {
        size_t part = PAGE - position % PAGE < length ? (size_t)(PAGE - position % PAGE) : length;
        const uint8_t *page = position < m->size ? page_of(m, position / PAGE) : NULL;

        if (page)
            memcpy(at, page + position % PAGE, part);
        else
            memset(at, 0, part);
        at += part;
        position += part;
        length -= part;
    }
}

void medium_write(struct medium *m, const void *buffer, size_t length, uint64_t position)
{
    test_ok(write_at(m, buffer, length, position));
}

int medium_resize(struct medium *m, uint64_t size)
{
    return resize(m, size);
}

/* ---- As a file ---- */

static struct medium *of(struct file *file, bool write)
{
    if (write && !file->writable)
        test_fail("%s: is written to, but was opened for reading", file->path);
    return ((struct memory_file *)file)->memory;
}

static ssize_t do_preadv(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    struct medium *m = of(file, false);
    ssize_t total = 0;

    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < iovcnt && position < m->size; i++) {
        uint64_t room = m->size - position;
        size_t part = iov[i].iov_len < room ? iov[i].iov_len : (size_t)room;

        medium_read(m, iov[i].iov_base, part, position);
        position += part;
        total += (ssize_t)part;
    }
    pthread_mutex_unlock(&m->lock);
    return position > INT64_MAX ? -EINVAL : total;
}

static ssize_t do_pwritev(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    struct medium *m = of(file, true);
    ssize_t total = 0;
    int err = 0;

    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < iovcnt && !err; i++) {
        err = write_at(m, iov[i].iov_base, iov[i].iov_len, position);
        position += iov[i].iov_len;
        total += (ssize_t)iov[i].iov_len;
    }
    pthread_mutex_unlock(&m->lock);
    return err ? err : total;
}

static int do_resize(struct file *file, uint64_t size)
{
    struct medium *m = of(file, true);
    int err;

    pthread_mutex_lock(&m->lock);
    err = resize(m, size);
    pthread_mutex_unlock(&m->lock);
    return err;
}

static int do_zero(struct file *file, uint64_t position, uint64_t length, bool keep)
{
    struct medium *m = of(file, true);
    int err;

    (void)keep;
    pthread_mutex_lock(&m->lock);
    err = zero(m, position, length);
    pthread_mutex_unlock(&m->lock);
    return err;
}

static int do_allocate(struct file *file, uint64_t position, uint64_t length)
{
    struct medium *m = of(file, true);
    int err = 0;

    pthread_mutex_lock(&m->lock);
    if (position + length > m->size)
        err = resize(m, position + length);
    pthread_mutex_unlock(&m->lock);
    return err;
}

static int do_seek_data(struct file *file, uint64_t position, uint64_t *data, uint64_t *hole)
{
    struct medium *m = of(file, false);
    uint64_t best = UINT64_MAX, end;

    pthread_mutex_lock(&m->lock);
    for (const struct medium *level = m; level; level = level->base)
        for (size_t i = 0; i < level->room; i++) {
            uint64_t number = level->slots[i].number - 1;

            if (level->slots[i].number && number >= position / PAGE && number < best && page_of(m, number))
                best = number;
        }
    for (end = best; end != UINT64_MAX && end * PAGE < m->size && page_of(m, end); end++)
        ;
    *data = best == UINT64_MAX || best * PAGE >= m->size ? m->size : best * PAGE > position ? best * PAGE : position;
    if (hole)
        *hole = *data == m->size || end * PAGE > m->size ? m->size : end * PAGE;
    pthread_mutex_unlock(&m->lock);
    return 0;
}

static int do_sync(struct file *file)
{
    (void)file;
    return 0;
}

static void do_close(struct file *file)
{
    free(file->path);
    free(file);
}

static const struct file_ops memory_ops = {
    .preadv = do_preadv,
    .pwritev = do_pwritev,
    .resize = do_resize,
    .zero = do_zero,
    .allocate = do_allocate,
    .seek_data = do_seek_data,
    .sync = do_sync,
    .close = do_close,
};

struct file *medium_open(struct medium *memory, const char *name, bool writable, const struct vdisk_log *log)
{
    struct memory_file *f = calloc(1, sizeof(*f));

    test_true(f);
    f->file.ops = &memory_ops;
    f->file.fd = -1;
    f->file.writable = writable;
    f->file.path = strdup(name);
    f->file.size = memory->size;
    f->file.inode = (uint64_t)(uintptr_t)memory;
    if (log)
        f->file.log = *log;
    f->memory = memory;
    return &f->file;
}

/* ---- Names ---- */

void medium_name(unsigned slot, const char *name, struct medium *memory)
{
    test_true(slot < MEDIUM_NAMES);
    names[slot].name = name;
    names[slot].memory = memory;
}

int __wrap_file_open(int dir_fd, const char *path, unsigned flags, const struct vdisk_log *log, struct file **file);

int __wrap_file_open(int dir_fd, const char *path, unsigned flags, const struct vdisk_log *log, struct file **file)
{
    const char *name = strncmp(path, "./", 2) == 0 ? path + 2 : path;
    struct file nowhere = {.path = (char *)path};

    (void)dir_fd;
    for (unsigned i = 0; i < MEDIUM_NAMES; i++)
        if (names[i].memory && strcmp(names[i].name, name) == 0) {
            *file = medium_open(names[i].memory, path, flags & FILE_WRITE, log);
            return 0;
        }
    if (log)
        nowhere.log = *log;
    return file_error(&nowhere, "file", -ENOENT, "cannot open for %s: %s", flags & FILE_WRITE ? "writing" : "reading",
                      strerror(ENOENT));
}
