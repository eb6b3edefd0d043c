/* SPDX-License-Identifier: BSD-2-Clause */
/* The IDE function around its channels: bus master, ring, interrupts, and what IDENTIFY DEVICE tells. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices.h"
#include "disk/endian.h"
#include "disk/mutant.h"
#include "ide.h"

#define MASTER_BAR 4u
#define COMMAND_TO_MEMORY 0x08u
#define STATUS_INTERRUPT 0x04u
#define STATUS_DRIVES 0x60u /* whether a driver has set up DMA: kept for it */
#define TABLE_ENTRIES 8192u /* what 64 KiB hold */
#define LAST 0x8000u
#define TIMING 0x40u
#define DECODE 0x8000u

struct table_entry {
    struct le32 address;
    struct le16 bytes, flags; /* bytes: 0 is 65536 */
};
_Static_assert(sizeof(struct table_entry) == 8, "[BMIDE] 1.2");

/* ---- Interrupts and io ---- */

void ide_interrupt(struct ide_channel *channel, bool level)
{
    if (level)
        channel->registers.master_status |= STATUS_INTERRUPT;
    if (channel->line.irq)
        irq_line_set(&channel->line, level && !(channel->registers.control & IDE_NIEN));
}

static void io_done(struct vdisk_io *io, int error)
{
    struct ide_channel *channel = (struct ide_channel *)((char *)io - offsetof(struct ide_channel, io));

    channel->flying = false;
    ide_channel_done(channel, error);
}

/* The thread that submits is the one that polls: the loop's is told. */
void ide_submit(struct ide_channel *channel, enum vdisk_op op, const struct iovec *iov, unsigned count)
{
    channel->phase = IDE_BUSY;
    channel->registers.status = 0x80;
    channel->io = (struct vdisk_io){
        .op = op,
        .flags = op == VDISK_WRITE && channel->durable ? VDISK_FUA : 0,
        .offset = op == VDISK_FLUSH ? 0 : channel->sector * IDE_SECTOR,
        .length = op == VDISK_FLUSH ? 0 : (uint64_t)channel->part * IDE_SECTOR,
        .iov = iov,
        .iovcnt = (int)count,
        .done = io_done,
    };
    channel->wanted = true;
    eventfd_write(channel->ide->go.fd, 1);
}

static void go(struct loop_source *source)
{
    struct ide *ide = source->owner;

    loop_timer_clear(source);
    for (unsigned i = 0; i < 2; i++) {
        struct ide_channel *channel = &ide->channel[i];

        if (!channel->wanted)
            continue;
        channel->wanted = false;
        channel->flying = true;
        vdisk_port_submit(channel->current->disk->port, ide->ring, &channel->io);
    }
}

static bool before_wait(void *owner)
{
    struct ide *ide = owner;

    return vdisk_ring_poll(ide->ring, false) > 0;
}

/* ---- The bus master ---- */

/* [BMIDE] 1.2: each entry is read once. */
bool ide_table_walk(struct ide_channel *channel, uint64_t bytes)
{
    const struct memory *memory = channel->ide->memory;
    uint64_t at = channel->registers.master_table;

    channel->segments = 0;
    if (!pci_master(&channel->ide->pci))
        return false;
    for (unsigned i = 0; i < TABLE_ENTRIES && bytes > 0; i++, at += sizeof(struct table_entry)) {
        struct table_entry entry;
        uint64_t length;
        void *host;

        if (channel->segments == IDE_SEGMENTS || memory_read(memory, at, &entry, sizeof(entry)) < 0)
            return false;
        length = le16_get(entry.bytes) & ~1u;
        length = length ? length : 65536;
        if (length > bytes)
            length = bytes;
        host = memory_range(memory, le32_get(entry.address) & ~1u, length);
        if (!host)
            return false;
        channel->iov[channel->segments++] = (struct iovec){host, length};
        bytes -= length;
        if (le16_get(entry.flags) & LAST)
            break;
    }
    return bytes == 0;
}

