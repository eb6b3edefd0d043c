/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net ([VIRTIO] 5.1). Queue 2n receives and 2n+1 sends for pair n, the last one controls. A pair's thread does
 * its two queues and its part of the backend, and takes no lock.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sandbox.h"
#include "devices.h"
#include "disk/mutant.h"
#include "net/net.h"

#define CONTROL_MQ 4u /* class, and its one command */
#define CONTROL_PAIRS_SET 0u
#define CONTROL_OK 0u
#define CONTROL_ERROR 1u

#define HEADER sizeof(struct net_header)

struct pair {
    struct net_link link; /* first */
    struct loop_thread thread;
    int error; /* of its beginning */
    struct iovec send_iov[VIRTIO_QUEUE_SIZE], first_iov[VIRTIO_QUEUE_SIZE], iov[VIRTIO_QUEUE_SIZE];
};

struct net {
    struct virtio_device device; /* first */
    struct net_card card;
    char name[24];
    struct pair *pair; /* card.link_count of them */
    uint8_t config[12];
};

static struct net *net_of(struct net_card *card)
{
    return (struct net *)((char *)card - offsetof(struct net, card));
}

/* 0: to the guest, 1: from it. */
static struct virtio_queue *queue_of(struct net_link *link, unsigned which)
{
    return &net_of(link->card)->device.queue[2 * link->index + which];
}

static void say(struct net_card *card, const char *text)
{
    if (net_of(card)->device.machine)
        machine_say(net_of(card)->device.machine, VDISK_ERROR, "%s: %s", card->name, text);
}

/* ---- To the guest ---- */

/* One buffer after the other until the frame is in; what was taken is put back if there are too few, so that none is
 * ever shown to the driver in part. */
static int buffers_fill(struct virtio_queue *queue, struct pair *pair, struct virtio_chain *first, const uint8_t *frame,
                        size_t length, uint16_t *count)
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

