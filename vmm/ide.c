/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An IDE channel: the task file and the commands of [ATA].
 *
 * A transfer goes in parts: for PIO by the buffer, which the guest moves by words when there is no io in flight, in
 * blocks of one sector or a few; for DMA all at once, straight to the memory that the bus master's table describes.
 */
#include <errno.h>
#include <string.h>

#include "disk/mutant.h"
#include "ide.h"

#define ERR 0x01u /* status */
#define DRQ 0x08u
#define DSC 0x10u
#define DF 0x20u
#define DRDY 0x40u
#define BSY 0x80u
#define READY (DRDY | DSC)

#define ABRT 0x04u /* error */
#define IDNF 0x10u
#define UNC 0x40u

#define LBA 0x40u /* device */
#define SLAVE 0x10u
#define SRST 0x04u /* control */
#define HOB 0x80u

static struct ide_drive *selected(struct ide_channel *channel)
{
    return &channel->drive[channel->registers.device & SLAVE ? 1 : 0];
}

/* ---- How a command ends ---- */

static void finish(struct ide_channel *channel, uint8_t error)
{
    struct ide_registers *registers = &channel->registers;

    channel->phase = IDE_IDLE;
    registers->error = error;
    registers->status = (uint8_t)(READY | (error ? ERR : 0));
    if (channel->dma) {
        registers->master_status &= (uint8_t)~IDE_MASTER_START;
        if (error)
            registers->master_status |= IDE_MASTER_ERROR;
    }
    channel->dma = false;
    ide_interrupt(channel, true);
}

/* The guest moves the next block of the buffer. */
static void offer(struct ide_channel *channel, enum ide_phase phase, size_t from, bool interrupt)
{
    size_t end = from + (size_t)channel->per_offer * IDE_SECTOR, part = (size_t)channel->part * IDE_SECTOR;

    channel->phase = phase;
    channel->at = from;
    channel->end = end < part ? end : part;
    channel->registers.status = READY | DRQ;
    channel->registers.error = 0;
    if (interrupt)
        ide_interrupt(channel, true);
}

/* ---- Transfers ---- */

static void part_begin(struct ide_channel *channel)
{
    channel->part = channel->left < channel->per_part ? channel->left : channel->per_part;
    channel->left -= channel->part;
}

static void part_submit(struct ide_channel *channel)
{
    channel->iov[0] = (struct iovec){channel->buffer, (size_t)channel->part * IDE_SECTOR};
    ide_submit(channel, channel->write ? VDISK_WRITE : VDISK_READ, channel->iov, 1);
}

/* The address of the task file; false: beyond the disk. */
static bool address(struct ide_channel *channel, bool extended)
{
    const struct ide_registers *registers = &channel->registers;
    const struct ide_drive *drive = channel->current;
    uint64_t sector = registers->lba[0][0] | (uint64_t)registers->lba[1][0] << 8 | (uint64_t)registers->lba[2][0] << 16;
    uint32_t count = registers->count[0];

    if (extended) {
        for (unsigned i = 0; i < 3; i++)
            sector |= (uint64_t)registers->lba[i][1] << (24 + 8 * i);
        count |= (uint32_t)registers->count[1] << 8;
    } else if (registers->device & LBA) {
        sector |= (uint64_t)(registers->device & 0x0f) << 24;
    } else {
        uint32_t cylinder = registers->lba[1][0] | (uint32_t)registers->lba[2][0] << 8;

        if (registers->lba[0][0] == 0)
            return false;
        sector = ((uint64_t)cylinder * drive->heads + (registers->device & 0x0f)) * drive->track_sectors +
                 registers->lba[0][0] - 1;
    }
    channel->sector = sector;
    channel->left = count ? count : extended ? 65536 : 256;
    return sector < drive->sectors && channel->left <= drive->sectors - sector;
}

enum transfer { READ = 0, WRITE = 1, EXTENDED = 2, MULTIPLE = 4, DMA = 8, DURABLE = 16, VERIFY = 32 };

