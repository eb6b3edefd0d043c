/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings: the pool of pieces, the inbox, and polling. Backends only move bytes; short transfers, retries and the end of
 * a file are understood here.
 */
#include "ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine.h"
#include "mutant.h"

#define DEFAULT_DEPTH 128u
#define MAX_DEPTH 4096u

static atomic_uint next_slot;

struct piece *ring_piece(struct vdisk_ring *ring)
{
    struct piece *piece = ring->free;

    if (piece)
        ring->free = piece->next;
    return piece;
}

void ring_piece_free(struct vdisk_ring *ring, struct piece *piece)
{
    piece->next = ring->free;
    ring->free = piece;
}

/* By the file's own operations, on this thread. */
static void move(struct vdisk_ring *ring, struct piece *piece)
{
    ring_complete(ring, piece, piece_move(piece));
}

/* Is a copy all there is to it? */
static bool is_copy(const struct vdisk_ring *ring, const struct file *file, bool write)
{
    if (file->in_memory)
        return ring->chosen;
    return ring->cached && write && file->direct_unit == 0 && ring->lent == 1;
}

static void start(struct vdisk_ring *ring, struct piece *piece)
{
    struct file *file = piece->disk->file;

    ring->flying++;
    ring->stirred = true;
    if (file->fd < 0)
        piece_list_add(&ring->deferred, piece);
    else if (is_copy(ring, file, piece->write) ||
             !file_takes(file, piece->iov_next, piece->iov_left, piece->position + piece->moved))
        move(ring, piece);
    else
        ring->backend->start(ring, piece);
}

void ring_start(struct vdisk_ring *ring, struct piece *piece)
{
    piece->moved = 0;
    piece->iov_next = piece->iov;
    start(ring, piece);
}

void ring_complete(struct vdisk_ring *ring, struct piece *piece, ssize_t result)
{
    ring->flying--;
    piece->result = result;
    piece_list_add(&ring->completed, piece);
}

/* Steps over n bytes of what is left. */
static void advance(struct piece *piece, size_t n)
{
    piece->moved += n;
    while (n > 0 && n >= piece->iov_next->iov_len) {
        n -= piece->iov_next->iov_len;
        piece->iov_next++;
        piece->iov_left--;
    }
    if (n > 0) {
        piece->iov_next->iov_base = (char *)piece->iov_next->iov_base + n;
        piece->iov_next->iov_len -= n;
    }
}

/* A read that meets the end of the file: only a raw file may end inside its last sector. One that ends before that was cut
 * while it was open. */
static int end_of_file(struct piece *piece)
{
    struct vdisk *disk = piece->disk;
    uint64_t at = piece->position + piece->moved;

    if (piece->write || !disk->tail_reads_zero || (disk->size - at >= disk->sector_size && !MUTANT("raw-cut-reads-zero")))
        return disk_error(disk, -EIO, "%s at 0x%llx: the file ends there", piece->write ? "write" : "read",
                          (unsigned long long)at);
    for (int i = 0; i < piece->iov_left; i++)
        memset(piece->iov_next[i].iov_base, 0, piece->iov_next[i].iov_len);
    return 0;
}

/* A transfer has ended: start it again for the rest, or hand the piece to the engine. */
static void look_at(struct vdisk_ring *ring, struct piece *piece)
{
    ssize_t n = piece->result;
    int err = 0;

    if ((n == -EINTR || n == -EAGAIN || n == -ECANCELED) && !MUTANT("again-is-an-error")) {
        start(ring, piece);
        return;
    }
    if (n < 0) {
        err = disk_error(piece->disk, (int)n, "%s of %llu bytes at 0x%llx: %s", piece->write ? "write" : "read",
                         (unsigned long long)(piece->length - piece->moved),
                         (unsigned long long)(piece->position + piece->moved), strerror((int)-n));
    } else if (n == 0) {
        err = end_of_file(piece);
    } else {
        advance(piece, (size_t)n);
        if (piece->moved < piece->length && !MUTANT("short-transfer-taken")) {
            start(ring, piece);
            return;
        }
    }
    engine_piece_done(ring, piece, err);
}

static void look_at_completed(struct vdisk_ring *ring)
{
    struct piece *piece;

    while ((piece = piece_list_take(&ring->completed)))
        look_at(ring, piece);
}

