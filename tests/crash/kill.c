/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kill -9. A process writes to a disk and is killed at some moment; then the file opens, checks clean, and holds what the
 * process was told is flushed, or what it wrote after that. The same file goes on to the next process. Once as a program
 * on the library, which leaves in shared memory what it was told, and once as `vdisk write`, whose exit status is what
 * it says.
 *
 * KILL_ROUNDS: how many processes are killed (default 300); KILL_SEED.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/rig.h"

#define SECTORS_MAX 18432u
#define OPS_MAX 64u
#define LONGEST 64u /* sectors */

struct op {
    uint64_t first, count;
    uint32_t value;
};

/* What the writer was told. An op is in the list before it is submitted; after a flush the list goes into durable. */
struct told {
    _Atomic uint32_t durable[SECTORS_MAX];
    struct op op[OPS_MAX];
    _Atomic unsigned ops;
    _Atomic uint32_t generation;
    _Atomic uint64_t flushes;
};

struct scene {
    const struct rig_config *config;
    struct content content;
    struct told *told;
    struct vdisk_ring *ring;
    struct rng rng;
    struct messages messages;
    char path[TEST_PATH], parent[TEST_PATH], input[TEST_PATH];
    uint32_t *values;
    uint64_t killed, flushes;
};

static const char *const types[] = {"fixed", "dynamic", "differencing"};

static void make(struct scene *s, const char *path, const char *type, const char *parent)
{
    struct vdisk_create_options o = {.flags = VDISK_CREATE_OVERWRITE,
                                     .format = s->config->format,
                                     .type = type,
                                     .size = s->config->size,
                                     .block_size = s->config->block_size,
                                     .sector_size = s->config->sector_size,
                                     .parent = parent,
                                     .log = messages_log(&s->messages)};
    struct vdisk *disk;

    test_ok(vdisk_create(path, &o, &disk));
    test_ok(vdisk_commit(disk));
}

static struct vdisk *open_disk(struct scene *s, unsigned flags)
{
    struct vdisk_open_options how = {.flags = flags, .log = messages_log(&s->messages)};
    struct vdisk *disk;

    test_ok(vdisk_open(s->path, &how, &disk));
    return disk;
}

/* ---- The writer that will be killed ---- */

static void flushed(struct told *told)
{
    for (unsigned i = 0; i < told->ops; i++)
        for (uint64_t k = 0; k < told->op[i].count; k++)
            told->durable[told->op[i].first + k] = told->op[i].value;
    told->ops = 0;
    told->flushes++;
}

static void write_for_ever(struct scene *s)
{
    uint64_t unit = s->config->sector_size, per = s->config->block_size / unit;
    uint8_t *buffer = aligned_alloc(4096, LONGEST * 4096);
    struct told *told = s->told;
    struct vdisk *disk;

    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &s->ring));
    disk = open_disk(s, VDISK_OPEN_WRITE);
    for (;;) {
        struct op *op = &told->op[told->ops];
        bool zero = rng_below(&s->rng, 6) == 0;

        if (told->ops == OPS_MAX || rng_below(&s->rng, 8) == 0) {
            test_ok(vdisk_transfer(disk, s->ring, VDISK_FLUSH, NULL, 0, 0));
            flushed(told);
            continue;
        }
        op->first = rng_below(&s->rng, s->content.sectors);
        op->count = 1 + rng_below(&s->rng, LONGEST);
        if (zero && rng_below(&s->rng, 2)) { /* a whole block */
            op->first -= op->first % per;
            op->count = per;
        }
        if (op->count > s->content.sectors - op->first)
            op->count = s->content.sectors - op->first;
        op->value = zero ? 0 : ++told->generation;
        told->ops++;
        s->content.generation = told->generation;
        if (!zero)
            content_fill(&s->content, buffer, op->first, op->count, op->value);
        test_ok(vdisk_transfer(disk, s->ring, zero ? VDISK_ZERO : VDISK_WRITE, buffer, op->first * unit,
                               op->count * unit));
    }
}

/* ---- What is left ---- */

static void read_values(struct scene *s, unsigned flags, uint32_t *values)
{
    uint64_t unit = s->config->sector_size;
    struct vdisk *disk = open_disk(s, flags);
    static _Alignas(4096) uint8_t buffer[1 << 16];

    for (uint64_t n = 0; n < s->content.sectors;) {
        uint64_t count = sizeof(buffer) / unit;

        if (count > s->content.sectors - n)
            count = s->content.sectors - n;
        test_ok(vdisk_transfer(disk, s->ring, VDISK_READ, buffer, n * unit, count * unit));
        for (uint64_t i = 0; i < count; i++)
            values[n + i] = content_decode(&s->content, buffer + i * unit, n + i);
        n += count;
    }
    test_ok(vdisk_close(disk));
}

static bool possible(const struct told *told, uint64_t sector, uint32_t value)
{
    if (value == told->durable[sector])
        return true;
    for (unsigned i = 0; i < told->ops; i++)
        if (sector - told->op[i].first < told->op[i].count && value == told->op[i].value)
            return true;
    return false;
}

