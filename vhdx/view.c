/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A log's pages laid over its file. Everything else in the file is verified in this view before the log is applied, so
 * that a file that is refused was not changed. A file that is opened for reading stays behind its view.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "log.h"

/* A file under a view that the view does not close, until it is told to. */
struct loan {
    struct file file;
    struct file *base;
    bool owned;
};

static ssize_t loan_preadv(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    struct file *base = ((struct loan *)file)->base;

    return base->ops->preadv(base, iov, iovcnt, position);
}

static void loan_close(struct file *file)
{
    struct loan *loan = (struct loan *)file;

    if (loan->owned)
        file_close(loan->base);
    free(loan);
}

static const struct file_ops loan_ops = {.preadv = loan_preadv, .close = loan_close};

static struct file *loan_open(struct file *base)
{
    struct loan *loan = calloc(1, sizeof(*loan));

    if (!loan)
        return NULL;
    loan->base = base;
    loan->file.ops = &loan_ops;
    loan->file.beneath = base;
    loan->file.fd = -1;
    loan->file.path = base->path;
    loan->file.log = base->log;
    loan->file.device = base->device;
    loan->file.inode = base->inode;
    loan->file.size = base->size;
    return &loan->file;
}

int vhdx_replay_view(struct file *file, struct file_overlay_page *pages, size_t count, uint64_t size,
                     struct vhdx_replay *replay)
{
    int err;

    *replay = (struct vhdx_replay){.pages = pages, .count = count, .size = size};
    replay->loan = loan_open(file);
    err = replay->loan ? file_overlay_open(replay->loan, pages, count, size, &replay->view) : -ENOMEM;
    if (!err)
        return 0;
    file_close(replay->loan);
    vhdx_replay_free(pages, count);
    return file_error(file, "vhdx", err, "log: no view of it: %s", strerror(-err));
}

int vhdx_replay_open(struct vhdx_report *report, struct file *file, const struct vhdx_header *header,
                     struct vhdx_replay *replay)
{
    struct file_overlay_page *pages;
    uint64_t size;
    size_t count;
    int err;

    err = vhdx_replay_collect(report, file, header, &pages, &count, &size);
    return err ? err : vhdx_replay_view(file, pages, count, size, replay);
}

void vhdx_replay_close(struct vhdx_replay *replay)
{
    file_close(replay->view);
    replay->view = NULL;
}

struct file *vhdx_replay_keep(struct vhdx_replay *replay)
{
    struct file *view = replay->view;

    ((struct loan *)replay->loan)->owned = true;
    replay->view = NULL;
    return view;
}

/* Does it to the file itself, durably. */
static int apply_pages(const struct vhdx_replay *replay, struct file *file)
{
    int err = replay->size > file->size ? file_resize(file, replay->size) : 0;

    for (size_t i = 0, next; i < replay->count && !err; i = next) {
        const struct file_overlay_page *page = &replay->pages[i];

        next = i + 1;
        if (page->data) {
            err = file_write(file, page->data, VHDX_PAGE, page->position);
            continue;
        }
        while (next < replay->count && !replay->pages[next].data &&
               replay->pages[next].position == page->position + (next - i) * VHDX_PAGE)
            next++;
        err = file_zero(file, page->position, (next - i) * VHDX_PAGE, true);
    }
    if (!err && !MUTANT("vhdx-replay-unsynced"))
        err = file_sync(file);
    return err ? file_error(file, "vhdx", err, "log: cannot be replayed: %s", strerror(-err)) : 0;
}

static int write_headers(struct file *file, struct vhdx_header *header, unsigned *slot)
{
    int err = vhdx_header_write(file, header, slot);

    return err ? file_error(file, "vhdx", err, "cannot write the headers: %s", strerror(-err)) : 0;
}

/* The order: FileWriteGuid, as before any modification; the log's pages, durable; then the log is empty. */
int vhdx_replay_settle(const struct vhdx_replay *replay, struct file *file, struct vhdx_header *header, unsigned *slot)
{
    int err;

    if (!MUTANT("vhdx-replay-guid-kept"))
        header->file_write_guid = vhdx_guid_random();
    err = write_headers(file, header, slot);
    if (!err)
        err = apply_pages(replay, file);
    if (err)
        return err;
    header->log_guid = (struct vhdx_guid){{0}};
    return write_headers(file, header, slot);
}
