/* SPDX-License-Identifier: BSD-2-Clause */
/* Files: bounds, zeroing, the failed sync that stays failed, locks, and the overlay of a replayed log. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "disk/file.h"
#include "tests/support.h"

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;

static struct file *make(const char *name, uint64_t size)
{
    struct vdisk_log log = messages_log(&messages);
    struct file *file;

    unlink(scratch_path(dir, name));
    messages_clear(&messages);
    test_ok(file_open(AT_FDCWD, scratch_path(dir, name), FILE_WRITE | FILE_CREATE, &log, &file));
    test_ok(file_resize(file, size));
    return file;
}

static void bounds(void **state)
{
    struct file *file = make("bounds", 10000);
    char buffer[100], zeros[100] = {0};

    (void)state;
    memset(buffer, 'x', sizeof(buffer));
    assert_int_equal(file_read(file, buffer, 100, 9900), 0);
    assert_memory_equal(buffer, zeros, 100);
    assert_int_equal(file_read(file, buffer, 100, 9901), -ENODATA);
    assert_int_equal(file_read(file, buffer, 100, 10000), -ENODATA);
    assert_true(file_read(file, buffer, 100, UINT64_MAX - 50) < 0);
    memset(buffer, 'x', sizeof(buffer));
    assert_int_equal(file_write(file, buffer, 100, 9950), 0);
    assert_true(file->size == 10050);
    test_ok(file_resize(file, 10000));
    test_ok(file_resize(file, 10100));
    assert_int_equal(file_read(file, buffer, 100, 10000), 0);
    assert_memory_equal(buffer, zeros, 100);
    file_close(file);
}

static void zeroing(void **state)
{
    static char buffer[65536], zeros[65536];
    struct file *file = make("zeroing", 65536);

    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        memset(buffer, 'x', sizeof(buffer));
        test_ok(file_write(file, buffer, sizeof(buffer), 0));
        test_ok(file_zero(file, 1000, 50000, keep));
        test_ok(file_read(file, buffer, sizeof(buffer), 0));
        assert_int_equal(buffer[999], 'x');
        assert_memory_equal(buffer + 1000, zeros, 50000);
        assert_int_equal(buffer[51000], 'x');
        assert_true(file->size == 65536);
    }
    test_ok(file_allocate(file, 60000, 40000));
    assert_true(file->size == 100000);
    test_ok(file_read(file, buffer, 34464, 65536));
    assert_memory_equal(buffer, zeros, 34464);
    file_close(file);
}

static void refused(void **state)
{
    struct vdisk_log log = messages_log(&messages);
    struct file *file;

    (void)state;
    messages_clear(&messages);
    assert_int_equal(file_open(AT_FDCWD, scratch_path(dir, "none"), 0, &log, &file), -ENOENT);
    assert_int_equal(messages.count[VDISK_ERROR], 1);
    assert_non_null(strstr(messages.first, "none"));
    test_ok(mkfifo(scratch_path(dir, "fifo"), 0600));
    assert_true(file_open(AT_FDCWD, scratch_path(dir, "fifo"), 0, &log, &file) < 0);
    assert_true(file_open(AT_FDCWD, scratch_path(dir, "fifo"), FILE_WRITE, &log, &file) < 0);
    assert_true(file_open(AT_FDCWD, dir, 0, &log, &file) < 0);
    assert_true(file_open(AT_FDCWD, "/dev/zero", 0, &log, &file) < 0);
    assert_true(file_open(AT_FDCWD, "/dev/zero", FILE_DEVICE, &log, &file) < 0);
    file = make("there", 1);
    file_close(file);
    assert_int_equal(file_open(AT_FDCWD, scratch_path(dir, "there"), FILE_WRITE | FILE_CREATE, &log, &file), -EEXIST);
}

static void confined(void **state)
{
    struct vdisk_log log = messages_log(&messages);
    struct file *file = make("outside", 1);
    int fd;

    (void)state;
    file_close(file);
    test_ok(mkdir(scratch_path(dir, "in"), 0700));
    fd = open(scratch_path(dir, "in"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    test_ok(symlink("../outside", scratch_path(dir, "in/link")));
    test_ok(symlink("..", scratch_path(dir, "in/up")));
    assert_true(file_open(fd, "../outside", 0, &log, &file) < 0);
    assert_true(file_open(fd, "link", 0, &log, &file) < 0);
    assert_true(file_open(fd, "up/outside", 0, &log, &file) < 0);
    assert_true(file_open(fd, "./../in/../outside", 0, &log, &file) < 0);
    assert_true(file_open(fd, scratch_path(dir, "outside"), 0, &log, &file) < 0);
    test_ok(rename(scratch_path(dir, "outside"), scratch_path(dir, "in/inside")));
    test_ok(file_open(fd, "inside", 0, &log, &file));
    file_close(file);
    close(fd);
}

static void locks(void **state)
{
    struct vdisk_log log = messages_log(&messages);
    struct file *file = make("locks", 1), *other;

    (void)state;
    messages_clear(&messages);
    assert_true(file_open(AT_FDCWD, scratch_path(dir, "locks"), FILE_WRITE, &log, &other) < 0);
    assert_int_equal(messages.count[VDISK_ERROR], 1);
    assert_non_null(strstr(messages.first, "locks"));
    file_close(file);
    test_ok(file_open(AT_FDCWD, scratch_path(dir, "locks"), 0, &log, &file));
    test_ok(file_open(AT_FDCWD, scratch_path(dir, "locks"), 0, &log, &other)); /* readers share */
    file_close(other);
    file_close(file);
    test_ok(file_open(AT_FDCWD, scratch_path(dir, "locks"), FILE_WRITE, &log, &file));
    file_close(file);
}

