/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-blk ([VIRTIO] 5.2): a disk with several queues, each with an I/O thread and a ring of its own.
 *
 * What a request asks is copied once (the header, the segments of a discard) and checked; its data go straight between
 * the guest's memory and the disk.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "disk/mutant.h"
#include "io_queue.h"

#define SECTOR 512u              /* the unit of the protocol, whatever the disk's is */
#define RANGES 32u               /* of one discard or write zeroes */
#define RANGE_SECTORS (1u << 22) /* at most, of each */
#define LENGTH_MAX (1u << 28)    /* of a transfer: so that a reset does not wait for long */
#define WCE_OFFSET offsetof(struct virtio_blk_config, wce)

#define BIT(feature) (UINT64_C(1) << (feature))

struct request {
    struct io_slot slot; /* first */
    struct vdisk_io io;
    struct blk *blk;
    uint8_t *status;
    size_t written; /* of the writable list, if it succeeds */
    unsigned range, range_count;
    struct virtio_blk_discard_write_zeroes ranges[RANGES];
};

struct blk {
    struct virtio_device device; /* first */
    const struct machine_disk *disk;
    char name[24], serial[VIRTIO_BLK_ID_BYTES + 1];
    struct virtio_blk_config config;
    struct throttle throttle;
    _Atomic bool durable; /* there is no cache as far as the guest knows: writes are durable when done */
    unsigned queue_count;
    struct io_queue queue[VIRTIO_QUEUES_MAX];
};

/* ---- Ends ---- */

static void finish(struct request *request, uint8_t status)
{
    *request->status = status;
    memory_mark(request->blk->device.memory, request->status, 1);
    io_slot_push(&request->slot, status == VIRTIO_BLK_S_OK ? request->written + 1 : 1);
}

static void submit(struct io_slot *slot)
{
    struct request *request = (struct request *)slot;

    vdisk_port_submit(request->blk->disk->port, slot->queue->ring, &request->io);
}

static void range_next(struct request *request);

