/* SPDX-License-Identifier: BSD-2-Clause */
/* How each device is added to a machine that is being opened: machine.c calls these and knows no more of them. All are
 * 0 or -errno, said; each leaves a struct machine_part, by which it is closed. */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include "machine.h"
#include "virtio.h"

/* index: among the machine's disks or NICs. disk and nic live as long as the machine. */
int virtio_blk_open(struct machine *machine, const struct machine_disk *disk, unsigned index);
int virtio_scsi_open(struct machine *machine); /* one controller for all disks whose bus is MACHINE_SCSI */
int ide_open(struct machine *machine);         /* the PIIX IDE function, with the disks whose bus is MACHINE_IDE */
int virtio_net_open(struct machine *machine, const struct machine_nic *nic, unsigned index);
int virtio_rng_open(struct machine *machine);

/* ---- The controllers without the machine around them, for tests ----
 *
 * machine may be NULL; then memory is what the driver's addresses are in, and the caller drives the registers of the
 * BAR. */

struct net_backend;

/* A thread for each pair of queues. */
int virtio_net_make(struct machine *machine, struct memory *memory, const struct machine_nic *nic,
                    const struct net_backend *backend, unsigned index, struct virtio_device **device);

/* A thread for each queue. The disk lives as long as the device. */
int virtio_blk_make(struct machine *machine, struct memory *memory, const struct machine_disk *disk, unsigned index,
                    struct virtio_device **device);

/* LUN i is disks[i]. */
int virtio_scsi_make(struct machine *machine, struct memory *memory, const struct machine_disk *const *disks,
                     unsigned count, unsigned queues, struct virtio_device **device);

#endif
