/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power cuts while a disk moves, alone or with its parent. A guest writes through the port while the disk goes from one
 * storage to another; both remember. Then every moment at which something became durable on either is cut, and those at
 * which the names changed. Where the source's name may still stand, the source must have everything that was flushed;
 * where it may be gone, the target must, over its parent's copy if that moved too, and their names must have been
 * there, durably, before.
 *
 * MOVE_ROUNDS: how many moves; CRASH_SEED: where to begin; CRASH_PROCESSES.
 */
#include <stdatomic.h>
#include <sys/stat.h>

#include "disk/chain.h"
#include "tests/names.h"
#include "tests/rig.h"

#define STATES_PER_CUT 5u
#define TIMES 4096u

struct counts {
    uint64_t moves, states, cuts, mirrored, chains;
};

struct run {
    struct rig rig, after; /* after: the target as a rig: with its format */
    struct rig_config config;
    bool chain;
    struct name source, target, copy; /* copy: of the parent, if it moves too */
    char dir[TEST_PATH];
    uint64_t time[TIMES];
    size_t times;
    struct counts counts;
};

static struct run *current;

/* ---- The move ---- */

struct mover {
    struct vdisk_port *port;
    char destination[TEST_PATH];
    struct vdisk_move_options options;
    struct vdisk_move_result move;
    pthread_t thread;
    int result;
    _Atomic bool done;
};

static void *move_it(void *arg)
{
    struct mover *mover = arg;

    mover->result = vdisk_move(mover->port, mover->destination, &mover->options, NULL, &mover->move);
    atomic_store(&mover->done, true);
    return NULL;
}

static void made(struct name *name)
{
    storage_set_sector(name->storage, current->config.sector_size);
    storage_record(name->storage);
}

static void work(struct rig *rig, struct vdisk_port *port, unsigned requests)
{
    struct guest_load load = {
        .requests = requests, .block_size = rig->config->block_size, .flush_every = 9, .port = port};

    guest_run(rig->guest, NULL, rig->ring, &rig->rng, &load);
}

static struct name name_at(const struct run *run, const char *format, const char *path)
{
    struct name *name = names_find(path);

    if (!name)
        test_fail("%s: %s: nothing ever stood at %s", run->rig.where, format, path);
    return *name;
}

/* The order of names that a cut between any two of them relies on. */
static void names_check(const struct run *run)
{
    const struct name *source = &run->source, *target = &run->target;

    if (!target->given || !source->removing || target->given > source->removing)
        test_fail("%s: the source's name is taken away before the target has its own", run->rig.where);
    if (!target->durable || target->durable > source->removing)
        test_fail("%s: the target's name is not durable when the source's is taken away", run->rig.where);
    if (run->chain && (!run->copy.durable || run->copy.durable > source->removing))
        test_fail("%s: the parent's name is not durable when the source's is taken away", run->rig.where);
}

/* Where the disk goes to; in *target the path of its file. */
static void destination_make(const struct run *run, struct mover *mover, char target[TEST_PATH])
{
    char name[64];

    snprintf(name, sizeof(name), "else/%s.%s", run->chain ? "source" : "target", run->config.format);
    snprintf(target, TEST_PATH, "%s", scratch_path(run->dir, name));
    snprintf(mover->destination, TEST_PATH, "%s", run->chain ? scratch_path(run->dir, "else") : target);
    mover->options.flags = run->chain ? VDISK_MOVE_CHAIN : 0;
}

