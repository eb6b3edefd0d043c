/* SPDX-License-Identifier: BSD-2-Clause */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "job.h"
#include "place.h"

#define LOOK_EVERY 100 /* milliseconds: whether the caller wants to go on */
#define SILENT_MAX 30  /* looks without a word, after which who does not want to go on does not wait either */

struct control {
    int fd;
    char *in;
    size_t length, taken, room; /* taken: of length, by lines that were returned */
};

static int connect_as(const char *file, enum place_role role, struct control **out)
{
    int fd = place_connect(file, role);
    struct control *control;

    if (fd < 0)
        return fd;
    control = calloc(1, sizeof(*control));
    if (!control) {
        close(fd);
        return -ENOMEM;
    }
    control->fd = fd;
    *out = control;
    return 0;
}

int control_open(const char *image, struct control **out)
{
    return connect_as(image, PLACE_DISK, out);
}

int control_open_beneath(const char *file, struct control **out)
{
    return connect_as(file, PLACE_BENEATH, out);
}

pid_t control_holder_pid(const struct control *control)
{
    struct ucred peer = {.pid = 0};
    socklen_t length = sizeof(peer);

    return getsockopt(control->fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 ? 0 : peer.pid;
}

void control_close(struct control *control)
{
    if (!control)
        return;
    close(control->fd);
    free(control->in);
    free(control);
}

static int say(const struct vdisk_log *log, enum vdisk_level level, int error, const char *text)
{
    if (log->print)
        log->print(log->arg, level, text);
    return error;
}

static int line_send(struct control *control, json_t *message)
{
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    size_t length = text ? strlen(text) : 0;
    int err = text ? 0 : -ENOMEM;

    json_decref(message);
    if (text)
        text[length++] = '\n'; /* in place of its end */
    for (size_t at = 0; at < length && err == 0;) {
        ssize_t n = send(control->fd, text + at, length - at, MSG_NOSIGNAL);

        if (n >= 0)
            at += (size_t)n;
        else if (errno != EINTR)
            err = -errno;
    }
    free(text);
    return err;
}

static int room_make(struct control *control)
{
    char *grown;

    if (control->taken > 0)
        memmove(control->in, control->in + control->taken, control->length - control->taken);
    control->length -= control->taken;
    control->taken = 0;
    if (control->length < control->room)
        return 0;
    if (control->room >= CONTROL_REPLY_MAX)
        return -EMSGSIZE;
    grown = realloc(control->in, control->room + 65536);
    if (!grown)
        return -ENOMEM;
    control->in = grown;
    control->room += 65536;
    return 0;
}

/* The next message. *cancel is looked at; once it is set that is told to the holder, and the wait goes on for a while. */
static int line_receive(struct control *control, const volatile sig_atomic_t *cancel, bool *cancelled, json_t **message)
{
    for (unsigned silent = 0;;) {
        struct pollfd what = {.fd = control->fd, .events = POLLIN};
        char *line = control->in + control->taken, *end = NULL;
        ssize_t n;
        int err;

        if (control->length > control->taken)
            end = memchr(line, '\n', control->length - control->taken);
        if (end) {
            control->taken += (size_t)(end - line) + 1;
            *message = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
            return json_is_object(*message) ? 0 : -EPROTO;
        }
        if (cancel && *cancel && !*cancelled) {
            *cancelled = true;
            err = line_send(control, json_pack("{s:s}", "do", "cancel"));
            if (err < 0)
                return err;
        }
        if (poll(&what, 1, LOOK_EVERY) <= 0) {
            if (*cancelled && ++silent == SILENT_MAX)
                return -ECANCELED;
            continue;
        }
        err = room_make(control);
        if (err < 0)
            return err;
        n = recv(control->fd, control->in + control->length, control->room - control->length, 0);
        if (n == 0)
            return -ECONNRESET;
        if (n < 0 && errno != EINTR)
            return -errno;
        control->length += n > 0 ? (size_t)n : 0;
    }
}

/* As errno is called in a reply. */
static int error_number(const char *name)
{
    for (int number = 1; number < 200; number++) {
        const char *each = strerrorname_np(number);

        if (each && strcmp(each, name) == 0)
            return -number;
    }
    return -EIO;
}

/* True: the message is the reply, and *err its outcome. */
static bool take(json_t *message, const struct vdisk_progress *progress, const struct vdisk_log *log, json_t **result,
                 int *err)
{
    const char *text, *name = "EIO", *level;
    json_int_t done, total;
    json_t *value;

    if (json_unpack(message, "{s:{s:I, s:I}}", "progress", "done", &done, "total", &total) == 0) {
        if (progress && progress->step)
            progress->step(progress->arg, (uint64_t)done, (uint64_t)total);
        return false;
    }
    if (json_unpack(message, "{s:{s:s, s:s}}", "say", "level", &level, "text", &text) == 0) {
        say(log, strcmp(level, "warning") == 0 ? VDISK_WARNING : VDISK_NOTE, 0, text);
        return false;
    }
    if (json_unpack(message, "{s:s, s?s}", "error", &text, "errno", &name) == 0) {
        *err = error_number(name);
        if (*err != -ECANCELED)
            say(log, VDISK_ERROR, 0, text);
        return true;
    }
    value = json_object_get(message, "result");
    *err = json_is_object(value) ? 0 : -EPROTO;
    *result = *err == 0 ? json_incref(value) : NULL;
    return true;
}

int control_call(struct control *control, json_t *request, const struct vdisk_progress *progress,
                 const struct vdisk_log *log, json_t **result)
{
    bool cancelled = false, finished = false;
    json_t *message = NULL;
    int err;

    *result = NULL;
    if (request)
        json_object_set_new(request, "version", json_integer(CONTROL_VERSION));
    err = line_send(control, request);
    while (err == 0 && !finished) {
        err = line_receive(control, progress ? progress->cancel : NULL, &cancelled, &message);
        if (err == 0)
            finished = take(message, progress, log, result, &err);
        json_decref(message);
        message = NULL;
    }
    if ((finished && err != -EPROTO) || err == -ECANCELED)
        return err;
    return say(log, VDISK_ERROR, err,
               err == -ECONNRESET || err == -EPIPE ? "the process that has the disk open has ended"
               : err == -EPROTO ? "the process that has the disk open gives no answer that is understood"
                                : strerror(-err));
}
