/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The event loop (epoll), of the machine's main thread and of each I/O thread.
 *
 * The main loop has the machine's lock around each callback, like the bus. A loop of an I/O thread has none: what runs
 * on it touches what is its own and never takes the machine's lock, so that who holds that lock may wait for it
 * (loop_call).
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop_source {
    int fd;
    void (*ready)(struct loop_source *source); /* NULL: it only ends the wait */
    void *owner;
};

/* Called before each wait, for what has no descriptor to say so (a ring to be polled). True: do not wait, come again.
 */
struct loop_hook {
    bool (*before_wait)(void *owner);
    void *owner;
    struct loop_hook *next;
};

struct loop_call;

struct loop {
    int epoll;
    _Atomic bool stopped;
    pthread_mutex_t *lock; /* held around callbacks; NULL: none */
    struct loop_source wake;
    struct epoll_event *fetched; /* by the round that runs; what is removed is struck out */
    int fetched_count;
    struct loop_hook *hooks; /* added by the loop's own thread, or before it runs */
    pthread_mutex_t call_lock;
    struct loop_call *calls; /* under call_lock */
};

int loop_open(struct loop *loop, pthread_mutex_t *lock);
void loop_close(struct loop *loop);

/* The source stays where it is until removed. Removal: by the loop's thread or under its lock; ready is not called
 * after it. Of one that was not added it does nothing. */
int loop_add(struct loop *loop, struct loop_source *source, uint32_t events);
int loop_change(struct loop *loop, struct loop_source *source, uint32_t events);
void loop_remove(struct loop *loop, struct loop_source *source);
void loop_hook_add(struct loop *loop, struct loop_hook *hook);

void loop_run(struct loop *loop);  /* until loop_stop, also one that came before; may be run again */
void loop_stop(struct loop *loop); /* any thread, also a signal handler */

/* Runs function on the loop's thread and returns when it has. For a loop with a lock, which the caller holds, that is a
 * plain call. Not by the loop's own thread. */
void loop_call(struct loop *loop, void (*function)(void *owner), void *owner);

uint64_t loop_now(void); /* nanoseconds of the monotonic clock */

/* A timer: ready is called with the source when it has expired. */
int loop_timer_open(struct loop_source *source, void (*ready)(struct loop_source *source), void *owner);
void loop_timer_set(struct loop_source *source, uint64_t after, uint64_t every); /* nanoseconds; 0, 0: never */
void loop_timer_clear(struct loop_source *source); /* first thing in ready: how often it expired does not matter */
void loop_timer_close(struct loop_source *source);

/* An I/O thread: a loop without a lock and the thread that runs it. */
struct loop_thread {
    struct loop loop;
    pthread_t thread;
    char name[16];
};

int loop_thread_open(struct loop_thread *thread, const char *name);
void loop_thread_close(struct loop_thread *thread);

#endif
