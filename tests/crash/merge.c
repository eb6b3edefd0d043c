/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power cuts while a link is merged, the top or one in the middle, and a guest writes to the disk. Every state that a cut
 * could have left opens, by the name of the top or, once that was removed, of its parent; shows what the guest may rely
 * on; merges again; and shows the same.
 *
 * The files of the chain are simulated storages under names of real, empty files, which the library's paths lead to:
 * file_open, file_reopen and file_remove are the test's (see the Makefile).
 *
 * Beside that, merges in which an operation on one of the files fails: each is tried again while the chain is open, and
 * when it has been opened anew.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/disk.h"
#include "tests/rig.h"
#include "tests/storage.h"

#define SECTOR 512u
#define SIZE (3u << 20)
#define SECTORS (SIZE / SECTOR)
#define GUEST_SECTORS 1200u /* a guest writes to these */
#define NAMES 3             /* base, mid, top */

struct name {
    char file[16];
    struct storage *storage;
    uint64_t removed; /* when; 0: it stands */
};

struct note {
    uint32_t sector, value; /* sector SECTORS: a flush */
    uint64_t begin, end;
};

struct run {
    const char *format;
    int link; /* of the names: what is merged */
    bool live, small_base;
    uint64_t seed;
    struct rng rng;
    struct name name[NAMES];
    uint32_t value[SECTORS]; /* before the merge */
    struct note note[4096];
    _Atomic size_t notes;
    _Atomic bool stop;
    struct vdisk_port *port;
    char where[160];
};

static char dir[TEST_PATH];
static struct name *world; /* what stands on the medium */
static struct messages messages = MESSAGES_INIT;

/* ---- The medium ---- */

int __wrap_file_open(int dir_fd, const char *path, unsigned flags, const struct vdisk_log *log, struct file **file);
int __wrap_file_reopen(struct file *file, struct file **fresh);
int __wrap_file_remove(const struct file *file, bool *gone);

static struct name *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    for (int i = 0; i < NAMES; i++)
        if (strcmp(world[i].file, slash ? slash + 1 : path) == 0)
            return world[i].removed ? NULL : &world[i];
    return NULL;
}

int __wrap_file_open(int dir_fd, const char *path, unsigned flags, const struct vdisk_log *log, struct file **file)
{
    struct name *name = name_of(path);
    struct stat st;

    (void)dir_fd;
    if (!name)
        return -ENOENT;
    test_ok(stat(scratch_path(dir, name->file), &st));
    test_ok(storage_open(name->storage, path, flags & FILE_WRITE, log, file));
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
    struct name *name = name_of(file->path);

    if (name)
        name->removed = storage_clock();
    *gone = true;
    return 0;
}

/* ---- What must be there ---- */

static void fill(void *buffer, uint32_t sector, uint32_t value)
{
    uint64_t *word = buffer;

    for (unsigned i = 0; i < SECTOR / 8; i++)
        word[i] = value ? (uint64_t)value << 32 | sector : 0;
}

/* May the sector hold this after a cut then? */
static bool allowed(const struct run *run, uint32_t sector, uint32_t value, uint64_t time)
{
    bool good = run->value[sector] == value;
    uint64_t flushed = 0;

    for (size_t i = 0; i < run->notes; i++)
        if (run->note[i].sector == SECTORS && run->note[i].end <= time)
            flushed = run->note[i].begin;
    for (size_t i = 0; i < run->notes; i++) {
        const struct note *note = &run->note[i];

        if (note->sector != sector || note->begin > time)
            continue;
        if (note->end <= flushed)
            good = false; /* what was there before is gone for good */
        good |= note->value == value;
    }
    return good;
}