static uint64_t master_read(void *owner, uint64_t offset, unsigned size)
{
    const struct ide *ide = owner;
    const struct ide_registers *registers = &ide->channel[offset / 8].registers;

    (void)size;
    return (registers->master_command | (uint64_t)registers->master_status << 16 |
            (uint64_t)registers->master_table << 32) >>
           8 * (offset % 8);
}

/* A transfer that is stopped in flight has happened all the same: the guest goes on when it has. */
static void command_write(struct ide_channel *channel, uint8_t value)
{
    struct ide_registers *registers = &channel->registers;
    uint8_t before = registers->master_command;

    registers->master_command = value & (IDE_MASTER_START | COMMAND_TO_MEMORY);
    if (value & IDE_MASTER_START && !(before & IDE_MASTER_START)) {
        registers->master_status |= IDE_MASTER_START;
        if (channel->phase == IDE_WAIT_DMA)
            ide_dma_go(channel);
    } else if (!(value & IDE_MASTER_START) && before & IDE_MASTER_START) {
        if (channel->wanted && channel->dma) { /* not yet submitted: it never is */
            channel->wanted = false;
            ide_channel_done(channel, -ECANCELED);
        }
        while (channel->flying && channel->dma && !MUTANT("ide-stop-in-flight"))
            vdisk_ring_poll(channel->ide->ring, true);
        registers->master_status &= (uint8_t)~IDE_MASTER_START;
    }
}

static void master_byte_write(struct ide_channel *channel, unsigned offset, uint8_t value)
{
    struct ide_registers *registers = &channel->registers;
    unsigned shift = 8 * (offset & 3);

    if (offset == 0)
        command_write(channel, value);
    else if (offset == 2)
        registers->master_status =
            (uint8_t)((registers->master_status & ~(STATUS_DRIVES | (value & (IDE_MASTER_ERROR | STATUS_INTERRUPT)))) |
                      (value & STATUS_DRIVES));
    else if (offset >= 4)
        registers->master_table =
            ((registers->master_table & ~(UINT32_C(0xff) << shift)) | (uint32_t)value << shift) & ~3u;
}

static void master_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct ide *ide = owner;

    for (unsigned i = 0; i < size && offset + i < 16; i++)
        master_byte_write(&ide->channel[(offset + i) / 8], (offset + i) % 8, (uint8_t)(value >> 8 * i));
}

/* ---- IDENTIFY DEVICE, [ATA] 6.17 ---- */

static void put_text(struct le16 *words, unsigned count, const char *text)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t first = *text ? (uint8_t)*text++ : ' ', second = *text ? (uint8_t)*text++ : ' ';

        words[i] = le16_of((uint16_t)(first << 8 | second));
    }
}

static void put_capacity(struct le16 *words, const struct ide_drive *drive)
{
    uint64_t short_sectors = drive->sectors < 0x0fffffff ? drive->sectors : 0x0fffffff;
    uint64_t cylinders = drive->sectors / (16 * 63), chs;

    cylinders = cylinders < 16383 ? cylinders : 16383;
    chs = cylinders * 16 * 63;
    words[1] = words[54] = le16_of((uint16_t)cylinders);
    words[3] = words[55] = le16_of(16);
    words[6] = words[56] = le16_of(63);
    words[57] = le16_of((uint16_t)chs);
    words[58] = le16_of((uint16_t)(chs >> 16));
    words[60] = le16_of((uint16_t)short_sectors);
    words[61] = le16_of((uint16_t)(short_sectors >> 16));
    for (unsigned i = 0; i < 4; i++)
        words[100 + i] = le16_of((uint16_t)(drive->sectors >> 16 * i));
}

