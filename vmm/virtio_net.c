/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net ([VIRTIO] 5.1). Queue 2n receives and 2n+1 sends for pair n, the last one controls. A pair's thread does
 * its two queues and its part of the backend, and takes no lock.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "disk/mutant.h"
#include "net.h"
#include "sandbox.h"

#define CONTROL_MQ 4u /* class, and its one command */
#define CONTROL_PAIRS_SET 0u
#define CONTROL_OK 0u
#define CONTROL_ERROR 1u

#define SEND_ROUND 64u /* frames, before the other queue has its turn */

#define HEADER sizeof(struct net_header)

static struct virtio_queue *receive_queue(struct net_pair *pair)
{
    return &pair->net->device.queue[2 * pair->index];
}

static struct virtio_queue *send_queue(struct net_pair *pair)
{
    return &pair->net->device.queue[2 * pair->index + 1];
}

const char *net_machine_name(const struct net *net)
{
    return net->machine ? net->machine->options->name : "";
}

int net_error(struct net *net, int error, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return net->machine ? machine_error(net->machine, error, "%s: %s", net->name, text) : error;
}

/* ---- To the guest ---- */

/* One buffer after the other until the frame is in; what was taken is put back if there are too few, so that none is
 * ever shown to the driver in part. */
static int buffers_fill(struct virtio_queue *queue, struct net_pair *pair, struct virtio_chain *first,
                        const uint8_t *frame, size_t length, uint16_t *count)
{
    bool merge = virtio_has(queue->device, NET_MRG_RXBUF);
    size_t done = 0;
    int found;

    for (*count = 0; *count == 0 || done < length; (*count)++) {
        struct virtio_chain next = {.iov = pair->iov, .iov_max = VIRTIO_QUEUE_SIZE};
        struct virtio_chain *chain = *count == 0 ? first : &next;
        size_t skip = *count == 0 ? HEADER : 0, part;

        if (*count > 0 && !merge) {
            virtio_queue_unpop(queue, *count);
            return -EMSGSIZE;
        }
        do
            found = virtio_queue_pop(queue, chain);
        while (found == 0 && virtio_queue_listen(queue, true));
        if (found == 0 && !MUTANT("net-buffers-lost"))
            virtio_queue_unpop(queue, *count);
        if (found <= 0)
            return found == 0 && !queue->broken ? -EAGAIN : -EIO;
        if (chain->writable_length < skip + (*count > 0)) {
            virtio_queue_break(queue, "a buffer without room for a frame");
            return -EIO;
        }
        part = chain->writable_length - skip < length - done ? chain->writable_length - skip : length - done;
        iov_write(chain->writable, chain->writable_count, skip, frame + done, part);
        virtio_queue_fill(queue, *count, chain, skip + part);
        done += part;
    }
    return 0;
}

int net_deliver(struct net_pair *pair, const struct net_header *header, const void *frame, size_t length)
{
    struct virtio_queue *queue = receive_queue(pair);
    struct virtio_chain first = {.iov = pair->first_iov, .iov_max = VIRTIO_QUEUE_SIZE};
    struct net_header copy = *header;
    uint16_t count;
    int err;

    if (!queue->active || queue->broken)
        return -EIO;
    err = buffers_fill(queue, pair, &first, frame, length, &count);
    if (err < 0)
        return err;
    copy.buffers = count;
    if (!virtio_has(queue->device, NET_GUEST_CSUM))
        copy.flags = 0;
    iov_write(first.writable, first.writable_count, 0, &copy, sizeof(copy));
    virtio_queue_flush(queue, count);
    virtio_queue_signal(queue);
    return 0;
}

/* ---- From the guest ---- */

