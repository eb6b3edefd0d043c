/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Repair, and power cuts in the middle of it. A guest works on a disk; the disk is damaged, or its session is cut; then
 * it is repaired while the storage remembers, and the repair is cut at every sync: what is left must repair to the same
 * disk. A disk that was repaired is not touched by a second repair, and a disk that read before reads the same at every
 * moment.
 *
 * REPAIR_ROUNDS: how many disks; CRASH_SEED: where to begin; CRASH_PROCESSES.
 */
#include "disk/repair.h"
#include "tests/rig.h"

#define DEPTH_MAX 2

struct counts {
    uint64_t disks, states, mended, refused;
};

struct run {
    struct rig rig;
    struct counts counts;
    bool plain; /* the storage knows no holes: not all leaks can be given back */
    bool reads; /* before the repair: values[0] is what it read */
};

/* ---- Damage ---- */

static struct file *open_file(struct run *run, struct storage *storage, bool writable)
{
    struct file *file;

    (void)run;
    test_ok(storage_open(storage, "disk", writable, NULL, &file));
    return file;
}

static uint64_t le_get(struct file *file, uint64_t at)
{
    uint64_t value;

    test_ok(file_read(file, &value, sizeof(value), at));
    return le64toh(value);
}

static void put(struct file *file, uint64_t at, uint64_t value, unsigned length)
{
    test_ok(file_write(file, &value, length, at));
}

static void put_noise(struct rng *rng, struct file *file, uint64_t at, uint64_t length)
{
    for (uint64_t i = 0; i < length; i += 8)
        put(file, at + i, rng_next(rng) << 8 | 1, 8);
}

/* Each damages the file, or returns false: it has nothing of the kind. lost: the guest's data may be unreadable or
 * older until the repair. changes: what the guest reads is other from then on (not by the repair). */
struct damage {
    const char *name;
    bool vhdx, lost, changes;
    bool (*make)(struct run *run, struct file *file);
};

#define BAT_AT (3u << 20) /* where the library puts it */

static bool header_first(struct run *run, struct file *file)
{
    put(file, 0x10000 + 8 * rng_below(&run->rig.rng, 500), rng_next(&run->rig.rng) << 8 | 1, 8);
    return true;
}

static bool header_second(struct run *run, struct file *file)
{
    put(file, 0x20000 + 8 * rng_below(&run->rig.rng, 500), rng_next(&run->rig.rng) << 8 | 1, 8);
    return true;
}

static bool region_first(struct run *run, struct file *file)
{
    put_noise(&run->rig.rng, file, 0x30000, 64);
    return true;
}

static bool region_second(struct run *run, struct file *file)
{
    (void)run;
    test_ok(file_zero(file, 0x40000, 0x10000, true));
    return true;
}

static bool tail_noise(struct run *run, struct file *file)
{
    put_noise(&run->rig.rng, file, (file->size + 0xfffff) & ~0xfffffull, 1 << 20);
    return true;
}

/* A block that is not the last goes out of the BAT, and no log remembers it. */
static bool block_leaks(struct run *run, struct file *file)
{
    for (unsigned i = 0; i < run->rig.config->size / run->rig.config->block_size; i++) {
        uint64_t entry = le_get(file, BAT_AT + 8 * i);

        if ((entry & 7) == 6 && (entry >> 20 << 20) + run->rig.config->block_size < file->size) {
            put(file, BAT_AT + 8 * i, 2, 8);
            test_ok(file_zero(file, 1 << 20, 1 << 20, true));
            return true;
        }
    }
    return false;
}

/* What the library's log, one sequence an entry, still has: the BAT's page. */
static bool log_has_bat(struct file *file)
{
    uint64_t best = 0, at = 0;

    for (uint64_t i = 0; i < 2; i++) {
        uint64_t entry = (1u << 20) + i * (1u << 19);

        if ((le_get(file, entry) & 0xffffffff) == 0x65676f6c && le_get(file, entry + 16) > best) {
            best = le_get(file, entry + 16);
            at = entry;
        }
    }
    for (uint64_t i = 0; at && i < (le_get(file, at + 24) & 0xffffffff); i++)
        if (le_get(file, at + 64 + 32 * i + 16) == BAT_AT)
            return true;
    return false;
}

static bool bat_zeroed(struct run *run, struct file *file)
{
    (void)run;
    if (!log_has_bat(file) || le_get(file, 0x10000 + 48) || le_get(file, 0x10000 + 56))
        return false;
    test_ok(file_zero(file, BAT_AT, 4096, true));
    return true;
}

static bool bat_noise(struct run *run, struct file *file)
{
    if (!log_has_bat(file) || le_get(file, 0x10000 + 48) || le_get(file, 0x10000 + 56))
        return false;
    put_noise(&run->rig.rng, file, BAT_AT, 4096);
    return true;
}

