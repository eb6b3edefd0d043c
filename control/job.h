/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the server say to each other: a job is a client's request on its way to a reply. */
#ifndef CONTROL_JOB_H
#define CONTROL_JOB_H

#include <jansson.h>
#include <stdatomic.h>

#include "server.h"

#define CONTROL_VERSION 1
#define CONTROL_CLIENTS 16
#define CONTROL_REQUEST_MAX 65536u         /* bytes of a request's line */
#define CONTROL_REPLY_MAX (16u << 20)  /* of a reply's, and of what a client is behind */

struct operation;

struct job {
    struct control_server *server;
    const struct operation *operation;
    json_t *request; /* of one thread at a time */
    char *id;        /* of the request, as text; NULL: it has none */
    uint64_t client; /* its number: never used again */
    struct job *next;
    volatile sig_atomic_t cancel;
    struct vdisk_progress progress; /* for the library: tells the client, and is told by cancel */
    _Atomic uint64_t done, total;
    int64_t told; /* nanoseconds: when progress was sent */
    pthread_mutex_t lock;
    char error[1024]; /* under lock: the sentence; the first that was said */
};

/* Does what is asked. *result: an object; where it is left NULL the reply has an empty one. 0 or -errno; the reply has the
 * error's sentence. On the server's working thread; where the operation is instant, on the thread that talks. */
typedef int operation_fn(struct job *job, json_t **result);

struct operation {
    const char *name;
    operation_fn *run;
    bool instant; /* blocks on nothing */
    bool nameless; /* also for a disk that has no file of a name (control_holder) */
    bool lengthy; /* nobody is let wait for it in silence: what is asked meanwhile is refused, unless instant */
};

/* operation.c. NULL: there is none of that name. */
const struct operation *operation_find(const char *name);

/* Reads the request's members by a format of json_unpack; a member that is not in it is an error. 0 or -EINVAL, said. */
int job_arguments(struct job *job, const char *format, ...);

/* Sets the sentence of the reply, unless there is one, and returns error. */
int job_error(struct job *job, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* server.c */
struct vdisk_port *server_port(struct control_server *server);
struct control_log *server_log(struct control_server *server);
const struct control_holder *server_holder(const struct control_server *server);

/* The disk may be another file's now: the socket gets that one's name. On the working thread. */
void server_follow(struct control_server *server);

/* A line to the job's client, from any thread. Takes message. */
void server_send(struct control_server *server, uint64_t client, json_t *message);

/* queue.c: jobs in the order they came. */
struct queue;

struct queue *queue_open(struct control_server *server);
void queue_stop(struct queue *queue);  /* cancels and waits; from now on everything is refused */
void queue_close(struct queue *queue); /* stopped */

/* Takes the job, or returns -EBUSY with the sentence in job->error. */
int queue_put(struct queue *queue, struct job *job);

/* What a client that has gone or thought better of it had asked for. */
void queue_cancel(struct queue *queue, uint64_t client);

/* {"operation", "done", "total"} of what is being done, or null. */
json_t *queue_status(struct queue *queue);

/* What the library says while a job is being done. */
void queue_say(struct queue *queue, enum vdisk_level level, const char *text);

struct queue *server_queue(struct control_server *server);

/* job.c. Takes request, always. */
int job_new(struct control_server *server, uint64_t client, json_t *request, struct job **job);
json_t *job_run(struct job *job); /* the reply */
void job_free(struct job *job);

/* The reply that something is wrong. id may be NULL. */
void job_refuse(struct control_server *server, uint64_t client, const char *id, int error, const char *text);

/* Of a message about the job: NULL where the request had none. */
json_t *job_id(const char *id);

#endif
