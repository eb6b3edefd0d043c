/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disk controllers without the machine around them, for tests: what devices.h opens is made by these.
 *
 * machine may be NULL; then memory is what the driver's addresses are in, and the caller drives the registers of the
 * BAR.
 */
#ifndef VMM_STORAGE_H
#define VMM_STORAGE_H

#include "machine.h"
#include "virtio.h"

/* A thread for each queue. The disk lives as long as the device. */
int virtio_blk_make(struct machine *machine, struct memory *memory, const struct machine_disk *disk, unsigned index,
                    struct virtio_device **device);
void virtio_blk_free(struct virtio_device *device);

/* LUN i is disks[i]. */
int virtio_scsi_make(struct machine *machine, struct memory *memory, const struct machine_disk *const *disks,
                     unsigned count, unsigned queues, struct virtio_device **device);
void virtio_scsi_free(struct virtio_device *device);

#endif
