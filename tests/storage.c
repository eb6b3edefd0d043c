/* SPDX-License-Identifier: BSD-2-Clause */
/* See storage.h. */
#include <unistd.h>

#include "tests/storage.h"

#define PAGE 4096u
#define SECTOR 512u

struct page {
    _Atomic unsigned users;
    uint8_t data[PAGE];
};

/* Pages are shared between copies and copied when written. NULL is a hole. */
struct image {
    struct page **pages;
    size_t count, used; /* used: that are no holes */
    uint64_t size;
};

/* Storage that was reserved and never written. */
static struct page untouched = {.users = 1};

struct storage {
    pthread_mutex_t lock;
    struct image now, base;
    bool recording;
    struct storage_op *ops;
    size_t op_count, op_room;
    size_t base_ops; /* those that base holds already */
    uint64_t counted, fail_at;
    unsigned fail_kinds;
    int fail_error;
    bool fail_sticky;
    size_t limit; /* pages; 0: none */
    bool plain;
    uint32_t sector;
};

struct storage_file {
    struct file file;
    struct storage *storage;
};

static _Atomic uint64_t the_clock = 1;

uint64_t storage_clock(void)
{
    return atomic_fetch_add(&the_clock, 1);
}

/* ---- Images ---- */

static void page_drop(struct page *page)
{
    if (page && atomic_fetch_sub(&page->users, 1) == 1)
        free(page);
}

/* The page as one that may be written. */
static struct page *page_own(struct image *image, size_t index)
{
    struct page *old = image->pages[index], *copy;

    if (old && old->users == 1 && old != &untouched)
        return old;
    copy = malloc(sizeof(*copy));
    test_true(copy);
    copy->users = 1;
    if (old)
        memcpy(copy->data, old->data, PAGE);
    else
        memset(copy->data, 0, PAGE);
    page_drop(old);
    image->used += !old;
    image->pages[index] = copy;
    return copy;
}

static void page_punch(struct image *image, size_t index)
{
    image->used -= image->pages[index] != NULL;
    page_drop(image->pages[index]);
    image->pages[index] = NULL;
}

static void image_resize(struct image *image, uint64_t size)
{
    size_t count = (size_t)((size + PAGE - 1) / PAGE), last = (size_t)(size / PAGE);

    /* What is cut off is zero when it comes back. */
    if (size < image->size && size % PAGE && image->pages[last])
        memset(page_own(image, last)->data + size % PAGE, 0, PAGE - size % PAGE);
    for (size_t i = count; i < image->count; i++)
        page_punch(image, i);
    image->pages = realloc(image->pages, (count + 1) * sizeof(*image->pages));
    test_true(image->pages);
    if (count > image->count)
        memset(image->pages + image->count, 0, (count - image->count) * sizeof(*image->pages));
    image->count = count;
    image->size = size;
}

static void image_free(struct image *image)
{
    for (size_t i = 0; i < image->count; i++)
        page_drop(image->pages[i]);
    free(image->pages);
    *image = (struct image){0};
}

static void image_copy(struct image *to, const struct image *from)
{
    *to = *from;
    to->pages = malloc((from->count + 1) * sizeof(*to->pages));
    test_true(to->pages);
    for (size_t i = 0; i < from->count; i++) {
        to->pages[i] = from->pages[i];
        if (to->pages[i])
            atomic_fetch_add(&to->pages[i]->users, 1);
    }
}

static void image_read(const struct image *image, uint8_t *buffer, uint64_t length, uint64_t position)
{
    while (length > 0) {
        uint64_t skip = position % PAGE, part = PAGE - skip < length ? PAGE - skip : length;
        const struct page *page = image->pages[position / PAGE];

        if (page)
            memcpy(buffer, page->data + skip, part);
        else
            memset(buffer, 0, part);
        buffer += part;
        position += part;
        length -= part;
    }
}

/* data NULL: zeros, and whole pages become holes. The range is inside the image. */
static void image_write(struct image *image, const uint8_t *data, uint64_t length, uint64_t position)
{
    while (length > 0) {
        uint64_t skip = position % PAGE, part = PAGE - skip < length ? PAGE - skip : length;
        size_t index = (size_t)(position / PAGE);

        if (data)
            memcpy(page_own(image, index)->data + skip, data, part);
        else if (part == PAGE)
            page_punch(image, index);
        else if (image->pages[index])
            memset(page_own(image, index)->data + skip, 0, part);
        data = data ? data + part : NULL;
        position += part;
        length -= part;
    }
}

