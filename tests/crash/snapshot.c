/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power cuts while a child is put over a disk, live or at rest, and while a child is told of another parent: at rest,
 * that it was renamed; live, of a copy that was just made, and then the old one is removed; and while a child goes back
 * to its parent. Not only the files are simulated storage: their directory is too, and a name that was given or taken
 * away may be lost until the directory was synced.
 *
 * Of every state that a cut could have left: what stands under the child's name is whole and reads as the guest may
 * rely on; without it the disk beneath does; the parent shows what it showed when it was left; all is clean; and the
 * operation can be done again. What had returned before the cut is there.
 *
 * The names are those of real, empty files, which the library's paths lead to (see the Makefile).
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/disk.h"
#include "disk/port.h"
#include "tests/rig.h"

#define SECTOR 512u
#define SIZE (3u << 20)
#define BLOCK (1u << 20)
#define NAMES 12
#define VERSIONS 64

enum kind { SNAPSHOT, CREATE, RELINK, RELINK_LIVE, REVERT, KINDS };

static const char *const kinds[KINDS] = {"snapshot", "create", "relink", "relink", "revert"};

struct folder {
    struct {
        char name[48];
        struct storage *storage; /* NULL: no such name */
    } entry[NAMES];
    uint64_t since;
};

/* A directory as it was from time to time, and all that was ever in it. */
struct world {
    struct folder version[VERSIONS]; /* the last: as it is */
    unsigned versions;
    unsigned durable[VERSIONS]; /* the version that a sync made durable, */
    uint64_t synced[VERSIONS];  /* and when */
    unsigned syncs;
    struct storage *storage[16];
    unsigned storages;
    bool recorded;
};

struct run {
    enum kind kind;
    const char *format;
    /* late: the first write comes after the child was made; deep: the disk is a child itself, or what is relinked is
     * not the disk but what is beneath it */
    bool live, late, deep;
    uint64_t seed;
    struct rng rng, guest_rng;
    struct guest *guest;
    struct vdisk_port *port;
    struct world world;
    char top[24], child[24], parent[24], moved[24];
    uint64_t returned;
    uint32_t *values, *again, *left; /* left: what the parent showed when it was left */
    char where[160];
};

static char dir[TEST_PATH];
static struct world *world;
static struct run *late; /* whose first write is to come at the next pause */
static struct messages messages = MESSAGES_INIT;

/* ---- The directory ---- */

int __wrap_file_open(int dir_fd, const char *path, unsigned flags, const struct vdisk_log *log, struct file **file);
int __wrap_file_reopen(struct file *file, struct file **fresh);
int __wrap_file_remove(const struct file *file, bool *gone);
int __wrap_file_sync_directory(const char *path);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __wrap_unlink(const char *path);
void __wrap_port_pause(struct vdisk_port *port);
int __real_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __real_unlink(const char *path);
void __real_port_pause(struct vdisk_port *port);

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static struct folder *now(void)
{
    return &world->version[world->versions - 1];
}

static int find(const struct folder *folder, const char *path)
{
    for (int i = 0; i < NAMES; i++)
        if (folder->entry[i].storage && strcmp(folder->entry[i].name, base_of(path)) == 0)
            return i;
    return -1;
}

/* The directory that is changed from here on. */
static struct folder *next(void)
{
    if (world->recorded) {
        test_true(world->versions < VERSIONS);
        world->version[world->versions] = *now();
        world->versions++;
    }
    now()->since = storage_clock();
    return now();
}

static void set(struct folder *folder, const char *path, struct storage *storage)
{
    int i = find(folder, path);

    for (int k = 0; i < 0 && k < NAMES; k++)
        i = folder->entry[k].storage ? -1 : k;
    test_true(i >= 0);
    snprintf(folder->entry[i].name, sizeof(folder->entry[i].name), "%s", base_of(path));
    folder->entry[i].storage = storage;
}

