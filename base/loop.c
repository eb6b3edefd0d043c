/* SPDX-License-Identifier: BSD-2-Clause */
/* The event loop: see loop.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

#define EVENTS_MAX 32
#define SECOND UINT64_C(1000000000)

struct loop_call {
    void (*function)(void *owner);
    void *owner;
    struct loop_call *next;
    pthread_cond_t done_cond;
    bool done; /* under call_lock */
};

static void calls_run(struct loop *loop)
{
    pthread_mutex_lock(&loop->call_lock);
    while (loop->calls) {
        struct loop_call *call = loop->calls;

        loop->calls = call->next;
        pthread_mutex_unlock(&loop->call_lock);
        call->function(call->owner);
        pthread_mutex_lock(&loop->call_lock);
        call->done = true;
        pthread_cond_signal(&call->done_cond);
    }
    pthread_mutex_unlock(&loop->call_lock);
}

static void woken(struct loop_source *source)
{
    loop_timer_clear(source);
    calls_run(source->owner);
}

int loop_open(struct loop *loop, pthread_mutex_t *lock)
{
    int err;

    memset(loop, 0, sizeof(*loop));
    loop->lock = lock;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        return -errno;
    loop->wake = (struct loop_source){eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), woken, loop};
    if (loop->wake.fd < 0) {
        err = -errno;
        goto close_epoll;
    }
    err = loop_add(loop, &loop->wake, EPOLLIN);
    if (err < 0)
        goto close_wake;
    pthread_mutex_init(&loop->call_lock, NULL);
    return 0;

close_wake:
    close(loop->wake.fd);
close_epoll:
    close(loop->epoll);
    return err;
}

void loop_close(struct loop *loop)
{
    pthread_mutex_destroy(&loop->call_lock);
    close(loop->wake.fd);
    close(loop->epoll);
}

static int control(struct loop *loop, int verb, struct loop_source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    return epoll_ctl(loop->epoll, verb, source->fd, &event) < 0 ? -errno : 0;
}

int loop_add(struct loop *loop, struct loop_source *source, uint32_t events)
{
    return control(loop, EPOLL_CTL_ADD, source, events);
}

int loop_change(struct loop *loop, struct loop_source *source, uint32_t events)
{
    return control(loop, EPOLL_CTL_MOD, source, events);
}

/* An event of the source that this round has already fetched is struck out: loop->fetched. */
void loop_remove(struct loop *loop, struct loop_source *source)
{
    struct epoll_event *fetched = loop->fetched;

    control(loop, EPOLL_CTL_DEL, source, 0);
    for (int i = 0; i < loop->fetched_count; i++)
        if (fetched[i].data.ptr == source)
            fetched[i].data.ptr = NULL;
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook)
{
    hook->next = loop->hooks;
    loop->hooks = hook;
}

static bool hooks_run(struct loop *loop)
{
    bool again = false;

    for (struct loop_hook *hook = loop->hooks; hook; hook = hook->next)
        again |= hook->before_wait(hook->owner);
    return again;
}

static void lock(struct loop *loop)
{
    if (loop->lock)
        pthread_mutex_lock(loop->lock);
}

static void unlock(struct loop *loop)
{
    if (loop->lock)
        pthread_mutex_unlock(loop->lock);
}

void loop_run(struct loop *loop)
{
    struct epoll_event events[EVENTS_MAX];

    while (!atomic_exchange(&loop->stopped, false)) {
        bool again;
        int count;

        lock(loop);
        again = hooks_run(loop);
        unlock(loop);
        count = epoll_wait(loop->epoll, events, EVENTS_MAX, again ? 0 : -1);
        lock(loop);
        loop->fetched = events;
        loop->fetched_count = count > 0 ? count : 0;
        for (int i = 0; i < count; i++) {
            struct loop_source *source = events[i].data.ptr;

            if (source && source->ready)
                source->ready(source);
        }
        loop->fetched_count = 0;
        unlock(loop);
    }
    calls_run(loop);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stopped, true);
    eventfd_write(loop->wake.fd, 1);
}

void loop_call(struct loop *loop, void (*function)(void *owner), void *owner)
{
    struct loop_call call = {.function = function, .owner = owner, .done_cond = PTHREAD_COND_INITIALIZER};

    if (loop->lock) {
        function(owner);
        return;
    }
    pthread_mutex_lock(&loop->call_lock);
    call.next = loop->calls;
    loop->calls = &call; /* cppcheck-suppress autoVariables ; it is off the list before this returns */
    eventfd_write(loop->wake.fd, 1);
    while (!call.done)
        pthread_cond_wait(&call.done_cond, &loop->call_lock);
    pthread_mutex_unlock(&loop->call_lock);
}

uint64_t loop_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

int loop_timer_open(struct loop_source *source, void (*ready)(struct loop_source *source), void *owner)
{
    *source = (struct loop_source){timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), ready, owner};
    return source->fd < 0 ? -errno : 0;
}

void loop_timer_set(struct loop_source *source, uint64_t after, uint64_t every)
{
    struct itimerspec when = {
        .it_value = {(time_t)(after / SECOND), (long)(after % SECOND)},
        .it_interval = {(time_t)(every / SECOND), (long)(every % SECOND)},
    };

    timerfd_settime(source->fd, 0, &when, NULL);
}

void loop_timer_clear(struct loop_source *source)
{
    eventfd_t times;

    eventfd_read(source->fd, &times); /* EAGAIN: it was set again meanwhile */
}

void loop_timer_close(struct loop_source *source)
{
    close(source->fd);
}

static void *thread_main(void *arg)
{
    struct loop_thread *thread = arg;

    pthread_setname_np(pthread_self(), thread->name); /* by itself: that opens no file */
    loop_run(&thread->loop);
    return NULL;
}

/* Signals are the main thread's: they are blocked in every other one. */
int loop_thread_open(struct loop_thread *thread, const char *name)
{
    sigset_t all, before;
    int err = loop_open(&thread->loop, NULL);

    if (err < 0)
        return err;
    snprintf(thread->name, sizeof(thread->name), "%s", name);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = -pthread_create(&thread->thread, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err < 0)
        loop_close(&thread->loop);
    return err;
}

void loop_thread_close(struct loop_thread *thread)
{
    loop_stop(&thread->loop);
    pthread_join(thread->thread, NULL);
    loop_close(&thread->loop);
}
