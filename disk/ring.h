/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread's ring: a fixed pool of pieces, a backend that moves them, and an inbox for what workers give back.
 *
 * Everything belongs to the thread that polls, but for the inbox (its lock) and what a backend keeps for itself.
 */
#ifndef DISK_RING_H
#define DISK_RING_H

#include "disk.h"

#define PIECE_IOV 16

/* A part of an io that is contiguous in one file. */
struct piece {
    struct piece *next;
    struct vdisk_io *io;
    struct vdisk *disk; /* the link whose file it is */
    bool write, publish;
    unsigned parity;           /* of the epoch it was mapped in */
    uint64_t offset, length;   /* of the guest's view */
    uint64_t position;         /* in the file, of offset */
    uint64_t moved;            /* bytes done so far */
    struct iovec iov[PIECE_IOV]; /* what is left to move */
    struct iovec *iov_next;
    int iov_left;
    ssize_t result;
};

struct piece_list {
    struct piece *head, **tail;
};

static inline void piece_list_add(struct piece_list *list, struct piece *piece)
{
    piece->next = NULL;
    *list->tail = piece;
    list->tail = &piece->next;
}

static inline struct piece *piece_list_take(struct piece_list *list)
{
    struct piece *piece = list->head;

    if (piece) {
        list->head = piece->next;
        if (!list->head)
            list->tail = &list->head;
    }
    return piece;
}

struct ring_backend {
    const char *name;
    int (*open)(struct vdisk_ring *ring);
    void (*close)(struct vdisk_ring *ring);
    int (*descriptor)(const struct vdisk_ring *ring);
    /* Takes a piece; its outcome comes to ring_complete, from start itself or from reap. */
    void (*start)(struct vdisk_ring *ring, struct piece *piece);
    /* Begins what was started and completes what is done; wait: until something is, or the inbox is rung. */
    void (*reap)(struct vdisk_ring *ring, bool wait);
};

struct vdisk_ring {
    const struct ring_backend *backend;
    void *state; /* the backend's */
    unsigned depth;
    bool chosen;      /* by us: files in memory do not go through it */
    bool cached;      /* nor does a write to the page cache that is alone */
    unsigned slot;    /* of the epochs' counters */
    unsigned flying;  /* pieces in the backend */
    unsigned lent;    /* io between submit and done */
    bool stirred;     /* since the last reap began: something that only a reap shows to who waits for the descriptor */
    struct piece *pool, *free;
    struct piece_list deferred;  /* of files that are not the kernel's: moved by the next poll */
    struct piece_list completed; /* results known, not yet looked at */
    struct io_list starved;      /* waiting for a free piece */
    struct io_list finished;     /* waiting for their done */
    int bell;                    /* eventfd: the inbox, and whatever else a backend wants to wake the poller for */
    pthread_mutex_t inbox_lock;
    struct io_list inbox;
};

extern const struct ring_backend ring_uring, ring_aio, ring_threads, ring_inline;

/* What is left of the piece, by its file's own operations, on this thread; returns as they do. */
static inline ssize_t piece_move(struct piece *piece)
{
    struct file *file = piece->disk->file;
    uint64_t position = piece->position + piece->moved;

    return piece->write ? file->ops->pwritev(file, piece->iov_next, piece->iov_left, position)
                        : file->ops->preadv(file, piece->iov_next, piece->iov_left, position);
}

static inline void io_list_init(struct io_list *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static inline void io_list_add(struct io_list *list, struct vdisk_io *io)
{
    io->engine.next = NULL;
    *list->tail = io;
    list->tail = &io->engine.next;
}

static inline struct vdisk_io *io_list_take(struct io_list *list)
{
    struct vdisk_io *io = list->head;

    if (io) {
        list->head = io->engine.next;
        if (!list->head)
            list->tail = &list->head;
    }
    return io;
}

/* A free piece or NULL. */
struct piece *ring_piece(struct vdisk_ring *ring);
void ring_piece_free(struct vdisk_ring *ring, struct piece *piece);

/* Moves the piece; its end comes to engine_piece_done. */
void ring_start(struct vdisk_ring *ring, struct piece *piece);

/* For backends: a transfer moved result bytes, or failed. Does not call back. */
void ring_complete(struct vdisk_ring *ring, struct piece *piece, ssize_t result);

/* For workers: gives an io back to its ring, from any thread. */
void ring_post(struct vdisk_ring *ring, struct vdisk_io *io);

void ring_bell(struct vdisk_ring *ring);  /* wakes the poller, from any thread */
void ring_quiet(struct vdisk_ring *ring); /* forgets that the bell rang */

#endif
