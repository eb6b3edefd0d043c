/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-blk ([VIRTIO] 5.2): a disk with several queues, each with an I/O thread and a ring of its own.
 *
 * A request is popped into one of the queue's slots, of which there are as many as descriptors, and stays there until
 * its io is done. What it asks is copied once (the header, the segments of a discard) and checked; its data go straight
 * between the guest's memory and the disk.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "disk/endian.h"
#include "disk/mutant.h"
#include "io_thread.h"

#define SECTOR 512u /* the unit of the protocol, whatever the disk's is */
#define SEGMENTS 126u
#define RANGES 32u               /* of one discard or write zeroes */
#define RANGE_SECTORS (1u << 22) /* at most, of each */
#define QUEUES 4u                /* as long as nobody asks for more */
#define WCE_OFFSET offsetof(struct virtio_blk_config, wce)

#define BIT(feature) (UINT64_C(1) << (feature))

struct blk_header {
    struct le32 type, priority;
    struct le64 sector;
};
_Static_assert(sizeof(struct blk_header) == 16, "[VIRTIO] 5.2.6");

struct blk_range {
    struct le64 sector;
    struct le32 count, flags;
};
_Static_assert(sizeof(struct blk_range) == 16, "[VIRTIO] 5.2.6");

struct request {
    struct vdisk_io io; /* first: done finds the request by it */
    struct blk_queue *queue;
    struct request *next; /* free */
    struct io_delayed delayed;
    struct virtio_chain chain;
    uint8_t *status;
    size_t written; /* of the writable list, if it succeeds */
    unsigned range, range_count;
    struct blk_range ranges[RANGES];
    struct iovec iov[SEGMENTS + 2];
};

struct blk_queue {
    struct blk *blk;
    struct virtio_queue *virtio;
    struct io_thread io;
    struct request *requests, *free;
    unsigned flying;
};

struct blk {
    struct virtio_device device; /* first */
    struct machine_part part;
    const struct machine_disk *disk;
    unsigned index;
    char name[24], serial[VIRTIO_BLK_ID_BYTES];
    struct virtio_blk_config config;
    struct throttle throttle;
    _Atomic bool durable; /* there is no cache as far as the guest knows: writes are durable when done */
    unsigned queue_count;
    struct blk_queue queue[VIRTIO_QUEUES_MAX];
};

/* ---- Ends ---- */

static void finish(struct request *request, uint8_t status)
{
    struct blk_queue *queue = request->queue;

    *request->status = status;
    memory_mark(queue->virtio->device->memory, request->status, 1);
    virtio_queue_push(queue->virtio, &request->chain, status == VIRTIO_BLK_S_OK ? request->written + 1 : 1);
    request->next = queue->free;
    queue->free = request;
}

static void submit(struct request *request)
{
    vdisk_port_submit(request->queue->blk->disk->port, request->queue->io.ring, &request->io);
}

static void range_next(struct request *request);

