/* SPDX-License-Identifier: BSD-2-Clause */
/* virtqueue: a driver, good or hostile, against the virtio transport and its queues, through the registers of the BAR.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/virtio_pci.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/virtio.h"

#define MEMORY (16u << 20)
#define SIZE 8u
#define DESCRIPTORS 0x1000u
#define AVAIL 0x2000u
#define USED 0x3000u
#define TABLE 0x4000u
#define DATA 0x10000u

#define NEXT 1u
#define WRITE 2u
#define INDIRECT 4u

#define DRIVER 3u /* status: acknowledged, a driver */
#define FEATURES_OK 8u
#define DRIVER_OK 4u
#define NEEDS_RESET 0x40u

#define CONFIG_PAGE 0x2000u
#define ISR_PAGE 0x1000u
#define MSIX_PAGE 0x4000u

static struct {
    struct memory memory;
    struct bus pio, mmio;
    struct irq irq;
    struct pci pci;
    struct loop loop;
    pthread_mutex_t lock;
    struct virtio_device device;
    uint8_t config[8];
    unsigned kicks, resets, offers;
} rig;

static void kick(struct virtio_queue *queue)
{
    (void)queue;
    rig.kicks++;
}

static void device_reset(struct virtio_device *device)
{
    (void)device;
    rig.resets++;
}

static const struct virtio_ops ops = {.kick = kick, .reset = device_reset};

static void config_out(unsigned offset, unsigned size, uint32_t value)
{
    bus_write(&rig.pio, 0xcf8, 4, 0x80000000u | rig.device.pci.devfn << 8 | (offset & 0xfc));
    bus_write(&rig.pio, 0xcfc + (offset & 3), size, value);
}

static uint64_t bar(void)
{
    return rig.device.pci.bar[0].range.start;
}

static void out(unsigned offset, unsigned size, uint64_t value)
{
    bus_write(&rig.mmio, bar() + offset, size, value);
}

static uint64_t in(unsigned offset, unsigned size)
{
    return bus_read(&rig.mmio, bar() + offset, size) & (size < 8 ? (UINT64_C(1) << 8 * size) - 1 : UINT64_MAX);
}

static int setup(void **state)
{
    const struct virtio_description description = {.name = "test",
                                                   .id = 2,
                                                   .class = 1,
                                                   .features = 1,
                                                   .queue_count = 2,
                                                   .config = rig.config,
                                                   .config_size = sizeof(rig.config),
                                                   .config_writable = 0xf0,
                                                   .ops = &ops};
    (void)state;
    memset(&rig, 0, sizeof(rig));
    pthread_mutex_init(&rig.lock, NULL);
    assert_int_equal(memory_open(&rig.memory, MEMORY), 0);
    assert_int_equal(irq_open(&rig.irq, -1), 0);
    assert_int_equal(loop_open(&rig.loop, &rig.lock), 0);
    assert_int_equal(pci_open(&rig.pci, NULL, &rig.pio, &rig.mmio, &rig.irq, 0x80000000u), 0);
    rig.device.memory = &rig.memory;
    assert_int_equal(virtio_open(&rig.device, NULL, &description), 0);
    assert_int_equal(pci_plug(&rig.pci, &rig.device.pci, PCI_ANYWHERE), 0);
    rig.device.queue[0].loop = rig.device.queue[1].loop = &rig.loop;
    config_out(4, 2, 6); /* memory and bus master */
    assert_true(rig.device.pci.bar[0].mapped);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    virtio_free(&rig.device);
    pci_unplug(&rig.device.pci);
    pci_close(&rig.pci);
    loop_close(&rig.loop);
    irq_close(&rig.irq);
    memory_close(&rig.memory);
    return 0;
}

/* ---- A driver ---- */

static void *guest(uint64_t address, size_t length)
{
    void *host = memory_range(&rig.memory, address, length);

    assert_non_null(host);
    return host;
}

