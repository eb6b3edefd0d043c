/* SPDX-License-Identifier: BSD-2-Clause */
/* See chaos.h. */
#include "tests/chaos.h"

#include <poll.h>

#include "disk/ring.h"

#define NO_DESCRIPTOR (1 << 28) /* says that the ring moves the pieces; nobody uses it as one */

struct held {
    struct piece *piece;
    bool moved;
    ssize_t result;
};

struct chaos {
    struct rng rng;
    struct held *held;
    unsigned count;
};

static int chaos_open(struct vdisk_ring *ring)
{
    struct chaos *c = calloc(1, sizeof(*c));

    test_true(c);
    c->held = calloc(ring->depth, sizeof(*c->held));
    test_true(c->held);
    ring->state = c;
    return 0;
}

static void chaos_close(struct vdisk_ring *ring)
{
    struct chaos *c = ring->state;

    free(c->held);
    free(c);
}

static int chaos_descriptor(const struct vdisk_ring *ring)
{
    return ring->bell;
}

static void chaos_start(struct vdisk_ring *ring, struct piece *piece)
{
    struct chaos *c = ring->state;

    c->held[c->count++] = (struct held){.piece = piece};
}

static ssize_t move(struct chaos *c, struct piece *piece)
{
    static const int not_yet[] = {-EAGAIN, -EINTR, -ECANCELED};
    struct file *file = piece->disk->file;
    struct iovec first = *piece->iov_next;
    uint32_t unit = piece->disk->sector_size;
    int count = piece->iov_left;

    switch (rng_below(&c->rng, 12)) {
    case 0:
        return not_yet[rng_below(&c->rng, 3)];
    case 1:
    case 2:
        count = 1;
        if (first.iov_len > unit) /* whole sectors: a guest may rely on them */
            first.iov_len = unit * (1 + rng_below(&c->rng, first.iov_len / unit));
        break;
    default:
        break;
    }
    if (count == 1)
        return piece->write ? file->ops->pwritev(file, &first, 1, piece->position + piece->moved)
                            : file->ops->preadv(file, &first, 1, piece->position + piece->moved);
    return piece->write ? file->ops->pwritev(file, piece->iov_next, count, piece->position + piece->moved)
                        : file->ops->preadv(file, piece->iov_next, count, piece->position + piece->moved);
}

static void chaos_reap(struct vdisk_ring *ring, bool wait)
{
    struct chaos *c = ring->state;
    struct pollfd bell = {.fd = ring->bell, .events = POLLIN};
    bool some = false;

    if (poll(&bell, 1, wait && c->count == 0 ? -1 : 0) > 0) {
        ring_quiet(ring);
        some = true;
    }
    do {
        for (unsigned n = c->count; n > 0; n--) {
            unsigned i = (unsigned)rng_below(&c->rng, c->count);
            struct held *held = &c->held[i];

            if (!held->moved) {
                held->result = move(c, held->piece);
                held->moved = true;
            } else if (rng_below(&c->rng, 2)) {
                struct held done = *held;

                *held = c->held[--c->count];
                ring_complete(ring, done.piece, done.result);
                some = true;
            }
        }
    } while (wait && !some && c->count > 0);
}

static const struct ring_backend chaos_backend = {
    .name = "chaos",
    .open = chaos_open,
    .close = chaos_close,
    .descriptor = chaos_descriptor,
    .start = chaos_start,
    .reap = chaos_reap,
};

void chaos_install(struct vdisk_ring *ring, uint64_t seed)
{
    test_true(ring->flying == 0);
    ring->backend->close(ring);
    ring->backend = &chaos_backend;
    chaos_open(ring);
    rng_seed(&((struct chaos *)ring->state)->rng, seed);
}

void chaos_route(struct file *file)
{
    file->fd = NO_DESCRIPTOR;
}