static void verify(struct scene *s)
{
    uint32_t *again = calloc(s->content.sectors, sizeof(*again));

    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &s->ring));
    s->content.generation = s->told->generation;
    read_values(s, 0, s->values);
    for (uint64_t n = 0; n < s->content.sectors; n++)
        if (!possible(s->told, n, s->values[n]))
            test_fail("%s %s: sector %llu holds %#x, was flushed as %#x", s->config->format, types[s->config->type],
                      (unsigned long long)n, s->values[n], s->told->durable[n]);
    read_values(s, VDISK_OPEN_WRITE, again);
    if (memcmp(again, s->values, s->content.sectors * sizeof(*again)) != 0)
        test_fail("%s: opening for writing changed what it holds", s->config->format);
    if (vdisk_check(s->path, NULL, NULL, messages_fault, &s->messages))
        test_fail("%s: check: %s", s->config->format, s->messages.fault);
    for (uint64_t n = 0; n < s->content.sectors; n++)
        s->told->durable[n] = s->values[n];
    s->told->ops = 0;
    vdisk_ring_close(s->ring);
    free(again);
}

/* Lets a process live for a while. Did it end by itself, with success? */
static bool kill_after(struct scene *s, pid_t child, unsigned microseconds)
{
    int status;

    usleep((useconds_t)rng_below(&s->rng, microseconds));
    kill(child, SIGKILL);
    test_true(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        test_fail("%s: the writer ended with status %d", s->config->format, WEXITSTATUS(status));
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
        test_fail("%s: the writer ended by signal %d", s->config->format, WTERMSIG(status));
    s->killed += WIFSIGNALED(status);
    return WIFEXITED(status);
}

static void kill_library(struct scene *s)
{
    pid_t child;

    fflush(NULL);
    rng_next(&s->rng);
    child = fork();
    test_true(child >= 0);
    if (child == 0)
        write_for_ever(s);
    kill_after(s, child, 12000);
    verify(s);
}

static void kill_program(struct scene *s, const char *program)
{
    uint64_t unit = s->config->sector_size, first = rng_below(&s->rng, s->content.sectors);
    uint64_t count = 1 + rng_below(&s->rng, s->content.sectors - first);
    struct op op = {first, count, s->told->generation + 1};
    uint8_t *bytes = malloc(count * unit);
    char offset[32];
    pid_t child;
    int fd;

    s->content.generation = ++s->told->generation;
    content_fill(&s->content, bytes, first, count, op.value);
    fd = open(s->input, O_RDWR | O_CREAT | O_TRUNC, 0600);
    test_true(fd >= 0 && write(fd, bytes, count * unit) == (ssize_t)(count * unit) && lseek(fd, 0, SEEK_SET) == 0);
    free(bytes);
    snprintf(offset, sizeof(offset), "%llu", (unsigned long long)(first * unit));
    s->told->op[0] = op;
    s->told->ops = 1;
    fflush(NULL);
    child = fork();
    test_true(child >= 0);
    if (child == 0) {
        dup2(fd, STDIN_FILENO);
        execl(program, program, "write", s->path, "--offset", offset, "--quiet", (char *)NULL);
        _exit(127);
    }
    close(fd);
    if (kill_after(s, child, 15000))
        flushed(s->told); /* status 0: all of it is durable */
    verify(s);
}

static void session(struct scene *s, const struct rig_config *config, const char *dir, unsigned rounds)
{
    const char *program = getenv("VDISK");
    bool child = config->type == DISK_DIFFERENCING;

    s->config = config;
    snprintf(s->path, sizeof(s->path), "%s.%s", scratch_path(dir, "disk"), config->format);
    snprintf(s->parent, sizeof(s->parent), "%s.%s", scratch_path(dir, "parent"), config->format);
    snprintf(s->input, sizeof(s->input), "%s", scratch_path(dir, "input"));
    memset((void *)s->told, 0, sizeof(*s->told));
    content_open(&s->content, config->size, config->sector_size);
    test_true(s->content.sectors <= SECTORS_MAX);
    s->values = calloc(s->content.sectors, sizeof(*s->values));
    if (child)
        make(s, s->parent, "dynamic", NULL);
    make(s, s->path, types[config->type], child ? s->parent : NULL);
    for (unsigned i = 0; i < rounds; i++)
        if (program && *program && i % 3 == 2)
            kill_program(s, program);
        else
            kill_library(s);
    s->flushes += s->told->flushes;
    content_close(&s->content);
    free(s->values);
}

static void worker(unsigned number, unsigned of, uint64_t *counts)
{
    unsigned rounds = (unsigned)test_number("KILL_ROUNDS", 300) / (unsigned)rig_config_count;
    struct scene s = {.messages = MESSAGES_INIT};
    char dir[TEST_PATH];

    scratch_make(dir, true);
    s.messages.echo = true;
    s.told = mmap(NULL, sizeof(*s.told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    test_true(s.told != MAP_FAILED);
    rng_seed(&s.rng, test_number("KILL_SEED", 1) + number);
    for (size_t i = number; i < rig_config_count; i += of)
        session(&s, &rig_configs[i], dir, rounds ? rounds : 1);
    counts[0] = s.killed;
    counts[1] = s.flushes;
}

int main(void)
{
    uint64_t counts[2] = {0};
    bool failed = !processes_run("KILL_PROCESSES", worker, counts, 2);

    printf("%llu processes killed, %llu flushes acknowledged before: %s\n", (unsigned long long)counts[0],
           (unsigned long long)counts[1], failed ? "with LOSSES" : "nothing lost");
    return failed;
}