static void touch(const char *name)
{
    int fd = open(scratch_path(dir, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    test_ok(fd);
    close(fd);
}

int __wrap_file_open(int dir_fd, const char *path, unsigned flags, const struct vdisk_log *log, struct file **file)
{
    int i = find(now(), path);
    struct storage *storage;
    struct stat st;

    (void)dir_fd;
    if (flags & FILE_CREATE ? i >= 0 : i < 0)
        return flags & FILE_CREATE ? -EEXIST : -ENOENT;
    if (flags & FILE_CREATE) {
        test_true(world->storages < sizeof(world->storage) / sizeof(world->storage[0]));
        storage = world->storage[world->storages++] = storage_new();
        if (world->recorded)
            storage_record(storage);
        set(next(), path, storage);
        touch(base_of(path));
    } else {
        storage = now()->entry[i].storage;
    }
    test_ok(stat(scratch_path(dir, base_of(path)), &st));
    test_ok(storage_open(storage, path, flags & FILE_WRITE, log, file));
    (*file)->device = st.st_dev;
    (*file)->inode = st.st_ino;
    return 0;
}

int __wrap_file_reopen(struct file *file, struct file **fresh)
{
    return __wrap_file_open(AT_FDCWD, file->path, FILE_WRITE, &file->log, fresh);
}

int __wrap_file_remove(const struct file *file, bool *gone)
{
    int err = __wrap_unlink(file->path);

    *gone = !err;
    return err ? err : __wrap_file_sync_directory(file->path);
}

int __wrap_file_sync_directory(const char *path)
{
    unsigned version = world->versions - 1;

    (void)path;
    if (world->recorded) {
        test_true(world->syncs < VERSIONS);
        world->durable[world->syncs] = version;
        world->synced[world->syncs++] = storage_clock();
    }
    return 0;
}

int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    int result = __real_renameat2(from_dir, from, to_dir, to, flags), i;
    struct folder *folder;

    if (result < 0)
        return result;
    folder = next();
    i = find(folder, from);
    test_true(i >= 0);
    set(folder, to, folder->entry[i].storage);
    folder->entry[i].storage = NULL;
    return 0;
}

int __wrap_unlink(const char *path)
{
    int i = world ? find(now(), path) : -1, result = __real_unlink(path);

    if (result == 0 && i >= 0)
        next()->entry[i].storage = NULL;
    return result;
}

/* What the cut left of the directory: any version from the last that was durable on. */
static void folder_after(const struct world *recorded, uint64_t time, struct rng *rng, struct folder *folder)
{
    unsigned first = 0, last = 0;

    for (unsigned i = 0; i < recorded->syncs; i++)
        if (recorded->synced[i] <= time)
            first = recorded->durable[i];
    for (unsigned i = first; i < recorded->versions; i++)
        if (i == first || recorded->version[i].since <= time)
            last = i;
    *folder = recorded->version[first + rng_below(rng, last - first + 1)];
}

/* The real files bear the names of this world's. */
static void enter(struct world *entered, const struct world *left)
{
    for (unsigned v = 0; v < left->versions; v++)
        for (int i = 0; i < NAMES; i++)
            if (left->version[v].entry[i].name[0])
                __real_unlink(scratch_path(dir, left->version[v].entry[i].name));
    world = entered;
    for (int i = 0; i < NAMES; i++)
        if (now()->entry[i].storage)
            touch(now()->entry[i].name);
}

/* ---- One state ---- */

static bool stands(const char *name)
{
    return find(now(), name) >= 0;
}

static void must(const struct run *run, const char *what, int err)
{
    if (err)
        test_fail("%s: %s: %s: %s", run->where, what, strerror(-err), messages.first);
}

static struct vdisk_port *open_port(const struct run *run, const char *name, const char *parent)
{
    const char *parents[2] = {parent ? scratch_path(dir, parent) : NULL, NULL};
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages), .parents = parents};
    struct vdisk_port *port;

    must(run, name, vdisk_port_open(scratch_path(dir, name), &how, &port));
    return port;
}

static void verify(const struct run *run, struct vdisk *disk, uint64_t time, uint32_t *values)
{
    struct vdisk_ring *ring;
    char why[256];

    test_ok(vdisk_ring_open(8, VDISK_BACKEND_THREADS, &ring));
    must(run, "read", guest_read(run->guest, disk, ring, values));
    if (!guest_possible(run->guest, values, time, why))
        test_fail("%s: %s", run->where, why);
    vdisk_ring_close(ring);
}

static void on_fault(void *arg, const struct vdisk_fault *fault)
{
    if (fault->severity == VDISK_FAULT)
        fprintf(stderr, "%s: %s\n", ((const struct run *)arg)->where, fault->text);
}

/* All but temporary files, and a copy of a parent, which a cut may leave half made. Once they were opened: that mends a
 * VHD's end. */
