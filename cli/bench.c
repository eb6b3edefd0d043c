/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdisk bench: how fast is a disk, driven as an exporter or a machine drives it.
 *
 * Each thread has a ring and a row of requests; one that is done is measured and lent again. With --fsync a thread waits
 * until its requests are done, flushes, and goes on. Threads share nothing but the disk while they run.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/histogram.h"
#include "cli/json.h"

#define SECOND UINT64_C(1000000000)
#define THREADS_MAX 256

static struct {
    const char *rw, *backend;
    uint64_t bs, iodepth, threads, runtime, ramp, ios, fsync, offset, size, step, mix, seed;
    bool json, direct;
} given = {.rw = "randread", .backend = "auto", .bs = 4096, .iodepth = 1, .threads = 1, .runtime = CLI_NONE,
           .ios = CLI_NONE, .size = CLI_NONE, .mix = 50, .seed = 1};

static const struct cli_option options[] = {
    {"rw", CLI_TEXT, "PATTERN", &given.rw,
     "randread (the default), read; these WRITE over the disk's content:\nrandwrite, write, randrw, rw"},
    {"bs", CLI_SIZE, "SIZE", &given.bs, "of a request; otherwise 4K"},
    {"iodepth", CLI_SIZE, "N", &given.iodepth, "requests in flight, each thread; otherwise 1"},
    {"threads", CLI_SIZE, "N", &given.threads, "each with a ring of its own; otherwise 1"},
    {"runtime", CLI_SIZE, "SECONDS", &given.runtime, "otherwise 5, or until --number-ios"},
    {"ramp-time", CLI_SIZE, "SECONDS", &given.ramp, "before it: not measured"},
    {"number-ios", CLI_SIZE, "N", &given.ios, "ends a thread after so many requests"},
    {"fsync", CLI_SIZE, "N", &given.fsync, "flush after every N writes of a thread, with nothing else in flight"},
    {"rwmixread", CLI_SIZE, "PERCENT", &given.mix, "reads in randrw and rw; otherwise 50"},
    {"offset", CLI_SIZE, "N", &given.offset, "where the part that is used begins"},
    {"size", CLI_SIZE, "N", &given.size, "of that part; otherwise to the end of the disk"},
    {"step", CLI_SIZE, "N", &given.step, "from one sequential request to the next; otherwise --bs"},
    {"seed", CLI_SIZE, "N", &given.seed, "of the random offsets; otherwise 1"},
    {"direct", CLI_FLAG, NULL, &given.direct, "past the page cache (O_DIRECT)"},
    {"backend", CLI_TEXT, "NAME", &given.backend, "auto, io_uring, libaio, threads, inline or cached"},
    {"json", CLI_FLAG, NULL, &given.json, "print one JSON object"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static const struct pattern {
    const char *name;
    bool random, reads, writes;
} patterns[] = {
    {"randread", true, true, false}, {"read", false, true, false}, {"randwrite", true, false, true},
    {"write", false, false, true},   {"randrw", true, true, true}, {"rw", false, true, true},
};

static const char *const backends[] = {
    [VDISK_BACKEND_AUTO] = "auto",
    [VDISK_BACKEND_URING] = "io_uring",
    [VDISK_BACKEND_AIO] = "libaio",
    [VDISK_BACKEND_THREADS] = "threads",
    [VDISK_BACKEND_INLINE] = "inline",
    [VDISK_BACKEND_CACHED] = "cached",
};

struct load;

struct thread {
    struct load *load;
    pthread_t id;
    struct vdisk_ring *ring;
    struct request *request, *parked; /* parked: waiting for the flush */
    char *memory;
    uint64_t random;          /* state of the generator */
    uint64_t next, end;       /* sequential: of this thread's part */
    uint64_t begin;
    uint64_t left;            /* requests to begin */
    uint64_t since_flush;     /* writes */
    unsigned flying;
    bool stop;
    int error;
    struct histogram reads, writes, flushes;
};

struct request {
    struct vdisk_io io; /* first: done finds the request by it */
    struct iovec iov;
    struct thread *thread;
    struct request *next;
    uint64_t began;
};

/* What all threads run. */
struct load {
    struct vdisk *disk;
    const struct pattern *pattern;
    enum vdisk_backend backend;
    uint64_t begin, size, step;
    uint64_t measured, deadline, ended; /* nanoseconds: from when on, until when, and when it was over */
    pthread_mutex_t start; /* held until all threads are there */
    struct thread *thread;
};

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

/* ---- A thread's requests ---- */

/* xorshift64*, scaled to below limit. */
static uint64_t below(struct thread *thread, uint64_t limit)
{
    thread->random ^= thread->random >> 12;
    thread->random ^= thread->random << 25;
    thread->random ^= thread->random >> 27;
    return (uint64_t)((unsigned __int128)(thread->random * UINT64_C(2685821657736338717)) * limit >> 64);
}

static uint64_t next_offset(struct thread *thread)
{
    const struct load *load = thread->load;
    uint64_t at = thread->next;

    if (load->pattern->random)
        return load->begin + below(thread, load->size / given.bs) * given.bs;
    thread->next = at + load->step;
    if (thread->next > thread->end - given.bs)
        thread->next = thread->begin;
    return at;
}

static void request_done(struct vdisk_io *io, int error);

static void lend(struct request *request, enum vdisk_op op, uint64_t offset, uint64_t length)
{
    struct thread *thread = request->thread;

    request->io.op = op;
    request->io.offset = offset;
    request->io.length = length;
    thread->flying++;
    vdisk_submit(thread->load->disk, thread->ring, &request->io);
}

/* The request goes on: into the next read or write, or to wait for a flush. */
static void go_on(struct request *request)
{
    struct thread *thread = request->thread;
    const struct pattern *pattern = thread->load->pattern;
    bool write = pattern->writes && (!pattern->reads || below(thread, 100) >= given.mix);

    if (given.fsync > 0 && thread->since_flush == given.fsync) {
        request->next = thread->parked;
        thread->parked = request;
        return;
    }
    if (thread->left == 0)
        return;
    thread->left--;
    thread->since_flush += write;
    lend(request, write ? VDISK_WRITE : VDISK_READ, next_offset(thread), given.bs);
}

/* Nothing is in flight: the flush, by one of those that wait for it. */
static void flush(struct thread *thread)
{
    struct request *request = thread->parked;

    thread->parked = request->next;
    request->began = now();
    lend(request, VDISK_FLUSH, 0, 0);
}

static void unpark(struct thread *thread, uint64_t time)
{
    struct request *list = thread->parked;

    thread->parked = NULL;
    thread->since_flush = 0;
    while (list) {
        struct request *request = list;

        list = request->next;
        request->began = time;
        go_on(request);
    }
}

static void request_done(struct vdisk_io *io, int error)
{
    struct request *request = (struct request *)io;
    struct thread *thread = request->thread;
    uint64_t time = now();

    thread->flying--;
    if (error && !thread->error)
        thread->error = error;
    if (time >= thread->load->measured)
        histogram_add(io->op == VDISK_READ    ? &thread->reads
                      : io->op == VDISK_WRITE ? &thread->writes
                                              : &thread->flushes,
                      time - request->began);
    thread->stop = thread->stop || thread->error || time >= thread->load->deadline || cli_cancel;
    if (thread->stop)
        return;
    request->began = time;
    if (io->op == VDISK_FLUSH)
        unpark(thread, time);
    go_on(request);
    if (thread->parked && thread->flying == 0)
        flush(thread);
}

static void *thread_run(void *arg)
{
    struct thread *thread = arg;

    pthread_mutex_lock(&thread->load->start);
    pthread_mutex_unlock(&thread->load->start);
    for (uint64_t i = 0; i < given.iodepth; i++) {
        thread->request[i].began = now();
        go_on(&thread->request[i]);
    }
    if (thread->parked && thread->flying == 0)
        flush(thread);
    while (thread->flying > 0)
        vdisk_ring_poll(thread->ring, true);
    return NULL;
}

/* ---- All threads ---- */

static int thread_open(struct load *load, struct thread *thread, uint64_t number)
{
    uint64_t part = load->size / given.threads;
    int err;

    part -= part % given.bs;
    thread->load = load;
    thread->random = (given.seed + number) * UINT64_C(0x9E3779B97F4A7C15) | 1;
    thread->begin = thread->next = load->begin + number * part;
    thread->end = thread->begin + part;
    thread->left = given.ios;
    err = vdisk_ring_open((unsigned)given.iodepth, load->backend, &thread->ring);
    if (err < 0)
        return err;
    thread->request = calloc(given.iodepth, sizeof(*thread->request));
    thread->memory = aligned_alloc(4096, (given.iodepth * given.bs + 4095) / 4096 * 4096);
    if (!thread->request || !thread->memory)
        return -ENOMEM;
    for (uint64_t i = 0; i < given.iodepth * given.bs / 8; i++)
        ((uint64_t *)thread->memory)[i] = below(thread, UINT64_MAX) | 1; /* nothing that could pass for zeros */
    for (uint64_t i = 0; i < given.iodepth; i++) {
        struct request *request = &thread->request[i];

        request->thread = thread;
        request->iov = (struct iovec){thread->memory + i * given.bs, given.bs};
        request->io.iov = &request->iov;
        request->io.iovcnt = 1;
        request->io.done = request_done;
    }
    return 0;
}

static void thread_close(struct thread *thread)
{
    vdisk_ring_close(thread->ring);
    free(thread->request);
    free(thread->memory);
}

/* Threads are made first and then begin together. One that cannot be made keeps all from beginning. */
static int run_threads(struct load *load)
{
    uint64_t created = 0;
    int err = 0;

    pthread_mutex_init(&load->start, NULL);
    pthread_mutex_lock(&load->start);
    for (; created < given.threads && err == 0; created += err == 0)
        err = -pthread_create(&load->thread[created].id, NULL, thread_run, &load->thread[created]);
    for (uint64_t i = 0; i < created && err < 0; i++)
        load->thread[i].left = 0;
    load->measured = now() + given.ramp * SECOND;
    load->deadline = given.runtime == CLI_NONE ? UINT64_MAX : load->measured + given.runtime * SECOND;
    pthread_mutex_unlock(&load->start);
    for (uint64_t i = 0; i < created; i++)
        pthread_join(load->thread[i].id, NULL);
    load->ended = now();
    pthread_mutex_destroy(&load->start);
    for (uint64_t i = 0; i < created && err == 0; i++)
        err = load->thread[i].error;
    return err == 0 && cli_cancel ? -ECANCELED : err;
}

/* ---- The report ---- */

static const struct {
    const char *name;
    unsigned parts; /* of 100000 */
} quantiles[] = {{"p50", 50000}, {"p90", 90000}, {"p99", 99000}, {"p99.9", 99900}, {"p99.99", 99990}};

static void latency_json(json_t *into, const char *name, const struct histogram *h)
{
    json_t *object = json_pack("{s:I, s:I, s:I}", "min", (json_int_t)h->min, "mean",
                               (json_int_t)(h->count ? h->sum / h->count : 0), "max", (json_int_t)h->max);

    for (size_t i = 0; i < sizeof(quantiles) / sizeof(*quantiles); i++)
        json_object_set_new(object, quantiles[i].name,
                            json_integer((json_int_t)histogram_quantile(h, quantiles[i].parts)));
    json_object_set_new(into, name, object);
}

static void report_json(const struct load *load, const struct histogram *all, const struct thread *sum, double seconds)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I}", "format", vdisk_format(load->disk), "type",
                               vdisk_type(load->disk), "backend", vdisk_ring_backend(load->thread[0].ring), "rw",
                               load->pattern->name, "direct", given.direct, "bs", (json_int_t)given.bs, "iodepth",
                               (json_int_t)given.iodepth, "threads", (json_int_t)given.threads);

    json_object_set_new(object, "file", cli_json_text(vdisk_path(load->disk)));
    json_object_set_new(object, "seconds", json_real(seconds));
    json_object_set_new(object, "reads", json_integer((json_int_t)sum->reads.count));
    json_object_set_new(object, "writes", json_integer((json_int_t)sum->writes.count));
    json_object_set_new(object, "flushes", json_integer((json_int_t)sum->flushes.count));
    json_object_set_new(object, "iops", json_real((double)all->count / seconds));
    json_object_set_new(object, "bytes_per_second", json_real((double)(all->count * given.bs) / seconds));
    latency_json(object, "latency_ns", all);
    if (sum->flushes.count > 0)
        latency_json(object, "flush_latency_ns", &sum->flushes);
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(object);
}

