/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moves to a destination that fails: full, or with an error, in each operation of its storage and of its names, one
 * after the other. A guest writes all the time.
 *
 * What must hold of a move that fails: the guest has seen no error; the disk is the source, all that the guest wrote is
 * there, and it is sound; nothing stands at the destination; one error was said, and it names the destination. Then the
 * same move is done again, without the fault. One that succeeds in spite of it leaves the guest's bytes at the
 * destination.
 *
 * FAULT_STEP: every how manieth operation fails; FAULT_SEED; FAULT_ONLY: part of a fault's name; FAULT_PROCESSES.
 */
#include <stdatomic.h>
#include <sys/stat.h>

#include "tests/names.h"
#include "tests/rig.h"

#define KINDS(kind) (1u << STORAGE_##kind)

/* Of the destination's storage, or of its names; neither: so many pages are all there is. */
static const struct fault {
    const char *name;
    unsigned kinds;
    enum names_call call;
    const char *part; /* of the path */
    int error;
    bool sticky;
} faults[] = {
    {"write: EIO", KINDS(WRITE), NAMES_NONE, "", -EIO, false},
    {"write: EIO, from then on", KINDS(WRITE), NAMES_NONE, "", -EIO, true},
    {"read: EIO", KINDS(READ), NAMES_NONE, "", -EIO, false},
    {"resize: ENOSPC", KINDS(RESIZE), NAMES_NONE, "", -ENOSPC, true},
    {"zero: EIO", KINDS(ZERO), NAMES_NONE, "", -EIO, false},
    {"allocate: ENOSPC", KINDS(ALLOCATE), NAMES_NONE, "", -ENOSPC, true},
    {"sync: EIO", KINDS(SYNC), NAMES_NONE, "", -EIO, false},
    {"no space", 0, NAMES_NONE, "", -ENOSPC, true},
    {"create: ENOSPC", 0, NAMES_CREATE, "else/", -ENOSPC, true},
    {"name: EIO", 0, NAMES_RENAME, "else/", -EIO, true},
    {"sync of the directory: EIO", 0, NAMES_SYNC, "else/", -EIO, true},
    {"unlink of the source: EACCES", 0, NAMES_UNLINK, "/source", -EACCES, true},
};
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

struct counts {
    uint64_t moves, failed, stages[FAULTS];
};

struct trial {
    struct rig rig;
    const struct fault *fault;
    uint64_t number; /* of the failing operation, or of the pages that there are */
    bool chain, victim_is_parent;
    bool reached; /* it came to that */
    struct storage *victim;
    char dir[TEST_PATH], source[TEST_PATH], destination[TEST_PATH], target[TEST_PATH];
    struct vdisk_port *port;
    struct vdisk *disk; /* behind the port at first */
};

static struct trial *current;
static struct messages messages = MESSAGES_INIT;

/* ---- The move ---- */

/* A file of the destination's was made: with the fault, if it is the one. */
static void made(struct name *name)
{
    struct trial *t = current;
    bool parent = strstr(name->path, "parent") != NULL;

    storage_set_sector(name->storage, t->rig.config->sector_size);
    if (t->number == 0 || t->fault->call || parent != t->victim_is_parent)
        return;
    t->victim = name->storage;
    if (t->fault->kinds)
        storage_fail(name->storage, t->number, t->fault->kinds, t->fault->error, t->fault->sticky);
    else
        storage_limit(name->storage, t->number * 4096);
}

struct mover {
    struct trial *trial;
    pthread_t thread;
    int result;
    _Atomic bool done;
};