static void check_all(struct run *run, uint64_t time)
{
    bool half = run->kind == RELINK_LIVE && time < run->returned;

    for (int i = 0; i < NAMES; i++)
        if (now()->entry[i].storage && now()->entry[i].name[0] != '.' &&
            !(half && strcmp(now()->entry[i].name, run->moved) == 0) &&
            vdisk_check(scratch_path(dir, now()->entry[i].name), NULL, NULL, on_fault, run))
            test_fail("%s: %s is not clean", run->where, now()->entry[i].name);
}

static void parent_is_as_left(const struct run *run, struct vdisk *parent)
{
    size_t bytes = guest_touched(run->guest) * sizeof(run->again[0]);
    struct vdisk_ring *ring;

    test_ok(vdisk_ring_open(8, VDISK_BACKEND_THREADS, &ring));
    must(run, "read the parent", guest_read(run->guest, parent, ring, run->again));
    if (memcmp(run->again, run->left, bytes) != 0)
        test_fail("%s: the parent shows something else than when it was left", run->where);
    vdisk_ring_close(ring);
}

/* The child over its parent, or the disk alone. Then the other way: it is made again, or merged. */
static void examine_child(struct run *run, uint64_t time)
{
    bool there = stands(run->child);
    struct vdisk_port *port;

    if (!there && time >= run->returned)
        test_fail("%s: the child that was made is not there", run->where);
    port = open_port(run, there ? run->child : run->top, NULL);
    verify(run, vdisk_port_disk(port), time, run->values);
    if (there && time >= run->returned)
        parent_is_as_left(run, vdisk_port_disk(port)->parent);
    if (there)
        must(run, "merge", vdisk_merge(port, NULL, NULL, NULL));
    else
        must(run, "again", vdisk_snapshot(port, scratch_path(dir, run->child), NULL, NULL));
    test_true(stands(run->child) != there);
    verify(run, vdisk_port_disk(port), time, run->again);
    test_ok(vdisk_port_close(port));
}

/* By the parent that it is given it always opens; by itself once it was told. */
static void examine_relinked(struct run *run, uint64_t time)
{
    char child[TEST_PATH];
    struct vdisk_port *port = open_port(run, run->top, run->moved);
    struct vdisk_open_options how = {.log = messages_log(&messages)};

    verify(run, vdisk_port_disk(port), time, run->values);
    test_ok(vdisk_port_close(port));
    if (time >= run->returned)
        test_ok(vdisk_port_close(open_port(run, run->top, NULL)));
    snprintf(child, sizeof(child), "%s", scratch_path(dir, run->top));
    must(run, "again", vdisk_relink(child, scratch_path(dir, run->moved), 0, &how));
    port = open_port(run, run->top, NULL);
    verify(run, vdisk_port_disk(port), time, run->again);
    test_ok(vdisk_port_close(port));
}

/* By itself it always opens: the old parent is there until the new one is sure to be. */
static void examine_copied(struct run *run, uint64_t time)
{
    const char *disk = run->deep ? run->child : run->top;
    char link[TEST_PATH];
    struct vdisk_port *port = open_port(run, disk, NULL);
    struct vdisk_open_options how = {.log = messages_log(&messages)};

    verify(run, vdisk_port_disk(port), time, run->values);
    test_ok(vdisk_port_close(port));
    snprintf(link, sizeof(link), "%s", scratch_path(dir, run->top));
    must(run, "again", vdisk_relink(link, scratch_path(dir, stands(run->parent) ? run->parent : run->moved), 0, &how));
    port = open_port(run, disk, NULL);
    verify(run, vdisk_port_disk(port), time, run->again);
    test_ok(vdisk_port_close(port));
}

static void read_alone(struct run *run, const char *name, uint32_t *values)
{
    struct vdisk_port *port = open_port(run, name, NULL);
    struct vdisk_ring *ring;

    test_ok(vdisk_ring_open(8, VDISK_BACKEND_THREADS, &ring));
    must(run, name, guest_read(run->guest, vdisk_port_disk(port), ring, values));
    vdisk_ring_close(ring);
    test_ok(vdisk_port_close(port));
}

