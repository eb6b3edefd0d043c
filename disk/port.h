/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port: what an exporter or a machine holds. Drain, swap, resume is the one mechanism of every live operation.
 *
 * An operation is one thread's, with rings of its own that do not go through the port:
 *
 *     err = port_begin(port);      nobody else operates on it
 *     ...                          work beside the guest
 *     port_pause(port);            new requests wait, those in flight have finished
 *     ...                          settle, port_swap(port, another top)
 *     nanoseconds = port_resume(port);
 *     port_end(port);
 *
 * The chain belongs to the port: whoever swaps closes what is not in it any more, after the swap.
 */
#ifndef DISK_PORT_H
#define DISK_PORT_H

#include "disk.h"
#include "stats.h"

struct mirror;

struct vdisk_port {
    _Atomic(struct vdisk *) disk;
    _Atomic uint64_t size; /* of the disk */
    uint32_t sector;       /* of every disk that is ever behind the port */
    _Atomic bool held;     /* new requests wait */
    struct disk_epoch epoch; /* of the requests in flight, and of whoever asks where bytes live */
    pthread_mutex_t lock;    /* of the waiting */
    pthread_cond_t resumed;
    struct io_list waiting;
    pthread_mutex_t operation; /* one at a time */
    _Atomic(struct mirror *) mirror; /* NULL but while the disk moves */
    struct stats *stats;
    uint64_t paused;           /* when: nanoseconds of the monotonic clock */
};

/* -EBUSY, said: another operation is under way. */
int port_begin(struct vdisk_port *port);
void port_end(struct vdisk_port *port);

/* From return to port_resume nothing is in flight and nothing begins. No range may be held (disk_hold). */
void port_pause(struct vdisk_port *port);
void port_swap(struct vdisk_port *port, struct vdisk *top); /* paused */
uint64_t port_resume(struct vdisk_port *port);              /* how long it was paused, in nanoseconds */

#endif
