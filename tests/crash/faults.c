/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Storage that fails. The same work is done again and again, and each time another operation of the storage fails: the
 * n-th of its kind, for every n, once or from then on.
 *
 * What must hold: every request ends; what was acknowledged is there, now, after closing, and after a power cut what was
 * flushed; the file opens and checks clean; a disk whose sync failed takes no write any more and said why; one that
 * only ran out of space works again when there is some.
 *
 * The same of what is done to a disk that stays open (it is settled, compacted, told where its parent is): the guest goes
 * on afterwards, and what it is told then must hold.
 *
 * FAULT_POINTS: how many at least are tried (default: all of some seeds); FAULT_SEED; FAULT_ONLY: part of a fault's name;
 * FAULT_ACT: what it comes in between; FAULT_STEP: every how manieth operation fails (1); RIG_ONLY: a format.
 */
#include "tests/rig.h"

#define KINDS(kind) (1u << STORAGE_##kind)
#define REQUESTS 36u

/* What the failing of an operation may do. */
enum effect {
    HARMLESS, /* nothing fails: it is tried again */
    ERRORS,   /* requests fail, or the disk gives up */
    PASSING   /* requests fail, but no flush does; once it is over everything works, without reopening */
};

static const struct fault {
    const char *name;
    unsigned kinds;
    int error;
    bool sticky;
    enum effect effect;
} faults[] = {
    {"write: EIO", KINDS(WRITE), -EIO, false, ERRORS},
    {"write: EIO, from then on", KINDS(WRITE), -EIO, true, ERRORS},
    {"write: EINTR", KINDS(WRITE), -EINTR, false, HARMLESS},
    {"write: EAGAIN", KINDS(WRITE), -EAGAIN, false, HARMLESS},
    {"write: short", KINDS(WRITE), STORAGE_SHORT, false, HARMLESS},
    {"write: short, from then on", KINDS(WRITE), STORAGE_SHORT, true, HARMLESS},
    {"read: EIO", KINDS(READ), -EIO, false, ERRORS},
    {"read: EINTR", KINDS(READ), -EINTR, false, HARMLESS},
    {"read: short", KINDS(READ), STORAGE_SHORT, false, HARMLESS},
    {"read: short, from then on", KINDS(READ), STORAGE_SHORT, true, HARMLESS},
    {"resize: EIO", KINDS(RESIZE), -EIO, false, ERRORS},
    {"resize: ENOSPC", KINDS(RESIZE), -ENOSPC, false, PASSING},
    {"resize: EFBIG, from then on", KINDS(RESIZE), -EFBIG, true, PASSING},
    {"resize: EINTR", KINDS(RESIZE), -EINTR, false, HARMLESS},
    {"zero: EIO", KINDS(ZERO), -EIO, false, ERRORS},
    {"zero: EIO, from then on", KINDS(ZERO), -EIO, true, ERRORS},
    {"zero: EINTR", KINDS(ZERO), -EINTR, false, HARMLESS},
    {"allocate: ENOSPC", KINDS(ALLOCATE), -ENOSPC, false, PASSING},
    {"allocate: ENOSPC, from then on", KINDS(ALLOCATE), -ENOSPC, true, PASSING},
    {"allocate: EINTR", KINDS(ALLOCATE), -EINTR, false, HARMLESS},
    {"sync: EIO", KINDS(SYNC), -EIO, false, ERRORS},
    {"sync: EIO, from then on", KINDS(SYNC), -EIO, true, ERRORS},
    {"sync: ENOSPC", KINDS(SYNC), -ENOSPC, false, ERRORS},
    {"sync: EINTR", KINDS(SYNC), -EINTR, false, HARMLESS},
    {"no space", 0, 0, true, PASSING}, /* pages, not operations, are counted */
};
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

struct trial {
    struct rig rig;
    const struct fault *fault;
    const struct act *act;
    struct vdisk_port *port; /* the disk's, or NULL */
    uint64_t number;  /* of the failing operation, or of the pages that there are */
    bool reached;     /* it came to that */
};

/* What fails: the guest's requests, or something between them. */
struct act {
    const char *name;
    int (*run)(struct trial *t, struct vdisk *disk);
};

/* After an error nobody knows what is in force. */
static int settle(struct trial *t, struct vdisk *disk)
{
    int err = t->rig.format->settle(disk);

    if (err && !disk->failed)
        test_fail("%s: the disk goes on", t->rig.where);
    return err;
}

static int compact(struct trial *t, struct vdisk *disk)
{
    test_ok(vdisk_port_of(disk, &t->port));
    return vdisk_compact(t->port, NULL, NULL, NULL);
}

static int relink(struct trial *t, struct vdisk *disk)
{
    bool vhd = t->rig.config->format[3] == 0;

    return t->rig.format->relink(disk, &(struct disk_link){.parent = disk->parent,
                                                           .relative = vhd ? "./moved.vhd" : "./moved.vhdx",
                                                           .absolute = vhd ? "/moved.vhd" : "/moved.vhdx"});
}