/* The child shows what it showed, or what its parent shows, which has not changed; it goes back. */
static void examine_reverted(struct run *run, uint64_t time)
{
    size_t bytes = guest_touched(run->guest) * sizeof(run->values[0]);
    char child[TEST_PATH], why[256];

    read_alone(run, run->top, run->values);
    if (memcmp(run->values, run->left, bytes) != 0) {
        if (time >= run->returned)
            test_fail("%s: it has gone back, and shows what it showed before", run->where);
        if (!guest_possible(run->guest, run->values, time, why))
            test_fail("%s: %s", run->where, why);
    }
    snprintf(child, sizeof(child), "%s", scratch_path(dir, run->top));
    must(run, "again", vdisk_revert(child, NULL));
    read_alone(run, run->top, run->values);
    read_alone(run, run->parent, run->again);
    test_true(memcmp(run->values, run->left, bytes) == 0);
}

static void examine(struct run *run, uint64_t time)
{
    messages_clear(&messages);
    if (run->kind == REVERT)
        examine_reverted(run, time);
    else if (run->kind == RELINK)
        examine_relinked(run, time);
    else if (run->kind == RELINK_LIVE)
        examine_copied(run, time);
    else
        examine_child(run, time);
    test_true(memcmp(run->values, run->again, guest_touched(run->guest) * sizeof(run->values[0])) == 0);
    check_all(run, time);
}

static struct storage *storage_left(struct run *run, struct storage *recorded, uint64_t time, uint64_t way)
{
    struct storage_choice choice = {.seed = rng_next(&run->rng),
                                    .tear = rng_below(&run->rng, 2) ? 512 : 4096,
                                    .junk = rng_below(&run->rng, 3) == 0};
    struct storage *storage;
    struct storage_cut cut;
    uint8_t *keep;

    storage_cut_at(recorded, time, &cut);
    keep = malloc(cut.count + 1);
    rig_choose(&run->rng, way < 2 ? way : 2 + rng_below(&run->rng, 60), cut.count, keep);
    choice.keep = keep;
    storage = storage_after_cut(&cut, &choice);
    free(keep);
    storage_cut_free(&cut);
    return storage;
}

static void cut_at(struct run *run, uint64_t time, uint64_t way)
{
    struct world *state = calloc(1, sizeof(*state));

    test_true(state);
    state->versions = 1;
    folder_after(&run->world, time, &run->rng, &state->version[0]);
    for (int i = 0; i < NAMES; i++)
        if (state->version[0].entry[i].storage)
            state->version[0].entry[i].storage = state->storage[state->storages++] =
                storage_left(run, state->version[0].entry[i].storage, time, way);
    snprintf(run->where, sizeof(run->where), "seed %llu %s %s%s%s%s: cut at %llu way %llu",
             (unsigned long long)run->seed, run->format, kinds[run->kind], run->live ? " live" : "",
             run->late ? " late" : "", run->deep ? " deep" : "", (unsigned long long)time, (unsigned long long)way);
    enter(state, &run->world);
    examine(run, time);
    enter(&run->world, state);
    for (unsigned i = 0; i < state->storages; i++)
        storage_free(state->storage[i]);
    free(state);
}

/* ---- The session ---- */

static void requests(struct run *run, struct vdisk *disk, unsigned count, unsigned flush_every)
{
    struct guest_load load = {.requests = count,
                              .block_size = BLOCK,
                              .flush_every = flush_every,
                              .no_fua = !disk,
                              .port = disk ? NULL : run->port};
    struct vdisk_ring *ring;

    test_ok(vdisk_ring_open(8, VDISK_BACKEND_THREADS, &ring));
    guest_run(run->guest, disk, ring, &run->guest_rng, &load);
    vdisk_ring_close(ring);
}

static void *guest_main(void *run)
{
    requests(run, NULL, 300, 12);
    return NULL;
}

void __wrap_port_pause(struct vdisk_port *port)
{
    struct run *run = late;

    late = NULL;
    if (run)
        requests(run, NULL, 40, 10);
    __real_port_pause(port);
}

static void make(struct run *run, const char *name, const char *parent)
{
    char path[TEST_PATH];
    struct vdisk_create_options options = {.format = run->format,
                                           .size = SIZE,
                                           .block_size = BLOCK,
                                           .parent = parent ? scratch_path(dir, parent) : NULL,
                                           .log = messages_log(&messages)};
    struct vdisk *disk;

    snprintf(path, sizeof(path), "%s", scratch_path(dir, name));
    must(run, name, vdisk_create(path, &options, &disk));
    must(run, name, vdisk_commit(disk));
}

