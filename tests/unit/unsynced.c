/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names that are given or taken away in a directory that cannot be made durable, or not even opened, in the operations
 * that a guest goes on beside. What must hold: the disk that the guest goes on with has a name; what it was told is
 * there is there when the disk is opened by that name; and no file that a power cut may bring back is believed.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "tests/support.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE (512 * MIB)
#define PIECE 4096u

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;
static struct vdisk_ring *ring;
static struct vdisk_port *port;
static const char *format;

static const char *at(const char *name)
{
    char file[80];

    snprintf(file, sizeof(file), "%s.%s", name, format);
    return scratch_path(dir, file);
}

static bool stands(const char *path)
{
    return access(path, F_OK) == 0;
}

/* ---- The directory ---- */

/* The so manieth sync of a directory, the next opening of one, or removal of a file with this suffix fails. */
static unsigned sync_fails;
static bool open_fails;
static const char *unlink_fails;
static unsigned failed;
static bool disk_stood;  /* when that failed */
static bool keep_points; /* what is unlinked next, if it is a points file, keeps a name: points_kept */
static bool late;        /* the guest writes once more before the next pause */

int __wrap_fsync(int fd);
int __real_fsync(int fd);
int __wrap_open64(const char *path, int flags, ...);
int __real_open64(const char *path, int flags, ...);
int __wrap_unlink(const char *path);
int __real_unlink(const char *path);
void __wrap_port_pause(struct vdisk_port *port);
void __real_port_pause(struct vdisk_port *port);

static int broken(int error)
{
    sync_fails = 0;
    open_fails = false;
    unlink_fails = NULL;
    failed++;
    errno = error;
    return -1;
}

int __wrap_fsync(int fd)
{
    struct stat st;

    if (sync_fails == 0 || fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode) || --sync_fails > 0)
        return __real_fsync(fd);
    disk_stood = stands(at("disk"));
    return broken(EIO);
}

int __wrap_open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list args;

    va_start(args, flags);
    if (flags & O_CREAT)
        mode = va_arg(args, mode_t);
    va_end(args);
    return open_fails && flags & O_DIRECTORY ? broken(EMFILE) : __real_open64(path, flags, mode);
}

static bool ends(const char *path, const char *suffix)
{
    size_t length = strlen(path), tail = strlen(suffix);

    return length > tail && strcmp(path + length - tail, suffix) == 0;
}

static const char *points_kept(void)
{
    return scratch_path(dir, "kept");
}

int __wrap_unlink(const char *path)
{
    if (keep_points && ends(path, ".points")) {
        test_ok(link(path, points_kept()));
        keep_points = false;
    }
    return unlink_fails && ends(path, unlink_fails) ? broken(EIO) : __real_unlink(path);
}

/* ---- Disks ---- */

static int put(uint64_t offset, uint8_t value)
{
    static uint8_t bytes[PIECE];
    int err;

    memset(bytes, value, sizeof(bytes));
    err = vdisk_port_transfer(port, ring, VDISK_WRITE, bytes, offset, PIECE);
    return err ? err : vdisk_port_transfer(port, ring, VDISK_FLUSH, NULL, 0, 0);
}

static int get(uint64_t offset)
{
    uint8_t bytes[PIECE];

    test_ok(vdisk_port_transfer(port, ring, VDISK_READ, bytes, offset, PIECE));
    return bytes[0];
}

static void open_port(const char *path)
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};

    test_ok(vdisk_port_open(path, &how, &port));
}

/* A fresh disk of that name, behind the port. */
static void make(const char *name)
{
    struct vdisk_create_options options = {
        .flags = VDISK_CREATE_OVERWRITE, .size = SIZE, .log = messages_log(&messages)};
    struct vdisk *disk;

    test_ok(vdisk_create(at(name), &options, &disk));
    test_ok(vdisk_commit(disk));
    open_port(at(name));
    messages_clear(&messages);
    failed = 0;
}

void __wrap_port_pause(struct vdisk_port *paused)
{
    if (late)
        test_ok(put(0, 0x55));
    late = false;
    __real_port_pause(paused);
}

static const char *path_in_use(void)
{
    return vdisk_path(vdisk_port_disk(port));
}

/* ---- A merge ---- */

/* base, and its child which has 0x22 at the beginning, behind the port. */
static void make_child(void)
{
    make("base");
    test_ok(put(0, 0x11));
    test_ok(vdisk_snapshot(port, at("child"), NULL, NULL));
    test_ok(put(0, 0x22));
}

static void end_base(void)
{
    __real_unlink(at("child"));
    __real_unlink(at("base"));
}

/* Its name is gone: the guest goes on with the parent, but writes no more, lest the child hides it when it is back. */
static void merge_unsynced(void)
{
    make_child();
    sync_fails = 1;
    test_equal(vdisk_merge(port, NULL, NULL, NULL), -EIO);
    test_equal(failed, 1);
    test_true(stands(path_in_use()));
    test_true(strcmp(path_in_use(), at("base")) == 0 && !stands(at("child")));
    test_true(strstr(messages.first, "must then be removed") != NULL);
    test_equal(get(0), 0x22);
    test_true(put(0, 0x33) < 0);
    test_true(vdisk_port_close(port) < 0);
    open_port(at("base"));
    test_equal(get(0), 0x22);
    test_ok(put(0, 0x44));
    test_ok(vdisk_port_close(port));
    end_base();
}

