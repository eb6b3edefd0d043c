/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Points after crashes: whatever is cut off, no change is missed. The image and its points file stand on storage that
 * remembers, and are cut at the same moment; then everything that differs from what a point showed must be among the
 * changes since, before a recovery, after it, and after more was written. Of a clean life the changes are exact. Then the
 * same with real files and kill -9.
 *
 * POINT_SESSIONS, POINT_SEED, POINT_KILLS.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk/port.h"
#include "disk/track.h"
#include "tests/rig.h"

#define KIB 1024u
#define MIB (1u << 20)
#define SPOTS 8u
#define SPOT (256u * KIB)
#define DEPTH 5u
#define GRAIN (64u * KIB)
#define DISK (UINT64_C(1) << 30)
#define POINTS 3u

static const struct rig_config configs[] = {
    {"vhdx", DISK_DYNAMIC, MIB, 512, DISK},
    {"vhdx", DISK_DIFFERENCING, MIB, 512, DISK},
};

/* A point that was made, and what the disk showed then. */
struct moment {
    char name[16];
    bool there;
    uint64_t acknowledged, gone; /* times */
    uint8_t *shown;
};

struct run {
    struct rig rig;
    struct storage *points;
    struct vdisk *disk;
    struct moment moment[POINTS];
    uint8_t *now;
    bool touched[DISK / GRAIN]; /* since moment[0] */
    uint64_t states, sessions;
};

struct request {
    struct vdisk_io io;
    struct iovec iov;
    uint8_t *buffer;
    bool busy;
};

/* Regions of 64 MiB that are used: some have two spots, with the edge of a region between them. */
static uint64_t spot_at(unsigned spot)
{
    static const uint64_t at[SPOTS] = {0, 64 * MIB - SPOT, 64 * MIB, 200 * MIB, 205 * MIB, 511 * MIB, 700 * MIB, DISK - SPOT};

    return at[spot];
}

static void read_spots(struct vdisk *disk, struct vdisk_ring *ring, uint8_t *to)
{
    for (unsigned spot = 0; spot < SPOTS; spot++)
        test_ok(vdisk_transfer(disk, ring, VDISK_READ, to + spot * SPOT, spot_at(spot), SPOT));
}

/* ---- The guest ---- */

static void on_done(struct vdisk_io *io, int error)
{
    if (error)
        test_fail("request %d at %#llx: %s", io->op, (unsigned long long)io->offset, strerror(-error));
    ((struct request *)io)->busy = false;
}

static void submit(struct vdisk *disk, struct vdisk_ring *ring, struct rng *rng, struct request *r)
{
    uint64_t pick = rng_below(rng, 100), length = 512 * (1 + rng_below(rng, rng_below(rng, 3) ? 16 : 256));
    uint64_t at = 512 * rng_below(rng, SPOT / 512);
    enum vdisk_op op = pick < 12 ? VDISK_FLUSH : pick < 75 ? VDISK_WRITE : pick < 90 ? VDISK_ZERO : VDISK_DISCARD;

    length = length < SPOT - at ? length : SPOT - at;
    for (uint64_t i = 0; i < length && op == VDISK_WRITE; i += 8) {
        uint64_t value = rng_next(rng);

        memcpy(r->buffer + i, &value, 8);
    }
    r->iov = (struct iovec){r->buffer, length};
    r->io = (struct vdisk_io){.op = op, .offset = spot_at((unsigned)rng_below(rng, SPOTS)) + at, .length = length,
                              .iov = &r->iov, .iovcnt = 1, .done = on_done};
    if (op == VDISK_FLUSH)
        r->io.offset = r->io.length = 0;
    r->busy = true;
    vdisk_submit(disk, ring, &r->io);
}

/* touched may be NULL. */
static void work(struct vdisk *disk, struct vdisk_ring *ring, struct rng *rng, unsigned count, bool *touched)
{
    static struct request request[DEPTH];

    for (unsigned i = 0; i < DEPTH && !request[i].buffer; i++)
        request[i].buffer = aligned_alloc(4096, SPOT);
    while (count > 0) {
        struct request *r = &request[rng_below(rng, DEPTH)];

        if (r->busy) {
            vdisk_ring_poll(ring, true);
            continue;
        }
        submit(disk, ring, rng, r);
        for (uint64_t at = r->io.offset; touched && at < r->io.offset + r->io.length; at += 512)
            touched[at / GRAIN] = true;
        count--;
    }
    for (unsigned i = 0; i < DEPTH; i++)
        while (request[i].busy)
            vdisk_ring_poll(ring, true);
}

