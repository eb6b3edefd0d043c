/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another size, and power cuts in the middle of it. A disk that a guest has filled is resized, once or more; the last
 * time every moment that matters is cut, and so is the recovery from it, and every operation on the storage fails once.
 * What is left must open with the old size or the new one, hold what both have, zeros behind, and pass its check.
 *
 * The same beside a guest that goes on: then each sector must hold what the guest may find after a cut.
 *
 * SPACE_ROUNDS: how many disks; CRASH_SEED: where to begin; CRASH_PROCESSES. A state that fails is named by its seed,
 * configuration, cut and choice.
 */
#include "disk/resize.h"
#include "tests/rig.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (MIB * KIB)
#define DEPTH_MAX 1
#define STATES_PER_CUT 12u
#define HELD (64 * MIB) /* behind it nothing was ever written */

static const struct rig_config fixed[] = {{"vhd", DISK_FIXED, 64 << 10, 512, 1 << 20}};
static const struct rig_config tall[] = {
    {"vhd", DISK_DIFFERENCING, 4096, 512, 1 << 19}, /* blocks stand where a longer BAT is to be */
    {"vhd", DISK_DYNAMIC, 4096, 512, 1 << 19},
};

struct counts {
    uint64_t disks, states, nested, beside, faults, moved, dropped, cut;
};

