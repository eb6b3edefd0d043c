/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk that becomes larger while a request at its end is looked at: what is read, written and zeroed is never more than
 * was asked for. The kernel, the threads and the disk are the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "tests/support.h"

uint64_t growing_size(const struct vdisk_port *port);
#define vdisk_port_size growing_size
#include "fuse/request.c"

#include <cmocka.h>

#define SMALL 4096u
#define LARGE (UINT64_C(1) << 30)

static unsigned asked; /* how often the size was, since it last was small */
static struct export the_export = {.writable = true, .sector_size = 512};
static uint8_t room[EXPORT_TRANSFER + 4 * 4096];
static struct slot the_slot = {.export = &the_export, .data = room, .edge = room + EXPORT_TRANSFER + 2 * 4096};
static int replied;

uint64_t growing_size(const struct vdisk_port *port)
{
    (void)port;
    return asked++ == 0 ? SMALL : LARGE;
}

const struct node *node_file(struct export *export, fuse_ino_t ino)
{
    (void)ino;
    return &export->node[0];
}

void *fuse_req_userdata(fuse_req_t req)
{
    (void)req;
    return &the_export;
}

int fuse_reply_err(fuse_req_t req, int error)
{
    (void)req;
    return replied = -error;
}

int fuse_reply_buf(fuse_req_t req, const char *bytes, size_t length)
{
    (void)req, (void)bytes;
    return replied = (int)length;
}

int fuse_reply_write(fuse_req_t req, size_t length)
{
    (void)req;
    return replied = (int)length;
}

int fuse_reply_lseek(fuse_req_t req, off_t at)
{
    (void)req, (void)at;
    return 0;
}

struct slot *server_slot(fuse_req_t req)
{
    (void)req;
    return &the_slot;
}

void server_done(struct slot *slot)
{
    (void)slot;
}

void server_submit(struct slot *slot)
{
    (void)slot; /* the test looks at it there */
}

void server_granted(struct slot *slot)
{
    (void)slot;
}

void server_begin_long(struct export *export)
{
    (void)export;
}

void server_end_long(struct export *export)
{
    (void)export;
}

void server_drain(void)
{
}

bool range_take(struct range_lock *lock, struct range *range)
{
    (void)lock, (void)range;
    return true;
}

void range_give(struct range_lock *lock, struct range *range)
{
    (void)lock, (void)range;
}

static void test_reads_no_more(void **state)
{
    (void)state;
    asked = 0;
    request_read(NULL, 2, EXPORT_TRANSFER, SMALL - 512, NULL);
    test_equal(the_slot.io.length, 512);
    the_slot.done(&the_slot, 0);
    test_equal(replied, 512);
}

static void test_writes_no_more(void **state)
{
    static char bytes[EXPORT_TRANSFER];
    struct fuse_file_info fi = {.flags = 0};

    (void)state;
    asked = 0;
    request_write(NULL, 2, bytes, sizeof(bytes), SMALL - 1024, &fi);
    test_equal(the_slot.io.length, 1024);
    the_slot.done(&the_slot, 0);
    test_equal(replied, 1024);
}

static void test_zeroes_no_more(void **state)
{
    (void)state;
    asked = 0;
    request_fallocate(NULL, 2, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * SMALL, NULL);
    test_equal(the_slot.io.op, VDISK_ZERO);
    test_equal(the_slot.io.length, SMALL);
    the_slot.done(&the_slot, 0);
    test_equal(replied, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_no_more),
        cmocka_unit_test(test_writes_no_more),
        cmocka_unit_test(test_zeroes_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