/* ---- Changes ---- */

struct told {
    bool grain[DISK / GRAIN];
    uint64_t end, extents;
};

static int on_change(void *arg, uint64_t offset, uint64_t length)
{
    struct told *told = arg;

    test_true(length > 0 && offset + length <= DISK && (offset > told->end || told->extents == 0));
    for (uint64_t at = offset; at < offset + length; at += GRAIN)
        told->grain[at / GRAIN] = true;
    told->end = offset + length;
    told->extents++;
    return 0;
}

/* All that differs is told. */
static void never_missed(struct run *run, struct vdisk *disk, const struct moment *moment, const char *when)
{
    static struct told told;

    told = (struct told){.end = 0};
    test_ok(vdisk_changes(disk, moment->name, NULL, on_change, &told));
    if (told.extents == 1 && told.end == DISK && told.grain[DISK / GRAIN / 3])
        test_fail("%s: all counts as changed %s: the image was not recognized", run->rig.where, when);
    for (unsigned spot = 0; spot < SPOTS; spot++)
        for (uint64_t at = 0; at < SPOT; at += 512)
            if (memcmp(run->now + spot * SPOT + at, moment->shown + spot * SPOT + at, 512) != 0 &&
                !told.grain[(spot_at(spot) + at) / GRAIN])
                test_fail("%s: a change at %#llx since point %s is missed %s", run->rig.where,
                          (unsigned long long)(spot_at(spot) + at), moment->name, when);
}

static void exact(struct run *run, struct vdisk *disk)
{
    static struct told told;

    told = (struct told){.end = 0};
    test_ok(vdisk_changes(disk, run->moment[0].name, NULL, on_change, &told));
    for (uint64_t grain = 0; grain < DISK / GRAIN; grain++)
        if (told.grain[grain] != run->touched[grain])
            test_fail("%s: grain %llu was %stouched, and %stold", run->rig.where, (unsigned long long)grain,
                      run->touched[grain] ? "" : "not ", told.grain[grain] ? "" : "not ");
}

/* ---- Opening both ---- */

static struct file *points_file(struct run *run, struct storage *storage, bool writable)
{
    struct file *file;

    (void)run;
    test_ok(storage_open(storage, "disk.points", writable, NULL, &file));
    return file;
}

static struct vdisk *open_both(struct run *run, struct storage *image, struct storage *points, bool writable)
{
    struct vdisk *disk = rig_disk(&run->rig, image, writable);
    int err = track_open(disk, points_file(run, points, writable), VDISK_ERROR, &disk->track);

    if (err)
        test_fail("%s: the points are refused: %s", run->rig.where, strerror(-err));
    track_checkpoint_every(disk->track, rng_below(&run->rig.rng, 2) ? 0 : UINT64_MAX);
    return disk;
}

static void make_moment(struct run *run, struct vdisk_port *port, unsigned index)
{
    struct moment *moment = &run->moment[index];

    snprintf(moment->name, sizeof(moment->name), "point-%u", index);
    test_ok(vdisk_point_create(port, moment->name, NULL));
    moment->acknowledged = storage_clock();
    moment->there = true;
    moment->gone = UINT64_MAX;
    moment->shown = moment->shown ? moment->shown : malloc(SPOTS * SPOT);
    read_spots(vdisk_port_disk(port), run->rig.ring, moment->shown);
}

/* ---- Recording ---- */

static void first_points(struct run *run)
{
    struct file *file = points_file(run, run->points, true);
    struct points points;

    test_ok(points_format(&points, file, DISK));
    file_close(file);
}