static void transfer(struct ide_channel *channel, unsigned kind)
{
    const struct ide_drive *drive = channel->current;

    if ((kind & MULTIPLE && drive->multiple == 0) || (kind & WRITE && drive->disk->readonly)) {
        finish(channel, ABRT);
        return;
    }
    if (!address(channel, kind & EXTENDED)) {
        finish(channel, IDNF);
        return;
    }
    channel->write = kind & WRITE;
    channel->verify = kind & VERIFY;
    channel->dma = kind & DMA;
    channel->durable = kind & DURABLE || drive->no_cache;
    channel->per_offer = kind & MULTIPLE ? drive->multiple : 1;
    channel->per_part = channel->write ? channel->per_offer : IDE_AHEAD;
    if (channel->dma) {
        channel->phase = IDE_WAIT_DMA;
        channel->registers.status = READY | DRQ;
        if (channel->registers.master_command & IDE_MASTER_START)
            ide_dma_go(channel);
        return;
    }
    part_begin(channel);
    if (channel->write)
        offer(channel, IDE_OUT, 0, false);
    else
        part_submit(channel);
}

void ide_dma_go(struct ide_channel *channel)
{
    channel->part = channel->left;
    channel->left = 0;
    if (!ide_table_walk(channel, (uint64_t)channel->part * IDE_SECTOR)) {
        finish(channel, ABRT);
        return;
    }
    ide_submit(channel, channel->write ? VDISK_WRITE : VDISK_READ, channel->iov, channel->segments);
}

/* A part has been moved between the buffer and the disk. */
static void part_done(struct ide_channel *channel)
{
    channel->sector += channel->part;
    if (channel->dma) {
        for (unsigned i = 0; i < channel->segments && !channel->write; i++)
            memory_mark(channel->ide->memory, channel->iov[i].iov_base, channel->iov[i].iov_len);
        finish(channel, 0);
    } else if (!channel->write && !channel->verify) {
        offer(channel, IDE_IN, 0, true);
    } else if (channel->left == 0) {
        finish(channel, 0);
    } else {
        part_begin(channel);
        if (channel->verify)
            part_submit(channel);
        else
            offer(channel, IDE_OUT, 0, true);
    }
}

void ide_channel_done(struct ide_channel *channel, int error)
{
    if (channel->phase != IDE_BUSY) /* it was reset */
        return;
    if (error)
        finish(channel, channel->write || channel->io.op == VDISK_FLUSH ? ABRT : UNC);
    else if (channel->io.op == VDISK_FLUSH)
        finish(channel, 0);
    else
        part_done(channel);
}

/* The guest has moved what it was offered. */
static void buffer_moved(struct ide_channel *channel)
{
    if (channel->phase == IDE_OUT) {
        part_submit(channel);
    } else if (channel->end < (size_t)channel->part * IDE_SECTOR) {
        offer(channel, IDE_IN, channel->end, true);
    } else if (channel->left > 0) {
        part_begin(channel);
        part_submit(channel);
    } else { /* the interrupt was for the data; there is none for the end */
        channel->phase = IDE_IDLE;
        channel->registers.status = READY;
    }
}

static uint32_t data_read(struct ide_channel *channel, unsigned size)
{
    uint32_t value = 0;

    if (channel->phase != IDE_IN || channel->end - channel->at < size)
        return UINT32_MAX;
    memcpy(&value, channel->buffer + channel->at, size);
    channel->at += size;
    if (channel->at == channel->end)
        buffer_moved(channel);
    return value;
}

static void data_write(struct ide_channel *channel, unsigned size, uint32_t value)
{
    if (channel->phase != IDE_OUT || channel->end - channel->at < size)
        return;
    memcpy(channel->buffer + channel->at, &value, size);
    channel->at += size;
    if (channel->at == channel->end)
        buffer_moved(channel);
}

/* ---- Commands ---- */

static void signature(struct ide_channel *channel)
{
    struct ide_registers *registers = &channel->registers;

    registers->count[0] = registers->lba[0][0] = 1;
    registers->lba[1][0] = registers->lba[2][0] = 0;
    registers->device &= SLAVE;
    registers->error = 1; /* passed */
}

static void identify(struct ide_channel *channel)
{
    channel->left = 0;
    channel->part = channel->per_offer = 1;
    ide_identify(channel->current, channel->buffer);
    offer(channel, IDE_IN, 0, true);
}

