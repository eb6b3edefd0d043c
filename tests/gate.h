/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk whose reads stay in flight for as long as a test likes: while the gate is shut the kernel waits for a pipe
 * instead of the file. For reads of data on a ring of io_uring's, and while nobody reads anything else of the disk.
 */
#ifndef TESTS_GATE_H
#define TESTS_GATE_H

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "disk/disk.h"
#include "disk/file.h"
#include "tests/support.h"

struct gate {
    struct file *file;
    int fd; /* the file's own */
    bool in_memory;
    int pipe[2];
    size_t bytes;
    pthread_t thread;
    _Atomic bool open;
};

/* False: the rings here are not io_uring's. */
static inline bool gate_works(void)
{
    struct vdisk_ring *ring;
    bool works;

    test_ok(vdisk_ring_open(1, VDISK_BACKEND_AUTO, &ring));
    works = strcmp(vdisk_ring_backend(ring), "io_uring") == 0;
    vdisk_ring_close(ring);
    return works;
}

static inline void gate_shut(struct gate *gate, struct vdisk_port *port)
{
    struct file *file = vdisk_port_disk(port)->file;

    *gate = (struct gate){.file = file, .fd = file->fd, .in_memory = file->in_memory};
    test_equal(pipe(gate->pipe), 0);
    file->fd = gate->pipe[0];
    file->in_memory = false;
}

static inline void *gate_thread(void *arg)
{
    static const uint8_t bytes[4096];
    struct gate *gate = arg;

    nanosleep(&(struct timespec){0, 20000000}, NULL); /* what does not wait for the reads has gone on by then */
    atomic_store(&gate->open, true);
    for (size_t part; gate->bytes > 0; gate->bytes -= part) {
        part = gate->bytes < sizeof(bytes) ? gate->bytes : sizeof(bytes);
        test_equal(write(gate->pipe[1], bytes, part), part);
    }
    return NULL;
}

/* In a while so many bytes come through, which is what the reads in flight ask for. */
static inline void gate_open_later(struct gate *gate, size_t bytes)
{
    gate->bytes = bytes;
    test_equal(pthread_create(&gate->thread, NULL, gate_thread, gate), 0);
}

/* What had to wait for the reads has done so. The file is as it was. */
static inline void gate_end(struct gate *gate)
{
    test_true(atomic_load(&gate->open));
    pthread_join(gate->thread, NULL);
    gate->file->fd = gate->fd;
    gate->file->in_memory = gate->in_memory;
    close(gate->pipe[0]);
    close(gate->pipe[1]);
}

#endif