/* One life: some work, points at moments at which nothing was flushed, a point that goes, more work. */
static void live(struct run *run, unsigned first, unsigned last)
{
    struct rig *rig = &run->rig;
    struct vdisk_port *port;
    struct vdisk *disk = open_both(run, rig->storage, run->points, true);

    test_ok(vdisk_port_of(disk, &port));
    work(disk, rig->ring, &rig->rng, (unsigned)rng_below(&rig->rng, 12), run->touched);
    for (unsigned i = first; i < last; i++) {
        make_moment(run, port, i);
        if (i == 0)
            memset(run->touched, 0, sizeof(run->touched));
        work(disk, rig->ring, &rig->rng, 5 + (unsigned)rng_below(&rig->rng, 30), run->touched);
    }
    if (last == POINTS) {
        unsigned index = 1 + (unsigned)rng_below(&rig->rng, POINTS - 1);

        run->moment[index].gone = storage_clock();
        test_ok(vdisk_point_delete(port, run->moment[index].name, NULL));
        run->moment[index].there = false;
        work(disk, rig->ring, &rig->rng, (unsigned)rng_below(&rig->rng, 20), run->touched);
    }
    test_ok(vdisk_port_close(port));
    disk = open_both(run, rig->storage, run->points, false);
    exact(run, disk);
    read_spots(disk, rig->ring, run->now);
    never_missed(run, disk, &run->moment[0], "after a clean close");
    rig_shut(rig, disk);
}

/* ---- Cuts ---- */

static struct storage *after_cut(struct run *run, struct storage *storage, uint64_t time)
{
    struct rng *rng = &run->rig.rng;
    struct storage_cut cut;
    struct storage *state;
    uint64_t way = rng_below(rng, 5);
    uint8_t *keep;

    storage_cut_at(storage, time, &cut);
    keep = malloc(cut.count + 1);
    for (size_t i = 0; i < cut.count; i++)
        keep[i] = way == 0   ? KEEP_NONE
                  : way == 1 ? KEEP_ALL
                             : (uint8_t)(rng_below(rng, 3) ? KEEP_ALL * (way % 2) : rng_below(rng, 3));
    state = storage_after_cut(
        &cut, &(struct storage_choice){.keep = keep, .seed = rng_next(rng), .tear = 512, .junk = rng_below(rng, 3) == 0});
    free(keep);
    storage_cut_free(&cut);
    return state;
}

static void all_moments(struct run *run, struct vdisk *disk, uint64_t time, const char *when)
{
    read_spots(disk, run->rig.ring, run->now);
    for (unsigned i = 0; i < POINTS; i++)
        if (run->moment[i].acknowledged && run->moment[i].acknowledged < time && run->moment[i].gone > time)
            never_missed(run, disk, &run->moment[i], when);
}

static void cut(struct run *run, uint64_t time)
{
    struct rig *rig = &run->rig;
    struct storage *image = after_cut(run, rig->storage, time), *points = after_cut(run, run->points, time);
    struct vdisk *disk;

    snprintf(rig->where, sizeof(rig->where), "seed %llu %s: cut at %llu", (unsigned long long)rig->seed,
             rig->config->type == DISK_DIFFERENCING ? "differencing" : "dynamic", (unsigned long long)time);
    run->states++;
    disk = open_both(run, image, points, false);
    all_moments(run, disk, time, "after the cut");
    rig_shut(rig, disk);
    disk = open_both(run, image, points, true);
    all_moments(run, disk, time, "by recovery");
    work(disk, rig->ring, &rig->rng, (unsigned)rng_below(&rig->rng, 8), NULL);
    all_moments(run, disk, time, "after more was written");
    rig_shut(rig, disk);
    disk = open_both(run, image, points, false);
    all_moments(run, disk, time, "after it was closed");
    rig_shut(rig, disk);
    storage_free(image);
    storage_free(points);
}

