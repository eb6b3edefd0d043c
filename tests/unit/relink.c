/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Links of a chain in use get their parents elsewhere, while a guest reads and writes: copies, other names, of the top
 * and of what is beneath it. What is no parent, or cannot be told of one, is refused, and then the disk and its file
 * are as they were.
 */
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/port.h"
#include "tests/support.h"

#define SECTOR 512u
#define SIZE (4u << 20)
#define SECTORS (SIZE / SECTOR)
#define BLOCK (1u << 20)
#define ROUNDS 24

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;

struct guest {
    struct vdisk_port *port;
    pthread_t thread;
    struct vdisk_ring *ring; /* the guest's, while it runs */
    struct rng rng;
    uint32_t value[SECTORS];
    _Atomic uint64_t done;
    _Atomic bool stop;
    bool runs;
};

static struct guest guest;
static const char *format;

/* "<name>.<format>" in the directory, until so many more were asked for. */
static const char *at(const char *name)
{
    char file[80];

    snprintf(file, sizeof(file), "%s.%s", name, format);
    return scratch_path(dir, file);
}

static void fill(uint64_t *words, uint32_t sector, uint32_t value)
{
    for (unsigned i = 0; i < SECTOR / 8; i++)
        words[i] = value ? (uint64_t)value << 32 | sector : 0;
}

static void read_sector(uint32_t sector)
{
    uint64_t words[SECTOR / 8], want[SECTOR / 8];

    test_ok(vdisk_port_transfer(guest.port, guest.ring, VDISK_READ, words, (uint64_t)sector * SECTOR, SECTOR));
    fill(want, sector, guest.value[sector]);
    if (memcmp(words, want, SECTOR) != 0)
        test_fail("sector %u is %#llx, must be %#llx", sector, (unsigned long long)words[0],
                  (unsigned long long)want[0]);
}

static void write_sector(uint32_t sector)
{
    uint64_t words[SECTOR / 8];

    guest.value[sector]++;
    fill(words, sector, guest.value[sector]);
    test_ok(vdisk_port_transfer(guest.port, guest.ring, VDISK_WRITE, words, (uint64_t)sector * SECTOR, SECTOR));
}

static void *guest_main(void *arg)
{
    (void)arg;
    while (!atomic_load(&guest.stop)) {
        uint32_t sector = (uint32_t)rng_below(&guest.rng, SECTORS);

        if (rng_below(&guest.rng, 3))
            read_sector(sector);
        else
            write_sector(sector);
        if (rng_below(&guest.rng, 50) == 0)
            test_ok(vdisk_port_transfer(guest.port, guest.ring, VDISK_FLUSH, NULL, 0, 0));
        atomic_fetch_add(&guest.done, 1);
    }
    return NULL;
}

static void guest_start(void)
{
    guest.stop = false;
    guest.runs = true;
    test_equal(pthread_create(&guest.thread, NULL, guest_main, NULL), 0);
}

static void guest_stop(void)
{
    atomic_store(&guest.stop, true);
    if (guest.runs)
        pthread_join(guest.thread, NULL);
    guest.runs = false;
}

/* The guest has done something since. */
static void guest_goes_on(void)
{
    uint64_t before = atomic_load(&guest.done);

    while (guest.runs && atomic_load(&guest.done) < before + 10)
        usleep(500);
}

static void make(const char *name, const char *parent, uint64_t size)
{
    char path[TEST_PATH], parent_path[TEST_PATH];
    struct vdisk_create_options options = {.flags = VDISK_CREATE_OVERWRITE,
                                           .size = size,
                                           .block_size = BLOCK,
                                           .parent = parent ? parent_path : NULL,
                                           .log = messages_log(&messages)};
    struct vdisk *disk;

    snprintf(path, sizeof(path), "%s", at(name));
    if (parent)
        snprintf(parent_path, sizeof(parent_path), "%s", at(parent));
    test_ok(vdisk_create(path, &options, &disk));
    test_ok(vdisk_commit(disk));
}

static void open_port(const char *name, unsigned flags)
{
    struct vdisk_open_options how = {.flags = flags, .log = messages_log(&messages)};

    test_ok(vdisk_port_open(at(name), &how, &guest.port));
}

