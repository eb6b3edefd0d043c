/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power cuts while a disk moves. A guest writes through the port while the disk goes from one storage to another; both
 * remember. Then every moment at which something became durable on either is cut, and those at which the names changed.
 * Where the source's name may still stand, the source must have everything that was flushed; where it may be gone, the
 * target must, and its name must have been there before.
 *
 * MOVE_ROUNDS: how many moves; CRASH_SEED: where to begin; CRASH_PROCESSES.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "disk/chain.h"
#include "disk/move.h"
#include "tests/rig.h"

#define STATES_PER_CUT 5u
#define TIMES 4096u

struct counts {
    uint64_t moves, states, cuts, mirrored;
};

struct run {
    struct rig rig, after; /* after: the target as a rig: with its format */
    struct rig_config config;
    struct storage *target;
    char dir[TEST_PATH];
    uint64_t time[TIMES];
    size_t times;
    struct counts counts;
};

/* ---- When the names changed: in place of the system's functions ---- */

static char source_path[TEST_PATH], target_path[TEST_PATH];
static uint64_t appeared, removing, removed; /* storage_clock; 0: not yet */

int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned flags)
{
    int result = (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, flags);

    if (result == 0 && strcmp(to, target_path) == 0)
        appeared = storage_clock();
    return result;
}

int unlink(const char *path)
{
    int result;

    if (strcmp(path, source_path) != 0)
        return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    removing = storage_clock();
    result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    removed = storage_clock();
    return result;
}

/* ---- Disks ---- */

/* A plain file that bears the name, so that there is something to rename and to remove. */
static void bear_name(struct vdisk *disk, const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;

    test_ok(fd);
    test_ok(fstat(fd, &st));
    close(fd);
    free(disk->file->path);
    disk->file->path = strdup(name);
    disk->file->device = st.st_dev;
    disk->file->inode = st.st_ino;
}

static struct vdisk *target_make(struct run *run, struct vdisk *source)
{
    struct rig *rig = &run->after;
    const struct rig_config *c = &run->config;
    bool vhd = c->format[3] == 0;
    struct disk_geometry g = {.type = c->type,
                              .size = c->size,
                              .block_size = c->block_size,
                              .sector_size = c->sector_size,
                              .physical_sector_size = 4096,
                              .parent = source->parent,
                              .parent_relative = vhd ? "./parent.vhd" : "./parent.vhdx",
                              .parent_absolute = vhd ? "/parent.vhd" : "/parent.vhdx"};
    static const struct vdisk_log silent;
    struct vdisk *target;
    struct file *file;
    char name[TEST_PATH + 8];

    run->target = storage_new();
    storage_set_sector(run->target, c->sector_size);
    storage_record(run->target);
    test_ok(storage_open(run->target, "disk", true, &silent, &file));
    test_ok(rig->format->create(file, &g));
    test_ok(link_open(file, rig->format, false, &target));
    target->parent = source->parent;
    snprintf(name, sizeof(name), "%s.tmp", target_path);
    bear_name(target, name);
    free(target->file->path);
    target->file->path = strdup(target_path);
    target->temporary = strdup(name);
    return target;
}

/* ---- The move ---- */

struct mover {
    struct move move;
    pthread_t thread;
    int result;
    _Atomic bool done;
};

static void *move_it(void *arg)
{
    struct mover *mover = arg;

    mover->result = port_begin(mover->move.port);
    if (!mover->result)
        mover->result = move_to(&mover->move);
    port_end(mover->move.port);
    atomic_store(&mover->done, true);
    return NULL;
}

static void work(struct rig *rig, struct vdisk_port *port, unsigned requests)
{
    struct guest_load load = {
        .requests = requests, .block_size = rig->config->block_size, .flush_every = 9, .port = port};

    guest_run(rig->guest, NULL, rig->ring, &rig->rng, &load);
}

/* To and from closed disks; the guest goes on until the mover is done, and a little longer. */
static void live(struct run *run)
{
    static const struct vdisk_move_options options;
    struct rig *rig = &run->rig;
    struct vdisk *source = rig_disk(rig, rig->storage, true);
    struct mover mover = {.result = 0};
    struct vdisk_port *port;
    uint64_t closing;

    appeared = removing = removed = 0;
    bear_name(source, source_path);
    test_ok(vdisk_port_of(source, &port));
    work(rig, port, 20 + (unsigned)rng_below(&rig->rng, 100));
    mover.move = (struct move){.port = port, .options = &options, .source = source, .target = target_make(run, source)};
    test_equal(pthread_create(&mover.thread, NULL, move_it, &mover), 0);
    while (!atomic_load(&mover.done))
        work(rig, port, 12);
    pthread_join(mover.thread, NULL);
    if (mover.result)
        test_fail("%s: does not move: %s", rig->where, strerror(-mover.result));
    test_true(vdisk_port_disk(port) == mover.move.target);
    run->counts.mirrored += mover.move.result.mirrored;
    work(rig, port, 20);
    source->parent = NULL;
    vdisk_close(source);
    closing = storage_clock();
    test_ok(vdisk_port_close(port));
    guest_note_flush(rig->guest, closing, storage_clock());
    if (!appeared || !removing || appeared > removing)
        test_fail("%s: the source's name is taken away before the target has its own", rig->where);
    syscall(SYS_unlinkat, AT_FDCWD, target_path, 0);
}

/* ---- States ---- */