static const struct act acts[] = {{"requests", NULL}, {"settle", settle}, {"compact", compact}, {"relink", relink}};
#define ACTS (sizeof(acts) / sizeof(acts[0]))

static bool applies(const struct act *act, const struct fault *fault, const struct rig_config *config)
{
    if (act->run && (config->type == DISK_FIXED || (act->run == relink && config->type != DISK_DIFFERENCING)))
        return false;
    return !act->run || (!fault->sticky && fault->kinds &&
                         (fault->effect == ERRORS || (fault->effect == PASSING && fault->kinds == KINDS(ALLOCATE))));
}

static void arm(struct trial *t)
{
    if (t->fault->kinds)
        storage_fail(t->rig.storage, t->number, t->fault->kinds, t->fault->error, t->fault->sticky);
    else
        storage_limit(t->rig.storage, t->number * 4096);
}

static void disarm(struct trial *t)
{
    if (t->fault->kinds)
        t->reached = storage_count(t->rig.storage) >= t->number;
    else
        t->reached = guest_errors(t->rig.guest) > 0;
    storage_fail(t->rig.storage, 0, 0, 0, false);
    storage_limit(t->rig.storage, STORAGE_UNLIMITED);
}

static void work(struct trial *t, struct vdisk *disk, bool errors)
{
    struct guest_load load = {
        .requests = REQUESTS, .block_size = t->rig.config->block_size, .flush_every = 6, .errors = errors};

    guest_run(t->rig.guest, disk, t->rig.ring, &t->rig.rng, &load);
    rig_ready(&t->rig);
}

static void expect_held(struct trial *t, struct vdisk *disk, const char *when)
{
    char why[256];

    rig_read(&t->rig, disk, t->rig.values[0]);
    if (!guest_holds(t->rig.guest, t->rig.values[0], why))
        test_fail("%s: %s: %s", t->rig.where, when, why);
}

/* A disk that gave up: said once, no request succeeds, and nothing more is written. */
static void expect_given_up(struct trial *t, struct vdisk *disk)
{
    static _Alignas(4096) uint8_t bytes[4096];
    struct rig *rig = &t->rig;
    enum vdisk_op ops[] = {VDISK_WRITE, VDISK_FLUSH, VDISK_ZERO, VDISK_DISCARD, VDISK_FLUSH};

    if (rig->said == 0)
        test_fail("%s: the disk gave up without a word", rig->where);
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        if (vdisk_transfer(disk, rig->ring, ops[i], bytes, 0, ops[i] == VDISK_FLUSH ? 0 : rig->config->sector_size) == 0)
            test_fail("%s: op %d succeeds on a disk that gave up", rig->where, (int)ops[i]);
}

/* What a cut leaves now: nothing that was not made durable, or all that the storage still has. */
static void expect_cuts(struct trial *t)
{
    struct rig *rig = &t->rig;
    uint64_t now = storage_clock();
    struct storage_cut cut;
    uint8_t *keep;

    storage_cut_at(rig->storage, now, &cut);
    keep = malloc(cut.count + 1);
    for (int way = 0; way < 3; way++) {
        struct storage_choice choice = {.keep = keep, .seed = rng_next(&rig->rng), .tear = rig->config->sector_size};
        struct storage *state;
        struct vdisk *disk;
        char why[256];

        for (size_t i = 0; i < cut.count; i++)
            keep[i] = way == 0 ? KEEP_NONE : way == 1 ? KEEP_ALL : (uint8_t)(rng_below(&rig->rng, 2) * KEEP_ALL);
        state = storage_after_cut(&cut, &choice);
        disk = rig_disk(rig, state, true);
        rig_read(rig, disk, rig->values[1]);
        if (!guest_possible(rig->guest, rig->values[1], now, why))
            test_fail("%s: after a cut (%d): %s", rig->where, way, why);
        rig_shut(rig, disk);
        rig_check(rig, state);
        storage_free(state);
    }
    free(keep);
    storage_cut_free(&cut);
}

/* The disk after the fault: opened, used, closed. gave_up: between two of its requests, as a cut comes between. */
static void expect_usable(struct trial *t, bool gave_up)
{
    struct rig *rig = &t->rig;
    struct vdisk *disk;
    char why[256];

    if (!gave_up)
        rig_check(rig, rig->storage);
    disk = rig_disk(rig, rig->storage, true);
    rig_read(rig, disk, rig->values[0]);
    if (!guest_possible(rig->guest, rig->values[0], storage_clock(), why))
        test_fail("%s: opened again: %s", rig->where, why);
    guest_pin(rig->guest, rig->values[0]);
    work(t, disk, false);
    expect_held(t, disk, "after opening again");
    rig_shut(rig, disk);
    rig_check(rig, rig->storage);
    disk = rig_disk(rig, rig->storage, false);
    expect_held(t, disk, "at last");
    rig_shut(rig, disk);
}

/* While the fault is there, or after it came in between. The disk, or NULL where it did not even open. */
static struct vdisk *suffer(struct trial *t)
{
    struct rig *rig = &t->rig;
    struct vdisk *disk;
    int err;