/* Some sectors of a disk. */
static void write_some(const char *name, uint64_t seed)
{
    struct rng rng;

    open_port(name, VDISK_OPEN_WRITE);
    rng_seed(&rng, seed);
    for (int i = 0; i < 300; i++)
        write_sector((uint32_t)rng_below(&rng, SECTORS));
    test_ok(vdisk_port_close(guest.port));
    guest.port = NULL;
}

/* base, kid over it and top over that, top open for writing. */
static void begin(const char *of)
{
    format = of;
    messages_clear(&messages);
    memset(guest.value, 0, sizeof(guest.value));
    rng_seed(&guest.rng, 7);
    test_ok(vdisk_ring_open(8, VDISK_BACKEND_AUTO, &guest.ring));
    make("base", NULL, SIZE);
    write_some("base", 1);
    make("kid", "base", 0);
    write_some("kid", 2);
    make("top", "kid", 0);
    open_port("top", VDISK_OPEN_WRITE);
}

/* What stands in the files is what the guest knows, and they are clean. */
static void end(void)
{
    static const char *const names[] = {"base", "kid", "top"};
    struct vdisk_open_options how = {.log = messages_log(&messages)};

    guest_stop();
    test_ok(vdisk_port_close(guest.port));
    open_port("top", 0);
    for (uint32_t sector = 0; sector < SECTORS; sector++)
        read_sector(sector);
    test_ok(vdisk_port_close(guest.port));
    guest.port = NULL;
    for (int i = 0; i < 3; i++)
        if (access(at(names[i]), F_OK) == 0)
            test_equal(vdisk_check(at(names[i]), &how, NULL, messages_fault, &messages), 0);
    vdisk_ring_close(guest.ring);
}

static void relink(const char *link, const char *parent)
{
    char link_path[TEST_PATH], parent_path[TEST_PATH];
    struct vdisk_pause pause;
    const struct vdisk *disk;
    int err;

    snprintf(link_path, sizeof(link_path), "%s", at(link));
    snprintf(parent_path, sizeof(parent_path), "%s", at(parent));
    err = vdisk_port_relink(guest.port, strcmp(link, "top") == 0 ? NULL : link_path, parent_path, NULL, &pause);
    if (err)
        test_fail("%s: to %s: %s: %s", link_path, parent, strerror(-err), messages.first);
    test_true(pause.longest > 0);
    disk = vdisk_port_disk(guest.port);
    if (strcmp(link, "top") != 0)
        disk = vdisk_parent(disk);
    assert_string_equal(vdisk_path(disk), link_path);
    assert_string_equal(vdisk_path(vdisk_parent(disk)), parent_path);
}

/* The parent goes to another file and back, as a copy and by its name. */
static void turn(const char *link, const char *parent)
{
    char from[TEST_PATH], to[TEST_PATH];

    snprintf(from, sizeof(from), "%s", at(parent));
    snprintf(to, sizeof(to), "%s", at("elsewhere"));
    file_copy(from, to);
    relink(link, "elsewhere");
    test_ok(unlink(from));
    guest_goes_on();
    test_ok(rename(to, from));
    relink(link, parent);
    guest_goes_on();
}

static void copies(const char *of)
{
    begin(of);
    guest_start();
    for (int i = 0; i < ROUNDS; i++) {
        turn("top", "kid");
        turn("kid", "base");
    }
    end();
}

static void copies_vhdx(void **state)
{
    (void)state;
    copies("vhdx");
}

static void copies_vhd(void **state)
{
    (void)state;
    copies("vhd");
}

/* ---- What is refused ---- */

static void expect_chain(const char *parent)
{
    const struct vdisk *disk = vdisk_port_disk(guest.port);

    assert_string_equal(vdisk_path(disk), at("top"));
    assert_string_equal(vdisk_path(vdisk_parent(disk)), at(parent));
    for (uint32_t sector = 0; !guest.runs && sector < SECTORS; sector += 7) /* else the guest reads */
        read_sector(sector);
}

/* Nothing has changed, in the files neither. */
static void refused(const char *link, const char *parent, int error, const char *why)
{
    char link_path[TEST_PATH], parent_path[TEST_PATH];
    uint64_t before[2];

    messages_clear(&messages);
    vdisk_port_transfer(guest.port, guest.ring, VDISK_FLUSH, NULL, 0, 0);
    before[0] = file_fingerprint(at("top"));
    before[1] = file_fingerprint(at("kid"));
    snprintf(link_path, sizeof(link_path), "%s", link ? at(link) : "");
    snprintf(parent_path, sizeof(parent_path), "%s", at(parent));
    test_equal(vdisk_port_relink(guest.port, link ? link_path : NULL, parent_path, NULL, NULL), error);
    if (!strstr(messages.first, why))
        test_fail("%s: '%s' does not say '%s'", parent, messages.first, why);
    expect_chain("kid");
    test_true(before[0] == file_fingerprint(at("top")));
    test_true(before[1] == file_fingerprint(at("kid")));
}