static bool bat_reserved(struct run *run, struct file *file)
{
    uint64_t blocks = run->rig.config->size / run->rig.config->block_size, at;

    if (run->rig.config->type == DISK_DIFFERENCING)
        return false;
    at = BAT_AT + 8 * rng_below(&run->rig.rng, blocks);
    put(file, at, le_get(file, at) | 8ull << rng_below(&run->rig.rng, 17), 8);
    return true;
}

static bool footer_gone(struct run *run, struct file *file)
{
    (void)run;
    test_ok(file_resize(file, file->size - 512));
    return true;
}

static bool footer_noise(struct run *run, struct file *file)
{
    put_noise(&run->rig.rng, file, file->size - 512 + (rng_below(&run->rig.rng, 2) ? 8 : 0), 16);
    return true;
}

static bool copy_gone(struct run *run, struct file *file)
{
    (void)run;
    test_ok(file_zero(file, 0, 512, true));
    return true;
}

static bool footer_not_last(struct run *run, struct file *file)
{
    put_noise(&run->rig.rng, file, file->size, 8 * (1 + rng_below(&run->rig.rng, 40000)));
    return true;
}

/* The BAT's offset and the n-th entry's sector. */
static uint64_t vhd_entry(struct file *file, uint64_t n, uint64_t *at)
{
    *at = be64toh(le_get(file, 512 + 16)) + 4 * n;
    return be64toh(le_get(file, *at)) >> 32;
}

static bool vhd_block(struct run *run, struct file *file, uint64_t *at, uint64_t *position)
{
    uint64_t blocks = run->rig.config->size / run->rig.config->block_size, first = rng_below(&run->rig.rng, blocks);

    for (uint64_t i = 0; i < blocks; i++) {
        *position = 512 * vhd_entry(file, (first + i) % blocks, at);
        if (*position != 512 * 0xffffffffull)
            return true;
    }
    return false;
}

static bool block_empty(struct run *run, struct file *file)
{
    uint64_t at, position;

    if (!vhd_block(run, file, &at, &position))
        return false;
    test_ok(file_zero(file, position, 512 + run->rig.config->block_size, true));
    return true;
}

static bool block_gone(struct run *run, struct file *file)
{
    uint64_t at, position;

    if (!vhd_block(run, file, &at, &position))
        return false;
    put(file, at, UINT32_MAX, 4);
    return true;
}

static const struct damage damages[] = {
    {"header 0", true, false, false, header_first},
    {"header 1", true, false, false, header_second},
    {"region table 0", true, false, false, region_first},
    {"region table 1", true, false, false, region_second},
    {"tail", true, false, false, tail_noise},
    {"leak", true, false, true, block_leaks},
    {"BAT zeroed", true, true, false, bat_zeroed},
    {"BAT noise", true, true, false, bat_noise},
    {"reserved bits", true, true, false, bat_reserved},
    {"footer gone", false, false, false, footer_gone},
    {"footer noise", false, false, false, footer_noise},
    {"copy gone", false, false, false, copy_gone},
    {"footer not last", false, false, false, footer_not_last},
    {"block empty", false, false, true, block_empty},
    {"block gone", false, false, true, block_gone},
};
#define DAMAGES (sizeof(damages) / sizeof(damages[0]))

/* ---- Repair ---- */

struct seen {
    struct run *run;
    unsigned faults, leaks;
    char text[256];
};

static void see(void *arg, const struct vdisk_fault *fault)
{
    struct seen *seen = arg;

    seen->faults += fault->severity == VDISK_FAULT || fault->severity == VDISK_REFUSE;
    seen->leaks += fault->severity == VDISK_LEAK;
    snprintf(seen->text, sizeof(seen->text), "%s: %s", fault->code, fault->text);
}

/* Checks that no fault is left, and no leak where they can be given back. */
static void is_clean(struct run *run, struct storage *storage)
{
    struct seen seen = {run, 0, 0, ""};
    struct file *file = open_file(run, storage, false);

    if (run->rig.format->check(file, NULL, see, &seen) || seen.faults > 0 || (seen.leaks > 0 && !run->plain))
        test_fail("%s: not clean after repair: %s", run->rig.where, seen.text);
    file_close(file);
}

static struct disk_repair repair(struct run *run, struct storage *storage, bool dry)
{
    struct seen seen = {run, 0, 0, ""};
    struct disk_repair r = {.dry = dry, .step = see, .arg = &seen};
    struct file *file = open_file(run, storage, !dry);
    int err = run->rig.format->repair(file, &r);

