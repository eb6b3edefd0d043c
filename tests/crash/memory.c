/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that runs out. A disk is created, written, closed, opened, copied, compared and checked again and again, and each
 * time another of the library's calls for memory, or for a thread, fails: once, or it and all that follow.
 *
 * What must hold: every request ends, nothing crashes or leaks (with ASan), what was acknowledged is there, what was
 * flushed is there after closing, and the file checks clean.
 *
 * The library of this test calls scarce_malloc instead of malloc, and so on: see the Makefile.
 * MEMORY_STEP: 1 is every call; MEMORY_ONLY: a configuration's number; MEMORY_PROCESSES.
 */
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/rig.h"

/* ---- What the library calls ---- */

static _Atomic uint64_t calls, failing; /* failing: the call that fails; 0: none */
static _Atomic bool from_then_on;

static bool fails(void)
{
    uint64_t n = ++calls, which = failing;

    return which && (n == which || (from_then_on && n > which));
}

void *scarce_malloc(size_t size);
void *scarce_calloc(size_t count, size_t size);
void *scarce_realloc(void *old, size_t size);
void *scarce_aligned_alloc(size_t alignment, size_t size);
char *scarce_strdup(const char *text);
int scarce_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int scarce_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg);

void *scarce_malloc(size_t size)
{
    return fails() ? NULL : malloc(size);
}

void *scarce_calloc(size_t count, size_t size)
{
    return fails() ? NULL : calloc(count, size);
}

void *scarce_realloc(void *old, size_t size)
{
    return fails() ? NULL : realloc(old, size);
}

void *scarce_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : aligned_alloc(alignment, size);
}

char *scarce_strdup(const char *text)
{
    return fails() ? NULL : strdup(text);
}

int scarce_asprintf(char **text, const char *format, ...)
{
    va_list args;
    int n;

    if (fails())
        return -1;
    va_start(args, format);
    n = vasprintf(text, format, args);
    va_end(args);
    return n;
}

int scarce_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    return fails() ? EAGAIN : pthread_create(thread, attributes, run, arg);
}

/* ---- The work ---- */

struct trial {
    const struct rig_config *config;
    char path[TEST_PATH], parent[TEST_PATH], copy[TEST_PATH], where[200];
    struct vdisk_ring *ring; /* of the test, opened when memory is there */
    struct guest *guest;
    struct rng rng;
    bool stands; /* at path */
    struct messages messages;
};

static const char *const types[] = {"fixed", "dynamic", "differencing"};

static int make(struct trial *t, const char *path, const char *type, const char *parent, struct vdisk **disk)
{
    struct vdisk_create_options o = {.format = t->config->format,
                                     .type = type,
                                     .size = t->config->size,
                                     .block_size = t->config->block_size,
                                     .sector_size = t->config->sector_size,
                                     .physical_sector_size = 4096,
                                     .parent = parent,
                                     .log = messages_log(&t->messages)};

    return vdisk_create(path, &o, disk);
}

static void run_guest(struct trial *t, struct vdisk *disk, bool errors)
{
    struct guest_load load = {
        .requests = 20, .block_size = t->config->block_size, .flush_every = 6, .errors = errors};

    guest_run(t->guest, disk, t->ring, &t->rng, &load);
}

/* What the disk shows while it is open: a read may fail, but does not lie. */
static void look(struct trial *t, struct vdisk *disk, bool closed)
{
    uint32_t *values = calloc(guest_touched(t->guest) + 1, sizeof(*values));
    char why[256];
    int err = guest_read(t->guest, disk, t->ring, values);

    if (err && !failing)
        test_fail("%s: cannot read: %s", t->where, strerror(-err));
    if (!err && !(closed ? guest_possible(t->guest, values, storage_clock(), why) : guest_holds(t->guest, values, why)))
        test_fail("%s: %s", t->where, why);
    if (closed && !err)
        guest_pin(t->guest, values);
    free(values);
}

static void shut(struct trial *t, struct vdisk *disk, int (*how)(struct vdisk *))
{
    uint64_t closing = storage_clock();

    if (how(disk) == 0)
        guest_note_flush(t->guest, closing, storage_clock());
}

static int reopen(struct trial *t, unsigned flags, struct vdisk **disk)
{
    struct vdisk_open_options how = {.flags = flags, .log = messages_log(&t->messages)};

    return vdisk_open(t->path, &how, disk);
}

static void field(void *arg, const struct vdisk_field *f)
{
    (void)arg, (void)f;
}

static void copy(struct trial *t)
{
    struct vdisk *from, *to;
    uint64_t where;

    if (reopen(t, 0, &from))
        return;
    vdisk_info(from, field, NULL);
    if (make(t, t->copy, "dynamic", NULL, &to) == 0) {
        int err = vdisk_copy(from, to, 0, NULL, NULL);

        if (!err && vdisk_compare(from, to, NULL, &where) == 1)
            test_fail("%s: the copy differs at %llu", t->where, (unsigned long long)where);
        vdisk_close(to); /* not committed: it goes away */
    }
    vdisk_close(from);
    if (access(t->copy, F_OK) == 0)
        test_fail("%s: what was not committed stands there", t->where);
}

