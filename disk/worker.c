/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk's workers: a few threads, started when first needed, for what may block.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine.h"

#define WORKERS 4

struct disk_worker {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_t thread[WORKERS];
    unsigned threads, idle;
    bool stop;
    struct io_list todo;
};

int worker_open(struct vdisk *disk)
{
    struct disk_worker *worker = calloc(1, sizeof(*worker));

    if (!worker)
        return -ENOMEM;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->work, NULL);
    io_list_init(&worker->todo);
    disk->worker = worker;
    return 0;
}

void worker_close(struct vdisk *disk)
{
    struct disk_worker *worker = disk->worker;

    if (!worker)
        return;
    pthread_mutex_lock(&worker->lock);
    worker->stop = true;
    pthread_cond_broadcast(&worker->work);
    pthread_mutex_unlock(&worker->lock);
    for (unsigned i = 0; i < worker->threads; i++)
        pthread_join(worker->thread[i], NULL);
    pthread_cond_destroy(&worker->work);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
    disk->worker = NULL;
}

static void *serve(void *arg)
{
    struct disk_worker *worker = arg;
    struct vdisk_io *io;

    pthread_mutex_lock(&worker->lock);
    for (;;) {
        worker->idle++;
        while (!(io = io_list_take(&worker->todo)) && !worker->stop)
            pthread_cond_wait(&worker->work, &worker->lock);
        worker->idle--;
        if (!io)
            break;
        pthread_mutex_unlock(&worker->lock);
        if (engine_block(io))
            ring_post(io->engine.ring, io);
        pthread_mutex_lock(&worker->lock);
    }
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

void worker_give(struct vdisk_io *io)
{
    struct disk_worker *worker = io->engine.disk->worker;
    bool served;

    pthread_mutex_lock(&worker->lock);
    if (worker->idle == 0 && worker->threads < WORKERS &&
        pthread_create(&worker->thread[worker->threads], NULL, serve, worker) == 0)
        worker->threads++;
    served = worker->threads > 0;
    if (served)
        io_list_add(&worker->todo, io);
    pthread_cond_signal(&worker->work);
    pthread_mutex_unlock(&worker->lock);
    if (served)
        return;
    io->engine.blocked_result = -EAGAIN; /* no thread at all: the io fails, the disk is unharmed */
    ring_post(io->engine.ring, io);
}