void ring_bell(struct vdisk_ring *ring)
{
    uint64_t one = 1;

    while (write(ring->bell, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void ring_quiet(struct vdisk_ring *ring)
{
    uint64_t count;

    while (read(ring->bell, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
}

void ring_post(struct vdisk_ring *ring, struct vdisk_io *io)
{
    bool was_empty;

    pthread_mutex_lock(&ring->inbox_lock);
    was_empty = !ring->inbox.head;
    io_list_add(&ring->inbox, io);
    if (was_empty)
        ring_bell(ring); /* under the lock: once it is released, the ring may be closed by its owner */
    pthread_mutex_unlock(&ring->inbox_lock);
}

static void look_at_inbox(struct vdisk_ring *ring)
{
    struct vdisk_io *io;

    for (;;) {
        pthread_mutex_lock(&ring->inbox_lock);
        io = io_list_take(&ring->inbox);
        pthread_mutex_unlock(&ring->inbox_lock);
        if (!io)
            return;
        engine_resume(io);
    }
}

static int finish(struct vdisk_ring *ring)
{
    struct vdisk_io *io;
    int count = 0;

    while ((io = io_list_take(&ring->finished))) {
        ring->lent--;
        count++;
        io->done(io, io->engine.error);
    }
    return count;
}

/* But to wait for a backend or the bell: a reap that waits begins what was started, so there is no need for one that
 * does not before it. */
static bool nothing_to_do(const struct vdisk_ring *ring)
{
    return ring->lent > 0 && !ring->completed.head && !ring->finished.head && !(ring->free && ring->starved.head);
}

int vdisk_ring_poll(struct vdisk_ring *ring, bool wait)
{
    int count = 0;

    for (;;) {
        struct vdisk_io *io;
        struct piece *piece;

        while ((piece = piece_list_take(&ring->deferred)))
            move(ring, piece);
        ring->stirred = false;
        ring->backend->reap(ring, wait && nothing_to_do(ring));
        look_at_completed(ring);
        look_at_inbox(ring);
        while (ring->free && (io = io_list_take(&ring->starved)))
            engine_continue(io);
        count += finish(ring);
        if (count > 0 || ring->lent == 0 || (!wait && !ring->stirred))
            return count;
    }
}

int vdisk_ring_fd(const struct vdisk_ring *ring)
{
    return ring->backend->descriptor(ring);
}

const char *vdisk_ring_backend(const struct vdisk_ring *ring)
{
    return ring->backend->name;
}

static int open_backend(struct vdisk_ring *ring, enum vdisk_backend which)
{
    const struct ring_backend *const all[] = {&ring_uring, &ring_aio, &ring_threads, &ring_inline};
    int err = -EINVAL;

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (which != VDISK_BACKEND_AUTO && which != VDISK_BACKEND_URING + i)
            continue;
        ring->backend = all[i];
        err = ring->backend->open(ring);
        if (!err)
            break;
    }
    return err;
}

int vdisk_ring_open(unsigned depth, enum vdisk_backend backend, struct vdisk_ring **ring)
{
    struct vdisk_ring *r;
    int err;

    if (depth == 0)
        depth = DEFAULT_DEPTH;
    if (depth > MAX_DEPTH)
        return -EINVAL;
    r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->depth = depth;
    r->cached = backend == VDISK_BACKEND_CACHED;
    r->chosen = r->cached || backend == VDISK_BACKEND_AUTO;
    r->slot = atomic_fetch_add(&next_slot, 1) % EPOCH_WORKER;
    r->completed.tail = &r->completed.head;
    r->deferred.tail = &r->deferred.head;
    io_list_init(&r->starved);
    io_list_init(&r->finished);
    io_list_init(&r->inbox);
    pthread_mutex_init(&r->inbox_lock, NULL);
    r->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = r->bell < 0 ? -errno : 0;
    if (err)
        goto free_ring;
    r->pool = calloc(depth, sizeof(*r->pool));
    err = r->pool ? 0 : -ENOMEM;
    if (err)
        goto close_bell;
    for (unsigned i = depth; i-- > 0;)
        ring_piece_free(r, &r->pool[i]);
    err = open_backend(r, r->cached ? VDISK_BACKEND_AUTO : backend);
    if (err)
        goto free_pool;
    *ring = r;
    return 0;

free_pool:
    free(r->pool);
close_bell:
    close(r->bell);
free_ring:
    pthread_mutex_destroy(&r->inbox_lock);
    free(r);
    return err;
}

void vdisk_ring_close(struct vdisk_ring *ring)
{
    if (!ring)
        return;
    ring->backend->close(ring);
    pthread_mutex_lock(&ring->inbox_lock); /* the last poster may still be ringing */
    pthread_mutex_unlock(&ring->inbox_lock);
    pthread_mutex_destroy(&ring->inbox_lock);
    free(ring->pool);
    close(ring->bell);
    free(ring);
}