static void set_features(struct ide_channel *channel)
{
    struct ide_drive *drive = channel->current;

    switch (channel->registers.feature) {
    case 0x02:
    case 0x82:
        drive->no_cache = channel->registers.feature == 0x82;
        if (drive->no_cache) { /* what is in it becomes durable first */
            ide_submit(channel, VDISK_FLUSH, NULL, 0);
            return;
        }
        break;
    case 0x03: /* transfer mode: any */
    case 0x55: /* look-ahead, and how a reset leaves what was set: there is nothing to it */
    case 0xaa:
    case 0x66:
    case 0xcc:
        break;
    default:
        finish(channel, ABRT);
        return;
    }
    finish(channel, 0);
}

static void set_multiple(struct ide_channel *channel)
{
    uint8_t count = channel->registers.count[0];

    if (count > IDE_MULTIPLE || (count & (count - 1))) {
        finish(channel, ABRT);
        return;
    }
    channel->current->multiple = count;
    finish(channel, 0);
}

static void set_geometry(struct ide_channel *channel)
{
    struct ide_drive *drive = channel->current;

    if (channel->registers.count[0] == 0) {
        finish(channel, ABRT);
        return;
    }
    drive->heads = (uint8_t)((channel->registers.device & 0x0f) + 1);
    drive->track_sectors = channel->registers.count[0];
    finish(channel, 0);
}

static int transfer_kind(uint8_t command)
{
    static const struct {
        uint8_t command, kind;
    } kinds[] = {
        {0x20, READ},
        {0x21, READ},
        {0x24, READ | EXTENDED},
        {0x30, WRITE},
        {0x31, WRITE},
        {0x34, WRITE | EXTENDED},
        {0xc4, READ | MULTIPLE},
        {0x29, READ | MULTIPLE | EXTENDED},
        {0xc5, WRITE | MULTIPLE},
        {0x39, WRITE | MULTIPLE | EXTENDED},
        {0xce, WRITE | MULTIPLE | EXTENDED | DURABLE},
        {0xc8, READ | DMA},
        {0xc9, READ | DMA},
        {0x25, READ | DMA | EXTENDED},
        {0xca, WRITE | DMA},
        {0xcb, WRITE | DMA},
        {0x35, WRITE | DMA | EXTENDED},
        {0x3d, WRITE | DMA | EXTENDED | DURABLE},
        {0x40, READ | VERIFY},
        {0x41, READ | VERIFY},
        {0x42, READ | VERIFY | EXTENDED},
    };

    for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (kinds[i].command == command)
            return kinds[i].kind;
    return -1;
}

static void execute(struct ide_channel *channel, uint8_t command)
{
    int kind = transfer_kind(command);

    if (kind >= 0) {
        transfer(channel, (unsigned)kind);
        return;
    }
    switch (command) {
    case 0x08: /* DEVICE RESET */
    case 0x90: /* EXECUTE DEVICE DIAGNOSTIC */
        signature(channel);
        channel->registers.status = READY;
        ide_interrupt(channel, command == 0x90);
        return;
    case 0x10: /* RECALIBRATE */
    case 0x70: /* SEEK */
    case 0xe0: /* STANDBY IMMEDIATE and the other modes of power: always on */
    case 0xe1:
    case 0xe2:
    case 0xe3:
        finish(channel, 0);
        return;
    case 0x91: /* INITIALIZE DEVICE PARAMETERS */
        set_geometry(channel);
        return;
    case 0xc6:
        set_multiple(channel);
        return;
    case 0xe5: /* CHECK POWER MODE */
        channel->registers.count[0] = 0xff;
        finish(channel, 0);
        return;
    case 0xe7: /* FLUSH CACHE (EXT) */
    case 0xea:
        if (MUTANT("ide-flush-ignored"))
            finish(channel, 0);
        else
            ide_submit(channel, VDISK_FLUSH, NULL, 0);
        return;
    case 0xec:
        identify(channel);
        return;
    case 0xef:
        set_features(channel);
        return;
    default:
        finish(channel, ABRT);
    }
}