/* A list of ranges goes on with the next of them, and where there is no cache ends with a flush. */
static void done(struct vdisk_io *io, int error)
{
    struct request *request = (struct request *)((char *)io - offsetof(struct request, io));

    if (!error && request->range < request->range_count) {
        range_next(request);
        submit(&request->slot);
        return;
    }
    if (!error && request->range_count > 0 && request->io.op != VDISK_FLUSH && atomic_load(&request->blk->durable)) {
        request->io.op = VDISK_FLUSH;
        submit(&request->slot);
        return;
    }
    finish(request, error ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

/* ---- Beginnings ---- */

/* All of them have been checked. */
static void range_next(struct request *request)
{
    const struct virtio_blk_discard_write_zeroes *range = &request->ranges[request->range++];

    request->io.offset = range->sector * SECTOR;
    request->io.length = (uint64_t)range->num_sectors * SECTOR;
}

/* The list of ranges, copied; a status: it is refused. */
static int ranges_take(struct request *request, enum vdisk_op op)
{
    struct virtio_chain *chain = &request->slot.chain;
    uint64_t size = vdisk_port_size(request->blk->disk->port);
    uint32_t allowed = op == VDISK_ZERO ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

    request->range_count = (unsigned)(chain->readable_length / sizeof(struct virtio_blk_discard_write_zeroes));
    if (chain->readable_length % sizeof(struct virtio_blk_discard_write_zeroes) || request->range_count == 0 ||
        chain->readable_length > sizeof(request->ranges))
        return VIRTIO_BLK_S_IOERR;
    iov_read(chain->readable, chain->readable_count, 0, request->ranges, chain->readable_length);
    for (unsigned i = 0; i < request->range_count; i++) {
        const struct virtio_blk_discard_write_zeroes *range = &request->ranges[i];
        uint64_t sector = range->sector, count = range->num_sectors;

        if (range->flags & ~allowed)
            return VIRTIO_BLK_S_UNSUPP;
        if (count == 0 || count > RANGE_SECTORS || sector > size / SECTOR || count > size / SECTOR - sector)
            return VIRTIO_BLK_S_IOERR;
    }
    return VIRTIO_BLK_S_OK;
}

static void ranges_begin(struct request *request, enum vdisk_op op)
{
    int status = request->blk->disk->readonly ? VIRTIO_BLK_S_IOERR : ranges_take(request, op);

    if (status != VIRTIO_BLK_S_OK) {
        finish(request, (uint8_t)status);
        return;
    }
    request->io.op = op;
    range_next(request);
    io_slot_begin(&request->slot, &request->blk->throttle, 0);
}

static void transfer_begin(struct request *request, enum vdisk_op op, uint64_t sector)
{
    struct virtio_chain *chain = &request->slot.chain;
    struct blk *blk = request->blk;
    bool read = op == VDISK_READ;
    size_t length = read ? chain->writable_length : chain->readable_length;

    request->io.op = op;
    request->io.flags = !read && atomic_load_explicit(&blk->durable, memory_order_relaxed) ? VDISK_FUA : 0;
    request->io.iov = read ? chain->writable : chain->readable;
    request->io.iovcnt = (int)(read ? chain->writable_count : chain->readable_count);
    request->io.offset = sector * SECTOR; /* the disk's end and its sectors are the engine's to check */
    request->io.length = length;
    request->written = read ? length : 0;
    if (length == 0 || length > LENGTH_MAX || sector > UINT64_MAX / SECTOR || (!read && blk->disk->readonly))
        finish(request, VIRTIO_BLK_S_IOERR);
    else
        io_slot_begin(&request->slot, &blk->throttle, length);
}

static void identify(struct request *request)
{
    struct virtio_chain *chain = &request->slot.chain;
    const struct blk *blk = request->blk;

    request->written = iov_write(chain->writable, chain->writable_count, 0, blk->serial, VIRTIO_BLK_ID_BYTES);
    finish(request, VIRTIO_BLK_S_OK);
}

static void execute(struct request *request, uint32_t type, uint64_t sector)
{
    switch (type) {
    case VIRTIO_BLK_T_IN:
        transfer_begin(request, VDISK_READ, sector);
        break;
    case VIRTIO_BLK_T_OUT:
        transfer_begin(request, VDISK_WRITE, sector);
        break;
    case VIRTIO_BLK_T_FLUSH:
        request->io.op = VDISK_FLUSH;
        if (MUTANT("blk-flush-ignored"))
            finish(request, VIRTIO_BLK_S_OK);
        else
            io_slot_begin(&request->slot, &request->blk->throttle, 0);
        break;
    case VIRTIO_BLK_T_GET_ID:
        identify(request);
        break;
    case VIRTIO_BLK_T_DISCARD:
        ranges_begin(request, VDISK_DISCARD);
        break;
    case VIRTIO_BLK_T_WRITE_ZEROES:
        ranges_begin(request, VDISK_ZERO);
        break;
    default:
        finish(request, VIRTIO_BLK_S_UNSUPP);
    }
}

/* Header, data, status: the first 16 bytes that can be read, and the last one that can be written. */
static const char *take(struct io_slot *slot)
{
    struct request *request = (struct request *)slot;
    struct virtio_chain *chain = &slot->chain;
    struct virtio_blk_outhdr header;
    size_t got;

    if (chain->writable_length == 0)
        return "a request without room for its status";
    request->blk = (struct blk *)slot->queue->virtio->device;
    request->status = (uint8_t *)chain->writable[chain->writable_count - 1].iov_base +
                      chain->writable[chain->writable_count - 1].iov_len - 1;
    chain->writable_length--;
    chain->writable_count = iov_cut(chain->writable, chain->writable_count, 0, chain->writable_length);
    got = iov_read(chain->readable, chain->readable_count, 0, &header, sizeof(header));
    request->written = 0;
    request->range = request->range_count = 0;
    memset(&request->io, 0, offsetof(struct vdisk_io, engine));
    request->io.done = done;
    if (got < sizeof(header)) {
        finish(request, VIRTIO_BLK_S_IOERR);
        return NULL;
    }
    chain->readable_length -= got;
    chain->readable_count = iov_cut(chain->readable, chain->readable_count, got, chain->readable_length);
    execute(request, header.type, header.sector);
    return NULL;
}

/* ---- The device ---- */

static void cache_update(struct virtio_device *device)
{
    struct blk *blk = (struct blk *)device;
    bool cache = virtio_has(&blk->device, BIT(VIRTIO_BLK_F_FLUSH));

    if (virtio_has(&blk->device, BIT(VIRTIO_BLK_F_CONFIG_WCE)))
        cache = blk->config.wce & 1;
    atomic_store(&blk->durable, !cache);
}

static void kick(struct virtio_queue *virtio)
{
    io_queue_kick(&((struct blk *)virtio->device)->queue[virtio->index]);
}

static void reset(struct virtio_device *device)
{
    struct blk *blk = (struct blk *)device;

    for (unsigned i = 0; i < blk->queue_count; i++)
        io_queue_reset(&blk->queue[i]);
    blk->config.wce = 1;
}

static void blk_free(struct virtio_device *device)
{
    struct blk *blk = (struct blk *)device;

    for (unsigned i = 0; i < blk->queue_count; i++)
        io_queue_close(&blk->queue[i]);
    free(blk);
}

static const struct virtio_ops ops = {
    .kick = kick,
    .activate = cache_update,
    .reset = reset,
    .config_written = cache_update,
    .free = blk_free,
};

static void config_fill(struct blk *blk)
{
    const struct vdisk *disk = vdisk_port_disk(blk->disk->port);
    unsigned sector = vdisk_sector_size(disk), physical = vdisk_physical_sector_size(disk);
    struct virtio_blk_config *config = &blk->config;

    config->capacity = vdisk_size(disk) / SECTOR;
    config->seg_max = IO_SEGMENTS;
    config->blk_size = sector;
    config->physical_block_exp = physical > sector ? (uint8_t)__builtin_ctz(physical / sector) : 0;
    config->min_io_size = (uint16_t)(physical > sector ? physical / sector : 1);
    config->wce = 1;
    config->num_queues = (uint16_t)blk->queue_count;
    config->max_discard_sectors = config->max_write_zeroes_sectors = RANGE_SECTORS;
    config->max_discard_seg = config->max_write_zeroes_seg = RANGES;
    config->discard_sector_alignment = sector / SECTOR;
    config->write_zeroes_may_unmap = 1;
}

static void resized(void *owner, const struct machine_disk *disk)
{
    struct blk *blk = owner;

    if (blk->disk != disk)
        return;
    blk->config.capacity = vdisk_port_size(disk->port) / SECTOR;
    virtio_config_changed(&blk->device);
}

static int queues_open(struct blk *blk, unsigned index)
{
    static const struct io_queue_ops queue_ops = {sizeof(struct request), take, submit, NULL};
    char name[16];
    int err = 0;

    for (unsigned i = 0; i < blk->queue_count && err == 0; i++) {
        snprintf(name, sizeof(name), "blk%u.%u", index % 100, i % 100);
        err = io_queue_open(&blk->queue[i], &blk->device, i, name, &queue_ops);
    }
    return err;
}

static void describe(struct blk *blk, struct virtio_description *description)
{
    uint64_t features = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) |
                        BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ);

    if (blk->disk->readonly)
        features |= BIT(VIRTIO_BLK_F_RO);
    else
        features |= BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES);
    *description = (struct virtio_description){
        .name = blk->name,
        .id = VIRTIO_ID_BLOCK,
        .class = 0x018000, /* mass storage, of another kind */
        .features = features,
        .queue_count = blk->queue_count,
        .config = &blk->config,
        .config_size = sizeof(blk->config),
        .config_writable = UINT64_C(1) << WCE_OFFSET,
        .ops = &ops,
    };
}