/* Storage for all pages of the range, and no more of them than limit (0: any). How much of the range has it then. */
static uint64_t image_reserve(struct image *image, uint64_t length, uint64_t position, size_t limit)
{
    uint64_t end = position + length;

    for (uint64_t at = position; at < end; at = (at / PAGE + 1) * PAGE) {
        struct page **page = &image->pages[at / PAGE];

        if (*page)
            continue;
        if (limit && image->used >= limit)
            return at - position;
        *page = &untouched;
        atomic_fetch_add(&untouched.users, 1);
        image->used++;
    }
    return length;
}

/* ---- The file's operations ---- */

static struct storage *of(struct file *file)
{
    return ((struct storage_file *)file)->storage;
}

/* 0, or what happens to this operation instead. */
static int fault(struct storage *s, enum storage_kind kind)
{
    if (!(s->fail_kinds & 1u << kind))
        return 0;
    s->counted++;
    if (s->counted == s->fail_at || (s->fail_sticky && s->fail_at && s->counted > s->fail_at))
        return s->fail_error;
    return 0;
}

/* Notes an operation that is done while the lock is held. */
static struct storage_op *note(struct storage *s, enum storage_kind kind, uint64_t position, uint64_t length)
{
    struct storage_op *op;

    if (!s->recording)
        return NULL;
    if (s->op_count == s->op_room) {
        s->op_room = s->op_room ? 2 * s->op_room : 256;
        s->ops = realloc(s->ops, s->op_room * sizeof(*s->ops));
        test_true(s->ops);
    }
    op = &s->ops[s->op_count++];
    *op = (struct storage_op){.kind = kind, .position = position, .length = length, .begin = storage_clock()};
    op->old_size = s->now.size;
    op->end = storage_clock();
    return op;
}

static ssize_t do_preadv(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    struct storage *s = of(file);
    ssize_t total = 0;
    int err;

    pthread_mutex_lock(&s->lock);
    err = fault(s, STORAGE_READ);
    for (int i = 0; i < iovcnt && position < s->now.size && err >= 0; i++) {
        uint64_t room = s->now.size - position, part = iov[i].iov_len < room ? iov[i].iov_len : room;

        if (err == STORAGE_SHORT && part > s->sector)
            part = s->sector;
        image_read(&s->now, iov[i].iov_base, part, position);
        position += part;
        total += (ssize_t)part;
        if (err == STORAGE_SHORT)
            break;
    }
    pthread_mutex_unlock(&s->lock);
    return err < 0 ? err : total;
}

/* Without holes, growth is storage. */
static int set_size(struct storage *s, uint64_t size)
{
    uint64_t old = s->now.size;

    image_resize(&s->now, size);
    if (s->plain && size > old && image_reserve(&s->now, size - old, old, s->limit) < size - old) {
        image_resize(&s->now, old);
        return -ENOSPC;
    }
    note(s, STORAGE_RESIZE, size, 0);
    return 0;
}

/* One buffer's bytes; how many found room. */
static uint64_t write_part(struct storage *s, const uint8_t *data, uint64_t length, uint64_t position)
{
    struct storage_op *op;

    if (position + length > s->now.size && set_size(s, position + length))
        return 0;
    length = s->limit ? image_reserve(&s->now, length, position, s->limit) : length;
    image_write(&s->now, data, length, position);
    op = note(s, STORAGE_WRITE, position, length);
    if (op) {
        op->data = malloc(length + 1);
        memcpy(op->data, data, length);
    }
    return length;
}

static ssize_t do_pwritev(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    struct storage *s = of(file);
    ssize_t total = 0;
    int err;

    pthread_mutex_lock(&s->lock);
    err = fault(s, STORAGE_WRITE);
    for (int i = 0; i < iovcnt && err >= 0; i++) {
        uint64_t want = err == STORAGE_SHORT && iov[i].iov_len > s->sector ? s->sector : iov[i].iov_len;
        uint64_t part = write_part(s, iov[i].iov_base, want, position);

        position += part;
        total += (ssize_t)part;
        if (part < iov[i].iov_len || err == STORAGE_SHORT)
            break;
    }
    pthread_mutex_unlock(&s->lock);
    if (err < 0)
        return err;
    return total ? total : -ENOSPC;
}

static int do_resize(struct file *file, uint64_t size)
{
    struct storage *s = of(file);
    int err;

    pthread_mutex_lock(&s->lock);
    err = fault(s, STORAGE_RESIZE);
    if (!err)
        err = set_size(s, size);
    pthread_mutex_unlock(&s->lock);
    return err;
}