static void make_and_fill(struct run *run, const char *name, const char *parent)
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    struct vdisk *disk;
    uint64_t began;

    make(run, name, parent);
    must(run, name, vdisk_open(scratch_path(dir, name), &how, &disk));
    requests(run, disk, 150, 20);
    began = storage_clock();
    must(run, name, vdisk_close(disk));
    guest_note_flush(run->guest, began, storage_clock());
}

static void record(struct run *run)
{
    for (unsigned i = 0; i < run->world.storages; i++)
        storage_record(run->world.storage[i]);
    run->world.recorded = true;
}

/* What the parent shows now that nobody writes to it. */
static void note_left(struct run *run)
{
    struct vdisk_ring *ring;

    run->values = calloc(3 * guest_touched(run->guest) + 1, sizeof(*run->values));
    test_true(run->values);
    run->again = run->values + guest_touched(run->guest);
    run->left = run->again + guest_touched(run->guest);
    if (run->kind == REVERT)
        read_alone(run, run->parent, run->left);
    if (!run->port || run->kind >= RELINK)
        return;
    test_ok(vdisk_ring_open(8, VDISK_BACKEND_THREADS, &ring));
    test_ok(guest_read(run->guest, vdisk_port_disk(run->port)->parent, ring, run->left));
    vdisk_ring_close(ring);
}

static void take_snapshot(struct run *run)
{
    struct vdisk_pause pause;
    pthread_t thread;

    run->port = open_port(run, run->top, NULL);
    if (run->live)
        test_equal(pthread_create(&thread, NULL, guest_main, run), 0);
    else if (run->late)
        late = run;
    else
        requests(run, NULL, 40, 30);
    must(run, "snapshot", vdisk_snapshot(run->port, scratch_path(dir, run->child), NULL, &pause));
    run->returned = storage_clock();
    test_true(pause.longest > 0);
    if (run->live)
        pthread_join(thread, NULL);
    else
        requests(run, NULL, 40, 10);
}

/* As a user copies a file: nothing is made durable. */
static void copy_parent(struct run *run)
{
    static uint8_t bytes[1 << 16], zeros[1 << 16];
    struct file *from, *to;

    test_ok(file_open(AT_FDCWD, scratch_path(dir, run->parent), 0, NULL, &from));
    test_ok(file_open(AT_FDCWD, scratch_path(dir, run->moved), FILE_WRITE | FILE_CREATE, NULL, &to));
    test_ok(file_resize(to, from->size));
    for (uint64_t at = 0; at < from->size; at += sizeof(bytes)) {
        uint64_t length = from->size - at < sizeof(bytes) ? from->size - at : sizeof(bytes);

        test_ok(file_read(from, bytes, length, at));
        if (memcmp(bytes, zeros, length) != 0)
            test_ok(file_write(to, bytes, length, at));
    }
    file_close(from);
    file_close(to);
}

static void relink_live(struct run *run)
{
    char link[TEST_PATH];
    struct vdisk_pause pause;
    pthread_t thread;

    snprintf(link, sizeof(link), "%s", scratch_path(dir, run->top));
    run->port = open_port(run, run->deep ? run->child : run->top, NULL);
    test_equal(pthread_create(&thread, NULL, guest_main, run), 0);
    copy_parent(run);
    must(run, "relink", vdisk_port_relink(run->port, link, scratch_path(dir, run->moved), NULL, &pause));
    run->returned = storage_clock();
    test_true(pause.longest > 0);
    test_ok(unlink(scratch_path(dir, run->parent)));
    pthread_join(thread, NULL);
}