static void *move_it(void *arg)
{
    struct mover *mover = arg;
    struct trial *t = mover->trial;
    struct vdisk_move_options how = {.flags = t->chain ? VDISK_MOVE_CHAIN : 0, .log = messages_log(&messages)};

    mover->result = vdisk_move(t->port, t->destination, &how, NULL, NULL);
    t->reached = t->fault->kinds ? t->victim && storage_count(t->victim) >= t->number : mover->result != 0;
    if (t->victim) { /* the disk, maybe: the guest goes on with it */
        storage_fail(t->victim, 0, 0, 0, false);
        storage_limit(t->victim, STORAGE_UNLIMITED);
    }
    atomic_store(&mover->done, true);
    return NULL;
}

static void work(struct trial *t, unsigned requests)
{
    struct rig *rig = &t->rig;
    struct guest_load load = {
        .requests = requests, .block_size = rig->config->block_size, .flush_every = 9, .errors = true, .port = t->port};

    guest_run(rig->guest, NULL, rig->ring, &rig->rng, &load);
}

static int move(struct trial *t)
{
    struct mover mover = {.trial = t};

    messages_clear(&messages);
    test_equal(pthread_create(&mover.thread, NULL, move_it, &mover), 0);
    while (!atomic_load(&mover.done))
        work(t, 8);
    pthread_join(mover.thread, NULL);
    return mover.result;
}

/* ---- What must hold ---- */

static void holds(struct trial *t)
{
    char why[256];

    rig_ready(&t->rig);
    rig_read(&t->rig, vdisk_port_disk(t->port), t->rig.values[0]);
    if (!guest_holds(t->rig.guest, t->rig.values[0], why))
        test_fail("%s: %s", t->rig.where, why);
}

static void expect_stayed(struct trial *t)
{
    const char *where = t->rig.where;

    if (guest_errors(t->rig.guest))
        test_fail("%s: the guest has seen %llu errors", where, (unsigned long long)guest_errors(t->rig.guest));
    if (vdisk_port_disk(t->port) != t->disk)
        test_fail("%s: the move failed, and the disk is another one", where);
    if (!names_find(t->source)->stands || names_standing() != (t->disk->parent ? 2u : 1u))
        test_fail("%s: %u files stand after a move that failed", where, names_standing());
    if (t->fault->call == NAMES_UNLINK) { /* the source says that it stays */
        if (t->rig.said != 1 || messages.count[VDISK_ERROR] != 0)
            test_fail("%s: %u errors are said, and the source says %u", where, messages.count[VDISK_ERROR],
                      t->rig.said);
        return;
    }
    if (messages.count[VDISK_ERROR] != 1)
        test_fail("%s: %u errors are said, the first: %s", where, messages.count[VDISK_ERROR], messages.first);
    if (!strstr(messages.first, "else/"))
        test_fail("%s: the error does not say where: %s", where, messages.first);
    if (!strstr(messages.first, strerror(-t->fault->error)))
        test_fail("%s: the error does not say what: %s", where, messages.first);
}

/* The disk as it was left by a move, and then by one that nothing stops. */
static void expect_usable(struct trial *t)
{
    work(t, 20);
    holds(t);
    if (vdisk_port_disk(t->port) != t->disk)
        return;
    t->number = 0;
    t->victim = NULL;
    names_fail(NAMES_NONE, "", 0);
    if (move(t))
        test_fail("%s: then it does not move: %s", t->rig.where, messages.first);
    holds(t);
}

/* ---- One move ---- */

static void open_disk(struct trial *t)
{
    struct rig *rig = &t->rig;
    const char *format = rig->config->format;
    char name[64];

    t->disk = rig_disk(rig, rig->storage, true);
    snprintf(name, sizeof(name), "source.%s", format);
    snprintf(t->source, sizeof(t->source), "%s", scratch_path(t->dir, name));
    names_add(t->source, rig->storage, t->disk);
    snprintf(name, sizeof(name), "parent.%s", format);
    if (t->disk->parent)
        names_add(scratch_path(t->dir, name), rig->parent, t->disk->parent);
    snprintf(name, sizeof(name), "else/%s.%s", t->chain ? "source" : "target", format);
    snprintf(t->target, sizeof(t->target), "%s", scratch_path(t->dir, name));
    snprintf(t->destination, sizeof(t->destination), "%s", t->chain ? scratch_path(t->dir, "else") : t->target);
    test_ok(vdisk_port_of(t->disk, &t->port));
}