static int deliver(struct net_link *link, const struct net_header *header, const void *frame, size_t length)
{
    struct pair *pair = (struct pair *)link;
    struct virtio_queue *queue = queue_of(link, 0);
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

static void send_frames(struct pair *pair)
{
    struct net_link *link = &pair->link;
    struct virtio_queue *queue = queue_of(link, 1);
    struct virtio_chain chain = {.iov = pair->send_iov, .iov_max = VIRTIO_QUEUE_SIZE};

    while (virtio_queue_next(queue, &chain)) {
        if (chain.readable_length > HEADER && chain.readable_length <= HEADER + NET_FRAME_MAX)
            link->card->backend->send(link, chain.readable, chain.readable_count, chain.readable_length);
        virtio_queue_push(queue, &chain, 0);
    }
}

/* ---- Control ---- */

static uint8_t control(struct net_card *card, const struct virtio_chain *chain)
{
    uint8_t request[4];
    unsigned pairs;

    if (iov_read(chain->readable, chain->readable_count, 0, request, sizeof(request)) < sizeof(request))
        return CONTROL_ERROR;
    pairs = request[2] | (unsigned)request[3] << 8;
    if (request[0] != CONTROL_MQ || request[1] != CONTROL_PAIRS_SET || pairs == 0 || pairs > card->link_count)
        return CONTROL_ERROR;
    if (card->backend->links)
        card->backend->links(card, pairs);
    return CONTROL_OK;
}

static size_t control_answer(struct virtio_device *device, const struct virtio_chain *chain)
{
    uint8_t answer = chain->writable_length > 0 ? control(&((struct net *)device)->card, chain) : CONTROL_ERROR;

    return iov_write(chain->writable, chain->writable_count, 0, &answer, 1);
}

/* ---- The device ---- */

static void kick(struct virtio_queue *queue)
{
    struct net *net = (struct net *)queue->device;
    unsigned pair = queue->index / 2;

    if (pair >= net->card.link_count)
        virtio_queue_serve(queue, control_answer);
    else if (queue->index % 2)
        send_frames(&net->pair[pair]);
    else if (net->card.backend->resume)
        net->card.backend->resume(&net->pair[pair].link);
}

/* A driver begins with one pair ([VIRTIO] 5.1.6.5.5). */
static void activate(struct virtio_device *device)
{
    struct net_card *card = &((struct net *)device)->card;

    if (card->backend->links)
        card->backend->links(card, 1);
    if (card->backend->offloads)
        card->backend->offloads(card, device->state.features);
}

/* The threads stop before the backend that they run is closed. */
static void net_free(struct virtio_device *device)
{
    struct net *net = (struct net *)device;

    for (unsigned i = 0; i < net->card.link_count; i++)
        loop_thread_close(&net->pair[i].thread);
    net->card.backend->close(&net->card);
    free(net->pair);
    free(net);
}

static const struct virtio_ops ops = {.kick = kick, .activate = activate, .free = net_free};

static int device_open(struct net *net)
{
    struct virtio_description description = {
        .name = net->name,
        .id = 1,
        .class = 0x020000, /* network, Ethernet */
        .features = NET_MAC | NET_STATUS | NET_MRG_RXBUF | NET_CSUM | NET_GUEST_CSUM | NET_HOST_TSO4 | NET_HOST_TSO6,
        .queue_count = 2 * net->card.link_count,
        .config = net->config,
        .config_size = sizeof(net->config),
        .ops = &ops,
    };

    if (net->card.backend->offload)
        description.features |= NET_GUEST_TSO4 | NET_GUEST_TSO6;
    if (net->card.link_count > 1) {
        description.features |= NET_CTRL_VQ | NET_MQ;
        description.queue_count++;
    }
    net->config[6] = 1; /* the link is up */
    net->config[8] = (uint8_t)net->card.link_count;
    return virtio_open(&net->device, net->device.machine, &description);
}

static int pair_open(struct net *net, unsigned index)
{
    struct pair *pair = &net->pair[index];
    char name[16];
    int err;

    pair->link = (struct net_link){.card = &net->card, .index = index, .loop = &pair->thread.loop};
    net->card.link[index] = &pair->link;
    snprintf(name, sizeof(name), "net %u", index);
    err = loop_thread_open(&pair->thread, name);
    net->card.link_count += err == 0;
    return err;
}

static void thread_begin(void *owner)
{
    struct pair *pair = owner;

    pair->error = net_of(pair->link.card)->device.machine ? sandbox_thread(SANDBOX_NET) : 0;
}

static int parts_open(struct net *net, unsigned pairs)
{
    struct virtio_queue *queue = net->device.queue;
    struct net_card *card = &net->card;
    int err = 0;

    if (pairs > card->backend->links_max)
        return net_error(card, -EINVAL, "queues=%u: at most %u here", pairs, card->backend->links_max);
    for (unsigned i = 0; i < pairs && err == 0; i++)
        err = pair_open(net, i);
    if (err < 0)
        return net_error(card, err, "a thread: %s", strerror(-err));
    err = card->backend->open(card);
    for (unsigned i = 0; i < card->link_count && err == 0; i++) {
        queue[2 * i].loop = queue[2 * i + 1].loop = card->link[i]->loop;
        loop_call(card->link[i]->loop, thread_begin, card->link[i]);
        err = net->pair[i].error;
    }
    queue[2 * card->link_count].loop = queue[0].loop;
    return err == 0 ? device_open(net) : err;
}

int virtio_net_make(struct machine *machine, struct memory *memory, const struct machine_nic *nic,
                    const struct net_backend *backend, unsigned index, struct virtio_device **device)
{
    unsigned pairs = nic->queues ? nic->queues : 1;
    struct net *net = calloc(1, sizeof(*net));
    int err;

    if (!net)
        return -ENOMEM;
    net->device.machine = machine;
    net->device.memory = memory;
    net->card = (struct net_card){.backend = backend,
                                  .name = net->name,
                                  .machine = machine ? machine->options->name : "",
                                  .tap = nic->tap,
                                  .forward = nic->forward,
                                  .deliver = deliver,
                                  .say = say};
    net->pair = calloc(pairs, sizeof(*net->pair));
    snprintf(net->name, sizeof(net->name), "nic %u", index);
    memcpy(net->config, nic->mac, sizeof(nic->mac));
    net_address_make(&net->card, index, net->config);
    err = net->pair ? parts_open(net, pairs) : -ENOMEM;
    if (err < 0) {
        net_free(&net->device);
        return err;
    }
    *device = &net->device;
    return 0;
}

int virtio_net_open(struct machine *machine, const struct machine_nic *nic, unsigned index)
{
    const struct net_backend *backend = nic->backend == MACHINE_TAP ? &net_tap : &net_user;
    struct virtio_device *device;
    int err = virtio_net_make(machine, &machine->memory, nic, backend, index, &device);

    return err < 0 ? machine_error(machine, err, "nic %u: cannot be made", index) : 0;
}
