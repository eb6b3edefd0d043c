/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket of a process that holds a disk open: others find it by the image's path and ask for information
 * and for work on the disk, in lines of JSON (docs/control.md).
 *
 * Two threads. One talks to the clients and never blocks on the disk. The other does what is asked, one thing after the
 * other; the holder's own threads go on with their io meanwhile.
 */
#ifndef CONTROL_SERVER_H
#define CONTROL_SERVER_H

#include <pthread.h>

#include "disk/vdisk.h"

struct control_server;

/* Stands between the disk and its holder's log: what is said while a client's work is done is said to the client too.
 * The disk is opened with control_log's, and the server with the same. */
struct control_log {
    struct vdisk_log next; /* the holder's */
    pthread_mutex_t lock;
    struct control_server *server; /* under lock; NULL: there is none */
};

#define CONTROL_LOG_INIT(holder) {.next = holder, .lock = PTHREAD_MUTEX_INITIALIZER}

struct vdisk_log control_log(struct control_log *log);

/* Who holds the disk. resized is called on the thread that works. */
struct control_holder {
    const char *program;        /* "vdisk mount" */
    const char *file;           /* what names the socket where the disk has no file of a name: then it can be asked what
                                 * there is to know, and no work; NULL: the disk's own file */
    const char *const *allowed; /* real paths of the directories in and beneath which requests may name files,
                                 * NULL-terminated; NULL: anywhere */
    void (*resized)(void *arg); /* the disk has another size now; may be NULL */
    void *arg;
};

/* Listens until closed. The port, the holder and the log outlive the server. Where no socket can be made it is said as a
 * warning, and the error returned: a holder works without one too. */
int control_server_open(struct vdisk_port *port, const struct control_holder *holder, struct control_log *log,
                        struct control_server **server);

/* Cancels what is being done, waits for its end, and lets go of the disk. NULL is allowed. */
void control_server_close(struct control_server *server);

#endif