static void negotiate(uint64_t features)
{
    out(VIRTIO_PCI_COMMON_STATUS, 1, DRIVER);
    for (unsigned i = 0; i < 2; i++) {
        out(VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        out(VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> 32 * i));
    }
    out(VIRTIO_PCI_COMMON_STATUS, 1, DRIVER | FEATURES_OK);
}

static void queue_place(uint64_t descriptors, uint64_t avail, uint64_t used)
{
    out(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
    out(VIRTIO_PCI_COMMON_Q_SIZE, 2, SIZE);
    out(VIRTIO_PCI_COMMON_Q_DESCLO, 4, (uint32_t)descriptors);
    out(VIRTIO_PCI_COMMON_Q_DESCHI, 4, descriptors >> 32);
    out(VIRTIO_PCI_COMMON_Q_AVAILLO, 8, avail);
    out(VIRTIO_PCI_COMMON_Q_USEDLO, 8, used);
    out(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static void start(uint64_t features)
{
    memset(guest(0, 0x20000), 0, 0x20000);
    out(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    negotiate(features | VIRTIO_VERSION_1);
    queue_place(DESCRIPTORS, AVAIL, USED);
    out(VIRTIO_PCI_COMMON_STATUS, 1, DRIVER | FEATURES_OK | DRIVER_OK);
}

static struct vring_avail *avail(void)
{
    return guest(AVAIL, 4);
}

static struct vring_used *used(void)
{
    return guest(USED, 4);
}

static uint16_t *avail_event(void)
{
    return guest(USED + 4 + SIZE * 8, 2);
}

static void describe(uint64_t table, unsigned index, uint64_t address, uint32_t length, uint16_t flags, uint16_t next)
{
    struct vring_desc *descriptor = guest(table + index * 16, 16);

    *descriptor = (struct vring_desc){address, length, flags, next};
}

static void offer(uint16_t head)
{
    avail()->ring[avail()->idx % SIZE] = head;
    avail()->idx++;
}

static int pop(struct virtio_chain *chain)
{
    static struct iovec iov[6];

    *chain = (struct virtio_chain){.iov = iov, .iov_max = 6};
    return virtio_queue_pop(&rig.device.queue[0], chain);
}

/* ---- What is right ---- */

static void test_chain(void **state)
{
    struct virtio_chain chain;
    char text[8] = {0};

    (void)state;
    start(0);
    memcpy(guest(DATA, 6), "header", 6);
    describe(DESCRIPTORS, 3, DATA, 6, NEXT, 5);
    describe(DESCRIPTORS, 5, DATA + 0x100, 16, NEXT | WRITE, 0);
    describe(DESCRIPTORS, 0, DATA + 0x200, 1, WRITE, 7);
    offer(3);
    assert_int_equal(pop(&chain), 1);
    assert_int_equal(chain.readable_count, 1);
    assert_int_equal(chain.writable_count, 2);
    assert_int_equal(chain.readable_length, 6);
    assert_int_equal(chain.writable_length, 17);
    assert_int_equal(iov_read(chain.readable, chain.readable_count, 2, text, 8), 4);
    assert_string_equal(text, "ader");
    assert_int_equal(iov_write(chain.writable, chain.writable_count, 14, "xyz", 3), 3);
    assert_memory_equal(guest(DATA + 0x10e, 2), "xy", 2);
    assert_memory_equal(guest(DATA + 0x200, 1), "z", 1);
    assert_int_equal(iov_cut(chain.writable, 2, 15, 2), 2);
    assert_int_equal(chain.writable[0].iov_len, 1);
    virtio_queue_push(&rig.device.queue[0], &chain, 17);
    assert_int_equal(used()->idx, 1);
    assert_int_equal(used()->ring[0].id, 3);
    assert_int_equal(used()->ring[0].len, 17);
    assert_int_equal(pop(&chain), 0);
    virtio_queue_signal(&rig.device.queue[0]);
    assert_int_equal(in(ISR_PAGE, 1), 1);
    assert_int_equal(in(ISR_PAGE, 1), 0);
}

static void test_indirect(void **state)
{
    struct virtio_chain chain;

    (void)state;
    start(VIRTIO_INDIRECT);
    describe(TABLE, 0, DATA, 4, NEXT, 2);
    describe(TABLE, 2, DATA + 8, 4, WRITE, 0);
    describe(DESCRIPTORS, 1, TABLE, 3 * 16, INDIRECT, 0);
    offer(1);
    assert_int_equal(pop(&chain), 1);
    assert_int_equal(chain.readable_length + chain.writable_length, 8);
}

/* The driver's wish is heard, with and without the event index. */
static void test_notifications(void **state)
{
    struct virtio_queue *queue = &rig.device.queue[0];
    struct virtio_chain chain;

    (void)state;
    start(VIRTIO_EVENT_INDEX);
    describe(DESCRIPTORS, 0, DATA, 4, WRITE, 0);
    avail()->ring[SIZE] = 1; /* used_event: after the second */
    for (unsigned i = 0; i < 3; i++) {
        assert_false(virtio_queue_listen(queue, true));
        assert_int_equal(*avail_event(), i);
        offer(0);
        assert_true(virtio_queue_listen(queue, true));
        assert_int_equal(pop(&chain), 1);
        virtio_queue_push(queue, &chain, 0);
        virtio_queue_signal(queue);
        assert_int_equal(in(ISR_PAGE, 1), i == 1);
    }
    start(0);
    assert_false(virtio_queue_listen(queue, false));
    assert_int_equal(used()->flags, 1);
    avail()->flags = 1;
    offer(0);
    assert_int_equal(pop(&chain), -EIO); /* descriptor 0 was cleared: empty */
    start(0);
    describe(DESCRIPTORS, 0, DATA, 4, WRITE, 0);
    avail()->flags = 1;
    offer(0);
    assert_int_equal(pop(&chain), 1);
    virtio_queue_push(queue, &chain, 0);
    virtio_queue_signal(queue);
    assert_int_equal(in(ISR_PAGE, 1), 0);
}

/* ---- What is wrong: the queue stops, the driver is told, and a reset makes it good again ---- */

static const struct hostile {
    const char *name;
    struct vring_desc descriptor[3], table[2];
    uint16_t head, count; /* count: how far the avail index goes; 0: 1 */
    bool no_indirect;
} hostile[] = {
    {"empty descriptor", {{DATA, 0, 0, 0}}, {{0}}, 0, 0, false},
    {"huge descriptor", {{DATA, UINT32_MAX, WRITE, 0}}, {{0}}, 0, 0, false},
    {"beyond memory", {{MEMORY - 4, 8, WRITE, 0}}, {{0}}, 0, 0, false},
    {"wraps around", {{UINT64_MAX - 3, 8, WRITE, 0}}, {{0}}, 0, 0, false},
    {"our own registers", {{0x80000000u, 4, WRITE, 0}}, {{0}}, 0, 0, false},
    {"loop of one", {{DATA, 4, NEXT, 0}}, {{0}}, 0, 0, false},
    {"loop of two", {{DATA, 4, NEXT, 1}, {DATA, 4, NEXT, 0}}, {{0}}, 0, 0, false},
    {"next beyond the table", {{DATA, 4, NEXT, SIZE}}, {{0}}, 0, 0, false},
    {"next far beyond", {{DATA, 4, NEXT, 0xffff}}, {{0}}, 0, 0, false},
    {"head beyond the table", {{DATA, 4, 0, 0}}, {{0}}, SIZE, 0, false},
    {"readable after writable", {{DATA, 4, WRITE | NEXT, 1}, {DATA, 4, 0, 0}}, {{0}}, 0, 0, false},
    {"avail index beyond the ring", {{DATA, 4, 0, 0}}, {{0}}, 0, SIZE + 1, false},
    {"nested indirect", {{TABLE, 16, INDIRECT, 0}}, {{TABLE, 16, INDIRECT, 0}}, 0, 0, false},
    {"indirect and next", {{TABLE, 16, INDIRECT | NEXT, 1}, {DATA, 4, 0, 0}}, {{DATA, 4, 0, 0}}, 0, 0, false},
    {"indirect of half an entry", {{TABLE, 24, INDIRECT, 0}}, {{DATA, 4, 0, 0}}, 0, 0, false},
    {"indirect of nothing", {{TABLE, 0, INDIRECT, 0}}, {{DATA, 4, 0, 0}}, 0, 0, false},
    {"indirect beyond memory", {{MEMORY, 16, INDIRECT, 0}}, {{0}}, 0, 0, false},
    {"indirect that is not agreed", {{TABLE, 16, INDIRECT, 0}}, {{DATA, 4, 0, 0}}, 0, 0, true},
    {"indirect that loops", {{TABLE, 32, INDIRECT, 0}}, {{DATA, 4, NEXT, 1}, {DATA, 4, NEXT, 0}}, 0, 0, false},
    {"indirect beyond its table", {{TABLE, 16, INDIRECT, 0}}, {{DATA, 4, NEXT, 1}, {DATA, 4, 0, 0}}, 0, 0, false},
};

static void test_hostile(void **state)
{
    struct virtio_chain chain;

    (void)state;
    for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++) {
        const struct hostile *h = &hostile[i];

        start(h->no_indirect ? 0 : VIRTIO_INDIRECT);
        memcpy(guest(DESCRIPTORS, sizeof(h->descriptor)), h->descriptor, sizeof(h->descriptor));
        memcpy(guest(TABLE, sizeof(h->table)), h->table, sizeof(h->table));
        avail()->ring[0] = h->head;
        avail()->idx = h->count ? h->count : 1;
        if (pop(&chain) != -EIO)
            fail_msg("%s: not refused", h->name);
        assert_int_equal(in(VIRTIO_PCI_COMMON_STATUS, 1), DRIVER | FEATURES_OK | DRIVER_OK | NEEDS_RESET);
        assert_int_equal(in(ISR_PAGE, 1), 2);
        avail()->idx = 0;
        assert_int_equal(pop(&chain), 0);
    }
    start(0);
    describe(DESCRIPTORS, 0, DATA, 4, 0, 0);
    offer(0);
    assert_int_equal(pop(&chain), 1);
}

static void test_too_long(void **state)
{
    struct virtio_chain chain;

    (void)state;
    start(0);
    for (unsigned i = 0; i < 7; i++)
        describe(DESCRIPTORS, i, DATA, 4, i < 6 ? NEXT : 0, (uint16_t)(i + 1));
    offer(0);
    assert_int_equal(pop(&chain), -EIO); /* the list has room for six */
}

/* As many as there are descriptors may be in flight, whatever the avail index says. */
static void test_too_many(void **state)
{
    struct virtio_chain chain;

    (void)state;
    start(0);
    describe(DESCRIPTORS, 0, DATA, 4, 0, 0);
    for (unsigned i = 0; i < SIZE; i++) {
        offer(0);
        assert_int_equal(pop(&chain), 1);
    }
    offer(0);
    assert_int_equal(pop(&chain), -EIO);
}

static void test_rings_outside(void **state)
{
    static const uint64_t bad[][3] = {
        {MEMORY, AVAIL, USED},          {DESCRIPTORS, MEMORY - 2, USED}, {DESCRIPTORS, AVAIL, MEMORY - 8},
        {DESCRIPTORS + 8, AVAIL, USED}, {DESCRIPTORS, AVAIL + 1, USED},  {DESCRIPTORS, AVAIL, USED + 2},
        {UINT64_MAX - 15, AVAIL, USED}};
    struct virtio_chain chain;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        out(VIRTIO_PCI_COMMON_STATUS, 1, 0);
        negotiate(VIRTIO_VERSION_1);
        queue_place(bad[i][0], bad[i][1], bad[i][2]);
        out(VIRTIO_PCI_COMMON_STATUS, 1, DRIVER | FEATURES_OK | DRIVER_OK);
        assert_true(in(VIRTIO_PCI_COMMON_STATUS, 1) & NEEDS_RESET);
        assert_int_equal(pop(&chain), 0);
    }
}

/* ---- The transport ---- */

static void test_features(void **state)
{
    (void)state;
    negotiate(0); /* a legacy driver */
    assert_int_equal(in(VIRTIO_PCI_COMMON_STATUS, 1), DRIVER);
    out(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    negotiate(VIRTIO_VERSION_1 | UINT64_C(1) << 40); /* was not offered */
    assert_int_equal(in(VIRTIO_PCI_COMMON_STATUS, 1), DRIVER);
    out(VIRTIO_PCI_COMMON_STATUS, 1, DRIVER | DRIVER_OK);
    assert_false(rig.device.active);
    out(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    negotiate(VIRTIO_VERSION_1 | 1);
    assert_int_equal(in(VIRTIO_PCI_COMMON_STATUS, 1), DRIVER | FEATURES_OK);
    out(VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
    out(VIRTIO_PCI_COMMON_GF, 4, 0xffffffff); /* too late */
    assert_int_equal(rig.device.state.features, VIRTIO_VERSION_1 | 1);
}

/* A queue in use does not change, and one that was never there is nothing. */
static void test_queue_registers(void **state)
{
    struct virtio_chain chain;

    (void)state;
    start(0);
    out(VIRTIO_PCI_COMMON_Q_SIZE, 2, 256);
    out(VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x8000);
    out(VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    out(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    assert_int_equal(in(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    out(VIRTIO_PCI_COMMON_Q_SELECT, 2, 77);
    out(VIRTIO_PCI_COMMON_Q_SIZE, 2, 4);
    assert_int_equal(in(VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
    out(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
    assert_int_equal(in(VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
    assert_int_equal(in(VIRTIO_PCI_COMMON_Q_DESCLO, 4), DESCRIPTORS);
    describe(DESCRIPTORS, 0, DATA, 4, 0, 0);
    offer(0);
    assert_int_equal(pop(&chain), 1);
    out(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_int_equal(rig.resets, 1);
    virtio_queue_push(&rig.device.queue[0], &chain, 0); /* a completion after the reset is nobody's */
    assert_int_equal(used()->idx, 0);
    for (unsigned size = 0; size < 600; size++) {
        out(VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
        assert_true(in(VIRTIO_PCI_COMMON_Q_SIZE, 2) != 0 && in(VIRTIO_PCI_COMMON_Q_SIZE, 2) <= 256);
        assert_int_equal(in(VIRTIO_PCI_COMMON_Q_SIZE, 2) & (in(VIRTIO_PCI_COMMON_Q_SIZE, 2) - 1), 0);
    }
}

static void test_config(void **state)
{
    (void)state;
    out(CONFIG_PAGE, 4, 0x11111111);     /* not writable */
    out(CONFIG_PAGE + 4, 4, 0x22222222); /* writable */
    out(CONFIG_PAGE + 6, 4, 0x33333333); /* hangs over the end */
    assert_int_equal(in(CONFIG_PAGE, 8), UINT64_C(0x2222222200000000));
    assert_int_equal(in(CONFIG_PAGE + 6, 4), 0);
}

static uint64_t port_read(void *owner, uint64_t offset, unsigned size)
{
    (void)owner;
    (void)size;
    return 0x50 + offset;
}

static void port_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    (void)owner;
    (void)offset;
    (void)size;
    (void)value;
}

static void ports_place(const struct pci_device *device, uint32_t value)
{
    bus_write(&rig.pio, 0xcf8, 4, 0x80000000u | device->devfn << 8 | 0x20);
    bus_write(&rig.pio, 0xcfc, 4, value);
}

/* Firmware takes the size of a BAR of ports from all its 32 bits; nobody answers beyond 64 KiB. */
static void test_port_bar(void **state)
{
    const struct pci_id id = {.vendor = 0x8086, .device = 1};
    const struct bus_range ports = {.size = 16, .read = port_read, .write = port_write};
    struct pci_device *device = calloc(1, sizeof(*device));

    (void)state;
    assert_non_null(device);
    pci_device_init(device, "ports", &id);
    pci_bar_add(device, 4, true, &ports);
    assert_int_equal(pci_plug(&rig.pci, device, PCI_ANYWHERE), 0);
    bus_write(&rig.pio, 0xcf8, 4, 0x80000000u | device->devfn << 8 | 4);
    bus_write(&rig.pio, 0xcfc, 2, 1);
    ports_place(device, UINT32_MAX);
    assert_int_equal(bus_read(&rig.pio, 0xcfc, 4), 0xfffffff1u);
    assert_false(device->bar[4].mapped);
    ports_place(device, 0xc100);
    assert_int_equal(bus_read(&rig.pio, 0xc103, 1), 0x53);
    pci_unplug(device);
    free(device);
}

/* Every offset of the BAR takes every size without harm. */
static void test_every_register(void **state)
{
    (void)state;
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned offset = 0; offset + size <= 0x8000; offset++) {
            in(offset, size);
            out(offset, size, UINT64_MAX);
        }
    }
    assert_false(rig.device.active);
}

/* What fires while its vector is masked is pending, and comes when it is not masked any more. */
static void test_masked(void **state)
{
    uint8_t capability = rig.device.pci.msix.capability;
    uint64_t fired = 0;

    (void)state;
    config_out(capability + 2, 2, 0x8000); /* enabled; every vector is masked by itself */
    pci_msix_fire(&rig.device.pci, 1);
    assert_int_equal(in(0x5000, 8), 2);
    assert_int_equal(read(rig.device.pci.msix.message[1].eventfd, &fired, 8), -1);
    out(MSIX_PAGE + 16, 8, 0xfee00000);
    out(MSIX_PAGE + 24, 8, 0x31);
    assert_int_equal(in(0x5000, 8), 0);
    assert_int_equal(read(rig.device.pci.msix.message[1].eventfd, &fired, 8), 8);
    assert_int_equal(rig.device.pci.msix.message[1].data, 0x31);
    config_out(capability + 2, 2, 0xc000); /* the whole function is masked */
    pci_msix_fire(&rig.device.pci, 1);
    assert_int_equal(read(rig.device.pci.msix.message[1].eventfd, &fired, 8), -1);
    config_out(capability + 2, 2, 0x8000);
    assert_int_equal(read(rig.device.pci.msix.message[1].eventfd, &fired, 8), 8);
    pci_msix_fire(&rig.device.pci, 70); /* beyond the table */
}

/* What the device writes is marked: the data, the element and the index, and nothing else. */
static void test_dirty(void **state)
{
    struct virtio_chain chain;

    (void)state;
    start(0);
    describe(DESCRIPTORS, 0, DATA, 2 * MEMORY_PAGE, WRITE, 0);
    offer(0);
    assert_int_equal(pop(&chain), 1);
    assert_int_equal(memory_track(&rig.memory, true), 0);
    virtio_queue_push(&rig.device.queue[0], &chain, 10);
    assert_int_equal(rig.memory.dirty[0], UINT64_C(1) << DATA / MEMORY_PAGE | UINT64_C(1) << USED / MEMORY_PAGE);
    memory_track(&rig.memory, false);
}

/* ---- A driver that offers the next request before the one at hand is answered ---- */

static size_t answer_and_offer(struct virtio_device *device, const struct virtio_chain *chain)
{
    (void)device;
    (void)chain;
    if (rig.offers > 0) {
        rig.offers--;
        offer(0);
    }
    return 4;
}

/* No kick serves it for ever, and none is lost: the queue kicks itself until nothing is left, and listens then. */
static void test_endless(void **state)
{
    struct virtio_queue *queue = &rig.device.queue[0];
    unsigned kicks = 0;
    eventfd_t times;

    (void)state;
    start(0);
    describe(DESCRIPTORS, 0, DATA, 4, WRITE, 0);
    offer(0);
    rig.offers = 999;
    for (; eventfd_read(queue->kick.fd, &times) == 0; kicks++)
        virtio_queue_serve(queue, answer_and_offer); /* the first kick is that of activation */
    assert_int_equal(used()->idx, 1000);
    assert_int_equal(used()->flags, 0);
    assert_in_range(kicks, 5, 999);
}

/* ---- No request is forgotten: the driver offers just when the device goes to sleep ---- */

#define MEETINGS 100000u /* or as many as MEETINGS in the environment says */

static unsigned meetings;

/* Now one of them is a bit later, now the other: at some time they meet. */
static void dawdle(unsigned steps)
{
    for (unsigned i = 0; i < steps; i++)
        __asm__ volatile("" ::: "memory");
}

static _Atomic unsigned bell; /* kicks */

static void *driver(void *arg)
{
    struct vring_avail *ring = avail();
    uint16_t *event = avail_event();

    (void)arg;
    for (unsigned i = 0; i < meetings; i++) {
        uint16_t index = ring->idx;

        dawdle(i % 61);
        __atomic_store_n(&ring->ring[index % SIZE], 0, __ATOMIC_RELAXED);
        __atomic_store_n(&ring->idx, (uint16_t)(index + 1), __ATOMIC_RELEASE);
        atomic_thread_fence(memory_order_seq_cst);
        if (__atomic_load_n(event, __ATOMIC_ACQUIRE) == index)
            atomic_fetch_add(&bell, 1);
        for (unsigned spins = 1; __atomic_load_n(&used()->idx, __ATOMIC_ACQUIRE) != (uint16_t)(index + 1); spins++)
            if (spins % 1024 == 0)
                sched_yield();
    }
    return NULL;
}

static void test_meeting(void **state)
{
    struct virtio_queue *queue = &rig.device.queue[0];
    struct virtio_chain chain;
    unsigned heard = 0, done = 0;
    pthread_t thread;

    (void)state;
    meetings = getenv("MEETINGS") ? (unsigned)strtoul(getenv("MEETINGS"), NULL, 0) : MEETINGS;
    start(VIRTIO_EVENT_INDEX);
    describe(DESCRIPTORS, 0, DATA, 4, WRITE, 0);
    atomic_store(&bell, 0);
    assert_int_equal(pthread_create(&thread, NULL, driver, NULL), 0);
    while (done < meetings) {
        uint64_t waited = 0;

        while (pop(&chain) == 1) {
            virtio_queue_push(queue, &chain, 0);
            done++;
        }
        dawdle(done % 257);
        if (done == meetings || virtio_queue_listen(queue, true))
            continue;
        while (atomic_load(&bell) == heard && waited++ < UINT64_C(1000000000))
            if (waited % 1024 == 0)
                sched_yield();
        if (atomic_load(&bell) == heard) {
            fprintf(stderr, "a request was forgotten after %u\n", done);
            _exit(1);
        }
        heard = atomic_load(&bell);
    }
    pthread_join(thread, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_chain),           TEST(test_indirect), TEST(test_notifications),  TEST(test_hostile),
        TEST(test_too_long),        TEST(test_too_many), TEST(test_rings_outside),  TEST(test_features),
        TEST(test_queue_registers), TEST(test_config),   TEST(test_every_register), TEST(test_masked),
        TEST(test_dirty),           TEST(test_meeting),  TEST(test_port_bar),       TEST(test_endless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