static void latency_text(const char *name, const struct histogram *h)
{
    printf("  %s, us: mean %.1f", name, h->count ? (double)h->sum / (double)h->count / 1e3 : 0);
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(*quantiles); i++)
        printf(", %s %.1f", quantiles[i].name, (double)histogram_quantile(h, quantiles[i].parts) / 1e3);
    printf(", max %.1f\n", (double)h->max / 1e3);
}

static void report_text(const struct load *load, const struct histogram *all, const struct thread *sum, double seconds)
{
    char size[32], rate[32];

    cli_put_text(stdout, vdisk_path(load->disk));
    printf(": %s of %s, depth %" PRIu64 ", %" PRIu64 " thread%s, %s%s, %.2f s\n", load->pattern->name,
           cli_size_text(size, given.bs), given.iodepth, given.threads, given.threads == 1 ? "" : "s",
           vdisk_ring_backend(load->thread[0].ring), given.direct ? ", direct" : "", seconds);
    printf("  %.0f requests/s, %s/s (%" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64 " flushes)\n",
           (double)all->count / seconds, cli_size_text(rate, (uint64_t)((double)(all->count * given.bs) / seconds)),
           sum->reads.count, sum->writes.count, sum->flushes.count);
    latency_text("latency", all);
    if (sum->flushes.count > 0)
        latency_text("flush", &sum->flushes);
}