/* To and from closed disks; the guest goes on until the mover is done, and a little longer. */
static void live(struct run *run)
{
    struct rig *rig = &run->rig;
    struct vdisk *source = rig_disk(rig, rig->storage, true);
    char source_path[TEST_PATH], target_path[TEST_PATH], name[64];
    struct mover mover = {.result = 0};
    uint64_t closing;

    snprintf(name, sizeof(name), "source.%s", rig->config->format);
    snprintf(source_path, sizeof(source_path), "%s", scratch_path(run->dir, name));
    names_add(source_path, rig->storage, source);
    snprintf(name, sizeof(name), "parent.%s", rig->config->format);
    if (source->parent)
        names_add(scratch_path(run->dir, name), rig->parent, source->parent);
    destination_make(run, &mover, target_path);
    test_ok(vdisk_port_of(source, &mover.port));
    work(rig, mover.port, 20 + (unsigned)rng_below(&rig->rng, 100));
    test_equal(pthread_create(&mover.thread, NULL, move_it, &mover), 0);
    while (!atomic_load(&mover.done))
        work(rig, mover.port, 12);
    pthread_join(mover.thread, NULL);
    if (mover.result)
        test_fail("%s: does not move: %s", rig->where, strerror(-mover.result));
    run->counts.mirrored += mover.move.mirrored;
    work(rig, mover.port, 20);
    closing = storage_clock();
    test_ok(vdisk_port_close(mover.port));
    guest_note_flush(rig->guest, closing, storage_clock());
    run->source = name_at(run, "source", source_path);
    run->target = name_at(run, "target", target_path);
    snprintf(name, sizeof(name), "else/parent.%s", rig->config->format);
    if (run->chain)
        run->copy = name_at(run, "parent", scratch_path(run->dir, name));
    names_check(run);
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

/* What a cut leaves of a recorded storage; way 0: nothing of what was not durable, 1: all. */
static struct storage *state_after(struct run *run, const struct storage_cut *cut, unsigned way)
{
    struct rng *rng = &run->rig.rng;
    uint8_t *keep = malloc(cut->count + 1);
    struct storage_choice choice = {
        .keep = keep, .seed = rng_next(rng), .tear = run->config.sector_size, .junk = rng_below(rng, 3) == 0};
    struct storage *state;

    for (size_t i = 0; i < cut->count; i++)
        keep[i] = way == 0 ? KEEP_NONE : way == 1 ? KEEP_ALL : (uint8_t)rng_below(rng, KEEP_TORN + 1);
    state = storage_after_cut(cut, &choice);
    free(keep);
    return state;
}

static void explore(struct run *run, struct rig *rig, struct storage *recorded, uint64_t time, const char *which)
{
    bool copied = run->chain && rig == &run->after;
    struct storage_cut cut, parent;

    storage_cut_at(recorded, time, &cut);
    if (copied)
        storage_cut_at(run->copy.storage, time, &parent);
    run->counts.cuts++;
    for (unsigned n = 0; n < STATES_PER_CUT && (cut.count || n == 0); n++) {
        snprintf(rig->where, sizeof(rig->where), "seed %llu %s %u%s: %s cut at %llu of %llu, %llu, %llu, way %u",
                 (unsigned long long)run->rig.seed, rig->config->format, rig->config->block_size,
                 run->chain ? " chain" : "", which, (unsigned long long)time, (unsigned long long)run->target.given,
                 (unsigned long long)run->source.removing, (unsigned long long)run->source.removed, n);
        if (copied)
            rig->parent = state_after(run, &parent, n);
        verify(run, rig, state_after(run, &cut, n), time);
        if (copied)
            storage_free(rig->parent);
    }
    storage_cut_free(&cut);
    if (copied)
        storage_cut_free(&parent);
}

/* What has to have everything at this moment. */
static void cut(struct run *run, uint64_t time)
{
    if (time <= run->source.removed)
        explore(run, &run->rig, run->rig.storage, time, "source");
    if (time >= run->source.removing)
        explore(run, &run->after, run->target.storage, time, "target");
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
    const uint64_t more[] = {run->target.given, run->source.removing, run->source.removed, storage_clock()};

    run->times = 0;
    times_of(run, run->rig.storage);
    times_of(run, run->target.storage);
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
    run->chain = config->type == DISK_DIFFERENCING && rng_below(&rig->rng, 2);
    if (config->type != DISK_DIFFERENCING && config->sector_size == 512 && rng_below(&rig->rng, 2))
        run->config.format = config->format[3] ? "vhd" : "vhdx"; /* into the other format */
    live(run);
    run->after = (struct rig){.config = &run->config,
                              .format = chain_format_named(run->config.format, &silent),
                              .parent = run->chain ? run->copy.storage : rig->parent,
                              .guest = rig->guest,
                              .ring = rig->ring,
                              .rng = rig->rng};
    rig_ready(rig);
    rig_ready(&run->after);
    cut_all(run);
    rig_check(&run->after, run->target.storage);
    if (!guest_holds(rig->guest, run->after.values[0], why))
        test_fail("%s: %s", run->after.where, why);
    for (int i = 0; i < 2; i++)
        free(run->after.values[i]);
    names_clear();
    rig_close(rig);
    run->counts.moves++;
    run->counts.chains += run->chain;
}

static void worker(unsigned number, unsigned of, uint64_t *counts)
{
    uint64_t seed = test_number("CRASH_SEED", 1), rounds = test_number("MOVE_ROUNDS", 20);
    static struct run run;

    current = &run;
    names_made = made;
    scratch_make(run.dir, true);
    test_ok(mkdir(scratch_path(run.dir, "else"), 0700));
    for (uint64_t round = number; round < rounds; round += of)
        round_of(&run, &rig_configs[round % rig_config_count], seed + round);
    memcpy(counts, &run.counts, sizeof(run.counts));
}

int main(void)
{
    struct counts c = {0};
    bool failed = !processes_run("CRASH_PROCESSES", worker, (uint64_t *)&c, sizeof(c) / sizeof(uint64_t));

    printf("%llu moves, %llu of them with a parent, %llu bytes written to both, %llu states of %llu cuts, seeds from "
           "%llu: %s\n",
           (unsigned long long)c.moves, (unsigned long long)c.chains, (unsigned long long)c.mirrored,
           (unsigned long long)c.states, (unsigned long long)c.cuts, (unsigned long long)test_number("CRASH_SEED", 1),
           failed ? "with LOSSES" : "0 losses");
    return failed;
}
