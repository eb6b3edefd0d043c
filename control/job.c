/* SPDX-License-Identifier: BSD-2-Clause */
/* A request from its text to its reply. */
#include "job.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"

#define TELL_EVERY 100000000 /* nanoseconds between two messages of progress */

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int job_error(struct job *job, int error, const char *format, ...)
{
    va_list args;

    pthread_mutex_lock(&job->lock);
    if (!job->error[0]) {
        va_start(args, format);
        vsnprintf(job->error, sizeof(job->error), format, args);
        va_end(args);
    }
    pthread_mutex_unlock(&job->lock);
    return error;
}

int job_arguments(struct job *job, const char *format, ...)
{
    json_error_t error;
    va_list args;
    int failed;

    va_start(args, format);
    failed = json_vunpack_ex(job->request, &error, JSON_STRICT, format, args);
    va_end(args);
    return failed ? job_error(job, -EINVAL, "%s: %s", job->operation->name, error.text) : 0;
}

/* Called by one thread at a time. */
static void step(void *arg, uint64_t done, uint64_t total)
{
    struct job *job = arg;
    int64_t time = now();

    atomic_store(&job->done, done);
    atomic_store(&job->total, total);
    if (time - job->told < TELL_EVERY)
        return;
    job->told = time;
    server_send(job->server, job->client,
                json_pack("{s:o*, s:{s:I, s:I}}", "id", job_id(job->id), "progress", "done", (json_int_t)done, "total",
                          (json_int_t)total));
}

json_t *job_id(const char *id)
{
    return id ? json_loads(id, JSON_DECODE_ANY, NULL) : NULL;
}

static json_t *refusal(const char *id, int error, const char *text)
{
    return json_pack("{s:o*, s:o, s:s}", "id", job_id(id), "error", control_json_text(text), "errno",
                     strerrorname_np(-error));
}

void job_refuse(struct control_server *server, uint64_t client, const char *id, int error, const char *text)
{
    server_send(server, client, refusal(id, error, text));
}

/* The members that every request has go; the operation's own stay. */
static int parse(struct job *job)
{
    const struct control_holder *holder = server_holder(job->server);
    json_t *request = job->request, *version = json_object_get(request, "version");
    const char *name = json_string_value(json_object_get(request, "do"));

    if (!json_is_integer(version))
        return job_error(job, -EINVAL, "the request has no version (%d)", CONTROL_VERSION);
    if (json_integer_value(version) != CONTROL_VERSION)
        return job_error(job, -EPROTO, "version %lld of the protocol is asked for, %d is spoken here",
                         (long long)json_integer_value(version), CONTROL_VERSION);
    if (!name)
        return job_error(job, -EINVAL, "the request does not say what to do");
    job->operation = operation_find(name);
    if (!job->operation)
        return job_error(job, -EOPNOTSUPP, "there is no operation '%s'", name);
    if (holder->file && !job->operation->nameless)
        return job_error(job, -EOPNOTSUPP, "%s: %s: not of an overlay, which has no name and goes with its mount",
                         holder->file, name);
    json_object_del(request, "version");
    json_object_del(request, "id");
    json_object_del(request, "do");
    return 0;
}

int job_new(struct control_server *server, uint64_t client, json_t *request, struct job **out)
{
    struct job *job = calloc(1, sizeof(*job));
    json_t *id;
    int err;

    if (!job) {
        json_decref(request);
        return -ENOMEM;
    }
    pthread_mutex_init(&job->lock, NULL);
    job->server = server;
    job->client = client;
    job->request = request;
    id = json_object_get(request, "id");
    job->id = id ? json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    job->progress = (struct vdisk_progress){.step = step, .arg = job, .cancel = &job->cancel};
    err = parse(job);
    if (err < 0) {
        job_refuse(server, client, job->id, err, job->error);
        job_free(job);
        return err;
    }
    *out = job;
    return 0;
}

json_t *job_run(struct job *job)
{
    const struct control_holder *holder = server_holder(job->server);
    struct vdisk_port *port = server_port(job->server);
    uint64_t size = vdisk_port_size(port);
    json_t *result = NULL;
    int err = __atomic_load_n(&job->cancel, __ATOMIC_RELAXED) ? -ECANCELED : job->operation->run(job, &result);

    if (!job->operation->instant)
        server_follow(job->server);
    if (holder->resized && vdisk_port_size(port) != size && !job->operation->instant)
        holder->resized(holder->arg);
    if (err == 0)
        return json_pack("{s:o*, s:o}", "id", job_id(job->id), "result", result ? result : json_object());
    json_decref(result);
    job_error(job, err, "%s: %s", job->operation->name, strerror(-err));
    return refusal(job->id, err, job->error);
}

void job_free(struct job *job)
{
    pthread_mutex_destroy(&job->lock);
    json_decref(job->request);
    free(job->id);
    free(job);
}