/* A list of ranges goes on with the next of them, and where there is no cache ends with a flush. */
static void done(struct vdisk_io *io, int error)
{
    struct request *request = (struct request *)io;

    if (!error && request->range < request->range_count) {
        range_next(request);
        submit(request);
        return;
    }
    if (!error && request->range_count > 0 && request->io.op != VDISK_FLUSH &&
        atomic_load(&request->queue->blk->durable)) {
        request->io.op = VDISK_FLUSH;
        submit(request);
        return;
    }
    request->queue->flying--;
    finish(request, error ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

/* ---- Beginnings ---- */

static void delayed_begin(struct io_delayed *delayed)
{
    submit((struct request *)((char *)delayed - offsetof(struct request, delayed)));
}

static void begin(struct request *request, uint64_t bytes)
{
    uint64_t start = throttle_take(&request->queue->blk->throttle, bytes);

    request->queue->flying++;
    if (start == 0) {
        submit(request);
        return;
    }
    request->delayed.begin = delayed_begin;
    io_thread_delay(&request->queue->io, &request->delayed, start);
}

/* All of them have been checked. */
static void range_next(struct request *request)
{
    const struct blk_range *range = &request->ranges[request->range++];

    request->io.offset = le64_get(range->sector) * SECTOR;
    request->io.length = (uint64_t)le32_get(range->count) * SECTOR;
}

/* The list of ranges, copied; a status: it is refused. */
static int ranges_take(struct request *request, enum vdisk_op op)
{
    struct virtio_chain *chain = &request->chain;
    uint64_t size = vdisk_port_size(request->queue->blk->disk->port);
    uint32_t allowed = op == VDISK_ZERO ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

    request->range_count = (unsigned)(chain->readable_length / sizeof(struct blk_range));
    if (chain->readable_length % sizeof(struct blk_range) || request->range_count == 0 ||
        chain->readable_length > sizeof(request->ranges))
        return VIRTIO_BLK_S_IOERR;
    iov_read(chain->readable, chain->readable_count, 0, request->ranges, chain->readable_length);
    for (unsigned i = 0; i < request->range_count; i++) {
        const struct blk_range *range = &request->ranges[i];
        uint64_t sector = le64_get(range->sector), count = le32_get(range->count);

        if (le32_get(range->flags) & ~allowed)
            return VIRTIO_BLK_S_UNSUPP;
        if (count == 0 || count > RANGE_SECTORS || sector > size / SECTOR || count > size / SECTOR - sector)
            return VIRTIO_BLK_S_IOERR;
    }
    return VIRTIO_BLK_S_OK;
}

static void ranges_begin(struct request *request, enum vdisk_op op)
{
    int status = request->queue->blk->disk->readonly ? VIRTIO_BLK_S_IOERR : ranges_take(request, op);

    if (status != VIRTIO_BLK_S_OK) {
        finish(request, (uint8_t)status);
        return;
    }
    request->io.op = op;
    range_next(request);
    begin(request, 0);
}

static void transfer_begin(struct request *request, enum vdisk_op op, uint64_t sector)
{
    struct virtio_chain *chain = &request->chain;
    struct blk *blk = request->queue->blk;
    bool read = op == VDISK_READ;
    size_t length = read ? chain->writable_length : chain->readable_length;

    request->io.op = op;
    request->io.flags = !read && atomic_load_explicit(&blk->durable, memory_order_relaxed) ? VDISK_FUA : 0;
    request->io.iov = read ? chain->writable : chain->readable;
    request->io.iovcnt = (int)(read ? chain->writable_count : chain->readable_count);
    request->io.offset = sector * SECTOR; /* the disk's end and its sectors are the engine's to check */
    request->io.length = length;
    request->written = read ? length : 0;
    if (length == 0 || sector > UINT64_MAX / SECTOR || (!read && blk->disk->readonly))
        finish(request, VIRTIO_BLK_S_IOERR);
    else
        begin(request, length);
}

static void identify(struct request *request)
{
    struct virtio_chain *chain = &request->chain;
    const struct blk *blk = request->queue->blk;

    request->written = iov_write(chain->writable, chain->writable_count, 0, blk->serial, sizeof(blk->serial));
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
            begin(request, 0);
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

/* Header, data, status: the first 16 bytes that can be read, and the last one that can be written. False: there is no
 * room for a status. */
static bool start(struct request *request)
{
    struct virtio_chain *chain = &request->chain;
    struct blk_header header;
    size_t got;

    if (chain->writable_length == 0)
        return false;
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
        return true;
    }
    chain->readable_length -= got;
    chain->readable_count = iov_cut(chain->readable, chain->readable_count, got, chain->readable_length);
    execute(request, le32_get(header.type), le64_get(header.sector));
    return true;
}

static void kick(struct virtio_queue *virtio)
{
    struct blk_queue *queue = &((struct blk *)virtio->device)->queue[virtio->index];

    do {
        virtio_queue_listen(virtio, false);
        for (;;) {
            struct request *request = queue->free;

            if (!request) /* cannot be: there are as many as descriptors */
                break;
            request->chain = (struct virtio_chain){.iov = request->iov, .iov_max = SEGMENTS + 2};
            if (virtio_queue_pop(virtio, &request->chain) != 1)
                break;
            queue->free = request->next;
            if (start(request))
                continue;
            request->next = queue->free;
            queue->free = request;
            virtio_queue_break(virtio, "a request without room for its status");
        }
    } while (virtio_queue_listen(virtio, true));
    virtio_queue_signal(virtio);
}

static void polled(void *owner)
{
    struct blk_queue *queue = owner;

    virtio_queue_signal(queue->virtio);
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

/* On the queue's thread: what is delayed is forgotten, what is in flight is waited for. */
static void drain(void *owner)
{
    struct blk_queue *queue = owner;
    struct io_delayed *delayed;

    while ((delayed = io_thread_undelay(&queue->io))) {
        struct request *request = (struct request *)((char *)delayed - offsetof(struct request, delayed));

        request->next = queue->free;
        queue->free = request;
        queue->flying--;
    }
    while (queue->flying > 0 && !MUTANT("blk-reset-in-flight"))
        vdisk_ring_poll(queue->io.ring, true);
}

static void reset(struct virtio_device *device)
{
    struct blk *blk = (struct blk *)device;

    for (unsigned i = 0; i < blk->queue_count; i++)
        io_thread_call(&blk->queue[i].io, drain, &blk->queue[i]);
    blk->config.wce = 1;
}

static const struct virtio_ops ops = {
    .kick = kick,
    .activate = cache_update,
    .reset = reset,
    .config_written = cache_update,
};

static void config_fill(struct blk *blk)
{
    const struct vdisk *disk = vdisk_port_disk(blk->disk->port);
    unsigned sector = vdisk_sector_size(disk), physical = vdisk_physical_sector_size(disk);
    struct virtio_blk_config *config = &blk->config;

    config->capacity = vdisk_size(disk) / SECTOR;
    config->seg_max = SEGMENTS;
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

static int queue_open(struct blk *blk, unsigned index)
{
    struct blk_queue *queue = &blk->queue[index];
    char name[16];
    int err;

    queue->blk = blk;
    queue->virtio = &blk->device.queue[index];
    queue->requests = calloc(VIRTIO_QUEUE_SIZE, sizeof(*queue->requests));
    if (!queue->requests)
        return -ENOMEM;
    for (unsigned i = VIRTIO_QUEUE_SIZE; i-- > 0;) {
        queue->requests[i].queue = queue;
        queue->requests[i].next = queue->free;
        queue->free = &queue->requests[i];
    }
    snprintf(name, sizeof(name), "blk%u.%u", blk->index % 100, index % 100);
    err = io_thread_open(&queue->io, name, polled, queue);
    if (err < 0)
        free(queue->requests);
    return err;
}

static void queues_close(struct blk *blk)
{
    for (unsigned i = 0; i < blk->queue_count; i++) {
        io_thread_close(&blk->queue[i].io);
        free(blk->queue[i].requests);
    }
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
        .class = 1, /* mass storage */
        .subclass = 0x80,
        .features = features,
        .queue_count = blk->queue_count,
        .config = &blk->config,
        .config_size = sizeof(blk->config),
        .config_writable = UINT64_C(1) << WCE_OFFSET,
        .ops = &ops,
    };
}

static unsigned queues_wanted(const struct machine *machine, const struct machine_disk *disk)
{
    unsigned cpus = machine ? machine->options->cpus : 1, queues = cpus < QUEUES ? cpus : QUEUES;

    if (disk->queues)
        queues = disk->queues;
    return queues < VIRTIO_QUEUES_MAX - 1 ? queues : VIRTIO_QUEUES_MAX - 1;
}

static void name(struct blk *blk, const struct machine_disk *disk, unsigned index)
{
    blk->disk = disk;
    blk->index = index;
    snprintf(blk->name, sizeof(blk->name), "virtio-blk %u", index);
    if (disk->serial[0])
        memcpy(blk->serial, disk->serial, sizeof(blk->serial)); /* without its end, as the protocol has it */
    else
        snprintf(blk->serial, sizeof(blk->serial), "disk%u", index);
}

int virtio_blk_make(struct machine *machine, struct memory *memory, const struct machine_disk *disk, unsigned index,
                    struct virtio_device **device)
{
    struct blk *blk = calloc(1, sizeof(*blk));
    struct virtio_description description;
    unsigned queues = queues_wanted(machine, disk);
    int err = 0;

    if (!blk)
        return -ENOMEM;
    name(blk, disk, index);
    blk->throttle.iops = disk->iops;
    blk->throttle.bytes_per_second = disk->bytes_per_second;
    blk->device.memory = memory;
    while (blk->queue_count < queues) {
        err = queue_open(blk, blk->queue_count);
        if (err < 0)
            goto close_queues;
        blk->queue_count++;
    }
    config_fill(blk);
    describe(blk, &description);
    err = virtio_open(&blk->device, machine, &description);
    if (err < 0)
        goto close_queues;
    for (unsigned i = 0; i < blk->queue_count; i++)
        blk->device.queue[i].loop = &blk->queue[i].io.thread.loop;
    *device = &blk->device;
    return 0;

close_queues:
    queues_close(blk);
    free(blk);
    return err;
}

void virtio_blk_free(struct virtio_device *device)
{
    struct blk *blk = (struct blk *)device;

    virtio_close(device);
    queues_close(blk);
    free(blk);
}

static void close_part(void *owner)
{
    virtio_blk_free(owner);
}

int virtio_blk_open(struct machine *machine, const struct machine_disk *disk, unsigned index)
{
    struct virtio_device *device;
    struct machine_part *part;
    int err = virtio_blk_make(machine, &machine->memory, disk, index, &device);

    if (err < 0)
        return machine_error(machine, err, "disk %u: %s", index, strerror(-err));
    part = &((struct blk *)device)->part;
    *part = (struct machine_part){.name = device->pci.name, .close = close_part, .owner = device};
    machine_part_add(machine, part);
    return 0;
}