static void report(struct load *load)
{
    static struct histogram all; /* reads and writes */
    static struct thread sum;
    double seconds = load->ended > load->measured ? (double)(load->ended - load->measured) / (double)SECOND : 1e-9;

    for (uint64_t i = 0; i < given.threads; i++) {
        histogram_merge(&sum.reads, &load->thread[i].reads);
        histogram_merge(&sum.writes, &load->thread[i].writes);
        histogram_merge(&sum.flushes, &load->thread[i].flushes);
    }
    histogram_merge(&all, &sum.reads);
    histogram_merge(&all, &sum.writes);
    (given.json ? report_json : report_text)(load, &all, &sum, seconds);
}

/* ---- The command ---- */

/* Everything that can be refused before the disk is open. */
static int options_parse(struct cli *cli, struct load *load)
{
    for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++)
        if (strcmp(patterns[i].name, given.rw) == 0)
            load->pattern = &patterns[i];
    if (!load->pattern)
        return cli_fail(cli, "--rw %s: it is randread, randwrite, read, write, randrw or rw", given.rw);
    load->backend = VDISK_BACKEND_AUTO;
    while (load->backend <= VDISK_BACKEND_CACHED && strcmp(backends[load->backend], given.backend) != 0)
        load->backend++;
    if (load->backend > VDISK_BACKEND_CACHED)
        return cli_fail(cli, "--backend %s: it is auto, io_uring, libaio, threads, inline or cached", given.backend);
    if (given.bs == 0 || given.bs > 1 << 30)
        return cli_fail(cli, "--bs: from one sector to 1 GiB");
    if (given.iodepth == 0 || given.iodepth > 4096)
        return cli_fail(cli, "--iodepth: from 1 to 4096");
    if (given.threads == 0 || given.threads > THREADS_MAX)
        return cli_fail(cli, "--threads: from 1 to %d", THREADS_MAX);
    if (given.mix > 100)
        return cli_fail(cli, "--rwmixread: from 0 to 100");
    if (given.runtime == CLI_NONE && given.ios == CLI_NONE)
        given.runtime = 5;
    if (given.runtime != CLI_NONE && (given.runtime == 0 || given.runtime > 1000000))
        return cli_fail(cli, "--runtime: from 1 to 1000000 seconds");
    if (given.ramp > 1000000)
        return cli_fail(cli, "--ramp-time: at most 1000000 seconds");
    return 0;
}