struct run {
    struct rig rig;
    struct counts counts;
    uint8_t *image[2]; /* what the disk holds before and after */
    uint64_t size[2];
    bool compact;
    struct vdisk_port *port; /* beside a guest: what its requests come through */
    uint64_t cut;            /* the moment of the state under test */
    bool beside;
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The whole content but what is far behind: there all is zeros. */
static void same_sector(struct run *run, const uint8_t *bytes, uint64_t offset, uint64_t size)
{
    static const uint8_t zeros[4096];
    unsigned unit = run->rig.config->sector_size;
    bool last = size == run->size[1], both = offset < smaller(run->size[0], run->size[1]);
    const uint8_t *wanted = run->image[last && !both] + offset;

    if (offset >= run->size[last] || offset >= HELD)
        wanted = zeros;
    if (memcmp(bytes, wanted, unit) == 0)
        return;
    if (!both && !last && memcmp(bytes, zeros, unit) == 0)
        return; /* about to be cut off */
    test_fail("%s: size %llu of %llu and %llu: sector at 0x%llx is not what it was", run->rig.where,
              (unsigned long long)size, (unsigned long long)run->size[0], (unsigned long long)run->size[1],
              (unsigned long long)offset);
}

static void verify_content(struct run *run, struct vdisk *disk)
{
    static const uint8_t zeros[65536];
    uint8_t buffer[65536];
    uint64_t size = vdisk_size(disk), end = smaller(size, HELD);

    for (uint64_t at = 0; at < size;) {
        struct vdisk_extent extent;

        if (vdisk_map(disk, at, size - at, 0, &extent))
            test_fail("%s: no map at 0x%llx", run->rig.where, (unsigned long long)at);
        if (extent.kind != VDISK_EXTENT_DATA && at >= end) {
            at += extent.length;
            continue;
        }
        extent.length = smaller(extent.length, sizeof(buffer));
        if (extent.kind == VDISK_EXTENT_DATA)
            if (vdisk_transfer(disk, run->rig.ring, VDISK_READ, buffer, at, extent.length))
                test_fail("%s: cannot read at 0x%llx", run->rig.where, (unsigned long long)at);
        for (uint64_t n = 0; n < extent.length; n += run->rig.config->sector_size)
            same_sector(run, extent.kind == VDISK_EXTENT_DATA ? buffer + n : zeros, at + n, size);
        at += extent.length;
    }
}

static void take_content(struct run *run, struct vdisk *disk, int which)
{
    uint64_t size = vdisk_size(disk), held = smaller(size, HELD);

    free(run->image[which]);
    run->image[which] = calloc(1, held + 4096);
    run->size[which] = size;
    test_ok(vdisk_transfer(disk, run->rig.ring, VDISK_READ, run->image[which], 0, held));
}

struct fault {
    uint64_t number; /* 0: none */
    unsigned kinds;
    int error;
    bool sticky;
};

/* What this round is about, on a disk of its own; what it leaves is looked at, if it succeeds. */
static int act(struct run *run, struct storage *storage, const struct fault *fault, uint64_t *done)
{
    struct rig *rig = &run->rig;
    struct vdisk *disk = rig_disk(rig, storage, true);
    struct vdisk_compact_result result = {0};
    struct vdisk_port *port;
    int err, closed;

    if (fault)
        storage_fail(storage, fault->number, fault->kinds, fault->error, fault->sticky);
    if (!run->compact) {
        err = disk_resize(&disk, run->size[1]);
        *done = storage_clock();
        if (!err && !fault)
            verify_content(run, disk);
        closed = vdisk_close(disk);
        return err ? err : closed;
    }
    test_ok(vdisk_port_of(disk, &port));
    err = vdisk_compact(port, NULL, NULL, &result);
    *done = storage_clock();
    run->counts.moved += result.bytes_moved;
    run->counts.dropped += result.bytes_dropped;
    if (!err && !fault) {
        verify_content(run, vdisk_port_disk(port));
        if (result.size_after > result.size_before + 4096)
            test_fail("%s: compacted from %llu bytes to %llu", rig->where, (unsigned long long)result.size_before,
                      (unsigned long long)result.size_after);
        run->counts.cut += result.size_before > result.size_after ? result.size_before - result.size_after : 0;
    }
    closed = vdisk_port_close(port);
    return err ? err : closed;
}

/* ---- States ---- */

static void explore(struct run *run, struct storage *recorded, uint64_t time, bool done, unsigned depth, unsigned most);

/* What the guest finds; takes the storage. */
static void verify_beside(struct run *run, struct storage *state)
{
    struct rig *rig = &run->rig;
    char why[256];

    run->counts.beside++;
    for (int writable = 0; writable < 2; writable++) {
        struct vdisk *disk = rig_disk(rig, state, writable);

        if (vdisk_size(disk) != run->size[0] && vdisk_size(disk) != run->size[1])
            test_fail("%s: the size is %llu", rig->where, (unsigned long long)vdisk_size(disk));
        rig_read(rig, disk, rig->values[0]);
        if (!guest_possible(rig->guest, rig->values[0], run->cut, why))
            test_fail("%s: %s", rig->where, why);
        rig_shut(rig, disk);
    }
    rig_check(rig, state);
    storage_free(state);
}

/* Opens it in every way; takes the storage. done: the resize was said to be. */
static void verify(struct run *run, struct storage *state, bool done, unsigned depth)
{
    struct rig *rig = &run->rig;
    bool nested = depth < DEPTH_MAX && rng_below(&rig->rng, 6) == 0;
    struct vdisk *disk = rig_disk(rig, state, false);
    uint64_t size = vdisk_size(disk);
    struct storage_op *ops;
    size_t count;

    run->counts.states++;
    run->counts.nested += depth > 0;
    if (size != run->size[1] && (done || size != run->size[0]))
        test_fail("%s: the size is %llu", rig->where, (unsigned long long)size);
    verify_content(run, disk);
    rig_shut(rig, disk);
    if (nested)
        storage_record(state);
    disk = rig_disk(rig, state, true);
    test_equal(vdisk_size(disk), size);
    verify_content(run, disk);
    rig_shut(rig, disk);
    rig_check(rig, state);
    count = nested ? storage_ops(state, &ops) : 0;
    for (size_t i = 0; i < count; i++)
        if (ops[i].kind == STORAGE_SYNC)
            explore(run, state, ops[i].end - 1, done, depth + 1, 6);
    if (rng_below(&rig->rng, 3) == 0) { /* and to its end */
        struct storage *again = storage_copy(state);

        test_ok(act(run, again, NULL, &(uint64_t){0}));
        rig_check(rig, again);
        storage_free(again);
    }
    storage_free(state);
}

static void explore(struct run *run, struct storage *recorded, uint64_t time, bool done, unsigned depth, unsigned most)
{
    static const char *const types[] = {"fixed", "dynamic", "differencing"};
    struct rig *rig = &run->rig;
    struct storage_cut cut;
    uint8_t *keep;

    storage_cut_at(recorded, time, &cut);
    run->cut = time;
    keep = malloc(cut.count + 1);
    for (uint64_t n = 0, plain = cut.count <= 6 ? UINT64_C(1) << cut.count : 2 + 3 * cut.count;
         n < most && (cut.count || n == 0); n++) {
        uint64_t way = most < plain && n >= 2 ? rng_below(&rig->rng, plain + 8) : n;
        struct storage_choice choice = {.keep = keep,
                                        .seed = rng_next(&rig->rng),
                                        .tear = rng_below(&rig->rng, 3) ? rig->config->sector_size : 4096,
                                        .junk = rng_below(&rig->rng, 3) == 0};

        rig_choose(&rig->rng, way, cut.count, keep);
        snprintf(rig->where, sizeof(rig->where), "seed %llu %s %s %u: to %llu, cut at %llu depth %u of %zu way %llu",
                 (unsigned long long)rig->seed, rig->config->format, types[rig->config->type], rig->config->block_size,
                 (unsigned long long)run->size[1], (unsigned long long)time, depth, cut.count, (unsigned long long)way);
        if (run->beside)
            verify_beside(run, storage_after_cut(&cut, &choice));
        else
            verify(run, storage_after_cut(&cut, &choice), done, depth);
    }
    free(keep);
    storage_cut_free(&cut);
}

/* ---- Rounds ---- */

/* Within a block, by blocks, and so far that the BAT must grow. */
static uint64_t another_size(struct run *run, uint64_t size)
{
    struct rig *rig = &run->rig;
    const struct rig_config *c = rig->config;
    uint64_t unit = c->sector_size, most = c->format[3] ? 200 * GIB : UINT64_C(40000) * c->block_size;
    uint64_t other = size;

    if (c->type == DISK_FIXED)
        most = 3 * c->size;
    while (other == size) {
        switch (rng_below(&rig->rng, 5)) {
        case 0: /* a few sectors */
            other = size + unit * rng_below(&rig->rng, 9);
            break;
        case 1:
            other = size > 10 * unit ? size - unit * rng_below(&rig->rng, 9) : size;
            break;
        case 2:
            other = unit * (1 + rng_below(&rig->rng, smaller(size, c->size) / unit));
            break;
        case 3:
            other = size + unit * (1 + rng_below(&rig->rng, 4 * c->size / unit));
            break;
        case 4:
            other = unit * (1 + rng_below(&rig->rng, most / unit));
        }
        if (other > most)
            other = size;
    }
    return other;
}

static void next_image(struct run *run, uint64_t size)
{
    uint64_t held = smaller(size, HELD), had = smaller(run->size[0], HELD);

    free(run->image[1]);
    run->image[1] = calloc(1, held + 4096);
    run->size[1] = size;
    memcpy(run->image[1], run->image[0], smaller(held, had));
}

/* The storage fails at its n-th operation, of all kinds or for good; until there is no n-th. */
static void faults(struct run *run, struct storage *storage)
{
    struct rig *rig = &run->rig;

    for (uint64_t n = 1;; n += 1 + rng_below(&rig->rng, 3)) {
        struct storage *state = storage_copy(storage);
        bool sticky = rng_below(&rig->rng, 2), enospc = rng_below(&rig->rng, 2);
        unsigned kinds = 1u << STORAGE_WRITE | 1u << STORAGE_RESIZE | 1u << STORAGE_ALLOCATE |
                         (enospc ? 0 : 1u << STORAGE_SYNC | 1u << STORAGE_READ);
        uint64_t done;
        int err;

        rig->quiet = true;
        err = act(run, state, &(struct fault){n, kinds, enospc ? -ENOSPC : -EIO, sticky}, &done);
        rig->quiet = false;
        if (storage_count(state) < n) {
            test_ok(err);
            storage_free(state);
            break;
        }
        storage_fail(state, 0, 0, 0, false);
        run->counts.faults++;
        snprintf(rig->where, sizeof(rig->where), "seed %llu %s %u: to %llu, %s fault at %llu %s",
                 (unsigned long long)rig->seed, rig->config->format, rig->config->block_size,
                 (unsigned long long)run->size[1], sticky ? "lasting" : "one", (unsigned long long)n,
                 enospc ? "ENOSPC" : "EIO");
        verify(run, state, !err, DEPTH_MAX);
    }
}

static void fill(struct run *run)
{
    static uint8_t zeros[2 * MIB];
    struct rig *rig = &run->rig;
    struct guest_load load = {
        .requests = 20 + (unsigned)rng_below(&rig->rng, 100), .block_size = rig->config->block_size, .flush_every = 9};
    struct vdisk *disk = rig_disk(rig, rig->storage, true);

    guest_run(rig->guest, disk, rig->ring, &rig->rng, &load);
    for (uint64_t n = rng_below(&rig->rng, 4); n > 0; n--) { /* blocks of zeros that were written */
        uint64_t block = rig->config->block_size, at = rng_below(&rig->rng, rig->config->size / block) * block;

        test_ok(vdisk_transfer(disk, rig->ring, VDISK_WRITE, zeros, at, block));
    }
    take_content(run, disk, 0);
    for (uint64_t n = rng_below(&rig->rng, 3); n > 0; n--) {
        snprintf(rig->where, sizeof(rig->where), "seed %llu %s: before", (unsigned long long)rig->seed,
                 rig->config->format);
        next_image(run, another_size(run, run->size[0]));
        test_ok(disk_resize(&disk, run->size[1]));
        verify_content(run, disk);
        take_content(run, disk, 0);
    }
    rig_shut(rig, disk);
}

static void round_of(struct run *run, const struct rig_config *config, uint64_t seed)
{
    struct rig *rig = &run->rig;
    struct storage_op *ops;
    struct storage *before;
    uint64_t done;
    size_t count;

    rig_open(rig, config, seed);
    fill(run);
    run->compact = rng_below(&rig->rng, 2);
    next_image(run, run->compact ? run->size[0] : another_size(run, run->size[0]));
    before = storage_copy(rig->storage);
    storage_record(rig->storage);
    test_ok(act(run, rig->storage, NULL, &done));
    rig_check(rig, rig->storage);
    count = storage_ops(rig->storage, &ops);
    for (size_t i = 0; i < count; i++)
        if (ops[i].kind == STORAGE_SYNC) {
            explore(run, rig->storage, ops[i].end - 1, ops[i].end - 1 > done, 0, STATES_PER_CUT);
            explore(run, rig->storage, ops[i].end + 1, ops[i].end + 1 > done, 0, 2);
        }
    explore(run, rig->storage, storage_clock(), true, 0, 2);
    faults(run, before);
    storage_free(before);
    rig_close(rig);
    run->counts.disks++;
}

static void *guest_beside(void *arg)
{
    struct run *run = arg;
    struct guest_load load = {
        .requests = 60, .block_size = run->rig.config->block_size, .flush_every = 9, .port = run->port};

    guest_run(run->rig.guest, NULL, run->rig.ring, &run->rig.rng, &load);
    return NULL;
}

/* A guest works, and meanwhile the disk becomes larger and is compacted, twice. */
static void round_beside(struct run *run, const struct rig_config *config, uint64_t seed)
{
    struct rig *rig = &run->rig;
    struct guest_load load = {.requests = 60, .block_size = config->block_size, .flush_every = 9};
    struct storage_op *ops;
    struct vdisk *disk;
    pthread_t thread;
    uint64_t closing;
    size_t count;

    rig_open(rig, config, seed);
    disk = rig_disk(rig, rig->storage, true);
    guest_run(rig->guest, disk, rig->ring, &rig->rng, &load);
    rig_shut(rig, disk);
    guest_note_flush(rig->guest, storage_clock(), storage_clock());
    run->size[0] = config->size;
    run->size[1] = config->size + 3 * (uint64_t)config->block_size;
    storage_record(rig->storage);
    test_ok(vdisk_port_of(rig_disk(rig, rig->storage, true), &run->port));
    test_equal(pthread_create(&thread, NULL, guest_beside, run), 0);
    test_ok(vdisk_compact(run->port, NULL, NULL, NULL));
    test_ok(vdisk_resize(run->port, run->size[1], 0, NULL));
    test_ok(vdisk_compact(run->port, NULL, NULL, NULL));
    pthread_join(thread, NULL);
    closing = storage_clock();
    test_ok(vdisk_port_close(run->port));
    guest_note_flush(rig->guest, closing, storage_clock());
    rig_ready(rig);
    run->beside = true;
    count = storage_ops(rig->storage, &ops);
    for (size_t i = 0; i < count; i++)
        if (ops[i].kind == STORAGE_SYNC)
            explore(run, rig->storage, ops[i].end - 1, false, 0, 4);
    explore(run, rig->storage, storage_clock(), false, 0, 2);
    run->beside = false;
    rig_close(rig);
}

static void worker(unsigned number, unsigned of, uint64_t *counts)
{
    uint64_t seed = test_number("CRASH_SEED", 1), rounds = test_number("SPACE_ROUNDS", 60);
    struct run run = {.image = {NULL}};

    for (uint64_t round = number; round < rounds; round += of) {
        uint64_t n = round % (rig_config_count + 4);
        const struct rig_config *config = n < rig_config_count       ? &rig_configs[n]
                                          : n < rig_config_count + 2 ? &tall[n % 2]
                                                                     : fixed;

        round_of(&run, config, seed + round);
    }
    for (uint64_t round = number; round < rounds / 3; round += of)
        if (rig_configs[round % rig_config_count].type != DISK_FIXED)
            round_beside(&run, &rig_configs[round % rig_config_count], seed + round);
    for (int i = 0; i < 2; i++)
        free(run.image[i]);
    memcpy(counts, &run.counts, sizeof(run.counts));
}

int main(void)
{
    struct counts c = {0};
    bool failed = !processes_run("CRASH_PROCESSES", worker, (uint64_t *)&c, sizeof(c) / sizeof(uint64_t));

    printf("%llu disks resized or compacted, %llu states (%llu of them of recoveries), %llu beside a guest, %llu faults, %llu KiB moved, %llu dropped, %llu "
           "cut, seeds from %llu: %s\n",
           (unsigned long long)c.disks, (unsigned long long)c.states, (unsigned long long)c.nested,
           (unsigned long long)c.beside, (unsigned long long)c.faults, (unsigned long long)c.moved >> 10, (unsigned long long)c.dropped >> 10,
           (unsigned long long)c.cut >> 10, (unsigned long long)test_number("CRASH_SEED", 1),
           failed ? "with LOSSES" : "0 losses");
    return failed;
}
