/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The threads that serve a mount. Each takes messages from the kernel into slots, submits to its own ring, and sleeps
 * until there is a message (if it has a slot for it), a completion, a granted range, or the end.
 *
 * A thread with io in flight never blocks on anything but its ring: a worker may be waiting for that io (vdisk.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/param.h>
#include <time.h>
#include <unistd.h>

#include "export.h"

#define SLOTS 32    /* a thread */
#define BATCH 4     /* messages taken before the ring is looked after: what comes together is submitted together */
#define ALONE 16    /* how often only one message is taken, after a second was looked for in vain */
#define SINGLE 64   /* messages that the first thread takes in a row before the others listen no more */
#define LOOK 50000  /* nanoseconds for which a message is looked for before sleeping */
#define REST_UNIT 16u
#define REST_MAX (1023u * REST_UNIT) /* how often it is not, at most, after that was in vain */
#define PAGE 4096u
#define SECTOR_MAX 4096u
#define HEADER 80u /* what stands before a write's bytes: struct fuse_in_header, struct fuse_write_in */

struct server {
    struct export *export;
    struct vdisk_ring *ring;
    pthread_t thread;
    struct slot slot[SLOTS], *free;
    struct slot *current; /* whose message is being handled; NULL once a request took it */
    unsigned number;      /* its place in the export's list */
    unsigned alone;       /* how often it still is so */
    unsigned single;      /* of the first: messages since another took one */
    unsigned rest, rests; /* how often it sleeps without having looked, in units, and left of that */
    bool deaf;            /* no messages come, or none are wanted, any more */
    unsigned busy;        /* slots that are not free */
    unsigned flying;      /* io between submit and done */
    int sleep_all;        /* epoll: the kernel's messages and sleep_own */
    int sleep_own;        /* epoll: ring, wake, the end */
    int wake;             /* eventfd: readable while rung */
    pthread_mutex_t lock;
    atomic_bool rung; /* granted is not empty, or it has to listen now; this and the next are changed under lock */
    struct slot *granted;
};

static __thread struct server *self;

/* ---- Slots ---- */

static int slot_allocate(struct slot *slot)
{
    slot->memory = aligned_alloc(PAGE, PAGE + EXPORT_TRANSFER + 4 * SECTOR_MAX);
    if (!slot->memory)
        return -ENOMEM;
    slot->message = slot->memory + PAGE - HEADER;
    slot->data = slot->memory + PAGE;
    slot->edge = slot->data + EXPORT_TRANSFER + 2 * SECTOR_MAX;
    return 0;
}

struct slot *server_slot(fuse_req_t req)
{
    struct slot *slot = self->current;

    self->current = NULL;
    self->busy++;
    slot->req = req;
    return slot;
}

static void slot_free(struct server *server, struct slot *slot)
{
    slot->next = server->free;
    server->free = slot;
}

void server_done(struct slot *slot)
{
    slot->server->busy--;
    slot_free(slot->server, slot);
}

/* ---- Work ---- */

static void io_done(struct vdisk_io *io, int error)
{
    struct slot *slot = (struct slot *)io;

    slot->server->flying--;
    slot->done(slot, error);
}

void server_submit(struct slot *slot)
{
    slot->server->flying++;
    slot->io.done = io_done;
    vdisk_port_submit(slot->export->port, slot->server->ring, &slot->io);
}

void server_drain(void)
{
    while (self->flying > 0)
        vdisk_ring_poll(self->ring, true);
}

static void ring_bell(int fd)
{
    uint64_t one = 1;

    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* Under its lock. */
static void server_wake(struct server *server)
{
    ring_bell(server->wake);
    atomic_store(&server->rung, true);
}

void server_granted(struct slot *slot)
{
    struct server *server = slot->server;

    pthread_mutex_lock(&server->lock);
    slot->next = server->granted;
    server->granted = slot;
    server_wake(server);
    pthread_mutex_unlock(&server->lock);
}

static void granted_go_on(struct server *server)
{
    struct slot *slot, *next;
    uint64_t count;

    if (!atomic_load(&server->rung))
        return;
    pthread_mutex_lock(&server->lock);
    while (read(server->wake, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    atomic_store(&server->rung, false);
    slot = server->granted;
    server->granted = NULL;
    pthread_mutex_unlock(&server->lock);
    for (; slot; slot = next) {
        next = slot->next;
        request_granted(slot);
    }
}

/* ---- How many listen ---- */

/*
 * Of several threads that sleep until there is a message, one too many is woken wherever the next comes before the one
 * that has answered the last sleeps again. So only the first export->listening of them sleep for it. All do as soon as
 * there is a second message beside one in work, and while there is one that may keep its thread waiting; the first
 * alone goes on when it has taken SINGLE in a row.
 */
static void all_listen(struct export *export)
{
    unsigned before = atomic_load(&export->listening);

    if (before == export->servers)
        return;
    before = atomic_exchange(&export->listening, export->servers);
    for (unsigned i = before; i < export->servers; i++) {
        struct server *server = export->server[i];

        pthread_mutex_lock(&server->lock);
        server_wake(server);
        pthread_mutex_unlock(&server->lock);
    }
}

/* Each of a pair changes one and then looks at the other: either all_listen sees that the others have stopped, or
 * listening_count that something has begun. */
void server_begin_long(struct export *export)
{
    atomic_fetch_add(&export->longs, 1);
    all_listen(export);
}

void server_end_long(struct export *export)
{
    atomic_fetch_sub(&export->longs, 1);
}

static bool listens(const struct server *server)
{
    return server->number < atomic_load(&server->export->listening);
}

/* This thread has taken a message. */
static void listening_count(struct server *server)
{
    struct export *export = server->export;

    if (server->number > 0) {
        atomic_store(&export->helped, true);
    } else if (atomic_load(&export->helped) || atomic_load(&export->longs) > 0) {
        atomic_store(&export->helped, false);
        server->single = 0;
    } else if (++server->single == SINGLE) {
        atomic_store(&export->listening, 1);
        if (atomic_load(&export->longs) > 0)
            all_listen(export);
        server->single = 0;
    }
}

/* The next message into a slot. 1: handled; 0: there is none; -ENODEV: there will be none any more. */
static int message_take(struct server *server)
{
    struct fuse_session *session = server->export->session;
    struct slot *slot = server->free;
    struct fuse_buf message;
    ssize_t n;

    do {
        n = read(fuse_session_fd(session), slot->message, HEADER + EXPORT_TRANSFER);
    } while (n < 0 && (errno == EINTR || errno == ENOENT)); /* ENOENT: the request was withdrawn meanwhile */
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    server->free = slot->next;
    server->current = slot;
    message = (struct fuse_buf){.mem = slot->message, .size = (size_t)n};
    fuse_session_process_buf(session, &message);
    if (server->current == slot) /* nobody took it: the message was answered at once */
        slot_free(server, slot);
    server->current = NULL;
    return 1;
}

static int message_next(struct server *server)
{
    int taken = message_take(server);

    if (taken > 0)
        listening_count(server);
    if (taken < 0 || fuse_session_exited(server->export->session)) {
        server->deaf = true;
        ring_bell(server->export->over);
    }
    return taken;
}

static void messages_take(struct server *server)
{
    int most = server->alone > 0 ? 1 : BATCH, taken = 1;

    if (!listens(server))
        return;
    server->alone -= server->alone > 0;
    for (int i = 0; i < most && taken > 0 && server->free && !server->deaf; i++) {
        taken = message_next(server);
        if (i == 1 && taken > 0)
            all_listen(server->export);
        else if (i == 1)
            server->alone = ALONE;
    }
}

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/*
 * Whoever waits for each answer before the next question asks it soon: to be awake then spares waking a thread, on a
 * processor that may have to be woken itself, which takes longer than all the rest of a request. True: there was one.
 * Where it is in vain one time in six it is tried less and less often: on a busy machine, whoever is answered may have to
 * wait for another processor than the one that is kept awake here.
 */
static bool look(struct server *server)
{
    uint64_t until;
    int taken;

    if (server->number != 0 || server->busy > 0 || server->deaf)
        return false;
    if (server->rests > 0) {
        server->rests--;
        return false;
    }
    until = now() + LOOK;
    do {
        taken = message_next(server);
    } while (taken == 0 && now() < until);
    if (taken != 0)
        server->rest -= (server->rest + 7) / 8;
    else
        server->rest = MIN(2 * server->rest + REST_UNIT, REST_MAX);
    server->rests = server->rest / REST_UNIT;
    return taken != 0;
}

/* Takes what there is and lets it run, until there is nothing to do but to wait. */
static void work(struct server *server)
{
    messages_take(server);
    do {
        while (server->flying > 0 && vdisk_ring_poll(server->ring, false) > 0)
            ;
        granted_go_on(server);
    } while (server->flying > 0 && vdisk_ring_poll(server->ring, false) > 0);
}

static void *serve(void *arg)
{
    struct server *server = arg;
    struct epoll_event event;

    self = server;
    for (;;) {
        work(server);
        server->deaf |= atomic_load(&server->export->stopping);
        if (server->deaf && server->busy == 0)
            return NULL;
        if (!look(server))
            epoll_wait(server->free && !server->deaf && listens(server) ? server->sleep_all : server->sleep_own, &event,
                       1, -1);
    }
}

/* ---- Start and stop ---- */

static int watch(int epoll, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int watch_all(struct server *server)
{
    int err = watch(server->sleep_own, vdisk_ring_fd(server->ring), EPOLLIN);

    if (err == 0)
        err = watch(server->sleep_own, server->wake, EPOLLIN);
    if (err == 0)
        err = watch(server->sleep_own, server->export->stop, EPOLLIN);
    if (err == 0)
        err = watch(server->sleep_all, server->sleep_own, EPOLLIN);
    if (err == 0) /* one message wakes one thread */
        err = watch(server->sleep_all, fuse_session_fd(server->export->session), EPOLLIN | EPOLLEXCLUSIVE);
    return err;
}

static void server_close(struct server *server)
{
    for (unsigned i = 0; i < SLOTS; i++)
        free(server->slot[i].memory);
    close(server->sleep_all);
    close(server->sleep_own);
    close(server->wake);
    vdisk_ring_close(server->ring);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

static int server_open(struct export *export, struct server **out)
{
    struct server *server = calloc(1, sizeof(*server));
    int err;

    if (!server)
        return -ENOMEM;
    server->export = export;
    pthread_mutex_init(&server->lock, NULL);
    server->sleep_all = epoll_create1(EPOLL_CLOEXEC);
    server->sleep_own = epoll_create1(EPOLL_CLOEXEC);
    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = server->sleep_all < 0 || server->sleep_own < 0 || server->wake < 0 ? -errno : 0;
    if (err == 0)
        err = vdisk_ring_open(0, VDISK_BACKEND_CACHED, &server->ring);
    for (unsigned i = 0; i < SLOTS && err == 0; i++) {
        server->slot[i].server = server;
        server->slot[i].export = export;
        err = slot_allocate(&server->slot[i]);
        slot_free(server, &server->slot[i]);
    }
    if (err == 0)
        err = watch_all(server);
    if (err < 0) {
        server_close(server);
        return err;
    }
    *out = server;
    return 0;
}

/* As many as there shall be, or as can be. */
static int servers_open(struct export *export)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned want = processors < 2 ? 2 : (unsigned)MIN(processors, EXPORT_SERVERS);
    int err = 0;

    while (export->servers < want && err == 0) {
        struct server *server;

        err = server_open(export, &server);
        if (err < 0)
            break;
        server->number = export->servers;
        export->server[export->servers++] = server;
    }
    return export->servers > 0 ? 0 : err;
}

int server_start(struct export *export)
{
    int fd = fuse_session_fd(export->session), err = 0;

    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        return -errno;
    err = servers_open(export);
    atomic_store(&export->listening, export->servers);
    while (export->threads < export->servers && err == 0) {
        struct server *server = export->server[export->threads];

        err = -pthread_create(&server->thread, NULL, serve, server);
        export->threads += err == 0;
    }
    if (export->threads > 0)
        return 0; /* fewer than wanted serve as well */
    server_stop(export);
    return err;
}

void server_stop(struct export *export)
{
    atomic_store(&export->stopping, true);
    ring_bell(export->stop); /* nobody reads it: it rings for all */
    for (unsigned i = 0; i < export->threads; i++)
        pthread_join(export->server[i]->thread, NULL);
    for (unsigned i = 0; i < export->servers; i++)
        server_close(export->server[i]);
    export->servers = export->threads = 0;
}