static void copy(const char *from, const char *to)
{
    char path[TEST_PATH];

    snprintf(path, sizeof(path), "%s", at(from));
    file_copy(path, at(to));
}

/* An image that is changed beside the guest's. */
static void change(const char *name, uint64_t size)
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    uint64_t words[SECTOR / 8];
    struct vdisk_port *port;

    test_ok(vdisk_port_open(at(name), &how, &port));
    fill(words, 5, 12345);
    if (size == SIZE)
        test_ok(vdisk_port_transfer(port, guest.ring, VDISK_WRITE, words, SIZE / 2, SECTOR));
    else
        test_ok(vdisk_resize(port, size, 0, NULL));
    test_ok(vdisk_port_close(port));
}

/* The last block of the file is lost. */
static void tear(const char *name)
{
    static const uint8_t zeros[BLOCK];
    int fd = open(at(name), O_WRONLY | O_CLOEXEC);
    off_t size = lseek(fd, 0, SEEK_END);

    test_equal(pwrite(fd, zeros, sizeof(zeros), size - BLOCK), BLOCK);
    close(fd);
}

static void others(const char *of)
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    bool vhdx = strcmp(of, "vhdx") == 0;
    struct vdisk *disk;
    FILE *file;

    begin(of);
    write_sector(3);
    make("other", NULL, SIZE);
    refused(NULL, "other", -EINVAL, "not by force");
    copy("kid", "changed");
    change("changed", SIZE);
    refused(NULL, "changed", -EINVAL, vhdx ? "identity" : "differs from the parent in use");
    if (vhdx) { /* its identity is right, and what it was copied from is the only one that is whole */
        copy("kid", "torn");
        tear("torn");
        refused(NULL, "torn", -EINVAL, "differs from the parent in use");
    }
    copy("kid", "longer");
    change("longer", SIZE + BLOCK);
    refused(NULL, "longer", -EINVAL, vhdx ? "identity" : "bytes in sectors of");
    copy("kid", "held");
    test_ok(vdisk_open(at("held"), &how, &disk));
    refused(NULL, "held", -EBUSY, "in use");
    test_ok(vdisk_close(disk));
    file = fopen(at("garbage"), "w");
    test_true(file);
    for (int i = 0; i < 200000; i++)
        fputc('x', file);
    fclose(file);
    refused(NULL, "garbage", vhdx ? -EIO : -EINVAL, "garbage");
    refused(NULL, "none", -ENOENT, "none");
    refused(NULL, "top", -ELOOP, "own ancestor");
    refused("kid", "kid", -ELOOP, "own ancestor");
    refused("kid", "top", -ELOOP, "own ancestor");
    refused("base", "kid", -EINVAL, "no parent");
    refused("other", "kid", -EINVAL, "not in the chain");
    end();
}

static void others_refused(void **state)
{
    (void)state;
    others("vhdx");
    others("vhd");
}

static void states_refused(void **state)
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_ALONE, .log = messages_log(&messages)};
    struct vdisk *disk;

    (void)state;
    begin("vhdx");
    copy("kid", "copy");
    copy("base", "copybase");
    test_ok(port_begin(guest.port));
    refused(NULL, "copy", -EBUSY, "another operation");
    port_end(guest.port);
    test_ok(vdisk_open(at("kid"), &how, &disk));
    refused("kid", "copybase", -EBUSY, "somebody else");
    test_ok(vdisk_close(disk));
    test_ok(vdisk_port_close(guest.port));
    open_port("top", 0);
    refused(NULL, "copy", -EROFS, "for reading only");
    refused("kid", "copybase", -EROFS, "for reading only");
    test_ok(vdisk_port_close(guest.port));
    open_port("top", VDISK_OPEN_WRITE | VDISK_OPEN_ALONE);
    messages_clear(&messages);
    test_equal(vdisk_port_relink(guest.port, NULL, at("copy"), NULL, NULL), -ENXIO);
    test_true(strstr(messages.first, "without its parent"));
    end();
}

