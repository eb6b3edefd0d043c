/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power cuts. A guest works on a disk whose storage remembers; then every moment that matters is cut: the states that
 * the storage could have been left in are built, opened, read, checked, written to and read again. Recovery is cut too,
 * and so is the recovery from that. A few states are shown to other readers, before our recovery and after it.
 *
 * CRASH_STATES: how many states at least; CRASH_SEED: where to begin; CRASH_PROCESSES; CRASH_SAMPLES: how many states
 * for the other readers; RIG_ONLY: a format. A state that fails is named by its seed, configuration, cut and choice.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/readers.h"
#include "tests/rig.h"
#include "vhd/vhd.h"

#define DEPTH_MAX 2
#define STATES_PER_SESSION 400u
#define MANY_EVERY 20u /* sessions of a process, the third first */

/* So large that a flush has more pages of metadata than one entry of the log holds. */
static const struct rig_config many_pages = {"vhdx", DISK_DIFFERENCING, 1 << 20, 512, UINT64_C(4) << 30};

/* What the processes count for all. */
struct counts {
    uint64_t states, nested, cuts, sessions, samples[READERS];
};

struct run {
    struct rig rig;
    struct counts counts;
    unsigned samples; /* still to be shown to other readers */
    bool closed;      /* the cut is behind the end of a session */
    bool damaged;     /* before the session, and mended by its first write only */
    uint32_t *pinned; /* what was read before the recovery that is cut; NULL: none is */
    char dir[TEST_PATH];
};

/* beside: but for the sectors that write_after writes. */
static void same_values(struct run *run, const char *when, bool beside)
{
    struct rig *rig = &run->rig;
    uint64_t per = rig->config->block_size / rig->config->sector_size;

    for (size_t i = 0; i < guest_touched(rig->guest); i++)
        if (rig->values[0][i] != rig->values[1][i] && !(beside && guest_sector(rig->guest, i) % per == per / 4))
            test_fail("%s: value %zu changed from %#x to %#x %s", rig->where, i, rig->values[0][i], rig->values[1][i],
                      when);
}

/* After recovery the disk is used: a write to each block must change itself and nothing else. */
static void write_after(struct run *run, struct storage *storage)
{
    struct rig *rig = &run->rig;
    struct vdisk *disk = rig_disk(rig, storage, true);
    uint8_t bytes[4096] __attribute__((aligned(4096)));

    uint64_t step = rig->config->block_size * (rig->config == &many_pages ? 16ull * rig_stride(rig->config) : 1);

    for (uint64_t at = rig->config->block_size / 4; at < disk->size; at += step) {
        memset(bytes, 0xa5, sizeof(bytes));
        test_ok(vdisk_transfer(disk, rig->ring, VDISK_WRITE, bytes, at, disk->sector_size));
    }
    rig_read(rig, disk, rig->values[1]);
    same_values(run, "by writing beside it", true);
    test_ok(vdisk_transfer(disk, rig->ring, VDISK_FLUSH, NULL, 0, 0));
    rig_shut(rig, disk);
    disk = rig_disk(rig, storage, false);
    rig_read(rig, disk, rig->values[1]);
    same_values(run, "by writing beside it and closing", true);
    rig_shut(rig, disk);
    rig_check(rig, storage);
}

/* ---- Other readers ---- */

