/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io_uring. The bell is watched by a poll request of the ring itself, so that one wait serves completions and the
 * inbox, and the ring's descriptor tells an outer event loop of both.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>

#include "mutant.h"
#include "ring.h"

#define ROW_MIN 2u
#define ROW_MAX 4u

struct uring {
    struct io_uring ring;
    bool armed; /* the bell is watched */
};

static int uring_open(struct vdisk_ring *ring)
{
    struct uring *u = calloc(1, sizeof(*u));
    unsigned entries = ring->depth + 1;
    int err;

    if (!u)
        return -ENOMEM;
    err = io_uring_queue_init(entries, &u->ring, IORING_SETUP_COOP_TASKRUN);
    if (err == -EINVAL)
        err = io_uring_queue_init(entries, &u->ring, 0);
    if (err) {
        free(u);
        return err;
    }
    ring->state = u;
    return 0;
}

static void uring_close(struct vdisk_ring *ring)
{
    struct uring *u = ring->state;

    io_uring_queue_exit(&u->ring);
    free(u);
}

static int uring_descriptor(const struct vdisk_ring *ring)
{
    return ((const struct uring *)ring->state)->ring.ring_fd;
}

/* There is always room: the queue has an entry for every piece and one for the bell. */
static struct io_uring_sqe *entry(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    assert(sqe);
    return sqe;
}

/* What the kernel does not take (it has no memory for a request, or only for some) stays queued and is given to it again:
 * whoever polls comes back for it, since nobody else would wake him. Any other refusal is of the ring itself, and
 * there is nothing wrong with it. */
static void submit(struct vdisk_ring *ring, struct uring *u, bool wait)
{
    int taken = wait ? io_uring_submit_and_wait(&u->ring, 1) : io_uring_submit(&u->ring);

    assert(taken >= 0 || taken == -EAGAIN || taken == -EBUSY || taken == -EINTR);
    if (io_uring_sq_ready(&u->ring) == 0 || MUTANT("ring-refused-forgotten"))
        return;
    ring->stirred = true;
    if (taken <= 0)
        poll(NULL, 0, 1);
}

/* A device that is idle gets its first requests before the last of a row is made; one that is busy gets them in rows,
 * for the price of fewer system calls. A single request waits for the reap, which has to enter the kernel anyway. */
static bool queue_is_due(const struct vdisk_ring *ring, const struct uring *u)
{
    unsigned queued = io_uring_sq_ready(&u->ring), inside = ring->flying > queued ? ring->flying - queued : 0;
    unsigned row = inside < ROW_MIN ? ROW_MIN : inside > ROW_MAX ? ROW_MAX : inside;

    return queued >= row;
}

static void uring_start(struct vdisk_ring *ring, struct piece *piece)
{
    struct uring *u = ring->state;
    struct io_uring_sqe *sqe = entry(u);
    uint64_t position = piece->position + piece->moved;
    int fd = piece->disk->file->fd;

    if (piece->iov_left == 1 && piece->iov_next->iov_len <= UINT32_MAX) {
        unsigned length = (unsigned)piece->iov_next->iov_len;

        if (piece->write)
            io_uring_prep_write(sqe, fd, piece->iov_next->iov_base, length, position);
        else
            io_uring_prep_read(sqe, fd, piece->iov_next->iov_base, length, position);
    } else if (piece->write) {
        io_uring_prep_writev(sqe, fd, piece->iov_next, (unsigned)piece->iov_left, position);
    } else {
        io_uring_prep_readv(sqe, fd, piece->iov_next, (unsigned)piece->iov_left, position);
    }
    io_uring_sqe_set_data(sqe, piece);
    if (queue_is_due(ring, u))
        submit(ring, u, false);
}

static void watch_bell(struct vdisk_ring *ring, struct uring *u)
{
    struct io_uring_sqe *sqe;

    if (u->armed)
        return;
    sqe = entry(u);
    io_uring_prep_poll_add(sqe, ring->bell, POLLIN);
    io_uring_sqe_set_data(sqe, NULL);
    u->armed = true;
}

static void uring_reap(struct vdisk_ring *ring, bool wait)
{
    struct uring *u = ring->state;
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;

    watch_bell(ring, u);
    if (wait && io_uring_cq_ready(&u->ring) == 0)
        submit(ring, u, true);
    else if (io_uring_sq_ready(&u->ring) > 0)
        submit(ring, u, false);
    else if (io_uring_cq_ready(&u->ring) == 0 && ring->flying > 0)
        io_uring_get_events(&u->ring); /* completions may wait for us to enter the kernel */
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        struct piece *piece = io_uring_cqe_get_data(cqe);

        if (piece) {
            ring_complete(ring, piece, cqe->res);
        } else {
            ring_quiet(ring);
            u->armed = false;
            ring->stirred = true;
        }
        seen++;
    }
    io_uring_cq_advance(&u->ring, seen);
}

const struct ring_backend ring_uring = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .descriptor = uring_descriptor,
    .start = uring_start,
    .reap = uring_reap,
};