static int sync_fails(struct file *file)
{
    (void)file;
    return -EIO;
}

static void failed_sync(void **state)
{
    struct file *file = make("sync", 4096);
    const struct file_ops *real = file->ops;
    struct file_ops broken = *real;

    (void)state;
    test_ok(file_sync(file));
    broken.sync = sync_fails;
    file->ops = &broken;
    assert_int_equal(file_sync(file), -EIO);
    file->ops = real; /* the kernel would say that all is well */
    assert_int_equal(file_sync(file), -EIO);
    assert_int_equal(file_sync(file), -EIO);
    file_close(file);
}

static void overlay(void **state)
{
    struct file_overlay_page *pages = calloc(3, sizeof(*pages));
    struct file *base = make("overlay", 20000), *file;
    struct vdisk_log log = messages_log(&messages);
    static char buffer[60000], want[60000];

    (void)state;
    memset(want, 'b', 20000);
    test_ok(file_write(base, want, 20000, 0));
    file_close(base);
    test_ok(file_open(AT_FDCWD, scratch_path(dir, "overlay"), 0, &log, &base));
    pages[0] = (struct file_overlay_page){.position = 40960, .data = malloc(4096)};
    pages[1] = (struct file_overlay_page){.position = 4096, .data = malloc(4096)};
    pages[2] = (struct file_overlay_page){.position = 16384, .data = NULL};
    memset(pages[0].data, '0', 4096);
    memset(pages[1].data, '1', 4096);
    memset(want + 40960, '0', 4096);
    memset(want + 4096, '1', 4096);
    memset(want + 16384, 0, 4096);
    test_ok(file_overlay_open(base, pages, 3, 50000, &file));
    assert_true(file->size == 50000);
    test_ok(file_read(file, buffer, 50000, 0));
    assert_memory_equal(buffer, want, 50000);
    for (unsigned at = 1; at < 45000; at += 1777) {
        test_ok(file_read(file, buffer, 4500, at));
        assert_memory_equal(buffer, want + at, 4500);
    }
    assert_int_equal(file_read(file, buffer, 2, 49999), -ENODATA);
    assert_true(file_write(file, buffer, 1, 0) < 0);
    assert_false(file->writable);
    file_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds),   cmocka_unit_test(zeroing), cmocka_unit_test(refused),
        cmocka_unit_test(confined), cmocka_unit_test(locks),   cmocka_unit_test(failed_sync),
        cmocka_unit_test(overlay),
    };

    scratch_make(dir, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