/* Does what the reader wrote hold the values that we read? */
static void compare_sample(struct run *run, enum reader reader, const uint32_t *values)
{
    struct rig *rig = &run->rig;
    const char *path = scratch_path(run->dir, "sample.out");
    uint32_t unit = rig->config->sector_size;
    struct content content;
    uint8_t sector[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        test_fail("%s: %s wrote nothing", rig->where, reader_name(reader));
    content_open(&content, rig->config->size, unit);
    content.generation = UINT32_MAX - 1;
    for (size_t i = 0; i < guest_touched(rig->guest); i++) {
        uint64_t number = guest_sector(rig->guest, i);
        uint32_t value;

        memset(sector, 0, sizeof(sector));
        test_ok(pread(fd, sector, unit, (off_t)(number * unit)));
        value = content_decode(&content, sector, number);
        if (value != values[i])
            test_fail("%s: sector %llu: we read %#x, %s reads %#x", rig->where, (unsigned long long)number, values[i],
                      reader_name(reader), value);
    }
    content_close(&content);
    close(fd);
    unlink(path);
}

static void show(struct run *run, struct storage *state, bool dirty, const uint32_t *values)
{
    struct rig *rig = &run->rig;
    const struct rig_config *c = rig->config;
    char name[32], why[256];

    snprintf(name, sizeof(name), "sample");
    for (enum reader reader = 0; reader < READERS; reader++) {
        if (!reader_knows(reader, c->format, c->type, dirty))
            continue;
        if (c->sector_size != 512 && reader != READER_7ZIP) /* QEMU and libvhdi refuse them or read them otherwise */
            continue;
        rig_save(rig, state, run->dir, name);
        if (!reader_read(reader, run->dir, name, c->format, why))
            test_fail("%s: %s cannot read it: %s", rig->where, reader_name(reader), why);
        compare_sample(run, reader, values);
        unlink(scratch_path(run->dir, name));
        run->counts.samples[reader]++;
    }
}

/* ---- States ---- */

static void explore(struct run *run, struct storage *recorded, uint64_t time, uint64_t oracle_time, unsigned depth,
                    unsigned most);

/* What was closed needs no recovery. */
static void expect_clean(struct run *run, struct storage *state)
{
    struct rig *rig = &run->rig;

    if (run->closed)
        rig_check(rig, state);
}

/* Recovery was recorded: its cuts. */
static void explore_recovery(struct run *run, struct storage *state, uint64_t oracle_time, unsigned depth)
{
    struct storage_op *ops;
    size_t count = storage_ops(state, &ops), bytes = guest_touched(run->rig.guest) * sizeof(uint32_t);
    uint32_t *outer = run->pinned;

    run->pinned = malloc(bytes + 1);
    test_true(run->pinned);
    memcpy(run->pinned, run->rig.values[0], bytes);
    for (size_t i = 0; i < count; i++)
        if (ops[i].kind == STORAGE_SYNC)
            explore(run, state, ops[i].end - 1, oracle_time, depth + 1, 6);
    if (count > 0)
        explore(run, state, storage_clock(), oracle_time, depth + 1, 6);
    free(run->pinned);
    run->pinned = outer;
}

/* A recovery that is cut changes nothing that could be read before it. */
static void expect_pinned(struct run *run)
{
    struct rig *rig = &run->rig;

    for (size_t i = 0; run->pinned && i < guest_touched(rig->guest); i++)
        if (rig->values[0][i] != run->pinned[i])
            test_fail("%s: value %zu changed from %#x to %#x by a recovery that was cut", rig->where, i,
                      run->pinned[i], rig->values[0][i]);
}

/* One state: opens it in every way and asks the oracle. Takes the storage. */
static void verify(struct run *run, struct storage *state, uint64_t oracle_time, unsigned depth)
{
    struct rig *rig = &run->rig;
    bool nested = depth < DEPTH_MAX && rng_below(&rig->rng, depth ? 40 : 25) == 0;
    bool sample = run->samples > 0 && !run->damaged && rng_below(&rig->rng, 20) == 0;
    struct vdisk *disk;
    char why[256];

    run->counts.states++;
    run->counts.nested += depth > 0;
    expect_clean(run, state);
    disk = rig_disk(rig, state, false);
    rig_read(rig, disk, rig->values[0]);
    rig_shut(rig, disk);
    if (!guest_possible(rig->guest, rig->values[0], oracle_time, why))
        test_fail("%s: %s", rig->where, why);
    expect_pinned(run);
    if (sample)
        show(run, state, true, rig->values[0]);
    if (nested)
        storage_record(state);
    disk = rig_disk(rig, state, true);
    rig_read(rig, disk, rig->values[1]);
    same_values(run, "by recovery", false);
    rig_shut(rig, disk);
    if (!run->damaged)
        rig_check(rig, state);
    disk = rig_disk(rig, state, false);
    rig_read(rig, disk, rig->values[1]);
    same_values(run, "after recovery", false);
    rig_shut(rig, disk);
    if (sample) {
        show(run, state, false, rig->values[0]);
        run->samples--;
    }
    if (nested)
        explore_recovery(run, state, oracle_time, depth);
    if (rng_below(&rig->rng, 6) == 0) {
        disk = rig_disk(rig, state, false);
        rig_read(rig, disk, rig->values[0]);
        rig_shut(rig, disk);
        write_after(run, state);
    }
    storage_free(state);
}

/* The states of one cut. */
static void explore(struct run *run, struct storage *recorded, uint64_t time, uint64_t oracle_time, unsigned depth,
                    unsigned most)
{
    static const char *const types[] = {"fixed", "dynamic", "differencing"};
    struct rig *rig = &run->rig;
    struct storage_cut cut;
    uint8_t *keep;
    uint64_t plain;

    storage_cut_at(recorded, time, &cut);
    keep = malloc(cut.count + 1);
    plain = cut.count <= 6 ? UINT64_C(1) << cut.count : 2 + 3 * cut.count;
    run->counts.cuts++;
    for (uint64_t n = 0; n < most && (n < plain + 8) && (cut.count || n == 0); n++) {
        uint64_t way = most < plain && n >= 2 ? rng_below(&rig->rng, plain + 8) : n;
        struct storage_choice choice = {.keep = keep,
                                        .seed = rng_next(&rig->rng),
                                        .tear = rng_below(&rig->rng, 3) ? rig->config->sector_size : 4096,
                                        .junk = rng_below(&rig->rng, 3) == 0};

        rig_choose(&rig->rng, way, cut.count, keep);
        snprintf(rig->where, sizeof(rig->where), "seed %llu %s %s %u: cut at %llu depth %u of %zu way %llu",
                 (unsigned long long)rig->seed, rig->config->format, types[rig->config->type], rig->config->block_size,
                 (unsigned long long)time, depth, cut.count, (unsigned long long)way);
        verify(run, storage_after_cut(&cut, &choice), oracle_time, depth);
    }
    free(keep);
    storage_cut_free(&cut);
}

/* ---- Workloads ---- */

static void flush(struct rig *rig, struct vdisk *disk)
{
    uint64_t submitted = storage_clock();

    test_ok(vdisk_transfer(disk, rig->ring, VDISK_FLUSH, NULL, 0, 0));
    guest_note_flush(rig->guest, submitted, storage_clock());
}

static void work(struct rig *rig, struct vdisk *disk, unsigned requests)
{
    bool many = rig->config == &many_pages;
    struct guest_load load = {.requests = many ? 600 : requests,
                              .block_size = rig->config->block_size,
                              .flush_every = many ? 350 : 7,
                              .stride = rig_stride(rig->config),
                              .no_fua = many};

    guest_run(rig->guest, disk, rig->ring, &rig->rng, &load);
}

/* A session that ended in a cut: what it left is what there is now. */
static void crash_once(struct run *run)
{
    struct rig *rig = &run->rig;
    struct storage_choice choice = {.tear = rig->config->sector_size, .junk = rng_below(&rig->rng, 2)};
    struct storage_op *ops;
    struct storage_cut cut;
    struct storage *state;
    struct vdisk *disk;
    uint8_t *keep;
    size_t i;

    storage_record(rig->storage);
    disk = rig_disk(rig, rig->storage, true);
    work(rig, disk, 40);
    rig_shut(rig, disk);
    for (i = rng_below(&rig->rng, storage_ops(rig->storage, &ops)); i > 0 && ops[i].kind != STORAGE_SYNC;)
        i--;
    storage_cut_at(rig->storage, ops[i].end - 1, &cut);
    choice.keep = keep = malloc(cut.count + 1);
    for (i = 0; i < cut.count; i++)
        keep[i] = (uint8_t)(rng_below(&rig->rng, 2) * KEEP_ALL);
    choice.seed = rng_next(&rig->rng);
    state = storage_after_cut(&cut, &choice);
    free(keep);
    storage_cut_free(&cut);
    storage_free(rig->storage);
    rig->storage = state;
    rig_ready(rig);
    disk = rig_disk(rig, state, false);
    rig_read(rig, disk, rig->values[0]);
    rig_shut(rig, disk);
    guest_pin(rig->guest, rig->values[0]);
}

/* A VHD whose copy of the footer somebody else destroyed, while the footer is good: an earlier cut may have left the copy
 * alone. */
static void damage_copy(struct run *run)
{
    static const uint8_t zeros[512];
    struct rig *rig = &run->rig;
    struct vhd_footers footers;
    struct file *file;

    run->damaged = false;
    if (strcmp(rig->config->format, "vhd") != 0 || rng_below(&rig->rng, 3) != 0)
        return;
    test_ok(storage_open(rig->storage, "disk", true, NULL, &file));
    test_ok(vhd_footers_read(file, &footers));
    run->damaged = footers.end_valid;
    if (run->damaged)
        test_ok(file_write(file, zeros, sizeof(zeros), 0));
    file_close(file);
}

/* Opens and closes: a session that was cut, none to two whole ones, then the one that is recorded; that one from its
 * beginning, headers and all, or in the middle of its life, with a log that has gone round more than once. */
static void record(struct run *run)
{
    struct rig *rig = &run->rig;
    bool many = rig->config == &many_pages, middle = !many && rng_below(&rig->rng, 3) == 0;
    struct vdisk *disk;
    uint64_t closing;

    if (many || rng_below(&rig->rng, 3) == 0)
        crash_once(run);
    for (uint64_t before = many ? 0 : rng_below(&rig->rng, 3); before > 0; before--) {
        disk = rig_disk(rig, rig->storage, true);
        work(rig, disk, 10 + (unsigned)rng_below(&rig->rng, 60));
        rig_shut(rig, disk);
        guest_note_flush(rig->guest, storage_clock(), storage_clock());
    }
    damage_copy(run);
    if (!middle)
        storage_record(rig->storage);
    disk = rig_disk(rig, rig->storage, true);
    if (middle) {
        for (int i = 0; i < 6; i++) {
            work(rig, disk, 10);
            flush(rig, disk);
        }
        storage_record(rig->storage);
    }
    work(rig, disk, 20 + (unsigned)rng_below(&rig->rng, 120));
    closing = storage_clock();
    rig_shut(rig, disk);
    guest_note_flush(rig->guest, closing, storage_clock());
}

/* A workload, then cuts wherever something became durable or was said to be. */
static void session(struct run *run, const struct rig_config *config, uint64_t seed)
{
    struct rig *rig = &run->rig;
    struct storage_op *ops;
    size_t count, syncs = 0;
    unsigned each;

    rig_open(rig, config, seed);
    record(run);
    rig_ready(rig);
    count = storage_ops(rig->storage, &ops);
    for (size_t i = 0; i < count; i++)
        syncs += ops[i].kind == STORAGE_SYNC;
    if (syncs == 0)
        test_fail("%s: nothing was ever made durable", rig->where);
    each = 1 + (config == &many_pages ? STATES_PER_SESSION / 4 : STATES_PER_SESSION) / (unsigned)(2 * syncs + 1);
    for (size_t i = 0; i < count; i++)
        if (ops[i].kind == STORAGE_SYNC) {
            explore(run, rig->storage, ops[i].end - 1, ops[i].end - 1, 0, each);
            explore(run, rig->storage, ops[i].end + 1, ops[i].end + 1, 0, 1 + each / 2);
        }
    run->closed = true;
    explore(run, rig->storage, storage_clock(), storage_clock(), 0, each);
    run->closed = false;
    rig_close(rig);
    run->counts.sessions++;
}

/* The processes share the seeds. */
static void worker(unsigned number, unsigned of, uint64_t *counts)
{
    uint64_t seed = test_number("CRASH_SEED", 1), wanted = test_number("CRASH_STATES", 50000);
    unsigned left = ((unsigned)test_number("CRASH_SAMPLES", 40) + of - 1) / of;
    struct run run = {.samples = 0};

    scratch_make(run.dir, true);
    for (uint64_t round = number; run.counts.states < wanted / of; round += of) {
        const struct rig_config *config = &rig_configs[round % rig_config_count];
        bool many = rig_wanted(&many_pages) && (round / of % MANY_EVERY == 2 || !rig_wanted(config));

        if (!many && !rig_wanted(config))
            continue;
        run.samples = left < 3 ? left : 3; /* of each configuration a few */
        left -= run.samples;
        session(&run, many ? &many_pages : config, seed + round);
        left += run.samples;
    }
    memcpy(counts, &run.counts, sizeof(run.counts));
}

int main(void)
{
    struct counts c = {0};
    bool failed = !processes_run("CRASH_PROCESSES", worker, (uint64_t *)&c, sizeof(c) / sizeof(uint64_t));

    for (enum reader reader = 0; reader < READERS; reader++)
        printf("%llu states read by %s\n", (unsigned long long)c.samples[reader], reader_name(reader));
    printf("%llu crash states (%llu of them of recoveries) of %llu cuts in %llu sessions, seeds from %llu: %s\n",
           (unsigned long long)c.states, (unsigned long long)c.nested, (unsigned long long)c.cuts,
           (unsigned long long)c.sessions, (unsigned long long)test_number("CRASH_SEED", 1),
           failed ? "with LOSSES" : "0 losses");
    return failed;
}