static int do_zero(struct file *file, uint64_t position, uint64_t length, bool keep)
{
    struct storage *s = of(file);
    int err;

    pthread_mutex_lock(&s->lock);
    err = s->plain ? -EOPNOTSUPP : fault(s, STORAGE_ZERO);
    if (!err && keep && image_reserve(&s->now, length, position, s->limit) < length)
        err = -ENOSPC;
    if (!err) {
        image_write(&s->now, NULL, length, position);
        if (keep)
            image_reserve(&s->now, length, position, 0);
        note(s, STORAGE_ZERO, position, length);
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}

static int do_allocate(struct file *file, uint64_t position, uint64_t length)
{
    struct storage *s = of(file);
    int err;

    pthread_mutex_lock(&s->lock);
    err = fault(s, STORAGE_ALLOCATE);
    if (!err && position + length > s->now.size)
        err = set_size(s, position + length);
    if (!err && !s->plain && image_reserve(&s->now, length, position, s->limit) < length)
        err = -ENOSPC;
    pthread_mutex_unlock(&s->lock);
    return err;
}

static int do_seek_data(struct file *file, uint64_t position, uint64_t *data, uint64_t *hole)
{
    struct storage *s = of(file);
    const struct image *image = &s->now;
    size_t i = (size_t)(position / PAGE);
    uint64_t unasked;

    if (s->plain)
        return -EOPNOTSUPP;
    hole = hole ? hole : &unasked;
    pthread_mutex_lock(&s->lock);
    while (i < image->count && (!image->pages[i] || image->pages[i] == &untouched))
        i++;
    *data = i * PAGE < position ? position : i * PAGE;
    while (i < image->count && image->pages[i] && image->pages[i] != &untouched)
        i++;
    *hole = i * PAGE;
    if (*data > image->size)
        *data = image->size;
    if (*hole > image->size || *hole < *data)
        *hole = image->size;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* What a failed sync did not write is clean in the cache and will never be written. */
static void lose(struct storage *s)
{
    for (size_t i = s->op_count; i-- > 0 && s->ops[i].kind != STORAGE_SYNC;)
        s->ops[i].lost = s->ops[i].kind != STORAGE_RESIZE;
}

static int do_sync(struct file *file)
{
    struct storage *s = of(file);
    uint64_t begin = storage_clock();
    struct storage_op *op;
    int err;

    pthread_mutex_lock(&s->lock);
    err = fault(s, STORAGE_SYNC);
    op = err ? NULL : note(s, STORAGE_SYNC, 0, 0);
    if (op)
        op->begin = begin;
    if (err && err != -EINTR)
        lose(s);
    pthread_mutex_unlock(&s->lock);
    return err;
}

static void do_close(struct file *file)
{
    free(file->path);
    free(file);
}

static const struct file_ops storage_file_ops = {
    .preadv = do_preadv,
    .pwritev = do_pwritev,
    .resize = do_resize,
    .zero = do_zero,
    .allocate = do_allocate,
    .seek_data = do_seek_data,
    .sync = do_sync,
    .close = do_close,
};

/* ---- Storages ---- */

struct storage *storage_new(void)
{
    struct storage *s = calloc(1, sizeof(*s));

    test_true(s);
    s->sector = SECTOR;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void storage_free(struct storage *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->op_count; i++)
        free(s->ops[i].data);
    free(s->ops);
    image_free(&s->now);
    image_free(&s->base);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct storage *storage_copy(struct storage *storage)
{
    struct storage *s = storage_new();

    image_copy(&s->now, &storage->now);
    s->plain = storage->plain;
    s->sector = storage->sector;
    return s;
}

int storage_open(struct storage *storage, const char *name, bool writable, const struct vdisk_log *log,
                 struct file **file)
{
    struct storage_file *f = calloc(1, sizeof(*f));

    test_true(f);
    f->file.ops = &storage_file_ops;
    f->file.fd = -1;
    f->file.writable = writable;
    f->file.path = strdup(name);
    f->file.size = storage->now.size;
    f->file.inode = (uint64_t)(uintptr_t)storage;
    if (log)
        f->file.log = *log;
    f->storage = storage;
    *file = &f->file;
    return 0;
}

void storage_record(struct storage *s)
{
    image_free(&s->base);
    image_copy(&s->base, &s->now);
    s->base_ops = s->op_count;
    s->recording = true;
}

size_t storage_ops(struct storage *s, struct storage_op **ops)
{
    *ops = s->ops;
    return s->op_count;
}

void storage_fail(struct storage *s, uint64_t number, unsigned kinds, int error, bool sticky)
{
    s->counted = 0;
    s->fail_at = number;
    s->fail_kinds = kinds;
    s->fail_error = error;
    s->fail_sticky = sticky;
}

uint64_t storage_count(struct storage *s)
{
    return s->counted;
}

void storage_limit(struct storage *s, uint64_t more)
{
    pthread_mutex_lock(&s->lock);
    s->limit = more == STORAGE_UNLIMITED ? 0 : s->now.used + (size_t)(more / PAGE) + !s->now.used;
    pthread_mutex_unlock(&s->lock);
}

void storage_make_plain(struct storage *s)
{
    s->plain = true;
}

void storage_set_sector(struct storage *s, uint32_t bytes)
{
    s->sector = bytes;
}

void storage_save(struct storage *s, int fd)
{
    test_ok(ftruncate(fd, 0) | ftruncate(fd, (off_t)s->now.size));
    for (size_t i = 0; i < s->now.count; i++) {
        size_t length = s->now.size - i * PAGE < PAGE ? (size_t)(s->now.size - i * PAGE) : PAGE;

        if (s->now.pages[i])
            test_equal(pwrite(fd, s->now.pages[i]->data, length, (off_t)(i * PAGE)), length);
    }
}

/* ---- Cuts ---- */

/* Everything that ended before this time is durable at time. */
static uint64_t durable_before(const struct storage *s, uint64_t time)
{
    uint64_t before = 0;

    for (size_t i = 0; i < s->op_count; i++)
        if (s->ops[i].kind == STORAGE_SYNC && s->ops[i].end <= time && s->ops[i].begin > before)
            before = s->ops[i].begin;
    return before;
}

/* The parts of a write or zero that happened. Writes behind the end are lost with the length. */
static void apply(struct image *image, const struct storage_op *op, enum storage_keep keep, unsigned tear,
                  struct rng *rng)
{
    for (uint64_t at = 0; at < op->length;) {
        uint64_t unit = tear - (op->position + at) % tear, part = unit < op->length - at ? unit : op->length - at;
        bool there = keep == KEEP_ALL || (keep == KEEP_TORN && rng_below(rng, 2));

        if (there && op->position + at < image->size) {
            uint64_t room = image->size - (op->position + at);

            image_write(image, op->data ? op->data + at : NULL, part < room ? part : room, op->position + at);
        }
        at += part;
    }
}

/* Cuts are asked for in the order of time: what is durable moves into the base for good. */
void storage_cut_at(struct storage *s, uint64_t time, struct storage_cut *cut)
{
    uint64_t durable = durable_before(s, time);
    struct rng unused = {0};
    size_t i;

    *cut = (struct storage_cut){.storage = s, .time = time};
    cut->pending = malloc((s->op_count + 1) * sizeof(*cut->pending));
    test_true(cut->pending);
    for (; s->base_ops < s->op_count && s->ops[s->base_ops].end < durable; s->base_ops++) {
        const struct storage_op *op = &s->ops[s->base_ops];

        if (op->kind == STORAGE_RESIZE)
            image_resize(&s->base, op->position);
        else if (op->kind != STORAGE_SYNC && !op->lost)
            apply(&s->base, op, KEEP_ALL, PAGE, &unused);
    }
    for (i = s->base_ops; i < s->op_count; i++)
        if (s->ops[i].kind != STORAGE_SYNC && !s->ops[i].lost && s->ops[i].begin <= time)
            cut->pending[cut->count++] = i;
}

void storage_cut_free(struct storage_cut *cut)
{
    free(cut->pending);
}

/* A write into space that was not there when it was last durable, and did not happen: what the medium held before. */
static void apply_junk(struct image *image, const struct storage_op *op, uint64_t durable_size, struct rng *rng)
{
    uint8_t junk[SECTOR];

    for (uint64_t at = op->position; at < op->position + op->length && at + SECTOR <= image->size; at += SECTOR) {
        if (at < durable_size)
            continue;
        for (unsigned i = 0; i < SECTOR; i += 8) {
            uint64_t word = rng_next(rng) * UINT64_C(0x9e3779b97f4a7c15);

            memcpy(junk + i, &word, 8);
        }
        image_write(image, junk, SECTOR, at);
    }
}

struct storage *storage_after_cut(const struct storage_cut *cut, const struct storage_choice *choice)
{
    struct storage *from = cut->storage, *s = storage_new();
    struct rng rng;
    uint64_t size, durable_size;

    rng_seed(&rng, choice->seed);
    image_copy(&s->now, &from->base);
    s->plain = from->plain;
    size = durable_size = s->now.size;
    for (size_t i = 0; i < cut->count; i++)
        if (from->ops[cut->pending[i]].kind == STORAGE_RESIZE && choice->keep[i] != KEEP_NONE)
            size = from->ops[cut->pending[i]].position;
    image_resize(&s->now, size);
    for (size_t i = 0; i < cut->count; i++) {
        const struct storage_op *op = &from->ops[cut->pending[i]];

        if (op->kind == STORAGE_RESIZE)
            continue;
        if (choice->keep[i] == KEEP_NONE && choice->junk && op->kind == STORAGE_WRITE)
            apply_junk(&s->now, op, durable_size, &rng);
        else
            apply(&s->now, op, (enum storage_keep)choice->keep[i], choice->tear, &rng);
    }
    return s;
}