    rig->quiet = true;
    if (!t->act->run)
        arm(t);
    err = rig_try(rig, rig->storage, true, &disk);
    if (!err && t->act->run) {
        work(t, disk, false);
        arm(t);
        t->act->run(t, disk);
        disarm(t);
    }
    if (!err)
        work(t, disk, true);
    if (!t->act->run)
        disarm(t);
    rig->quiet = false;
    if (err && t->fault->effect == HARMLESS)
        test_fail("%s: does not open: %s", rig->where, strerror(-err));
    if (err)
        return NULL;
    if (t->fault->effect == HARMLESS && (guest_errors(rig->guest) || disk->failed || rig->said))
        test_fail("%s: something failed", rig->where);
    if (t->fault->effect == PASSING && disk->failed)
        test_fail("%s: the disk gave up: %s", rig->where, strerror(-disk->failed));
    return disk;
}

static void try(struct trial *t)
{
    struct rig *rig = &t->rig;
    struct vdisk *disk;
    bool close_too = rng_below(&rig->rng, 2), fresh = rng_below(&rig->rng, 2), failed;
    uint64_t closing;
    int err;

    if (!fresh) {
        disk = rig_disk(rig, rig->storage, true);
        work(t, disk, false);
        rig_shut(rig, disk);
        guest_note_flush(rig->guest, storage_clock(), storage_clock());
    }
    storage_record(rig->storage);
    disk = suffer(t);
    if (!disk) {
        expect_usable(t, false);
        return;
    }
    expect_held(t, disk, "while it is open");
    failed = disk->failed;
    if (failed) {
        rig->quiet = true;
        expect_given_up(t, disk);
    } else if (t->fault->effect != ERRORS) {
        work(t, disk, false);
        expect_held(t, disk, "after the fault");
    }
    expect_cuts(t);
    if (close_too && t->fault->kinds) /* and the closing fails */
        storage_fail(rig->storage, 1 + rng_below(&rig->rng, 6), t->fault->kinds, t->fault->error, t->fault->sticky);
    rig->quiet = failed || close_too;
    closing = storage_clock();
    err = t->port ? vdisk_port_close(t->port) : vdisk_close(disk);
    storage_fail(rig->storage, 0, 0, 0, false);
    rig->quiet = false;
    if (failed && !err)
        test_fail("%s: closing a disk that gave up is no success", rig->where);
    if (err && !failed && !close_too)
        test_fail("%s: does not close: %s", rig->where, strerror(-err));
    if (!err)
        guest_note_flush(rig->guest, closing, storage_clock());
    expect_cuts(t);
    expect_usable(t, failed && t->act->run);
}

/* All numbers of one fault on one configuration; how many there are. */
static uint64_t try_all(const struct act *act, const struct fault *fault, const struct rig_config *config, uint64_t seed)
{
    uint64_t tried = 0, step = test_number("FAULT_STEP", 1);

    if (!rig_wanted(config) || (getenv("FAULT_ONLY") && !strstr(fault->name, getenv("FAULT_ONLY"))) ||
        (getenv("FAULT_ACT") && strcmp(act->name, getenv("FAULT_ACT")) != 0) || !applies(act, fault, config))
        return 0;
    for (uint64_t number = 1;; number += fault->kinds ? step : step + number / 8) {
        struct trial t = {.fault = fault, .number = number, .act = act};
        bool reached;

        rig_open(&t.rig, config, seed);
        snprintf(t.rig.where, sizeof(t.rig.where), "seed %llu %s %s %u: %s: %s, number %llu",
                 (unsigned long long)seed, config->format,
                 (const char *[]){"fixed", "dynamic", "differencing"}[config->type], config->block_size, act->name,
                 fault->name, (unsigned long long)number);
        try(&t);
        reached = t.reached;
        rig_close(&t.rig);
        if (!reached)
            return tried;
        tried++;
    }
}

static void worker(unsigned number, unsigned of, uint64_t *tried)
{
    uint64_t seed = test_number("FAULT_SEED", 1), wanted = test_number("FAULT_POINTS", 0);

    for (uint64_t round = 0; round == 0 || *tried < wanted / of; round++)
        for (size_t i = 0; i < ACTS * FAULTS * rig_config_count; i++)
            if (i % of == number)
                *tried += try_all(&acts[i / rig_config_count / FAULTS], &faults[i / rig_config_count % FAULTS],
                                  &rig_configs[i % rig_config_count], seed + round * ACTS * FAULTS * rig_config_count + i);
}

int main(void)
{
    uint64_t total = 0;
    bool failed = !processes_run("FAULT_PROCESSES", worker, &total, 1);

    printf("%llu fault points of %zu kinds on %zu disks, seed %llu: %s\n", (unsigned long long)total, FAULTS,
           rig_config_count, (unsigned long long)test_number("FAULT_SEED", 1), failed ? "with FAILURES" : "nothing lost");
    return failed;
}