static void work(struct trial *t)
{
    struct vdisk_ring *own;
    struct vdisk *disk;

    if (vdisk_ring_open(8, VDISK_BACKEND_AUTO, &own) == 0)
        vdisk_ring_close(own);
    if (make(t, t->path, types[t->config->type], t->config->type == DISK_DIFFERENCING ? t->parent : NULL, &disk))
        return;
    run_guest(t, disk, true);
    look(t, disk, false);
    shut(t, disk, vdisk_commit);
    t->stands = access(t->path, F_OK) == 0;
    if (!t->stands || reopen(t, VDISK_OPEN_WRITE, &disk))
        return;
    look(t, disk, true);
    run_guest(t, disk, true);
    look(t, disk, false);
    shut(t, disk, vdisk_close);
    copy(t);
    vdisk_check(t->path, NULL, NULL, messages_fault, &t->messages);
}

/* Memory is there again. */
static void expect_usable(struct trial *t)
{
    struct vdisk *disk;

    if (!t->stands)
        return;
    messages_clear(&t->messages);
    t->messages.echo = true;
    if (vdisk_check(t->path, NULL, NULL, messages_fault, &t->messages))
        test_fail("%s: check: %s", t->where, t->messages.fault);
    test_ok(reopen(t, VDISK_OPEN_WRITE, &disk));
    look(t, disk, true);
    run_guest(t, disk, false);
    look(t, disk, false);
    test_ok(vdisk_close(disk));
}

/* How many calls there were. */
static uint64_t try(struct trial *t, uint64_t seed, uint64_t number, bool sticky)
{
    uint64_t seen;

    snprintf(t->where, sizeof(t->where), "%s %s %u: call %llu%s", t->config->format, types[t->config->type],
             t->config->block_size, (unsigned long long)number, sticky ? " and all after it" : "");
    rng_seed(&t->rng, seed);
    t->guest = guest_new(t->config->size, t->config->sector_size,
                         t->config->type == DISK_DIFFERENCING ? RIG_PARENT_GENERATION : 0);
    t->stands = false;
    t->messages = (struct messages)MESSAGES_INIT;
    test_ok(vdisk_ring_open(32, (enum vdisk_backend)(VDISK_BACKEND_URING + number % 3), &t->ring));
    calls = 0;
    from_then_on = sticky;
    failing = number;
    work(t);
    seen = calls;
    failing = 0;
    expect_usable(t);
    vdisk_ring_close(t->ring);
    guest_free(t->guest);
    unlink(t->path);
    return seen;
}

static void make_parent(struct trial *t)
{
    struct content content;
    struct vdisk_ring *ring;
    struct vdisk *disk;
    uint8_t *buffer = malloc(t->config->size);

    unlink(t->parent);
    test_ok(vdisk_ring_open(32, VDISK_BACKEND_AUTO, &ring));
    test_ok(make(t, t->parent, "dynamic", NULL, &disk));
    content_open(&content, t->config->size, t->config->sector_size);
    content_fill(&content, buffer, 0, content.sectors, RIG_PARENT_GENERATION);
    test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, buffer, 0, t->config->size));
    test_ok(vdisk_commit(disk));
    content_close(&content);
    free(buffer);
    vdisk_ring_close(ring);
}

static uint64_t try_all(const char *dir, const struct rig_config *config, uint64_t step)
{
    struct trial t = {.config = config, .messages = MESSAGES_INIT};
    uint64_t tried = 0;

    snprintf(t.path, sizeof(t.path), "%s.%s", scratch_path(dir, "disk"), config->format);
    snprintf(t.parent, sizeof(t.parent), "%s.%s", scratch_path(dir, "parent"), config->format);
    snprintf(t.copy, sizeof(t.copy), "%s.%s", scratch_path(dir, "copy"), config->format);
    make_parent(&t);
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t n = 1; try(&t, n, n, sticky) >= n; n += sticky ? 3 * step : step)
            tried++;
    return tried;
}

static void worker(unsigned number, unsigned of, uint64_t *tried)
{
    uint64_t step = test_number("MEMORY_STEP", 1), only = test_number("MEMORY_ONLY", UINT64_MAX);
    char dir[TEST_PATH];

    scratch_make(dir, true);
    for (size_t i = number; i < rig_config_count; i += of)
        if (rig_wanted(&rig_configs[i]) && (only == UINT64_MAX || only == i))
            *tried += try_all(dir, &rig_configs[i], step);
}

int main(void)
{
    uint64_t total = 0;
    bool failed = !processes_run("MEMORY_PROCESSES", worker, &total, 1);

    printf("%llu calls for memory or a thread failed: %s\n", (unsigned long long)total,
           failed ? "with FAILURES" : "nothing lost");
    return failed;
}