/* Its name stands: the guest goes on with the child. */
static void merge_unopened(void)
{
    make_child();
    open_fails = true;
    test_equal(vdisk_merge(port, NULL, NULL, NULL), -EMFILE);
    test_equal(failed, 1);
    test_true(strcmp(path_in_use(), at("child")) == 0 && stands(at("child")));
    test_ok(put(0, 0x33));
    test_ok(vdisk_port_close(port));
    open_port(at("child"));
    test_equal(get(0), 0x33);
    test_ok(vdisk_merge(port, NULL, NULL, NULL));
    test_true(!stands(at("child")));
    test_equal(get(0), 0x33);
    test_ok(vdisk_port_close(port));
    end_base();
}

/* In the middle it hides nothing. */
static void merge_middle_unsynced(void)
{
    char child[TEST_PATH];
    struct vdisk_merge_options how = {.link = child};

    make_child();
    snprintf(child, sizeof(child), "%s", at("child"));
    test_ok(vdisk_snapshot(port, at("top"), NULL, NULL));
    sync_fails = 1;
    test_ok(vdisk_merge(port, &how, NULL, NULL));
    test_equal(failed, 1);
    test_true(messages.count[VDISK_WARNING] == 1 && !stands(child));
    test_ok(put(0, 0x33));
    test_ok(vdisk_port_close(port));
    open_port(at("top"));
    test_equal(get(0), 0x33);
    test_ok(vdisk_port_close(port));
    __real_unlink(at("top"));
    end_base();
}

static void test_merge(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        format = i ? "vhd" : "vhdx";
        merge_unsynced();
        merge_unopened();
        merge_middle_unsynced();
    }
}

/* ---- Symbolic links ---- */

/* The disk behind the port is open by a link to it from now on. */
static void open_by_link(void)
{
    char path[TEST_PATH], link[TEST_PATH];

    snprintf(path, sizeof(path), "%s", path_in_use());
    snprintf(link, sizeof(link), "%s", at("link"));
    test_ok(vdisk_port_close(port));
    test_ok(symlink(path, link));
    open_port(link);
}

/* It is the disk that loses its name: whoever starts by the link finds no old one. */
static void test_links(void **state)
{
    (void)state;
    format = "vhdx";
    make_child();
    open_by_link();
    test_ok(vdisk_merge(port, NULL, NULL, NULL));
    test_true(!stands(at("child")) && !stands(at("link")) && strcmp(path_in_use(), at("base")) == 0);
    test_equal(get(0), 0x22);
    __real_unlink(at("link"));
    open_by_link();
    test_ok(vdisk_move(port, at("moved"), NULL, NULL, NULL));
    test_true(!stands(at("base")) && !stands(at("link")) && messages.count[VDISK_WARNING] == 0);
    test_equal(get(0), 0x22);
    test_ok(vdisk_port_close(port));
    __real_unlink(at("link"));
    __real_unlink(at("moved"));
}

/* ---- Points ---- */

static const char *points_of(const char *image)
{
    static char path[TEST_PATH + 8];

    snprintf(path, sizeof(path), "%s.points", image);
    return path;
}

struct told {
    uint64_t offset;
    uint64_t bytes;
    bool there;
};

static int on_change(void *arg, uint64_t offset, uint64_t length)
{
    struct told *told = arg;

    told->bytes += length;
    told->there |= offset <= told->offset && told->offset < offset + length;
    return 0;
}

/* How much has changed since the point p, the piece at offset included; 0: there is no such point. */
static uint64_t changed(const char *image, uint64_t offset)
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    struct told told = {.offset = offset};
    struct vdisk *disk;
    int err;

    test_ok(vdisk_open(image, &how, &disk));
    err = vdisk_changes(disk, "p", NULL, on_change, &told);
    test_ok(vdisk_close(disk));
    if (err == -ENOENT)
        return 0;
    test_ok(err);
    if (!told.there)
        test_fail("%s: the change at %llu is missed", image, (unsigned long long)offset);
    return told.bytes;
}

/* What a cut leaves now, with that as its points file. */
static uint64_t changed_after_cut(const char *points, uint64_t offset)
{
    char cut[TEST_PATH], from[TEST_PATH + 8];
    uint64_t bytes;

    snprintf(cut, sizeof(cut), "%s", at("cut"));
    snprintf(from, sizeof(from), "%s", points);
    file_copy(path_in_use(), cut);
    file_copy(from, points_of(cut));
    bytes = changed(cut, offset);
    __real_unlink(points_of(cut));
    __real_unlink(cut);
    return bytes;
}