static void verify(struct run *run, struct rig *rig, struct storage *state, uint64_t time)
{
    struct vdisk *disk;
    char why[256];

    run->counts.states++;
    disk = rig_disk(rig, state, false);
    rig_read(rig, disk, rig->values[0]);
    rig_shut(rig, disk);
    if (!guest_possible(rig->guest, rig->values[0], time, why))
        test_fail("%s: %s", rig->where, why);
    if (rng_below(&run->rig.rng, 3) == 0) {
        rig_shut(rig, rig_disk(rig, state, true));
        rig_check(rig, state);
    }
    storage_free(state);
}

static void explore(struct run *run, struct rig *rig, struct storage *recorded, uint64_t time, const char *which)
{
    struct rng *rng = &run->rig.rng;
    struct storage_cut cut;
    uint8_t *keep;

    storage_cut_at(recorded, time, &cut);
    keep = malloc(cut.count + 1);
    run->counts.cuts++;
    for (unsigned n = 0; n < STATES_PER_CUT && (cut.count || n == 0); n++) {
        struct storage_choice choice = {.keep = keep, .seed = rng_next(rng), .tear = run->config.sector_size,
                                        .junk = rng_below(rng, 3) == 0};

        for (size_t i = 0; i < cut.count; i++)
            keep[i] = n == 0 ? KEEP_NONE : n == 1 ? KEEP_ALL : (uint8_t)rng_below(rng, KEEP_TORN + 1);
        snprintf(rig->where, sizeof(rig->where), "seed %llu %s %u: %s cut at %llu of %llu, %llu, %llu, way %u",
                 (unsigned long long)run->rig.seed, rig->config->format, rig->config->block_size, which,
                 (unsigned long long)time, (unsigned long long)appeared, (unsigned long long)removing,
                 (unsigned long long)removed, n);
        verify(run, rig, storage_after_cut(&cut, &choice), time);
    }
    free(keep);
    storage_cut_free(&cut);
}

/* What has to have everything at this moment. */
static void cut(struct run *run, uint64_t time)
{
    if (time <= removed)
        explore(run, &run->rig, run->rig.storage, time, "source");
    if (time >= removing)
        explore(run, &run->after, run->target, time, "target");
}

static void times_of(struct run *run, struct storage *storage)
{
    struct storage_op *ops;
    size_t count = storage_ops(storage, &ops);

    for (size_t i = 0; i < count && run->times < TIMES - 8; i++)
        if (ops[i].kind == STORAGE_SYNC) {
            run->time[run->times++] = ops[i].end - 1;
            run->time[run->times++] = ops[i].end + 1;
        }
}

static int earlier(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* In their order: a storage's cuts never go back. */
static void cut_all(struct run *run)
{
    const uint64_t more[] = {appeared, removing, removed, storage_clock()};

    run->times = 0;
    times_of(run, run->rig.storage);
    times_of(run, run->target);
    for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++)
        run->time[run->times++] = more[i];
    qsort(run->time, run->times, sizeof(*run->time), earlier);
    for (size_t i = 0; i < run->times; i++)
        cut(run, run->time[i]);
}

static void round_of(struct run *run, const struct rig_config *config, uint64_t seed)
{
    static const struct vdisk_log silent;
    struct rig *rig = &run->rig;
    char why[256];

    rig_open(rig, config, seed);
    rig->chaos = false; /* the move has rings of its own */
    storage_record(rig->storage);
    run->config = *config;
    if (config->type != DISK_DIFFERENCING && config->sector_size == 512 && rng_below(&rig->rng, 2)) {
        run->config.format = config->format[3] ? "vhd" : "vhdx"; /* into the other format */
        run->config.block_size = 1 << 20;
    }
    run->after = (struct rig){.config = &run->config, .format = chain_format_named(run->config.format, &silent),
                              .parent = rig->parent, .guest = rig->guest, .ring = rig->ring, .rng = rig->rng};
    live(run);
    rig_ready(rig);
    rig_ready(&run->after);
    cut_all(run);
    rig_check(&run->after, run->target);
    if (!guest_holds(rig->guest, run->after.values[0], why))
        test_fail("%s: %s", run->after.where, why);
    storage_free(run->target);
    for (int i = 0; i < 2; i++)
        free(run->after.values[i]);
    rig_close(rig);
    run->counts.moves++;
}

static void worker(unsigned number, unsigned of, uint64_t *counts)
{
    uint64_t seed = test_number("CRASH_SEED", 1), rounds = test_number("MOVE_ROUNDS", 20);
    static struct run run;

    scratch_make(run.dir, true);
    snprintf(source_path, sizeof(source_path), "%s", scratch_path(run.dir, "source"));
    snprintf(target_path, sizeof(target_path), "%s", scratch_path(run.dir, "target"));
    for (uint64_t round = number; round < rounds; round += of)
        round_of(&run, &rig_configs[round % rig_config_count], seed + round);
    memcpy(counts, &run.counts, sizeof(run.counts));
}

int main(void)
{
    struct counts c = {0};
    bool failed = !processes_run("CRASH_PROCESSES", worker, (uint64_t *)&c, sizeof(c) / sizeof(uint64_t));

    printf("%llu moves, %llu bytes written to both, %llu states of %llu cuts, seeds from %llu: %s\n",
           (unsigned long long)c.moves, (unsigned long long)c.mirrored, (unsigned long long)c.states,
           (unsigned long long)c.cuts, (unsigned long long)test_number("CRASH_SEED", 1),
           failed ? "with LOSSES" : "0 losses");
    return failed;
}