    if (err)
        test_fail("%s: repair fails: %s", run->rig.where, strerror(-err));
    if (r.refusals > 0 && !run->plain)
        test_fail("%s: refused: %s", run->rig.where, seen.text);
    file_close(file);
    return r;
}

static void read_values(struct run *run, struct storage *storage, uint32_t *values)
{
    struct vdisk *disk = rig_disk(&run->rig, storage, false);

    rig_read(&run->rig, disk, values);
    rig_shut(&run->rig, disk);
}

static void same_values(struct run *run, struct storage *storage, const char *when)
{
    struct rig *rig = &run->rig;

    read_values(run, storage, rig->values[1]);
    for (size_t i = 0; i < guest_touched(rig->guest); i++)
        if (rig->values[0][i] != rig->values[1][i])
            test_fail("%s: sector %llu changed from %#x to %#x %s", rig->where,
                      (unsigned long long)guest_sector(rig->guest, i), rig->values[0][i], rig->values[1][i], when);
}

static uint64_t fingerprint(struct run *run, struct storage *storage)
{
    struct file *file = open_file(run, storage, false);
    uint64_t print = file->size, words[512];

    for (uint64_t at = 0; at < file->size; at += sizeof(words)) {
        uint64_t length = file->size - at < sizeof(words) ? file->size - at : sizeof(words);

        memset(words, 0, sizeof(words));
        test_ok(file_read(file, words, length, at));
        for (unsigned i = 0; i < 512; i++)
            print = (print ^ words[i]) * 0x9E3779B97F4A7C15u ^ print >> 29;
    }
    file_close(file);
    return print;
}

static void mend(struct run *run, struct storage *storage, unsigned depth);

/* The states of one cut. */
static void mend_cut(struct run *run, struct storage_cut *cut, unsigned depth, const char *where)
{
    struct rig *rig = &run->rig;
    uint64_t ways = cut->count < 5 ? 1u << cut->count : 24;
    uint8_t *keep = malloc(cut->count + 1);

    for (uint64_t way = 0; way < ways + 6; way++) {
        struct storage_choice choice = {
            .keep = keep, .seed = rng_next(&rig->rng), .tear = 512, .junk = rng_below(&rig->rng, 3) == 0};
        struct storage *state;

        for (size_t n = 0; n < cut->count; n++)
            keep[n] = (uint8_t)(cut->count < 5 && way < ways ? (way >> n & 1 ? KEEP_ALL : KEEP_NONE)
                                                             : rng_below(&rig->rng, 3));
        snprintf(rig->where, sizeof(rig->where), "%.100s, cut at %llu way %u.%llu", where,
                 (unsigned long long)cut->time, depth, (unsigned long long)way);
        state = storage_after_cut(cut, &choice);
        mend(run, state, depth + 1);
        storage_free(state);
    }
    free(keep);
}

/* Every sync of a repair that was recorded is cut. */
static void mend_cuts(struct run *run, struct storage *storage, unsigned depth)
{
    char where[sizeof(run->rig.where)];
    struct storage_op *ops;
    size_t count = storage_ops(storage, &ops);

    memcpy(where, run->rig.where, sizeof(where));
    for (size_t i = 0; i <= count; i++) {
        struct storage_cut cut;

        if (i < count && ops[i].kind != STORAGE_SYNC)
            continue;
        storage_cut_at(storage, i < count ? ops[i].end - 1 : storage_clock(), &cut);
        mend_cut(run, &cut, depth, where);
        storage_cut_free(&cut);
    }
}

/* Repairs it, twice, with cuts. The storage stays the caller's. */
static void mend(struct run *run, struct storage *storage, unsigned depth)
{
    bool nested = depth < DEPTH_MAX && (depth == 0 || rng_below(&run->rig.rng, 30) == 0);
    uint64_t print = fingerprint(run, storage);
    struct disk_repair done;

    run->counts.states++;
    if (run->reads)
        same_values(run, storage, "before repair");
    repair(run, storage, true);
    test_equal(fingerprint(run, storage), print);
    if (nested)
        storage_record(storage);
    done = repair(run, storage, false);
    run->counts.mended += done.mends;
    run->counts.refused += done.refusals;
    is_clean(run, storage);
    same_values(run, storage, "by repair");
    print = fingerprint(run, storage);
    done = repair(run, storage, false);
    test_equal(done.mends, 0);
    test_equal(fingerprint(run, storage), print);
    if (nested)
        mend_cuts(run, storage, depth);
}

/* ---- Rounds ---- */

static void work(struct run *run, struct vdisk *disk)
{
    struct rig *rig = &run->rig;
    struct guest_load load = {
        .requests = 30 + (unsigned)rng_below(&rig->rng, 60), .block_size = rig->config->block_size, .flush_every = 6};

    guest_run(rig->guest, disk, rig->ring, &rig->rng, &load);
    test_ok(vdisk_transfer(disk, rig->ring, VDISK_FLUSH, NULL, 0, 0));
}