/* The part of the disk that is used. */
static int range_parse(struct cli *cli, struct load *load)
{
    uint64_t size = vdisk_size(load->disk), sector = vdisk_sector_size(load->disk);

    if (given.bs % sector || given.offset % sector || given.step % sector)
        return cli_fail(cli, "%s: --bs, --offset and --step are multiples of its sectors of %" PRIu64 " bytes",
                        vdisk_path(load->disk), sector);
    if (given.offset > size || (given.size != CLI_NONE && given.size > size - given.offset))
        return cli_fail(cli, "%s: --offset and --size end beyond the disk", vdisk_path(load->disk));
    load->begin = given.offset;
    load->size = given.size == CLI_NONE ? size - given.offset : given.size;
    load->step = given.step ? given.step : given.bs;
    if (load->size / given.threads < given.bs || load->step > load->size)
        return cli_fail(cli, "%s: the part that is used is too small for --bs, --step and --threads",
                        vdisk_path(load->disk));
    return 0;
}

static int bench(struct cli *cli, struct load *load)
{
    int err = 0;

    load->thread = calloc(given.threads, sizeof(*load->thread));
    if (!load->thread)
        return cli_error(cli, vdisk_path(load->disk), -ENOMEM);
    for (uint64_t i = 0; i < given.threads && err == 0; i++)
        err = thread_open(load, &load->thread[i], i);
    if (err == 0)
        err = run_threads(load);
    if (err == 0)
        report(load);
    for (uint64_t i = 0; i < given.threads; i++)
        thread_close(&load->thread[i]);
    free(load->thread);
    return err < 0 ? cli_error(cli, vdisk_path(load->disk), err) : EXIT_SUCCESS;
}

static int run(struct cli *cli, char **operand)
{
    struct load load = {0};
    int err, status = options_parse(cli, &load);

    if (status != 0)
        return status;
    err = cli_open(cli, operand[0],
                   (load.pattern->writes ? VDISK_OPEN_WRITE : 0) | (given.direct ? VDISK_OPEN_DIRECT : 0), &load.disk);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    status = range_parse(cli, &load);
    if (status == 0)
        status = bench(cli, &load);
    err = vdisk_close(load.disk);
    return status == 0 && err < 0 ? cli_error(cli, operand[0], err) : status;
}

const struct cli_command cli_bench = {
    .name = "bench",
    .summary = "measure how fast a disk is",
    .operands = "FILE",
    .description = "Read or write for a time, and print requests a second, bytes a second and latencies. Nothing is written\n"
                   "unless --rw names a pattern that writes: such a pattern DESTROYS THE CONTENT of the disk.",
    .examples = "vdisk bench disk.vhdx --iodepth 32\n"
                "vdisk bench disk.vhdx --rw read --bs 1M --iodepth 8 --direct\n"
                "vdisk bench scratch.vhdx --rw randwrite --iodepth 32 --fsync 64 --json",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