void ide_identify(const struct ide_drive *drive, uint8_t data[IDE_SECTOR])
{
    static const struct {
        uint8_t word;
        uint16_t value;
    } fixed[] = {
        {0, 0x0040},  {47, 0x8000 | IDE_MULTIPLE},
        {49, 0x0f00}, {50, 0x4000},
        {53, 0x0007}, {63, 0x0007},
        {64, 0x0003}, {65, 120},
        {66, 120},    {67, 120},
        {68, 120},    {80, 0x00f0},
        {82, 0x4020}, {83, 0x7400},
        {84, 0x4040}, {86, 0x3400},
        {87, 0x4040}, {88, 0x203f},
        {93, 0x6001},
    };
    struct le16 words[IDE_SECTOR / 2];

    memset(words, 0, sizeof(words));
    for (unsigned i = 0; i < sizeof(fixed) / sizeof(*fixed); i++)
        words[fixed[i].word] = le16_of(fixed[i].value);
    put_text(&words[10], 10, drive->serial);
    put_text(&words[23], 4, "1");
    put_text(&words[27], 20, "VDISK Virtual Disk");
    if (drive->large_sectors)
        words[106] = le16_of(0x6003); /* 8 logical sectors a physical one */
    words[59] = le16_of(drive->multiple ? 0x0100 | drive->multiple : 0);
    words[85] = le16_of(drive->no_cache ? 0x4000 : 0x4020);
    put_capacity(words, drive);
    memcpy(data, words, sizeof(words));
}

/* ---- The function ---- */

static void reset(struct pci_device *pci)
{
    struct ide *ide = (struct ide *)pci;

    for (unsigned i = 0; i < 2; i++) {
        ide_channel_reset(&ide->channel[i]);
        ide->channel[i].drive[0].no_cache = ide->channel[i].drive[1].no_cache = false;
    }
}

static int drive_open(struct ide *ide, unsigned number, const struct machine_disk *disk)
{
    struct ide_drive *drive = &ide->channel[number / 2].drive[number % 2];

    if (!disk)
        return 0;
    if (vdisk_sector_size(vdisk_port_disk(disk->port)) != IDE_SECTOR)
        return -EINVAL;
    drive->disk = disk;
    drive->sectors = vdisk_port_size(disk->port) / IDE_SECTOR;
    drive->large_sectors = vdisk_physical_sector_size(vdisk_port_disk(disk->port)) > IDE_SECTOR;
    machine_disk_serial(disk, "ide", number, drive->serial);
    return 0;
}

static int channel_open(struct ide *ide, unsigned index, struct machine *machine)
{
    struct ide_channel *channel = &ide->channel[index];
    int err;

    channel->ide = ide;
    channel->index = index;
    channel->buffer = aligned_alloc(4096, IDE_BUFFER);
    if (!channel->buffer)
        return -ENOMEM;
    memset(channel->buffer, 0, IDE_BUFFER);
    ide_channel_init(channel);
    if (!machine)
        return 0;
    channel->line = (struct irq_line){.irq = &machine->irq, .gsi = 14 + index};
    if (!channel->drive[0].disk && !channel->drive[1].disk)
        return 0; /* nobody answers at its ports */
    err = bus_add(&machine->pio, &channel->command_ports);
    return err < 0 ? err : bus_add(&machine->pio, &channel->control_ports);
}

static void describe(struct ide *ide)
{
    static const struct pci_id id = {0x8086, 0x7010, 0x1af4, 0x1100, 0x010180, 0};
    const struct bus_range master = {.size = 16, .owner = ide, .read = master_read, .write = master_write};

    pci_device_init(&ide->pci, "ide", &id);
    pci_bar_add(&ide->pci, MASTER_BAR, true, &master);
    for (unsigned i = 0; i < 2; i++) {
        pci_set(&ide->pci, TIMING + 2 * i, 2, DECODE);
        pci_allow(&ide->pci, TIMING + 2 * i, 2, 0xffff);
    }
    ide->pci.reset = reset;
}