/* False: the fault was not reached, nor will one with a larger number be. */
static bool try(struct trial *t, struct counts *counts, unsigned fault)
{
    bool reached, gave_up;
    int err;

    open_disk(t);
    work(t, 30);
    names_fail(t->fault->call, t->fault->part, t->fault->error);
    t->rig.quiet = true;
    err = move(t);
    t->rig.quiet = false;
    reached = t->reached;
    if (err)
        expect_stayed(t);
    else if (t->fault->call && names_failed())
        test_fail("%s: the move succeeds", t->rig.where);
    counts->moves++;
    counts->failed += err != 0;
    counts->stages[fault] += err != 0;
    expect_usable(t);
    gave_up = vdisk_port_disk(t->port)->failed; /* the fault met it when it was the disk already */
    test_true(!gave_up || !err);
    if (vdisk_port_close(t->port) && !gave_up)
        test_fail("%s: does not close", t->rig.where);
    if (!gave_up)
        rig_check(&t->rig, names_find(t->target)->storage);
    return reached && !t->fault->call;
}

static void try_all(unsigned fault, const struct rig_config *config, uint64_t seed, const char *dir,
                    struct counts *counts)
{
    uint64_t step = test_number("FAULT_STEP", 1);
    static struct trial t;
    bool more = true;

    for (uint64_t number = 1; more; number += step + number / 6) {
        t = (struct trial){.fault = &faults[fault], .number = number};
        current = &t;
        snprintf(t.dir, sizeof(t.dir), "%s", dir);
        rig_open(&t.rig, config, seed);
        t.rig.chaos = false; /* the move has rings of its own */
        t.chain = config->type == DISK_DIFFERENCING && seed % 2;
        t.victim_is_parent = t.chain && seed % 4 == 1;
        snprintf(t.rig.where, sizeof(t.rig.where), "seed %llu %s %s %u%s%s: %s, number %llu", (unsigned long long)seed,
                 config->format, (const char *[]){"fixed", "dynamic", "differencing"}[config->type], config->block_size,
                 t.chain ? " chain" : "", t.victim_is_parent ? ", its parent" : "", t.fault->name,
                 (unsigned long long)number);
        more = try(&t, counts, fault);
        names_clear();
        rig_close(&t.rig);
    }
}

static void worker(unsigned number, unsigned of, uint64_t *numbers)
{
    uint64_t seed = test_number("FAULT_SEED", 1);
    struct counts *counts = (struct counts *)numbers;
    const char *only = getenv("FAULT_ONLY");
    char dir[TEST_PATH];

    scratch_make(dir, true);
    test_ok(mkdir(scratch_path(dir, "else"), 0700));
    names_made = made;
    for (unsigned i = 0; i < FAULTS * rig_config_count; i++)
        if (i % of == number && (!only || strstr(faults[i / rig_config_count].name, only)))
            try_all(i / (unsigned)rig_config_count, &rig_configs[i % rig_config_count], seed + i, dir, counts);
}

int main(void)
{
    struct counts c = {0};
    bool good = processes_run("FAULT_PROCESSES", worker, (uint64_t *)&c, sizeof(c) / sizeof(uint64_t));

    for (size_t i = 0; i < FAULTS && good && !getenv("FAULT_ONLY"); i++)
        if (c.stages[i] == 0) {
            fprintf(stderr, "%s: no move failed by it\n", faults[i].name);
            good = false;
        }
    printf("%llu moves, %llu of them failed by one of %zu faults: %s\n", (unsigned long long)c.moves,
           (unsigned long long)c.failed, FAULTS, good ? "nothing lost" : "with LOSSES");
    return !good;
}