/* A copy is read through, and that can be stopped; the same file is not. */
static void cancelled(void **state)
{
    static const char *const formats[] = {"vhd", "vhdx"};
    const volatile sig_atomic_t cancel = 1;
    struct vdisk_progress progress = {.cancel = &cancel};

    (void)state;
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        begin(formats[i]);
        copy("kid", "copy");
        test_equal(vdisk_port_relink(guest.port, NULL, at("copy"), &progress, NULL), -ECANCELED);
        expect_chain("kid");
        test_ok(vdisk_port_relink(guest.port, NULL, at("kid"), &progress, NULL));
        end();
    }
}

/* ---- The new parent's own chain ---- */

static void folder(const char *name)
{
    mkdir(scratch_path(dir, name), 0700);
}

static void chains(const char *of)
{
    char away[TEST_PATH];

    begin(of);
    guest_start();
    folder("sub");
    copy("kid", "sub/kid");
    relink("top", "sub/kid"); /* nothing beside it: the base in use serves */
    assert_string_equal(vdisk_path(vdisk_parent(vdisk_parent(vdisk_port_disk(guest.port)))), at("base"));
    relink("top", "kid");
    copy("base", "sub/base");
    relink("top", "sub/kid"); /* what will be found when it is opened next */
    assert_string_equal(vdisk_path(vdisk_parent(vdisk_parent(vdisk_port_disk(guest.port)))), at("sub/base"));
    guest_goes_on();
    relink("top", "kid");
    guest_stop();
    unlink(at("sub/base"));
    snprintf(away, sizeof(away), "%s", at("away"));
    test_ok(rename(at("base"), away));
    refused(NULL, "sub/kid", -ENOENT, "was not found");
    test_ok(rename(away, at("base")));
    end();
}

static void chains_found(void **state)
{
    (void)state;
    chains("vhdx");
    chains("vhd");
}

/* ---- Failure, and what the disk is known by ---- */

static void keep_identity(void *arg, const struct vdisk_field *field)
{
    if (strcmp(field->name, "data-write-guid") == 0)
        snprintf(arg, 64, "%s", field->text);
}

static void identity_of(const char *name, char identity[64])
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_ALONE};
    struct vdisk *disk;

    test_ok(vdisk_open(at(name), &how, &disk));
    identity[0] = '\0';
    test_ok(vdisk_info(disk, keep_identity, identity));
    test_ok(vdisk_close(disk));
}

/* A path that cannot be recorded is noticed in the pause. */
static void fail_to_record(const char *link, const char *parent, const char *odd)
{
    char link_path[TEST_PATH];

    copy(parent, odd);
    snprintf(link_path, sizeof(link_path), "%s", at(link));
    messages_clear(&messages);
    test_equal(vdisk_port_relink(guest.port, link_path, at(odd), NULL, NULL), -EILSEQ);
    test_true(strstr(messages.first, "not UTF-8"));
    expect_chain("kid");
}

/* What the disk is known by to its children changes with its content, and with nothing else. */
static void failures(const char *of)
{
    char before[64], after[64];
    bool vhdx = strcmp(of, "vhdx") == 0;

    begin(of);
    folder("\xff");
    test_ok(vdisk_port_close(guest.port));
    identity_of("top", before);
    open_port("top", VDISK_OPEN_WRITE);
    fail_to_record("top", "kid", "\xff/kid");
    fail_to_record("kid", "base", "\xff/base");
    turn("top", "kid");
    turn("kid", "base");
    test_ok(vdisk_port_close(guest.port));
    identity_of("top", after);
    assert_string_equal(before, after);
    open_port("top", VDISK_OPEN_WRITE);
    fail_to_record("top", "kid", "\xff/kid");
    write_sector(9);
    test_ok(vdisk_port_close(guest.port));
    identity_of("top", after);
    test_true(!vhdx || strcmp(before, after) != 0);
    memcpy(before, after, sizeof(before));
    open_port("top", VDISK_OPEN_WRITE);
    turn("top", "kid");
    write_sector(10);
    test_ok(vdisk_port_close(guest.port));
    identity_of("top", after);
    test_true(!vhdx || strcmp(before, after) != 0);
    open_port("top", VDISK_OPEN_WRITE);
    guest_start();
    fail_to_record("top", "kid", "\xff/kid");
    guest_goes_on();
    turn("top", "kid");
    end();
}

