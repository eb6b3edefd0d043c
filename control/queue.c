/* SPDX-License-Identifier: BSD-2-Clause */
/* The thread that works, and what waits for it. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "job.h"
#include "json.h"

struct queue {
    struct control_server *server;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t work;
    struct job *running, *waiting;
    bool stop;
};

static void *run(void *arg)
{
    struct queue *queue = arg;
    struct job *job;
    json_t *reply;

    pthread_mutex_lock(&queue->lock);
    for (;;) {
        while (!queue->waiting && !queue->stop)
            pthread_cond_wait(&queue->work, &queue->lock);
        job = queue->waiting;
        if (!job)
            break;
        queue->waiting = job->next;
        queue->running = job;
        pthread_mutex_unlock(&queue->lock);
        reply = job_run(job);
        pthread_mutex_lock(&queue->lock);
        queue->running = NULL; /* before the reply: who has it may ask for the next thing */
        pthread_mutex_unlock(&queue->lock);
        server_send(queue->server, job->client, reply);
        job_free(job);
        pthread_mutex_lock(&queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

struct queue *queue_open(struct control_server *server)
{
    struct queue *queue = calloc(1, sizeof(*queue));

    if (!queue)
        return NULL;
    queue->server = server;
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->work, NULL);
    if (pthread_create(&queue->thread, NULL, run, queue) == 0)
        return queue;
    pthread_cond_destroy(&queue->work);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
    return NULL;
}

void queue_stop(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->stop = true;
    for (struct job *job = queue->waiting; job; job = job->next)
        __atomic_store_n(&job->cancel, 1, __ATOMIC_RELAXED);
    if (queue->running)
        __atomic_store_n(&queue->running->cancel, 1, __ATOMIC_RELAXED);
    pthread_cond_signal(&queue->work);
    pthread_mutex_unlock(&queue->lock);
    pthread_join(queue->thread, NULL);
}

void queue_close(struct queue *queue)
{
    pthread_cond_destroy(&queue->work);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

/* Under the lock. */
static struct job *lengthy(struct queue *queue)
{
    struct job *job = queue->running;

    if (job && job->operation->lengthy)
        return job;
    for (job = queue->waiting; job && !job->operation->lengthy; job = job->next)
        ;
    return job;
}

static unsigned percent(const struct job *job)
{
    uint64_t done = atomic_load(&job->done), total = atomic_load(&job->total);

    return total == 0 ? 0 : done >= total ? 100 : (unsigned)((double)done * 100 / (double)total);
}

int queue_put(struct queue *queue, struct job *job)
{
    struct job **end, *before;
    int err = 0;

    pthread_mutex_lock(&queue->lock);
    before = lengthy(queue);
    if (queue->stop)
        err = job_error(job, -EBUSY, "the disk is being closed");
    else if (before)
        err = job_error(job, -EBUSY, "the disk is busy with %s (%u%% done)", before->operation->name, percent(before));
    for (end = &queue->waiting; *end && err == 0; end = &(*end)->next)
        if ((*end)->client == job->client)
            err = job_error(job, -EBUSY, "a request of this client is waiting already");
    if (err == 0) {
        *end = job;
        pthread_cond_signal(&queue->work);
    }
    pthread_mutex_unlock(&queue->lock);
    return err;
}

void queue_cancel(struct queue *queue, uint64_t client)
{
    pthread_mutex_lock(&queue->lock);
    for (struct job *job = queue->waiting; job; job = job->next)
        if (job->client == client)
            __atomic_store_n(&job->cancel, 1, __ATOMIC_RELAXED);
    if (queue->running && queue->running->client == client)
        __atomic_store_n(&queue->running->cancel, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&queue->lock);
}

json_t *queue_status(struct queue *queue)
{
    json_t *status = NULL;
    struct job *job;

    pthread_mutex_lock(&queue->lock);
    job = queue->running;
    if (job)
        status = json_pack("{s:s, s:I, s:I}", "operation", job->operation->name, "done",
                           (json_int_t)atomic_load(&job->done), "total", (json_int_t)atomic_load(&job->total));
    pthread_mutex_unlock(&queue->lock);
    return status ? status : json_null();
}

void queue_say(struct queue *queue, enum vdisk_level level, const char *text)
{
    static const char *const levels[] = {"error", "warning", "note"};
    struct job *job;

    pthread_mutex_lock(&queue->lock);
    job = queue->running;
    if (job && level == VDISK_ERROR)
        job_error(job, 0, "%s", text);
    if (job && level != VDISK_ERROR)
        server_send(queue->server, job->client,
                    json_pack("{s:o*, s:{s:s, s:o}}", "id", job_id(job->id), "say", "level", levels[level], "text",
                              control_json_text(text)));
    pthread_mutex_unlock(&queue->lock);
}