static size_t sync_times(struct storage *storage, uint64_t from, uint64_t *times, size_t room)
{
    struct storage_op *ops;
    size_t count = storage_ops(storage, &ops), found = 0;

    for (size_t i = 0; i < count && found + 2 <= room; i++)
        if (ops[i].kind == STORAGE_SYNC && ops[i].end > from) {
            times[found++] = ops[i].end - 1;
            times[found++] = ops[i].end + 1;
        }
    return found;
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Times never go back, for either storage. */
static void cuts(struct run *run)
{
    static uint64_t times[4096];
    uint64_t from = run->moment[0].acknowledged;
    size_t count = sync_times(run->rig.storage, from, times, 2048);

    count += sync_times(run->points, from, times + count, 2047);
    times[count++] = storage_clock();
    qsort(times, count, sizeof(times[0]), by_time);
    for (size_t i = 0; i < count; i++)
        if (count < 60 || rng_below(&run->rig.rng, count) < 60)
            cut(run, times[i]);
}

static void session(struct run *run, const struct rig_config *config, uint64_t seed)
{
    memset(run->moment, 0, sizeof(run->moment));
    rig_open(&run->rig, config, seed);
    run->points = storage_new();
    first_points(run);
    storage_record(run->rig.storage);
    storage_record(run->points);
    live(run, 0, 1 + (unsigned)rng_below(&run->rig.rng, 2));
    live(run, run->moment[1].there ? 2 : 1, POINTS);
    cuts(run);
    for (unsigned i = 0; i < POINTS; i++)
        free(run->moment[i].shown);
    storage_free(run->points);
    rig_close(&run->rig);
    run->sessions++;
}

/* ---- kill -9 ---- */

static void write_for_ever(const char *path, const char *format, uint64_t seed)
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .format = format};
    struct vdisk_ring *ring;
    struct vdisk *disk;
    struct rng rng;

    rng_seed(&rng, seed);
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &ring));
    test_ok(vdisk_open(path, &how, &disk));
    test_true(disk->track);
    track_checkpoint_every(disk->track, rng_below(&rng, 2) ? 0 : UINT64_MAX);
    for (;;)
        work(disk, ring, &rng, 8, NULL);
}

static void kill_once(struct run *run, const char *path, struct vdisk_ring *ring)
{
    const char *format = run->rig.config->format;
    struct vdisk_open_options how = {.format = format};
    struct vdisk *disk;
    pid_t child;
    int status;

    fflush(NULL);
    child = fork();
    test_true(child >= 0);
    if (child == 0)
        write_for_ever(path, format, rng_next(&run->rig.rng));
    usleep((useconds_t)rng_below(&run->rig.rng, 15000));
    kill(child, SIGKILL);
    test_true(waitpid(child, &status, 0) == child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        test_fail("%s: the writer ended by itself, status %#x", run->rig.where, status);
    rng_next(&run->rig.rng);
    test_ok(vdisk_open(path, &how, &disk));
    read_spots(disk, ring, run->now);
    never_missed(run, disk, &run->moment[0], "after kill -9");
    test_ok(vdisk_close(disk));
}

static void kills(struct run *run, const char *dir, unsigned rounds)
{
    static const struct rig_config config = {"vhdx", DISK_DYNAMIC, MIB, 512, DISK};
    struct vdisk_create_options create = {.block_size = MIB, .size = DISK};
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE};
    const char *path = scratch_path(dir, "disk.vhdx");
    struct vdisk_port *port;
    struct vdisk *disk;

    memset(run->moment, 0, sizeof(run->moment));
    run->rig = (struct rig){.config = &config};
    snprintf(run->rig.where, sizeof(run->rig.where), "kill");
    rng_seed(&run->rig.rng, test_number("POINT_SEED", 1));
    test_ok(vdisk_create(path, &create, &disk));
    test_ok(vdisk_commit(disk));
    for (unsigned i = 0; i < rounds; i++) {
        test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &run->rig.ring));
        if (i % 10 == 0) {
            test_ok(vdisk_port_open(path, &how, &port));
            if (i > 0)
                test_ok(vdisk_point_delete(port, run->moment[0].name, NULL));
            make_moment(run, port, 0);
            test_ok(vdisk_port_close(port));
        }
        kill_once(run, path, run->rig.ring);
        vdisk_ring_close(run->rig.ring);
    }
    free(run->moment[0].shown);
}

static void worker(unsigned number, unsigned of, uint64_t *counts)
{
    unsigned sessions = (unsigned)test_number("POINT_SESSIONS", 40), kill_rounds = (unsigned)test_number("POINT_KILLS", 60);
    static struct run run;
    char dir[TEST_PATH];

    run.now = malloc(SPOTS * SPOT);
    test_true(run.now);
    for (unsigned i = number; i < sessions; i += of)
        session(&run, &configs[i / of % 2], test_number("POINT_SEED", 1) + i);
    if (number == 0 && kill_rounds > 0) {
        scratch_make(dir, true);
        kills(&run, dir, kill_rounds);
    }
    counts[0] = run.states;
    counts[1] = run.sessions;
}

int main(void)
{
    uint64_t counts[2] = {0};
    bool failed = !processes_run("POINT_PROCESSES", worker, counts, 2);

    printf("%llu crash states of %llu sessions: %s\n", (unsigned long long)counts[0], (unsigned long long)counts[1],
           failed ? "a change is MISSED" : "no change is missed");
    return failed;
}