/* While a drive is busy, and for one that is not there, a command is nothing; DEVICE DIAGNOSTIC is for both. */
static void command_write(struct ide_channel *channel, uint8_t command)
{
    if (channel->phase == IDE_BUSY || (!selected(channel)->disk && command != 0x90))
        return;
    if (!selected(channel)->disk)
        channel->registers.device &= (uint8_t)~SLAVE;
    ide_interrupt(channel, false);
    channel->phase = IDE_IDLE;
    channel->write = channel->verify = channel->dma = channel->durable = false;
    channel->registers.error = 0;
    channel->current = selected(channel);
    execute(channel, command);
}

/* ---- Registers ---- */

static uint8_t status_read(struct ide_channel *channel)
{
    return selected(channel)->disk ? channel->registers.status : 0;
}

static uint8_t register_read(struct ide_channel *channel, uint64_t offset)
{
    const struct ide_registers *registers = &channel->registers;
    unsigned old = registers->control & HOB ? 1 : 0;

    switch (offset) {
    case 1:
        return registers->error;
    case 2:
        return registers->count[old];
    case 3:
    case 4:
    case 5:
        return registers->lba[offset - 3][old];
    case 6:
        return registers->device | 0xa0;
    default:
        ide_interrupt(channel, false);
        return status_read(channel);
    }
}

static uint64_t ports_read(void *owner, uint64_t offset, unsigned size)
{
    struct ide_channel *channel = owner;

    if (offset == 0)
        return data_read(channel, size < 4 ? size : 4);
    return register_read(channel, offset);
}

static void register_write(struct ide_channel *channel, uint64_t offset, uint8_t value)
{
    struct ide_registers *registers = &channel->registers;

    registers->control &= (uint8_t)~HOB;
    if (offset == 7) {
        command_write(channel, value);
        return;
    }
    if (channel->phase == IDE_BUSY)
        return;
    switch (offset) {
    case 1:
        registers->feature = value;
        break;
    case 2:
        registers->count[1] = registers->count[0];
        registers->count[0] = value;
        break;
    case 6:
        registers->device = value & (LBA | SLAVE | 0x0f);
        break;
    default:
        registers->lba[offset - 3][1] = registers->lba[offset - 3][0];
        registers->lba[offset - 3][0] = value;
    }
}

static void ports_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset == 0)
        data_write(owner, size < 4 ? size : 4, (uint32_t)value);
    else
        register_write(owner, offset, (uint8_t)value);
}

static uint64_t control_read(void *owner, uint64_t offset, unsigned size)
{
    (void)offset;
    (void)size;
    return status_read(owner);
}

static void control_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct ide_channel *channel = owner;
    uint8_t before = channel->registers.control;

    (void)offset;
    (void)size;
    channel->registers.control = (uint8_t)value & (SRST | IDE_NIEN | HOB);
    if (value & SRST && !(before & SRST)) {
        ide_channel_reset(channel);
        channel->registers.control = (uint8_t)value & (SRST | IDE_NIEN);
        channel->registers.status = BSY;
    } else if (!(value & SRST) && before & SRST) {
        channel->registers.status = READY;
    }
    if (value & IDE_NIEN)
        ide_interrupt(channel, false);
}

void ide_channel_reset(struct ide_channel *channel)
{
    channel->phase = IDE_IDLE;
    channel->current = &channel->drive[0];
    channel->wanted = false;
    while (channel->flying && !MUTANT("ide-reset-in-flight"))
        vdisk_ring_poll(channel->ide->ring, true);
    channel->dma = false;
    memset(&channel->registers, 0, sizeof(channel->registers));
    signature(channel);
    channel->registers.status = READY;
    for (unsigned i = 0; i < 2; i++) {
        channel->drive[i].multiple = 0;
        channel->drive[i].heads = 16;
        channel->drive[i].track_sectors = 63;
    }
    ide_interrupt(channel, false);
}

void ide_channel_init(struct ide_channel *channel)
{
    static const uint16_t bases[] = {0x1f0, 0x170};
    uint16_t base = bases[channel->index];

    channel->command_ports = (struct bus_range){base, 8, channel, ports_read, ports_write};
    channel->control_ports = (struct bus_range){base + 0x206u, 1, channel, control_read, control_write};
    ide_channel_reset(channel);
}