static void session(struct run *run)
{
    char child[TEST_PATH];
    struct vdisk_open_options how = {.log = messages_log(&messages)};

    snprintf(run->where, sizeof(run->where), "seed %llu %s: session", (unsigned long long)run->seed, run->format);
    if (run->deep || run->kind >= RELINK)
        make_and_fill(run, run->parent, NULL);
    make_and_fill(run, run->top, run->deep || run->kind >= RELINK ? run->parent : NULL);
    if (run->deep && run->kind == RELINK_LIVE)
        make_and_fill(run, run->child, run->top);
    if (run->kind == RELINK) { /* its parent was renamed */
        char from[TEST_PATH];

        snprintf(from, sizeof(from), "%s", scratch_path(dir, run->parent));
        test_ok(renameat2(AT_FDCWD, from, AT_FDCWD, scratch_path(dir, run->moved), 0));
    }
    record(run);
    if (run->kind == SNAPSHOT) {
        take_snapshot(run);
    } else if (run->kind == CREATE) {
        make(run, run->child, run->top);
        run->returned = storage_clock();
        run->port = open_port(run, run->child, NULL);
        requests(run, NULL, 40, 10);
    } else if (run->kind == RELINK_LIVE) {
        relink_live(run);
    } else if (run->kind == REVERT) {
        snprintf(child, sizeof(child), "%s", scratch_path(dir, run->top));
        must(run, "revert", vdisk_revert(child, &how));
        run->returned = storage_clock();
    } else {
        snprintf(child, sizeof(child), "%s", scratch_path(dir, run->top));
        must(run, "relink", vdisk_relink(child, scratch_path(dir, run->moved), 0, &how));
        run->returned = storage_clock();
    }
    note_left(run);
    test_ok(vdisk_port_close(run->port));
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The middle of operations and changes of the directory, of which each counts, and times between them. */
static unsigned explore(struct run *run)
{
    static uint64_t time[2048];
    uint64_t end = storage_clock(), start = UINT64_MAX;
    unsigned count = 0;

    for (unsigned i = 0; i < run->world.storages; i++) {
        struct storage_op *ops;
        size_t n = storage_ops(run->world.storage[i], &ops);

        if (n > 0 && ops[0].begin < start)
            start = ops[0].begin;
        for (size_t op = 0; op < n && count < 1800; op += run->live ? 1 + rng_below(&run->rng, 8) : 1)
            time[count++] = ops[op].end;
    }
    for (unsigned i = 1; i < run->world.versions; i++)
        for (int again = 0; again < 3; again++)
            time[count++] = run->world.version[i].since;
    for (int again = 0; again < 4 && run->returned; again++)
        time[count++] = run->returned;
    for (int i = 0; i < 20; i++)
        time[count++] = start + rng_below(&run->rng, end - start);
    time[count++] = end;
    qsort(time, count, sizeof(time[0]), by_time);
    for (unsigned i = 0; i < count; i++)
        cut_at(run, time[i], i % 4);
    return count;
}

static void one(unsigned number, unsigned of, uint64_t *counts)
{
    uint64_t states = test_number("SNAPSHOT_STATES", 1500) / of, seed = test_number("SNAPSHOT_SEED", 1) + number;

    scratch_make(dir, true);
    messages.echo = getenv("TEST_ECHO") != NULL;
    for (; counts[0] < states; seed += of) {
        struct run *run = calloc(1, sizeof(*run));
        uint64_t n = seed / 2;

        *run = (struct run){.format = seed % 2 ? "vhdx" : "vhd",
                            .kind = n % 7 < 3 ? SNAPSHOT : (enum kind)(n % 7 - 2),
                            .live = n % 7 == 0 || n % 7 == 5,
                            .late = n % 7 == 1,
                            .deep = n / 7 % 2,
                            .seed = seed,
                            .world.versions = 1};
        rng_seed(&run->rng, seed);
        rng_seed(&run->guest_rng, seed + 77);
        snprintf(run->top, sizeof(run->top), "top.%s", run->format);
        snprintf(run->child, sizeof(run->child), "child.%s", run->format);
        snprintf(run->parent, sizeof(run->parent), "parent.%s", run->format);
        snprintf(run->moved, sizeof(run->moved), "moved.%s", run->format);
        run->guest = guest_new(SIZE, SECTOR, 0);
        world = &run->world;
        session(run);
        counts[0] += explore(run);
        counts[1 + run->kind]++;
        world = NULL;
        for (unsigned i = 0; i < run->world.storages; i++)
            storage_free(run->world.storage[i]);
        for (int i = 0; i < NAMES; i++)
            if (run->world.version[run->world.versions - 1].entry[i].storage)
                __real_unlink(scratch_path(dir, run->world.version[run->world.versions - 1].entry[i].name));
        guest_free(run->guest);
        free(run->values);
        free(run);
    }
}

int main(void)
{
    uint64_t counts[1 + KINDS] = {0};
    bool good = processes_run("CRASH_PROCESSES", one, counts, 1 + KINDS);

    printf("%llu states of %llu snapshots, %llu creations, %llu relinks, %llu of them live, %llu goings back\n",
           (unsigned long long)counts[0], (unsigned long long)counts[1], (unsigned long long)counts[2],
           (unsigned long long)(counts[3] + counts[4]), (unsigned long long)counts[4], (unsigned long long)counts[5]);
    return good ? 0 : 1;
}