static void send_some(struct net_pair *pair)
{
    struct virtio_queue *queue = send_queue(pair);
    unsigned round = 0;

    do {
        struct virtio_chain chain = {.iov = pair->send_iov, .iov_max = VIRTIO_QUEUE_SIZE};

        virtio_queue_listen(queue, false);
        while (round < SEND_ROUND && virtio_queue_pop(queue, &chain) > 0) {
            if (chain.readable_length > HEADER && chain.readable_length <= HEADER + NET_FRAME_MAX)
                pair->net->ops->send(pair, chain.readable, chain.readable_count, chain.readable_length);
            virtio_queue_push(queue, &chain, 0);
            round++;
        }
        if (round == SEND_ROUND)
            break;
    } while (virtio_queue_listen(queue, true));
    pair->more = round == SEND_ROUND;
    virtio_queue_signal(queue);
}

static bool send_again(void *owner)
{
    struct net_pair *pair = owner;

    if (!pair->more)
        return false;
    send_some(pair);
    return true;
}

/* ---- Control ---- */

static uint8_t control(struct net *net, const struct virtio_chain *chain)
{
    uint8_t request[4];
    unsigned pairs;

    if (iov_read(chain->readable, chain->readable_count, 0, request, sizeof(request)) < sizeof(request))
        return CONTROL_ERROR;
    pairs = request[2] | (unsigned)request[3] << 8;
    if (request[0] != CONTROL_MQ || request[1] != CONTROL_PAIRS_SET || pairs == 0 || pairs > net->pair_count)
        return CONTROL_ERROR;
    if (net->ops->pairs)
        net->ops->pairs(net, pairs);
    return CONTROL_OK;
}

static size_t control_answer(struct virtio_device *device, const struct virtio_chain *chain)
{
    uint8_t answer = chain->writable_length > 0 ? control((struct net *)device, chain) : CONTROL_ERROR;

    return iov_write(chain->writable, chain->writable_count, 0, &answer, 1);
}

/* ---- The device ---- */

static void kick(struct virtio_queue *queue)
{
    struct net *net = (struct net *)queue->device;
    unsigned pair = queue->index / 2;

    if (pair >= net->pair_count)
        virtio_queue_serve(queue, control_answer);
    else if (queue->index % 2)
        send_some(&net->pair[pair]);
    else if (net->ops->resume)
        net->ops->resume(&net->pair[pair]);
}

/* A driver begins with one pair ([VIRTIO] 5.1.6.5.5). */
static void activate(struct virtio_device *device)
{
    struct net *net = (struct net *)device;

    if (net->ops->pairs)
        net->ops->pairs(net, 1);
    if (net->ops->offloads)
        net->ops->offloads(net, device->state.features);
}

