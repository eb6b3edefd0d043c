/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread that submits moves the bytes: for one that has a single request in flight and would only wait for it. No other
 * thread is woken, which is what a buffered write costs by io_uring on most file systems.
 */
#include <poll.h>

#include "ring.h"

static int inline_open(struct vdisk_ring *ring)
{
    (void)ring;
    return 0;
}

static void inline_close(struct vdisk_ring *ring)
{
    (void)ring;
}

static int inline_descriptor(const struct vdisk_ring *ring)
{
    return ring->bell;
}

static void inline_start(struct vdisk_ring *ring, struct piece *piece)
{
    ring_complete(ring, piece, piece_move(piece));
}

static void inline_reap(struct vdisk_ring *ring, bool wait)
{
    struct pollfd bell = {.fd = ring->bell, .events = POLLIN};

    if (ring->completed.head)
        return; /* the inbox is looked at all the same, and the bell is left to a poll that has nothing else to do */
    if (wait)
        poll(&bell, 1, -1);
    ring_quiet(ring);
}

const struct ring_backend ring_inline = {
    .name = "inline",
    .open = inline_open,
    .close = inline_close,
    .descriptor = inline_descriptor,
    .start = inline_start,
    .reap = inline_reap,
};
