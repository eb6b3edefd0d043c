/* SPDX-License-Identifier: BSD-2-Clause */
/* How each device is added to a machine that is being opened: machine.c calls these and knows no more of them. All are
 * 0 or -errno, said; each leaves a struct machine_part, by which it is closed. */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include "machine.h"

/* index: among the machine's disks or NICs. disk and nic live as long as the machine. */
int virtio_blk_open(struct machine *machine, const struct machine_disk *disk, unsigned index);
int virtio_scsi_open(struct machine *machine); /* one controller for all disks whose bus is MACHINE_SCSI */
int ide_open(struct machine *machine);         /* the PIIX IDE function, with the disks whose bus is MACHINE_IDE */
int virtio_net_open(struct machine *machine, const struct machine_nic *nic, unsigned index);
int virtio_rng_open(struct machine *machine);

#endif
