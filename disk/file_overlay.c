/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A read-only view of a file with pages laid over it: what the file will be once its log is replayed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"

#define PAGE 4096u

struct overlay {
    struct file file;
    struct file *base;
    struct file_overlay_page *pages; /* by position */
    size_t count;
};

/* The first page that ends behind position. */
static size_t page_from(const struct overlay *overlay, uint64_t position)
{
    size_t low = 0, high = overlay->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (overlay->pages[middle].position + PAGE <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Reads a part of one buffer: from a page, or from the base up to the next page. Behind the base's end are zeros. */
static ssize_t read_part(struct overlay *overlay, char *buffer, size_t length, uint64_t position)
{
    size_t index = page_from(overlay, position);
    const struct file_overlay_page *page = index < overlay->count ? &overlay->pages[index] : NULL;
    uint64_t part = length;

    if (page && page->position <= position) {
        uint64_t skip = position - page->position;

        part = part < PAGE - skip ? part : PAGE - skip;
        if (page->data)
            memcpy(buffer, page->data + skip, part);
        else
            memset(buffer, 0, part);
        return (ssize_t)part;
    }
    if (page && page->position - position < part)
        part = page->position - position;
    if (position >= overlay->base->size) {
        memset(buffer, 0, part);
        return (ssize_t)part;
    }
    if (overlay->base->size - position < part)
        part = overlay->base->size - position;
    {
        int err = file_read(overlay->base, buffer, part, position);

        return err ? err : (ssize_t)part;
    }
}

static ssize_t overlay_preadv(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    struct overlay *overlay = (struct overlay *)file;
    ssize_t total = 0;

    for (int i = 0; i < iovcnt; i++) {
        char *at = iov[i].iov_base, *end = at + iov[i].iov_len;

        while (at < end && position < file->size) {
            uint64_t room = file->size - position;
            size_t length = (size_t)(end - at) < room ? (size_t)(end - at) : (size_t)room;
            ssize_t n = read_part(overlay, at, length, position);

            if (n < 0)
                return total ? total : n;
            at += n;
            position += (uint64_t)n;
            total += n;
        }
    }
    return total;
}

static ssize_t overlay_pwritev(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    (void)file, (void)iov, (void)iovcnt, (void)position;
    return -EBADF;
}

static int overlay_resize(struct file *file, uint64_t size)
{
    (void)file, (void)size;
    return -EBADF;
}

static int overlay_zero(struct file *file, uint64_t position, uint64_t length, bool keep)
{
    (void)file, (void)position, (void)length, (void)keep;
    return -EBADF;
}

static int overlay_allocate(struct file *file, uint64_t position, uint64_t length)
{
    (void)file, (void)position, (void)length;
    return -EBADF;
}

static int overlay_seek_data(struct file *file, uint64_t position, uint64_t *data, uint64_t *hole)
{
    (void)file, (void)position, (void)data, (void)hole;
    return -EOPNOTSUPP;
}

static int overlay_sync(struct file *file)
{
    (void)file;
    return 0;
}

static void free_pages(struct file_overlay_page *pages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(pages[i].data);
    free(pages);
}

static void overlay_close(struct file *file)
{
    struct overlay *overlay = (struct overlay *)file;

    file_close(overlay->base);
    free_pages(overlay->pages, overlay->count);
    free(file->path);
    free(overlay);
}

static const struct file_ops overlay_ops = {
    .preadv = overlay_preadv,
    .pwritev = overlay_pwritev,
    .resize = overlay_resize,
    .zero = overlay_zero,
    .allocate = overlay_allocate,
    .seek_data = overlay_seek_data,
    .sync = overlay_sync,
    .close = overlay_close,
};

static int by_position(const void *a, const void *b)
{
    uint64_t x = ((const struct file_overlay_page *)a)->position, y = ((const struct file_overlay_page *)b)->position;

    return x < y ? -1 : x > y;
}

int file_overlay_open(struct file *base, struct file_overlay_page *pages, size_t count, uint64_t size,
                      struct file **file)
{
    struct overlay *overlay = calloc(1, sizeof(*overlay));
    char *path = strdup(base->path);

    if (!overlay || !path) {
        free(overlay);
        free(path);
        return -ENOMEM;
    }
    if (count > 0)
        qsort(pages, count, sizeof(*pages), by_position);
    overlay->file.ops = &overlay_ops;
    overlay->file.beneath = base;
    overlay->file.fd = -1;
    overlay->file.path = path;
    overlay->file.log = base->log;
    overlay->file.device = base->device;
    overlay->file.inode = base->inode;
    overlay->file.size = size;
    overlay->base = base;
    overlay->pages = pages;
    overlay->count = count;
    *file = &overlay->file;
    return 0;
}