static void failures_change_nothing(void **state)
{
    (void)state;
    failures("vhdx");
    failures("vhd");
}

/* ---- What is durable before it is recorded: file_sync and file_sync_directory are these (see the Makefile) ---- */

static struct {
    char directory[8][TEST_PATH]; /* that were synced: real paths */
    unsigned count;
    const char *file_fails, *directory_fails; /* a sync of what has this in its path; NULL: of none */
} syncs;

int __real_file_sync(struct file *file);
int __wrap_file_sync(struct file *file);
int __real_file_sync_directory(const char *path);
int __wrap_file_sync_directory(const char *path);

int __wrap_file_sync(struct file *file)
{
    if (!syncs.file_fails || !strstr(file->path, syncs.file_fails))
        return __real_file_sync(file);
    file->failed = -EIO;
    return -EIO;
}

int __wrap_file_sync_directory(const char *path)
{
    char *copy = strdup(path), *real = realpath(dirname(copy), NULL);

    test_true(real);
    if (syncs.count < 8)
        snprintf(syncs.directory[syncs.count++], TEST_PATH, "%s", real);
    free(real);
    free(copy);
    return syncs.directory_fails && strstr(path, syncs.directory_fails) ? -EIO : __real_file_sync_directory(path);
}

static void expect_synced(const char *name)
{
    char *real = realpath(name ? scratch_path(dir, name) : dir, NULL);
    bool found = false;

    for (unsigned i = 0; i < syncs.count; i++)
        found |= strcmp(syncs.directory[i], real) == 0;
    if (!found)
        test_fail("the names in %s were not made durable", real);
    free(real);
    syncs.count = 0;
}

/* Of a parent that is given as a symbolic link it is the file's own name that is recorded. */
static void durable_names(const char *of)
{
    struct vdisk_open_options how = {.log = messages_log(&messages)};
    char path[TEST_PATH];

    begin(of);
    folder("far");
    copy("kid", "far/kid");
    copy("base", "far/base");
    folder("near");
    snprintf(path, sizeof(path), "%s", at("far/kid"));
    test_ok(symlink(path, at("near/link")));
    for (int i = 0; i < 2; i++) {
        syncs.count = 0;
        relink("top", "near/link");
        expect_synced(i == 0 ? "far" : "near");
        relink("top", "kid");
    }
    test_ok(vdisk_port_close(guest.port));
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s", at("top"));
        syncs.count = 0;
        test_ok(vdisk_relink(path, at("near/link"), 0, &how));
        expect_synced(i == 0 ? "far" : "near");
        syncs.count = 0;
        test_ok(vdisk_relink(path, at("kid"), 0, &how));
        expect_synced(NULL);
    }
    open_port("top", VDISK_OPEN_WRITE);
    end();
}

static void names_durable(void **state)
{
    (void)state;
    durable_names("vhdx");
    durable_names("vhd");
}

static void fail_to_sync(const char *link, const char *parent)
{
    copy(parent, "copied");
    syncs.file_fails = "copied";
    refused(link, "copied", -EIO, "cannot be made durable");
    test_true(strstr(messages.first, at("copied")));
    syncs.file_fails = NULL;
    syncs.directory_fails = "copied";
    refused(link, "copied", -EIO, "cannot be made durable");
    syncs.directory_fails = NULL;
    relink(link, "copied");
    relink(link, parent);
}

static void unsynced(const char *of)
{
    begin(of);
    write_sector(4);
    fail_to_sync("top", "kid");
    fail_to_sync("kid", "base");
    guest_start();
    guest_goes_on();
    end();
}

static void unsynced_refused(void **state)
{
    (void)state;
    unsynced("vhdx");
    unsynced("vhd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(copies_vhdx),
                                       cmocka_unit_test(copies_vhd),
                                       cmocka_unit_test(others_refused),
                                       cmocka_unit_test(states_refused),
                                       cmocka_unit_test(cancelled),
                                       cmocka_unit_test(chains_found),
                                       cmocka_unit_test(failures_change_nothing),
                                       cmocka_unit_test(names_durable),
                                       cmocka_unit_test(unsynced_refused)};

    scratch_make(dir, true);
    messages.echo = getenv("TEST_ECHO") != NULL;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