static void verify(const struct run *run, struct vdisk *disk, struct vdisk_ring *ring, uint64_t time, uint32_t *values)
{
    static uint64_t words[SIZE / 8];

    test_equal(disk->size, SIZE);
    test_ok(vdisk_transfer(disk, ring, VDISK_READ, words, 0, SIZE));
    for (uint32_t sector = 0; sector < SECTORS; sector++) {
        uint64_t *word = &words[sector * (SECTOR / 8)], want[SECTOR / 8];

        values[sector] = (uint32_t)(*word >> 32);
        fill(want, sector, values[sector]);
        if (memcmp(word, want, SECTOR) != 0)
            test_fail("%s: sector %u is of two writes, or another's", run->where, sector);
        if (!allowed(run, sector, values[sector], time))
            test_fail("%s: sector %u is %u, which it cannot be", run->where, sector, values[sector]);
    }
}

/* ---- One state ---- */

static struct vdisk_port *open_port(const struct run *run)
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    int top = world[2].removed ? 1 : 2;
    struct vdisk_port *port;
    int err = vdisk_port_open(scratch_path(dir, world[top].file), &how, &port);

    if (err)
        test_fail("%s: does not open: %s: %s", run->where, strerror(-err), messages.first);
    return port;
}

static void on_fault(void *arg, const struct vdisk_fault *fault)
{
    if (fault->severity == VDISK_FAULT)
        fprintf(stderr, "%s: %s\n", ((const struct run *)arg)->where, fault->text);
}

static void check_all(struct run *run)
{
    for (int i = 0; i < NAMES; i++)
        if (!world[i].removed && vdisk_check(scratch_path(dir, world[i].file), NULL, NULL, on_fault, run))
            test_fail("%s: %s is not clean", run->where, world[i].file);
}

/* Whatever is left of the operation is done again. */
static void merge_again(const struct run *run, struct vdisk_port *port)
{
    char path[TEST_PATH];
    struct vdisk_merge_options how = {.link = path};
    int err;

    snprintf(path, sizeof(path), "%s", scratch_path(dir, world[run->link].file));
    if (world[run->link].removed)
        return;
    err = vdisk_merge(port, &how, NULL, NULL);
    if (err)
        test_fail("%s: cannot be merged again: %s: %s", run->where, strerror(-err), messages.first);
    test_true(world[run->link].removed);
}

static void examine(struct run *run, struct name *state, uint64_t time)
{
    static uint32_t before[SECTORS], after[SECTORS];
    struct vdisk_ring *ring;
    struct vdisk_port *port;

    world = state;
    messages_clear(&messages);
    test_ok(vdisk_ring_open(8, VDISK_BACKEND_THREADS, &ring));
    port = open_port(run);
    verify(run, vdisk_port_disk(port), ring, time, before);
    merge_again(run, port);
    verify(run, vdisk_port_disk(port), ring, time, after);
    test_true(memcmp(before, after, sizeof(before)) == 0);
    test_ok(vdisk_port_close(port));
    port = open_port(run);
    verify(run, vdisk_port_disk(port), ring, time, after);
    test_true(memcmp(before, after, sizeof(before)) == 0);
    test_ok(vdisk_port_close(port));
    check_all(run);
    vdisk_ring_close(ring);
}

/* A state that a cut at this time may have left; *cut go on from one time to the next. */
static void cut_at(struct run *run, struct name *recorded, uint64_t time, uint64_t way)
{
    struct name state[NAMES];

    for (int i = 0; i < NAMES; i++) {
        struct storage_cut cut;
        uint8_t *keep;

        state[i] = recorded[i];
        if (recorded[i].removed > time)
            state[i].removed = 0;
        storage_cut_at(recorded[i].storage, time, &cut);
        keep = malloc(cut.count + 1);
        rig_choose(&run->rng, way < 2 ? way : 2 + rng_below(&run->rng, 60), cut.count, keep);
        state[i].storage = storage_after_cut(&cut, &(struct storage_choice){.keep = keep,
                                                                            .seed = rng_next(&run->rng),
                                                                            .tear = rng_below(&run->rng, 2) ? 512 : 4096,
                                                                            .junk = rng_below(&run->rng, 3) == 0});
        free(keep);
        storage_cut_free(&cut);
    }
    snprintf(run->where, sizeof(run->where), "seed %llu %s: %s merged%s: cut at %llu way %llu",
             (unsigned long long)run->seed, run->format, recorded[run->link].file, run->live ? " live" : "",
             (unsigned long long)time, (unsigned long long)way);
    examine(run, state, time);
    for (int i = 0; i < NAMES; i++)
        storage_free(state[i].storage);
}