static int sources_open(struct ide *ide)
{
    int err;

    ide->go = (struct loop_source){eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), go, ide};
    if (ide->go.fd < 0)
        return -errno;
    ide->completed = (struct loop_source){vdisk_ring_fd(ide->ring), NULL, ide};
    ide->hook = (struct loop_hook){.before_wait = before_wait, .owner = ide};
    err = loop_add(ide->loop, &ide->go, EPOLLIN);
    if (err == 0)
        err = loop_add(ide->loop, &ide->completed, EPOLLIN);
    if (err == 0)
        loop_hook_add(ide->loop, &ide->hook);
    return err;
}

/* Whatever was opened of it. */
void ide_free(void *owner)
{
    struct ide *ide = owner;

    if (ide->ring)
        reset(&ide->pci);
    if (ide->go.fd >= 0) {
        loop_remove(ide->loop, &ide->go);
        loop_remove(ide->loop, &ide->completed);
        close(ide->go.fd);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (ide->machine) {
            bus_remove(&ide->machine->pio, &ide->channel[i].command_ports);
            bus_remove(&ide->machine->pio, &ide->channel[i].control_ports);
        }
        free(ide->channel[i].buffer);
    }
    if (ide->pci.pci)
        pci_unplug(&ide->pci);
    if (ide->ring)
        vdisk_ring_close(ide->ring);
    free(ide);
}

int ide_make(struct machine *machine, struct memory *memory, struct loop *loop,
             const struct machine_disk *const disks[4], struct ide **result)
{
    struct ide *ide = calloc(1, sizeof(*ide));
    int err = 0;

    if (!ide)
        return -ENOMEM;
    describe(ide);
    ide->machine = machine;
    ide->memory = memory;
    ide->loop = loop;
    ide->go.fd = -1;
    for (unsigned i = 0; i < 4 && err == 0; i++)
        err = drive_open(ide, i, disks[i]);
    for (unsigned i = 0; i < 2 && err == 0; i++)
        err = channel_open(ide, i, machine);
    if (err == 0)
        err = vdisk_ring_open(16, VDISK_BACKEND_AUTO, &ide->ring);
    if (err == 0 && machine)
        err = pci_plug(&machine->pci, &ide->pci, PCI_DEVFN(1, 1));
    if (err == 0)
        err = sources_open(ide);
    if (err < 0) {
        ide_free(ide);
        return err;
    }
    *result = ide;
    return 0;
}

/* IDE has no way to tell: the next IDENTIFY DEVICE says it. */
static void resized(void *owner, const struct machine_disk *disk)
{
    struct ide *ide = owner;

    for (unsigned i = 0; i < 4; i++)
        if (ide->channel[i / 2].drive[i % 2].disk == disk)
            ide->channel[i / 2].drive[i % 2].sectors = vdisk_port_size(disk->port) / IDE_SECTOR;
}

int ide_open(struct machine *machine)
{
    const struct machine_options *options = machine->options;
    const struct machine_disk *disks[4] = {NULL};
    unsigned count = 0;
    struct ide *ide;
    int err;

    for (unsigned i = 0; i < options->disk_count; i++) {
        if (options->disk[i].bus != MACHINE_IDE)
            continue;
        if (count == 4)
            return machine_error(machine, -EINVAL, "disk %u: IDE has no more than four drives", i);
        disks[count++] = &options->disk[i];
        if (vdisk_sector_size(vdisk_port_disk(options->disk[i].port)) != IDE_SECTOR)
            return machine_error(machine, -EINVAL, "disk %u: IDE has sectors of 512 bytes, the disk has larger ones",
                                 i);
        if (options->disk[i].iops || options->disk[i].bytes_per_second)
            return machine_error(machine, -EINVAL, "disk %u: a limit needs bus=virtio or bus=scsi", i);
    }
    if (count == 0)
        return 0;
    err = ide_make(machine, &machine->memory, &machine->loop, disks, &ide);
    if (err < 0)
        return machine_error(machine, err, "IDE: %s", strerror(-err));
    ide->part = (struct machine_part){.name = "ide", .close = ide_free, .resized = resized, .owner = ide};
    machine_part_add(machine, &ide->part);
    return 0;
}
