/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread that talks: accepts clients, cuts what they send into lines, and sends what jobs have to say.
 *
 * What a client can make us keep is bounded: CONTROL_CLIENTS of them, a request's line, one request that waits, and
 * what it has not read. Who goes beyond that is told so, or let go.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job.h"
#include "place.h"

struct client {
    int fd; /* -1: this place is free */
    uint64_t number;
    char *in; /* CONTROL_REQUEST_MAX */
    size_t in_length;
    char *out; /* under the server's lock, like the two that follow */
    size_t out_sent, out_length, out_room;
    bool gone; /* under lock: to be closed */
};

struct control_server {
    struct vdisk_port *port;
    const struct control_holder *holder;
    struct control_log *log;
    struct queue *queue;
    pthread_t thread;
    int directory, listener;
    uint64_t lot;
    char name[PLACE_NAME_MAX]; /* the working thread's, while there is one */
    int wake;                  /* eventfd: there is something to send, or the end */
    atomic_bool stop;
    uint64_t next_number;
    pthread_mutex_t lock; /* of the clients' numbers and what goes out; after the queue's */
    struct client client[CONTROL_CLIENTS];
};

struct vdisk_port *server_port(struct control_server *server)
{
    return server->port;
}

struct control_log *server_log(struct control_server *server)
{
    return server->log;
}

const struct control_holder *server_holder(const struct control_server *server)
{
    return server->holder;
}

struct queue *server_queue(struct control_server *server)
{
    return server->queue;
}

static void wake(struct control_server *server)
{
    uint64_t one = 1;

    while (write(server->wake, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* ---- Out ---- */

/* Under the lock. */
static bool out_add(struct client *client, const char *text, size_t length)
{
    if (client->out_length + length > CONTROL_REPLY_MAX)
        return false;
    if (client->out_length + length > client->out_room) {
        size_t room = (client->out_length + length) * 2;
        char *grown = realloc(client->out, room);

        if (!grown)
            return false;
        client->out = grown;
        client->out_room = room;
    }
    memcpy(client->out + client->out_length, text, length);
    client->out_length += length;
    return true;
}

void server_send(struct control_server *server, uint64_t number, json_t *message)
{
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;

    json_decref(message);
    pthread_mutex_lock(&server->lock);
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        struct client *client = &server->client[i];

        if (client->fd < 0 || client->number != number || client->gone)
            continue;
        /* Without a reply the client would wait for ever. */
        client->gone = !text || !out_add(client, text, strlen(text)) || !out_add(client, "\n", 1);
    }
    pthread_mutex_unlock(&server->lock);
    free(text);
    wake(server);
}

static void out_write(struct control_server *server, struct client *client)
{
    ssize_t n = 0;

    pthread_mutex_lock(&server->lock);
    if (client->out_length > 0)
        n = send(client->fd, client->out + client->out_sent, client->out_length - client->out_sent,
                 MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
        client->out_sent += (size_t)n;
        if (client->out_sent == client->out_length)
            client->out_sent = client->out_length = 0;
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        client->gone = true;
    }
    pthread_mutex_unlock(&server->lock);
}

/* ---- In ---- */

/* Takes request. */
static void take_request(struct control_server *server, struct client *client, json_t *request)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    struct job *job;

    if (what && strcmp(what, "cancel") == 0) {
        queue_cancel(server->queue, client->number); /* its reply is that of what is cancelled */
        json_decref(request);
        return;
    }
    if (job_new(server, client->number, request, &job) < 0)
        return;
    if (job->operation->instant) {
        server_send(server, client->number, job_run(job));
        job_free(job);
    } else if (queue_put(server->queue, job) < 0) {
        job_refuse(server, client->number, job->id, -EBUSY, job->error);
        job_free(job);
    }
}

static void take_line(struct control_server *server, struct client *client, const char *line, size_t length)
{
    json_error_t error;
    json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);

    if (json_is_object(request)) {
        take_request(server, client, request);
        return;
    }
    job_refuse(server, client->number, NULL, -EINVAL, request ? "a request is an object" : error.text);
    json_decref(request);
}