int virtio_blk_make(struct machine *machine, struct memory *memory, const struct machine_disk *disk, unsigned index,
                    struct virtio_device **device)
{
    struct blk *blk = calloc(1, sizeof(*blk));
    struct virtio_description description;
    int err;

    if (!blk)
        return -ENOMEM;
    snprintf(blk->name, sizeof(blk->name), "virtio-blk %u", index);
    machine_disk_serial(disk, "disk", index, blk->serial);
    blk->disk = disk;
    blk->throttle = (struct throttle){.iops = disk->iops, .bytes_per_second = disk->bytes_per_second};
    blk->device.machine = machine;
    blk->device.memory = memory;
    blk->queue_count = io_queues_wanted(machine, disk->queues, VIRTIO_QUEUES_MAX - 1);
    config_fill(blk);
    describe(blk, &description);
    err = queues_open(blk, index);
    if (err == 0)
        err = virtio_open(&blk->device, machine, &description);
    if (err < 0) {
        blk_free(&blk->device);
        return err;
    }
    blk->device.part.resized = resized;
    *device = &blk->device;
    return 0;
}

int virtio_blk_open(struct machine *machine, const struct machine_disk *disk, unsigned index)
{
    struct virtio_device *device;
    int err = virtio_blk_make(machine, &machine->memory, disk, index, &device);

    return err < 0 ? machine_error(machine, err, "disk %u: %s", index, strerror(-err)) : 0;
}
