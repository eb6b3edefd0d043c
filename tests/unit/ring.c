/* SPDX-License-Identifier: BSD-2-Clause */
/* A kernel that does not take what an io_uring ring gives it, or only a part: every request comes to its end all the same,
 * whether its ring is polled to the end or an event loop waits for the ring's descriptor. */
#include <liburing.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support.h"

#define REQUESTS 8u
#define BLOCK 4096u
#define PATIENCE 20000 /* milliseconds in which a request that was not forgotten comes */

static char dir[TEST_PATH];

/* ---- The kernel ---- */

static struct {
    int answer;    /* -errno; 1: it takes the first of what is queued */
    unsigned left; /* so often */
} refusal;

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned count);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned count);

static bool refuse(struct io_uring *ring, int *result)
{
    unsigned kept;

    if (refusal.left == 0 || io_uring_sq_ready(ring) == 0)
        return false;
    refusal.left--;
    *result = refusal.answer;
    if (refusal.answer > 0) {
        kept = io_uring_sq_ready(ring) - 1;
        ring->sq.sqe_tail -= kept;
        *result = __real_io_uring_submit(ring);
        ring->sq.sqe_tail += kept;
    }
    return true;
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
    int result;

    return refuse(ring, &result) ? result : __real_io_uring_submit(ring);
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned count)
{
    int result;

    return refuse(ring, &result) ? result : __real_io_uring_submit_and_wait(ring, count);
}

/* ---- Requests ---- */

struct request {
    struct vdisk_io io;
    struct iovec iov;
    unsigned *pending;
    int error;
};

static void request_done(struct vdisk_io *io, int error)
{
    struct request *request = (struct request *)io;

    request->error = error;
    --*request->pending;
}

/* As the I/O thread of a machine does it: it sleeps when there is nothing to be had. */
static void wait_by_loop(struct vdisk_ring *ring, const unsigned *pending)
{
    while (*pending > 0) {
        struct pollfd ready = {.fd = vdisk_ring_fd(ring), .events = POLLIN};

        if (vdisk_ring_poll(ring, false) == 0 && *pending > 0)
            test_equal(poll(&ready, 1, PATIENCE), 1);
    }
}

static void wait_by_poll(struct vdisk_ring *ring, const unsigned *pending)
{
    while (*pending > 0)
        vdisk_ring_poll(ring, true);
}

static void move(struct vdisk *disk, struct vdisk_ring *ring, enum vdisk_op op, uint8_t (*data)[BLOCK],
                 void (*wait)(struct vdisk_ring *, const unsigned *), unsigned count)
{
    struct request request[REQUESTS];
    unsigned pending = count;

    for (unsigned i = 0; i < count; i++) {
        request[i] = (struct request){.iov = {data[i], BLOCK}, .pending = &pending};
        request[i].io = (struct vdisk_io){
            .op = op, .offset = i * BLOCK, .length = BLOCK, .iov = &request[i].iov, .iovcnt = 1, .done = request_done};
        vdisk_submit(disk, ring, &request[i].io);
    }
    wait(ring, &pending);
    for (unsigned i = 0; i < count; i++)
        test_ok(request[i].error);
}

static void refused(void **state)
{
    static const int answers[] = {-EAGAIN, -EBUSY, -EINTR, 1};
    static void (*const waits[])(struct vdisk_ring *, const unsigned *) = {wait_by_loop, wait_by_poll};
    static uint8_t data[REQUESTS][BLOCK], got[REQUESTS][BLOCK];
    struct vdisk_create_options options = {.size = REQUESTS * BLOCK};
    struct vdisk_ring *ring;
    struct vdisk *disk;

    (void)state;
    if (vdisk_ring_open(REQUESTS, VDISK_BACKEND_URING, &ring) < 0)
        skip(); /* no io_uring here */
    test_ok(vdisk_create(scratch_path(dir, "a.raw"), &options, &disk));
    for (unsigned n = 0; n < 16; n++) {
        unsigned count = n < 8 ? 1 : REQUESTS;

        memset(data, (int)n + 1, sizeof(data));
        refusal.answer = answers[n % 4];
        refusal.left = 20;
        move(disk, ring, VDISK_WRITE, data, waits[n / 4 % 2], count);
        refusal.left = 20;
        move(disk, ring, VDISK_READ, got, waits[n / 4 % 2], count);
        assert_memory_equal(got, data, count * BLOCK);
    }
    refusal.left = 0;
    vdisk_ring_close(ring);
    test_ok(vdisk_commit(disk));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refused)};

    scratch_make(dir, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