static void end_disk(void)
{
    test_ok(vdisk_port_close(port));
    test_equal(changed(at("disk"), 300 * MIB), 0);
    __real_unlink(points_of(at("disk")));
    __real_unlink(points_kept());
    __real_unlink(at("disk"));
}

/* The file has its name when that cannot be made durable: it goes, and if it comes back, or stays, has no point. */
static void first_point_unsynced(bool stays)
{
    make("disk");
    test_ok(put(0, 0x11));
    sync_fails = 1;
    keep_points = true;
    test_equal(vdisk_point_create(port, "p", NULL), -EIO);
    test_true(failed == 1 && !stands(points_of(at("disk"))));
    if (stays) {
        test_ok(vdisk_point_create(port, "q", NULL));
        test_ok(vdisk_point_delete(port, "q", NULL));
    }
    test_ok(put(300 * MIB, 0x22));
    test_equal(changed_after_cut(points_kept(), 300 * MIB), 0);
    end_disk();
}

static void last_point_deleted(void)
{
    make("disk");
    test_ok(put(0, 0x11));
    test_ok(vdisk_point_create(port, "p", NULL));
    test_ok(put(100 * MIB, 0x22));
    keep_points = true;
    test_ok(vdisk_point_delete(port, "p", NULL));
    test_true(!stands(points_of(at("disk"))));
    test_ok(put(300 * MIB, 0x33));
    test_equal(changed_after_cut(points_kept(), 300 * MIB), 0);
    end_disk();
}

/* Its file stays, and the disk tracked by it: the next point is exact. */
static void last_point_stays(void)
{
    make("disk");
    test_ok(vdisk_point_create(port, "p", NULL));
    unlink_fails = ".points";
    test_ok(vdisk_point_delete(port, "p", NULL));
    test_true(failed == 1 && stands(points_of(at("disk"))) && messages.count[VDISK_WARNING] == 1);
    test_ok(put(100 * MIB, 0x22));
    test_ok(vdisk_point_create(port, "p", NULL));
    test_ok(put(300 * MIB, 0x33));
    test_ok(vdisk_port_close(port));
    test_equal(changed(at("disk"), 300 * MIB), 64 << 10);
    open_port(at("disk"));
    test_ok(vdisk_point_delete(port, "p", NULL));
    end_disk();
}

/* A guest's first write, which gives a VHDX another mark, comes while the first point is made. */
static void first_point_late(void)
{
    make("disk");
    late = true;
    test_ok(vdisk_point_create(port, "p", NULL));
    test_true(!late);
    test_ok(put(300 * MIB, 0x22));
    test_equal(changed_after_cut(points_of(at("disk")), 300 * MIB), 64 * MIB);
    test_ok(vdisk_point_delete(port, "p", NULL));
    end_disk();
}

/* The target has them, by a name of its own, before the source goes. */
static void points_moved_unsynced(void)
{
    make("disk");
    test_ok(vdisk_point_create(port, "p", NULL));
    test_ok(put(100 * MIB, 0x22));
    sync_fails = 2;
    test_ok(vdisk_move(port, at("moved"), NULL, NULL, NULL));
    test_true(failed == 1 && disk_stood && messages.count[VDISK_WARNING] == 1);
    test_true(!stands(points_of(at("disk"))));
    test_ok(put(300 * MIB, 0x33));
    test_equal(changed_after_cut(points_of(at("moved")), 300 * MIB), 64 * MIB + (64 << 10));
    test_ok(vdisk_port_close(port));
    test_equal(changed(at("moved"), 300 * MIB), 128 << 10);
    __real_unlink(points_of(at("moved")));
    __real_unlink(at("moved"));
}

/* A child that cannot be removed goes on, and so do its points. */
static void points_of_child(void)
{
    char child[TEST_PATH];

    make_child();
    snprintf(child, sizeof(child), "%s", at("child"));
    test_ok(vdisk_point_create(port, "p", NULL));
    unlink_fails = strrchr(child, '/');
    test_equal(vdisk_merge(port, NULL, NULL, NULL), -EIO);
    test_true(failed == 1 && strcmp(path_in_use(), child) == 0);
    test_ok(put(300 * MIB, 0x33));
    test_ok(vdisk_port_close(port));
    test_equal(changed(child, 300 * MIB), 64 << 10);
    open_port(child);
    test_ok(vdisk_merge(port, NULL, NULL, NULL));
    test_true(!stands(child) && !stands(points_of(child)));
    test_ok(vdisk_port_close(port));
    end_base();
}

static void test_points(void **state)
{
    (void)state;
    format = "vhdx"; /* whose mark stays the same from the first write to the close */
    first_point_unsynced(false);
    first_point_unsynced(true);
    last_point_deleted();
    last_point_stays();
    first_point_late();
    points_moved_unsynced();
    points_of_child();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_points),
    };
    int result;

    scratch_make(dir, true);
    test_ok(vdisk_ring_open(8, VDISK_BACKEND_INLINE, &ring));
    result = cmocka_run_group_tests(tests, NULL, NULL);
    vdisk_ring_close(ring);
    return result;
}
