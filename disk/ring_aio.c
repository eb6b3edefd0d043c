/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libaio, for kernels and sandboxes that refuse io_uring. Completions ring the same bell as the inbox.
 */
#include <errno.h>
#include <libaio.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"

#define BATCH 64

struct aio {
    io_context_t context;
    unsigned queued;
    struct iocb **queue; /* started, not yet given to the kernel */
    struct iocb *iocbs;  /* one for each piece of the pool */
};

static int aio_open(struct vdisk_ring *ring)
{
    struct aio *a = calloc(1, sizeof(*a));
    int err;

    if (!a)
        return -ENOMEM;
    a->queue = calloc(ring->depth, sizeof(struct iocb *));
    a->iocbs = calloc(ring->depth, sizeof(struct iocb));
    err = a->queue && a->iocbs ? io_setup((int)ring->depth, &a->context) : -ENOMEM;
    if (err) {
        free(a->queue);
        free(a->iocbs);
        free(a);
        return err;
    }
    ring->state = a;
    return 0;
}

static void aio_close(struct vdisk_ring *ring)
{
    struct aio *a = ring->state;

    io_destroy(a->context);
    free(a->queue);
    free(a->iocbs);
    free(a);
}

static int aio_descriptor(const struct vdisk_ring *ring)
{
    return ring->bell;
}

static void aio_start(struct vdisk_ring *ring, struct piece *piece)
{
    struct aio *a = ring->state;
    struct iocb *iocb = &a->iocbs[piece - ring->pool];
    long long position = (long long)(piece->position + piece->moved);

    if (piece->write)
        io_prep_pwritev(iocb, piece->disk->file->fd, piece->iov_next, piece->iov_left, position);
    else
        io_prep_preadv(iocb, piece->disk->file->fd, piece->iov_next, piece->iov_left, position);
    io_set_eventfd(iocb, ring->bell);
    iocb->data = piece;
    a->queue[a->queued++] = iocb;
}

/* Gives the queue to the kernel. One that it refuses completes with the error; when the kernel has no room, the rest
 * stays queued until something has completed. */
static void submit(struct vdisk_ring *ring, struct aio *a)
{
    unsigned at = 0;

    while (at < a->queued) {
        int n = io_submit(a->context, a->queued - at, a->queue + at);

        if (n > 0) {
            at += (unsigned)n;
        } else if (n == -EAGAIN && ring->flying > a->queued - at) {
            break;
        } else if (n != -EINTR && n != -EAGAIN) {
            ring_complete(ring, a->queue[at]->data, n);
            at++;
        }
    }
    memmove(a->queue, a->queue + at, (a->queued - at) * sizeof(struct iocb *));
    a->queued -= at;
}

static void aio_reap(struct vdisk_ring *ring, bool wait)
{
    struct aio *a = ring->state;
    struct io_event events[BATCH];
    int n;

    submit(ring, a);
    if (wait && !ring->completed.head) {
        struct pollfd bell = {.fd = ring->bell, .events = POLLIN};

        poll(&bell, 1, -1);
    }
    ring_quiet(ring);
    do {
        n = io_getevents(a->context, 0, BATCH, events, NULL);
        for (int i = 0; i < n; i++)
            ring_complete(ring, events[i].data, (ssize_t)(long)events[i].res);
    } while (n == BATCH || n == -EINTR);
}

const struct ring_backend ring_aio = {
    .name = "libaio",
    .open = aio_open,
    .close = aio_close,
    .descriptor = aio_descriptor,
    .start = aio_start,
    .reap = aio_reap,
};