/* ---- The session ---- */

static void note(struct run *run, uint32_t sector, uint32_t value, uint64_t begin)
{
    test_true(run->notes < sizeof(run->note) / sizeof(run->note[0]));
    run->note[run->notes++] = (struct note){sector, value, begin, storage_clock()};
}

static void write_one(struct run *run, struct vdisk *disk, struct vdisk_ring *ring, uint32_t sector, uint32_t value)
{
    uint64_t bytes[SECTOR / 8];
    enum vdisk_op op = value ? VDISK_WRITE : VDISK_ZERO;

    fill(bytes, sector, value);
    test_ok(disk ? vdisk_transfer(disk, ring, op, bytes, (uint64_t)sector * SECTOR, SECTOR)
                 : vdisk_port_transfer(run->port, ring, op, bytes, (uint64_t)sector * SECTOR, SECTOR));
}

/* Scattered sectors of one link, some whole blocks of zeros. */
static void write_link(struct run *run, struct vdisk *disk, uint32_t first)
{
    uint64_t block = disk->block_size;
    struct vdisk_ring *ring;

    test_ok(vdisk_ring_open(8, VDISK_BACKEND_THREADS, &ring));
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t sector = (uint32_t)rng_below(&run->rng, disk->size / SECTOR);
        uint32_t value = rng_below(&run->rng, 6) ? first + i : 0;

        write_one(run, disk, ring, sector, value);
        run->value[sector] = value;
    }
    if (first > 1000 && rng_below(&run->rng, 2)) {
        uint64_t at = rng_below(&run->rng, disk->size / block) * block;

        test_ok(vdisk_transfer(disk, ring, VDISK_ZERO, NULL, at, block));
        memset(&run->value[at / SECTOR], 0, block / SECTOR * sizeof(run->value[0]));
    }
    vdisk_ring_close(ring);
}