static void take_lines(struct control_server *server, struct client *client)
{
    char *line = client->in, *end = line + client->in_length, *newline;

    while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
        take_line(server, client, line, (size_t)(newline - line));
        line = newline + 1;
    }
    client->in_length = (size_t)(end - line);
    memmove(client->in, line, client->in_length);
    if (client->in_length < CONTROL_REQUEST_MAX)
        return;
    job_refuse(server, client->number, NULL, -EMSGSIZE, "the line is too long");
    out_write(server, client);
    pthread_mutex_lock(&server->lock);
    client->gone = true;
    pthread_mutex_unlock(&server->lock);
}

static void in_read(struct control_server *server, struct client *client)
{
    ssize_t n = recv(client->fd, client->in + client->in_length, CONTROL_REQUEST_MAX - client->in_length, MSG_DONTWAIT);

    if (n > 0) {
        client->in_length += (size_t)n;
        take_lines(server, client);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        pthread_mutex_lock(&server->lock);
        client->gone = true;
        pthread_mutex_unlock(&server->lock);
    }
}

/* ---- Clients ---- */

static void client_close(struct control_server *server, struct client *client)
{
    queue_cancel(server->queue, client->number);
    pthread_mutex_lock(&server->lock);
    close(client->fd);
    client->fd = -1;
    client->out_sent = client->out_length = client->out_room = 0;
    free(client->out);
    client->out = NULL;
    free(client->in);
    client->in = NULL;
    pthread_mutex_unlock(&server->lock);
}

/* The directory lets nobody else in; this holds also if somebody opened it. */
static bool peer_is_welcome(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && (peer.uid == geteuid() || peer.uid == 0);
}

static void client_accept(struct control_server *server)
{
    static const char full[] = "{\"error\":\"too many clients\",\"errno\":\"EBUSY\"}\n";
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
    struct client *client = NULL;

    if (fd < 0)
        return;
    for (unsigned i = 0; i < CONTROL_CLIENTS && !client; i++)
        if (server->client[i].fd < 0)
            client = &server->client[i];
    if (!client)
        send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (!client || !peer_is_welcome(fd) || !(client->in = malloc(CONTROL_REQUEST_MAX))) {
        close(fd);
        return;
    }
    pthread_mutex_lock(&server->lock);
    client->fd = fd;
    client->number = server->next_number++;
    client->in_length = 0;
    client->gone = false;
    pthread_mutex_unlock(&server->lock);
}

/* ---- Names ---- */

/* The disk's own is made by who listens. */
static void names_add_beneath(struct control_server *server)
{
    struct vdisk *link = vdisk_port_disk(server->port);
    char name[PLACE_NAME_MAX];
    struct stat st;

    while ((link = vdisk_parent(link))) {
        if (stat(vdisk_path(link), &st) < 0)
            continue;
        place_name(&st, PLACE_BENEATH, server->lot, name);
        if (linkat(server->directory, server->name, server->directory, name, 0) < 0)
            continue; /* it is not found by this file, as if there were no socket */
    }
}

static void names_remove(struct control_server *server)
{
    place_forget_beneath(server->directory, server->lot);
    unlinkat(server->directory, server->name, 0);
}

/* ---- The thread ---- */

/* What to wait for; clients that are gone are closed first. */
static void watch(struct control_server *server, struct pollfd *what)
{
    what[0] = (struct pollfd){.fd = server->wake, .events = POLLIN};
    what[1] = (struct pollfd){.fd = server->listener, .events = POLLIN};
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        struct client *client = &server->client[i];
        bool gone, writing;

        pthread_mutex_lock(&server->lock);
        gone = client->fd >= 0 && client->gone;
        writing = client->out_length > 0;
        pthread_mutex_unlock(&server->lock);
        if (gone)
            client_close(server, client);
        what[2 + i] = (struct pollfd){.fd = client->fd, .events = (short)(POLLIN | (writing ? POLLOUT : 0))};
    }
}