/* Locally administered, and the same for the same name and place: FNV-1a. */
static void address_make(struct net *net, unsigned index)
{
    static const uint8_t none[6];
    uint32_t hash = 2166136261u;

    if (memcmp(net->nic->mac, none, 6) != 0) {
        memcpy(net->config, net->nic->mac, 6);
        return;
    }
    for (const char *name = net_machine_name(net); *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    hash = (hash ^ index) * 16777619u;
    memcpy(net->config, (const uint8_t[]){0x52, 0x54, 0, (uint8_t)(hash >> 16), (uint8_t)(hash >> 8), (uint8_t)hash},
           6);
}

/* The threads stop before the backend that they run is closed. */
static void net_free(struct virtio_device *device)
{
    struct net *net = (struct net *)device;

    for (unsigned i = 0; i < net->pair_count; i++)
        if (net->pair[i].started)
            loop_thread_close(&net->pair[i].thread);
    net->ops->close(net);
    free(net->pair);
    free(net);
}

static const struct virtio_ops ops = {.kick = kick, .activate = activate, .free = net_free};

static int device_open(struct net *net)
{
    struct virtio_description description = {
        .name = net->name,
        .id = 1,
        .class = 2,
        .features = NET_MAC | NET_STATUS | NET_MRG_RXBUF | NET_CSUM | NET_GUEST_CSUM | NET_HOST_TSO4 | NET_HOST_TSO6,
        .queue_count = 2 * net->pair_count,
        .config = net->config,
        .config_size = sizeof(net->config),
        .ops = &ops,
    };

    if (net->ops->offload)
        description.features |= NET_GUEST_TSO4 | NET_GUEST_TSO6;
    if (net->pair_count > 1) {
        description.features |= NET_CTRL_VQ | NET_MQ;
        description.queue_count++;
    }
    net->config[6] = 1; /* the link is up */
    net->config[8] = (uint8_t)net->pair_count;
    return virtio_open(&net->device, net->machine, &description);
}

static int pairs_open(struct net *net)
{
    char name[16];
    int err;

    for (unsigned i = 0; i < net->pair_count; i++) {
        struct net_pair *pair = &net->pair[i];

        *pair = (struct net_pair){.net = net, .index = i};
        pair->again = (struct loop_hook){.before_wait = send_again, .owner = pair};
        snprintf(name, sizeof(name), "net %u", i);
        err = loop_thread_open(&pair->thread, name);
        if (err < 0)
            return net_error(net, err, "a thread: %s", strerror(-err));
        pair->started = true;
    }
    return 0;
}

static void thread_begin(void *owner)
{
    struct net_pair *pair = owner;

    pair->error = pair->net->machine ? sandbox_thread(SANDBOX_NET) : 0;
    loop_hook_add(&pair->thread.loop, &pair->again);
}

static int parts_open(struct net *net, unsigned index)
{
    struct virtio_queue *queue = net->device.queue;
    int err;

    if (net->pair_count > net->ops->pairs_max)
        return net_error(net, -EINVAL, "queues=%u: at most %u here", net->pair_count, net->ops->pairs_max);
    net->pair = calloc(net->pair_count, sizeof(*net->pair));
    if (!net->pair)
        return -ENOMEM;
    address_make(net, index);
    err = pairs_open(net);
    if (err == 0)
        err = net->ops->open(net);
    for (unsigned i = 0; i < net->pair_count && err == 0; i++) {
        queue[2 * i].loop = queue[2 * i + 1].loop = &net->pair[i].thread.loop;
        loop_call(&net->pair[i].thread.loop, thread_begin, &net->pair[i]);
        err = net->pair[i].error;
    }
    if (net->pair_count > 1)
        queue[2 * net->pair_count].loop = queue[0].loop;
    return err == 0 ? device_open(net) : err;
}

int virtio_net_make(struct machine *machine, struct memory *memory, const struct machine_nic *nic,
                    const struct net_backend_ops *backend, unsigned index, struct virtio_device **device)
{
    struct net *net = calloc(1, sizeof(*net));
    int err;

    if (!net)
        return -ENOMEM;
    net->machine = machine;
    net->device.memory = memory;
    net->nic = nic;
    net->ops = backend;
    net->pair_count = nic->queues ? nic->queues : 1;
    snprintf(net->name, sizeof(net->name), "nic %u", index);
    err = parts_open(net, index);
    if (err < 0) {
        net->pair_count = net->pair ? net->pair_count : 0;
        net_free(&net->device);
        return err;
    }
    *device = &net->device;
    return 0;
}

int virtio_net_open(struct machine *machine, const struct machine_nic *nic, unsigned index)
{
    const struct net_backend_ops *backend = nic->backend == MACHINE_TAP ? &net_tap : &net_user;
    struct virtio_device *device;
    int err = virtio_net_make(machine, &machine->memory, nic, backend, index, &device);

    return err < 0 ? machine_error(machine, err, "nic %u: cannot be made", index) : 0;
}

/* ---- Checksums ---- */

bool net_checksum(const struct net_header *header, uint8_t *frame, size_t length)
{
    size_t start = header->checksum_start, at = start + header->checksum_offset;
    uint64_t sum = 0;

    if (at + 2 > length)
        return false;
    for (size_t i = start; i + 1 < length; i += 2)
        sum += (uint32_t)frame[i] << 8 | frame[i + 1];
    if ((length - start) % 2)
        sum += (uint32_t)frame[length - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    sum = ~sum & 0xffff;
    if (sum == 0)
        sum = 0xffff; /* UDP's zero means that there is none; for TCP both are the same number */
    frame[at] = (uint8_t)(sum >> 8);
    frame[at + 1] = (uint8_t)sum;
    return true;
}
