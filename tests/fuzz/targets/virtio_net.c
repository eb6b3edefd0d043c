/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues of virtio-net, two pairs and the control queue, and frames that come meanwhile, with features from the input. The
 * backend is ours: it looks at what is sent as user-mode networking does. */
#include <string.h>

#include "tests/fuzz/common/queue.h"
#include "net/net.h"
#include "vmm/devices.h"

#define ROUNDS 16u
#define PAIRS 2u

static struct driver driver;
static struct net_card *card;

struct delivery {
    struct net_link *link;
    struct net_header header;
    size_t length;
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t seed[64] = {0xff, 0xff, 0xff, 0xff, 1, 0, 1, 1};

    (void)argc, (void)argv;
    fuzz_disk_seed("one", seed, sizeof(seed));
    return 0;
}

/* ---- The backend ---- */

static int backend_open(struct net_card *opened)
{
    card = opened;
    return 0;
}

static void backend_close(struct net_card *closed)
{
    (void)closed;
}

static void backend_send(struct net_link *link, const struct iovec *iov, unsigned count, size_t length)
{
    struct net_header *header = (struct net_header *)link->frame;

    test_equal(iov_read(iov, count, 0, link->frame, length), length);
    if (header->flags & NET_NEEDS_CHECKSUM)
        net_checksum(header, link->frame + sizeof(*header), length - sizeof(*header));
}

static void backend_links(struct net_card *of, unsigned count)
{
    test_equal(count > 0 && count <= of->link_count, 1);
}

static const struct net_backend backend = {.links_max = PAIRS,
                                               .offload = true,
                                               .open = backend_open,
                                               .close = backend_close,
                                               .send = backend_send,
                                               .links = backend_links};

/* ---- Frames to the guest ---- */

static void deliver(void *owner)
{
    static const uint8_t frame[NET_FRAME_MAX];
    const struct delivery *delivery = owner;

    card->deliver(delivery->link, &delivery->header, frame, delivery->length);
}

static void frame_comes(const struct fuzz_record *record)
{
    struct delivery delivery = {.link = card->link[record->queue / 8 % PAIRS],
                                .header = {.flags = (uint8_t)record->where, .gso_type = record->head},
                                .length = 1 + record->bytes % NET_FRAME_MAX};

    loop_call(delivery.link->loop, deliver, &delivery);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct fuzz_bytes bytes = {input, size};
    const struct machine_nic nic = {.queues = PAIRS};
    uint32_t features;

    fuzz_take(&bytes, &features, sizeof(features));
    test_ok(memory_open(&driver.memory, DRIVER_MEMORY));
    test_ok(virtio_net_make(NULL, &driver.memory, &nic, &backend, 0, &driver.device));
    driver_start(&driver, (features | VIRTIO_INDIRECT) & driver.device->offered, 2 * PAIRS + 1);
    for (unsigned i = 0; bytes.left > 0 && i < ROUNDS; i++) {
        struct fuzz_record record = fuzz_drive(&driver, &bytes, 2 * PAIRS + 1);

        if (record.queue & 0x80)
            frame_comes(&record);
    }
    virtio_free(driver.device);
    memory_close(&driver.memory);
    return 0;
}