static void *talk(void *arg)
{
    struct control_server *server = arg;
    struct pollfd what[2 + CONTROL_CLIENTS];
    uint64_t count;

    while (!atomic_load(&server->stop)) {
        watch(server, what);
        if (poll(what, 2 + CONTROL_CLIENTS, -1) < 0)
            continue;
        if (what[0].revents && read(server->wake, &count, sizeof(count)) < 0)
            continue;
        for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
            struct client *client = &server->client[i];

            if (client->fd < 0)
                continue;
            if (what[2 + i].fd == client->fd && what[2 + i].revents & (POLLIN | POLLHUP | POLLERR))
                in_read(server, client);
            out_write(server, client);
        }
        if (what[1].revents)
            client_accept(server);
    }
    names_remove(server); /* here: who closes the server may not be allowed to any more */
    return NULL;
}

/* ---- Open and close ---- */

static int listen_at(struct control_server *server)
{
    const char *file = server->holder->file ? server->holder->file : vdisk_path(vdisk_port_disk(server->port));
    char path[4096];
    struct stat st;
    int err = 0;

    server->directory = place_open_own(path);
    if (server->directory < 0)
        err = server->directory;
    else if (stat(file, &st) < 0)
        err = -errno;
    if (err == 0) {
        server->lot = place_lot();
        place_name(&st, PLACE_DISK, server->lot, server->name);
        server->listener = place_listen(server->directory, server->name);
        err = server->listener < 0 ? server->listener : 0;
    }
    if (err == 0)
        names_add_beneath(server);
    if (err < 0 && server->log->next.print) {
        char text[4200];

        snprintf(text, sizeof(text), "%s: no control socket can be made there: %s", path,
                 err == -EPERM ? "it is not a directory of this user's alone" : strerror(-err));
        server->log->next.print(server->log->next.arg, VDISK_WARNING, text);
    }
    return err;
}

void server_follow(struct control_server *server)
{
    char name[PLACE_NAME_MAX];
    struct stat st;

    if (server->holder->file || stat(vdisk_path(vdisk_port_disk(server->port)), &st) < 0)
        return;
    place_name(&st, PLACE_DISK, server->lot, name);
    if (renameat(server->directory, server->name, server->directory, name) == 0)
        memcpy(server->name, name, sizeof(name));
    place_forget_beneath(server->directory, server->lot);
    names_add_beneath(server);
}

static void release(struct control_server *server)
{
    if (server->listener >= 0) {
        names_remove(server);
        close(server->listener);
    }
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        if (server->client[i].fd >= 0)
            client_close(server, &server->client[i]);
    }
    if (server->queue)
        queue_close(server->queue);
    if (server->directory >= 0)
        close(server->directory);
    if (server->wake >= 0)
        close(server->wake);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

static void log_attach(struct control_log *log, struct control_server *server)
{
    pthread_mutex_lock(&log->lock);
    log->server = server;
    pthread_mutex_unlock(&log->lock);
}

int control_server_open(struct vdisk_port *port, const struct control_holder *holder, struct control_log *log,
                        struct control_server **out)
{
    struct control_server *server = calloc(1, sizeof(*server));
    int err;

    if (!server)
        return -ENOMEM;
    server->port = port;
    server->holder = holder;
    server->log = log;
    server->directory = server->listener = -1;
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
        server->client[i].fd = -1;
    pthread_mutex_init(&server->lock, NULL);
    server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = server->wake < 0 ? -errno : listen_at(server);
    if (err < 0)
        goto release;
    server->queue = queue_open(server);
    err = server->queue ? 0 : -ENOMEM;
    if (err < 0)
        goto release;
    err = -pthread_create(&server->thread, NULL, talk, server);
    if (err < 0)
        goto stop_queue;
    log_attach(log, server);
    *out = server;
    return 0;

stop_queue:
    queue_stop(server->queue);
release:
    release(server);
    return err;
}

void control_server_close(struct control_server *server)
{
    if (!server)
        return;
    log_attach(server->log, NULL);
    queue_stop(server->queue); /* what is being done ends; its reply goes out below */
    atomic_store(&server->stop, true);
    wake(server);
    pthread_join(server->thread, NULL);
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
        if (server->client[i].fd >= 0)
            out_write(server, &server->client[i]);
    release(server);
}