static void make_chain(struct run *run)
{
    static const char *const names[NAMES] = {"base", "mid", "top"};
    static const struct vdisk_log silent;
    struct vdisk *parent = NULL;

    for (int i = 0; i < NAMES; i++) {
        char relative[32], absolute[TEST_PATH + 32];
        struct disk_geometry g = {.type = i ? DISK_DIFFERENCING : DISK_DYNAMIC,
                                  .size = i == 0 && run->small_base ? 2 << 20 : SIZE,
                                  .block_size = 1 << 20,
                                  .sector_size = SECTOR,
                                  .physical_sector_size = 4096,
                                  .parent = parent,
                                  .parent_relative = relative,
                                  .parent_absolute = absolute};
        struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
        const struct disk_format *const *format = disk_formats;
        struct vdisk *disk;
        struct file *file;
        int fd;

        while (strcmp((*format)->name, run->format) != 0)
            format++;
        if (!run->format[3])
            g.block_size = 64 << 10 << rng_below(&run->rng, 4);
        snprintf(relative, sizeof(relative), "./%s", i ? run->name[i - 1].file : "");
        snprintf(absolute, sizeof(absolute), "%s/%s", dir, i ? run->name[i - 1].file : "");
        snprintf(run->name[i].file, sizeof(run->name[i].file), "%s.%s", names[i], run->format);
        run->name[i].storage = storage_new();
        fd = open(scratch_path(dir, run->name[i].file), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        test_ok(fd);
        close(fd);
        test_ok(file_open(AT_FDCWD, run->name[i].file, FILE_WRITE, &silent, &file));
        test_ok((*format)->create(file, &g));
        file_close(file);
        vdisk_close(parent);
        test_ok(vdisk_open(scratch_path(dir, run->name[i].file), &how, &disk));
        write_link(run, disk, (uint32_t)i * 1000 + 1);
        test_ok(vdisk_close(disk));
        how.flags = 0;
        test_ok(vdisk_open(scratch_path(dir, run->name[i].file), &how, &parent));
    }
    vdisk_close(parent);
}

static void *guest(void *arg)
{
    struct run *run = arg;
    struct vdisk_ring *ring;
    uint32_t value = 10000;
    struct rng rng;

    rng_seed(&rng, run->seed + 77);
    test_ok(vdisk_ring_open(8, VDISK_BACKEND_THREADS, &ring));
    while (!atomic_load(&run->stop) && run->notes < 4000) {
        uint32_t sector = (uint32_t)rng_below(&rng, GUEST_SECTORS) * (SECTORS / GUEST_SECTORS);
        uint64_t begin = storage_clock();
        uint32_t wrote = rng_below(&rng, 8) ? ++value : 0;

        if (rng_below(&rng, 12) == 0) {
            test_ok(vdisk_port_transfer(run->port, ring, VDISK_FLUSH, NULL, 0, 0));
            note(run, SECTORS, 0, begin);
            continue;
        }
        write_one(run, NULL, ring, sector, wrote);
        note(run, sector, wrote, begin);
    }
    vdisk_ring_close(ring);
    return NULL;
}

static void session(struct run *run)
{
    char path[TEST_PATH];
    struct vdisk_merge_options how = {.link = path};
    struct vdisk_merge_result result;
    pthread_t thread;
    int err;

    snprintf(run->where, sizeof(run->where), "seed %llu %s: session", (unsigned long long)run->seed, run->format);
    world = run->name;
    make_chain(run);
    for (int i = 0; i < NAMES; i++)
        storage_record(run->name[i].storage);
    run->port = open_port(run);
    snprintf(path, sizeof(path), "%s", scratch_path(dir, run->name[run->link].file));
    if (run->live)
        test_equal(pthread_create(&thread, NULL, guest, run), 0);
    err = vdisk_merge(run->port, &how, NULL, &result);
    if (err)
        test_fail("%s: %s: %s", run->where, strerror(-err), messages.first);
    test_true(result.links == 1 && result.bytes_moved > 0 && result.pause.longest > 0);
    for (size_t more = run->notes + 60; run->live && run->notes < more && run->notes < 3900;)
        usleep(100);
    atomic_store(&run->stop, true);
    if (run->live)
        pthread_join(thread, NULL);
    test_ok(vdisk_port_close(run->port));
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Times all over the merge; without a guest, beside them the middle of each operation on the files that are not copied to,
 * of which there are few and each counts. */
static unsigned explore(struct run *run)
{
    static uint64_t time[4096];
    uint64_t end = storage_clock(), start = UINT64_MAX;
    unsigned count = 0;

    for (int i = 0; i < NAMES; i++) {
        struct storage_op *ops;
        size_t n = storage_ops(run->name[i].storage, &ops);

        if (n > 0 && ops[0].begin < start)
            start = ops[0].begin;
        for (size_t op = 0; !run->live && i >= run->link && op < n && count < 4000; op++)
            for (int again = 0; again < 5; again++)
                time[count++] = ops[op].end;
    }
    for (int i = 0; i < 50; i++)
        time[count++] = start + rng_below(&run->rng, end - start);
    time[count++] = end;
    qsort(time, count, sizeof(time[0]), by_time);
    for (unsigned i = 0; i < count; i++)
        cut_at(run, run->name, time[i], i % 4);
    return count;
}

/* ---- Faults ---- */

/* An operation on one file fails, the n-th of these kinds. False: there is no n-th. */
static bool fail_once(struct run *run, int victim, unsigned kinds, uint64_t n)
{
    char path[TEST_PATH];
    struct vdisk_merge_options how = {.link = path};
    struct name state[NAMES];
    struct vdisk_port *port;
    bool reached;
    int err;

    for (int i = 0; i < NAMES; i++) {
        state[i] = run->name[i];
        state[i].storage = storage_copy(run->name[i].storage);
    }
    world = state;
    snprintf(run->where, sizeof(run->where), "seed %llu %s: %s merged, operation %llu of kinds %#x of %s fails",
             (unsigned long long)run->seed, run->format, state[run->link].file, (unsigned long long)n, kinds,
             state[victim].file);
    snprintf(path, sizeof(path), "%s", scratch_path(dir, state[run->link].file));
    port = open_port(run);
    storage_fail(state[victim].storage, n, kinds, -EIO, false);
    err = vdisk_merge(port, &how, NULL, NULL);
    reached = storage_count(state[victim].storage) >= n;
    storage_fail(state[victim].storage, 0, 0, 0, false);
    if (err && !reached)
        test_fail("%s: fails without that: %s", run->where, strerror(-err));
    if (!state[run->link].removed)
        vdisk_merge(port, &how, NULL, NULL); /* done, or an error */
    vdisk_port_close(port);
    examine(run, state, storage_clock());
    for (int i = 0; i < NAMES; i++)
        storage_free(state[i].storage);
    return reached;
}

/* What must be there is what the chain was made with: nobody writes. */
static uint64_t fail_everywhere(struct run *run)
{
    const unsigned syncs = 1u << STORAGE_SYNC,
                   others = 1u << STORAGE_WRITE | 1u << STORAGE_ZERO | 1u << STORAGE_RESIZE | 1u << STORAGE_ALLOCATE;
    uint64_t count = 0;

    world = run->name;
    make_chain(run);
    for (int victim = 0; victim < NAMES; victim++) {
        for (uint64_t n = 1; fail_once(run, victim, syncs, n); n++)
            count++;
        for (uint64_t n = 1; fail_once(run, victim, others, n); n += 1 + rng_below(&run->rng, n < 20 ? 2 : 60))
            count++;
    }
    return count;
}

/* By seed: the format, what is merged, whether a guest works meanwhile, whether the base is smaller. */
static struct run *new_run(uint64_t seed)
{
    struct run *run = calloc(1, sizeof(*run));

    test_true(run);
    *run = (struct run){.format = seed % 2 ? "vhdx" : "vhd",
                        .link = seed / 2 % 2 ? 2 : 1,
                        .live = seed / 4 % 2,
                        .small_base = seed / 8 % 4 == 3,
                        .seed = seed};
    rng_seed(&run->rng, seed);
    return run;
}

static void free_run(struct run *run)
{
    for (int i = 0; i < NAMES; i++)
        storage_free(run->name[i].storage);
    free(run);
}

static void one(unsigned number, unsigned of, uint64_t *counts)
{
    uint64_t states = test_number("MERGE_STATES", 700) / of, seed = test_number("MERGE_SEED", 1) + number;

    scratch_make(dir, true);
    messages.echo = getenv("TEST_ECHO") != NULL;
    for (; counts[0] < states; seed += of) {
        struct run *run = new_run(seed);

        session(run);
        counts[0] += explore(run);
        counts[1]++;
        free_run(run);
    }
    for (uint64_t kind = number; kind < 4; kind += of) {
        struct run *run = new_run(kind);

        counts[2] += fail_everywhere(run);
        free_run(run);
    }
}

int main(void)
{
    uint64_t counts[3] = {0};
    bool good = processes_run("CRASH_PROCESSES", one, counts, 3);

    printf("%llu states of %llu merges, %llu that failed\n", (unsigned long long)counts[0],
           (unsigned long long)counts[1], (unsigned long long)counts[2]);
    return good ? 0 : 1;
}
