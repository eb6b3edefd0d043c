/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PIIX3's IDE function: two channels at the legacy ports with two drives each, PIO and bus-master DMA. [ATA] is
 * ATA/ATAPI-7, [BMIDE] Intel's programming interface for bus-master IDE controllers, revision 1.0.
 *
 * ide.c is a channel: registers and commands. ide_dma.c is the function: the bus master, the ring, interrupts.
 * Everything is under the lock of the loop it is given (the machine's), and io is only submitted on that loop's thread.
 */
#ifndef VMM_IDE_H
#define VMM_IDE_H

#include "machine.h"

#define IDE_SECTOR 512u
#define IDE_MULTIPLE 16u /* sectors of a READ MULTIPLE's block */
#define IDE_AHEAD 128u   /* sectors that PIO reads from the disk at once, whatever the guest takes at once */
#define IDE_BUFFER (IDE_AHEAD * IDE_SECTOR)
#define IDE_SEGMENTS 512u /* of a DMA transfer: 32 MiB in parts of 64 KiB */

enum ide_phase {
    IDE_IDLE,
    IDE_IN,       /* the guest reads the buffer */
    IDE_OUT,      /* the guest fills the buffer */
    IDE_WAIT_DMA, /* until the bus master is started */
    IDE_BUSY      /* io is in flight */
};

struct ide_drive {
    const struct machine_disk *disk; /* NULL: there is none */
    uint64_t sectors;
    char serial[21];
    bool no_cache, large_sectors; /* large: the physical ones, of 4096 bytes */
    uint8_t multiple;             /* sectors; 0: not set */
    uint8_t heads, track_sectors;
};

/* What a saved machine holds of a channel between commands. */
struct ide_registers {
    uint8_t feature, error, status, control, device;
    uint8_t count[2], lba[3][2]; /* as written last, and before that */
    uint8_t master_command, master_status;
    uint32_t master_table;
};

struct ide;

struct ide_channel {
    struct ide *ide;
    unsigned index;
    struct ide_drive drive[2];
    struct ide_registers registers;
    struct bus_range command_ports, control_ports;
    struct irq_line line;

    /* The command, and whose it is: the guest may select the other drive in its middle. */
    struct ide_drive *current;
    enum ide_phase phase;
    bool write, verify, dma, durable, wanted; /* wanted: io is to be submitted on the loop's thread */
    bool flying;
    uint64_t sector;
    uint32_t left;                /* sectors that were not begun */
    uint32_t part;                /* sectors of the part in work */
    uint32_t per_part, per_offer; /* sectors, at most: between buffer and disk, and of what the guest moves at once */
    size_t at, end;               /* of what it moves now, in the buffer */
    uint8_t *buffer;
    struct vdisk_io io;
    unsigned segments;
    struct iovec iov[IDE_SEGMENTS];
};

struct ide {
    struct pci_device pci; /* first */
    struct machine_part part;
    struct machine *machine; /* NULL in tests */
    struct memory *memory;
    struct loop *loop;
    struct vdisk_ring *ring;
    struct loop_source go, completed;
    struct loop_hook hook;
    struct ide_channel channel[2];
};

/* disks: by number, two a channel; NULL: none. At the legacy ports with a machine; otherwise the caller drives the
 * ranges of the channels and the BAR. -EINVAL: a disk whose sectors are not of 512 bytes. */
int ide_make(struct machine *machine, struct memory *memory, struct loop *loop,
             const struct machine_disk *const disks[4], struct ide **ide);
void ide_free(void *ide);

/* ---- Between the two files ---- */

#define IDE_NIEN 0x02u         /* control */
#define IDE_MASTER_START 0x01u /* the bus master's command, and its status: active */
#define IDE_MASTER_ERROR 0x02u /* its status */

void ide_channel_init(struct ide_channel *channel);
void ide_channel_reset(struct ide_channel *channel); /* and waits for what is in flight */
void ide_channel_done(struct ide_channel *channel, int error);
void ide_dma_go(struct ide_channel *channel); /* the guest waits for the bus master, which has been started */

/* The channel's io is to be submitted. */
void ide_submit(struct ide_channel *channel, enum vdisk_op op, const struct iovec *iov, unsigned count);
void ide_interrupt(struct ide_channel *channel, bool level);

/* The memory that the table describes, for so many bytes, into the channel's list. false: there is not so much. */
bool ide_table_walk(struct ide_channel *channel, uint64_t bytes);

void ide_identify(const struct ide_drive *drive, uint8_t data[IDE_SECTOR]);

#endif
