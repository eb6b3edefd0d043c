/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that block in preadv and pwritev: the last resort, which works everywhere.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "ring.h"

#define THREADS 4

struct pool {
    pthread_t thread[THREADS];
    unsigned threads;
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool stop;
    struct piece_list todo, done;
};

static void *serve(void *arg)
{
    struct vdisk_ring *ring = arg;
    struct pool *pool = ring->state;
    struct piece *piece;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!(piece = piece_list_take(&pool->todo)) && !pool->stop)
            pthread_cond_wait(&pool->work, &pool->lock);
        if (!piece)
            break;
        pthread_mutex_unlock(&pool->lock);
        piece->result = piece_move(piece);
        pthread_mutex_lock(&pool->lock);
        piece_list_add(&pool->done, piece);
        ring_bell(ring);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void threads_close(struct vdisk_ring *ring)
{
    struct pool *pool = ring->state;

    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static int threads_open(struct vdisk_ring *ring)
{
    struct pool *pool = calloc(1, sizeof(*pool));

    if (!pool)
        return -ENOMEM;
    pool->todo.tail = &pool->todo.head;
    pool->done.tail = &pool->done.head;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    ring->state = pool;
    while (pool->threads < THREADS) {
        int err = pthread_create(&pool->thread[pool->threads], NULL, serve, ring);

        if (err && pool->threads == 0) {
            threads_close(ring);
            return -err;
        }
        if (err)
            break;
        pool->threads++;
    }
    return 0;
}

static int threads_descriptor(const struct vdisk_ring *ring)
{
    return ring->bell;
}

static void threads_start(struct vdisk_ring *ring, struct piece *piece)
{
    struct pool *pool = ring->state;

    pthread_mutex_lock(&pool->lock);
    piece_list_add(&pool->todo, piece);
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

static void threads_reap(struct vdisk_ring *ring, bool wait)
{
    struct pool *pool = ring->state;
    struct pollfd bell = {.fd = ring->bell, .events = POLLIN};
    struct piece *piece;

    if (wait)
        poll(&bell, 1, -1);
    ring_quiet(ring);
    pthread_mutex_lock(&pool->lock);
    while ((piece = piece_list_take(&pool->done)))
        ring_complete(ring, piece, piece->result);
    pthread_mutex_unlock(&pool->lock);
}

const struct ring_backend ring_threads = {
    .name = "threads",
    .open = threads_open,
    .close = threads_close,
    .descriptor = threads_descriptor,
    .start = threads_start,
    .reap = threads_reap,
};