static bool knows_holes(struct run *run)
{
    struct file *file = open_file(run, run->rig.storage, false);
    bool knows = disk_repair_punches(file);

    file_close(file);
    return knows;
}

/* One or two damages of a disk that was closed. */
static void damaged(struct run *run)
{
    struct rig *rig = &run->rig;
    bool vhdx = strcmp(rig->config->format, "vhdx") == 0;
    struct file *file = open_file(run, rig->storage, true);
    const struct damage *first = NULL;

    read_values(run, rig->storage, rig->values[0]);
    run->reads = true;
    for (int tries = 0; tries < 40; tries++) {
        const struct damage *d = &damages[rng_below(&rig->rng, DAMAGES)];

        if (d->vhdx != vhdx || (first && (first == d || first->lost || d->lost || !vhdx)) || !d->make(run, file))
            continue;
        /* two copies of one thing are too much */
        run->reads = !d->lost;
        if (d->changes)
            read_values(run, rig->storage, rig->values[0]);
        snprintf(rig->where, sizeof(rig->where), "seed %llu %s %u: %s%s%s", (unsigned long long)rig->seed,
                 rig->config->format, rig->config->block_size, first ? first->name : "", first ? ", " : "", d->name);
        if (first || d->lost || strncmp(d->name, "header", 6) == 0 || strncmp(d->name, "region", 6) == 0 ||
            rng_below(&rig->rng, 2))
            break;
        first = d;
    }
    file_close(file);
    mend(run, rig->storage, 0);
}

/* A session that was cut: what must be replayed, what was not finished. */
static void cut_short(struct run *run)
{
    struct rig *rig = &run->rig;
    struct vdisk *disk = rig_disk(rig, rig->storage, true);
    struct storage_op *ops;
    struct storage_cut cut;
    struct storage *state;
    size_t count;
    uint8_t *keep;
    char why[256];

    storage_record(rig->storage);
    work(run, disk);
    rig_shut(rig, disk);
    rig_ready(rig);
    count = storage_ops(rig->storage, &ops);
    storage_cut_at(rig->storage, ops[rng_below(&rig->rng, count)].end, &cut);
    keep = malloc(cut.count + 1);
    for (size_t n = 0; n < cut.count; n++)
        keep[n] = (uint8_t)rng_below(&rig->rng, 3);
    snprintf(rig->where, sizeof(rig->where), "seed %llu %s %u: session cut at %llu", (unsigned long long)rig->seed,
             rig->config->format, rig->config->block_size, (unsigned long long)cut.time);
    state = storage_after_cut(
        &cut, &(struct storage_choice){.keep = keep, .seed = rig->seed, .tear = rig->config->sector_size});
    read_values(run, state, rig->values[0]);
    if (!guest_possible(rig->guest, rig->values[0], cut.time, why))
        test_fail("%s: %s", rig->where, why);
    run->reads = true;
    mend(run, state, 0);
    storage_free(state);
    free(keep);
    storage_cut_free(&cut);
}

static void worker(unsigned number, unsigned of, uint64_t *counts)
{
    uint64_t seed = test_number("CRASH_SEED", 1), rounds = test_number("REPAIR_ROUNDS", 80);
    struct run run = {.reads = false};

    for (uint64_t round = number; round < rounds; round += of) {
        struct vdisk *disk;

        rig_open(&run.rig, &rig_configs[round % rig_config_count], seed + round);
        run.plain = !knows_holes(&run);
        disk = rig_disk(&run.rig, run.rig.storage, true);
        work(&run, disk);
        work(&run, disk);
        rig_shut(&run.rig, disk);
        rig_ready(&run.rig);
        if (rng_below(&run.rig.rng, 3) == 0)
            cut_short(&run);
        else
            damaged(&run);
        rig_close(&run.rig);
        run.counts.disks++;
    }
    memcpy(counts, &run.counts, sizeof(run.counts));
}

int main(void)
{
    struct counts c = {0};
    bool failed = !processes_run("CRASH_PROCESSES", worker, (uint64_t *)&c, sizeof(c) / sizeof(uint64_t));

    printf(
        "%llu disks repaired, %llu states with those of cuts, %llu things mended, %llu left on storage without holes, "
        "seeds from %llu: %s\n",
        (unsigned long long)c.disks, (unsigned long long)c.states, (unsigned long long)c.mended,
        (unsigned long long)c.refused, (unsigned long long)test_number("CRASH_SEED", 1),
        failed ? "with LOSSES" : "0 losses");
    return failed;
}
