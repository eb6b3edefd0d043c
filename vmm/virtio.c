/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio-pci transport ([VIRTIO] 4.1): a memory BAR with all of the registers, a page each, and the MSI-X table;
 * and one of ports for the notifications. Each queue's port is an ioeventfd of its own, which wakes the queue's thread
 * without leaving the kernel: a port, because KVM has to emulate the instruction that writes to memory, except where
 * the processor is Intel's. A driver that knows no ports notifies in the memory BAR.
 */
#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "machine.h"
#include "virtio.h"

#define BAR 0u
#define BAR_SIZE 0x8000u
#define COMMON 0x0000u
#define ISR 0x1000u
#define CONFIG 0x2000u
#define NOTIFY 0x3000u
#define MSIX_TABLE 0x4000u
#define MSIX_PENDING 0x5000u
#define PAGE 0x1000u
#define PORTS 2u       /* the other BAR */
#define PORTS_MIN 16u  /* bytes */
#define NOTIFY_STEP 2u /* one address a queue */

#define PCI_VENDOR_VIRTIO 0x1af4
#define PCI_DEVICE_VIRTIO 0x1040 /* and the virtio device's id */

#define NO_VECTOR 0xffffu

/* ---- Interrupts ---- */

void virtio_interrupt(struct virtio_device *device, uint16_t vector, uint8_t isr)
{
    if (device->pci.msix.enabled) {
        pci_msix_fire(&device->pci, vector);
        return;
    }
    atomic_fetch_or(&device->state.isr, isr);
    pci_intx_set(&device->pci, true);
}

void virtio_config_changed(struct virtio_device *device)
{
    device->state.generation++;
    if (device->active)
        virtio_interrupt(device, device->state.config_vector, VIRTIO_PCI_ISR_CONFIG);
}

/* ---- Queues: the kick ---- */

static void kicked(struct loop_source *source)
{
    struct virtio_queue *queue = source->owner;

    loop_timer_clear(source);
    if (queue->active)
        queue->device->about.ops->kick(queue);
}

static void ioeventfd_tell(struct virtio_queue *queue, uint64_t address, uint32_t flags)
{
    struct kvm_ioeventfd event = {.addr = address, .fd = queue->kick.fd, .flags = KVM_IOEVENTFD_FLAG_PIO | flags};

    if (queue->device->machine)
        ioctl(queue->device->machine->vm, KVM_IOEVENTFD, &event);
}

/* The ioeventfds follow the BAR. Without one (KVM ran out of them) the write comes to ports_write. */
static void kicks_place(struct pci_device *pci)
{
    struct virtio_device *device = (struct virtio_device *)pci;
    const struct pci_bar *bar = &pci->bar[PORTS];

    for (unsigned i = 0; i < device->about.queue_count; i++) {
        struct virtio_queue *queue = &device->queue[i];
        uint64_t address = bar->mapped ? bar->range.start + i * NOTIFY_STEP : 0;

        if (queue->kick_address == address)
            continue;
        if (queue->kick_address)
            ioeventfd_tell(queue, queue->kick_address, KVM_IOEVENTFD_FLAG_DEASSIGN);
        if (address)
            ioeventfd_tell(queue, address, 0);
        queue->kick_address = address;
    }
}

/* ---- Activation and reset ---- */

static void queue_stop(void *owner)
{
    struct virtio_queue *queue = owner;

    loop_remove(queue->loop, &queue->kick);
    queue->active = false;
}

static void queue_state_clear(struct virtio_queue *queue)
{
    queue->state = (struct virtio_queue_state){.size = VIRTIO_QUEUE_SIZE, .vector = NO_VECTOR};
    queue->broken = false;
    queue->descriptors = NULL;
    queue->avail = NULL;
    queue->used = NULL;
}

/* No kick comes any more and what completes is not shown any more; then the device waits for what is in flight, since
 * that still goes to the guest's memory; then the rings go. */
static void device_reset(struct virtio_device *device)
{
    if (device->active) {
        for (unsigned i = 0; i < device->about.queue_count; i++)
            if (device->queue[i].state.enabled)
                loop_call(device->queue[i].loop, queue_stop, &device->queue[i]);
        if (device->about.ops->reset)
            device->about.ops->reset(device);
    }
    device->active = false;
    for (unsigned i = 0; i < device->about.queue_count; i++)
        queue_state_clear(&device->queue[i]);
    memset(&device->state, 0, sizeof(device->state));
    device->state.config_vector = NO_VECTOR;
    pci_intx_set(&device->pci, false);
}

static void reset(struct pci_device *pci)
{
    device_reset((struct virtio_device *)pci);
}

static void device_activate(struct virtio_device *device)
{
    device->active = true;
    for (unsigned i = 0; i < device->about.queue_count; i++) {
        struct virtio_queue *queue = &device->queue[i];

        if (!queue->loop)
            queue->loop = &device->machine->loop;
        if (queue->state.enabled && virtio_queue_map(queue) < 0) {
            queue->state.enabled = false;
            virtio_queue_break(queue, "its rings are not in memory");
        }
    }
    if (device->about.ops->activate)
        device->about.ops->activate(device);
    for (unsigned i = 0; i < device->about.queue_count; i++) {
        struct virtio_queue *queue = &device->queue[i];

        if (!queue->state.enabled)
            continue;
        queue->active = true;
        if (loop_add(queue->loop, &queue->kick, EPOLLIN) < 0)
            virtio_queue_break(queue, "no memory for its event");
        eventfd_write(queue->kick.fd, 1); /* what was made available before anybody listened */
    }
}

static void status_write(struct virtio_device *device, uint8_t value)
{
    struct virtio_state *state = &device->state;
    uint8_t added = value & (uint8_t)~state->status;

    if (value == 0) {
        device_reset(device);
        return;
    }
    if ((state->features & ~device->offered) || !virtio_has(device, VIRTIO_VERSION_1))
        added &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    atomic_fetch_or(&state->status, added & (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET);
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) && (state->status & VIRTIO_CONFIG_S_FEATURES_OK))
        device_activate(device);
}

/* ---- The common configuration ([VIRTIO] 4.1.4.3) ---- */

static struct virtio_queue *queue_selected(struct virtio_device *device)
{
    unsigned select = device->state.queue_select;

    return select < device->about.queue_count ? &device->queue[select] : NULL;
}

static uint32_t half(uint64_t features, uint32_t select)
{
    return select < 2 ? (uint32_t)(features >> 32 * select) : 0;
}

/* All registers as they are now. */
static struct virtio_pci_common_cfg common_show(struct virtio_device *device)
{
    const struct virtio_state *state = &device->state;
    const struct virtio_queue *queue = queue_selected(device);
    struct virtio_pci_common_cfg all = {
        .device_feature_select = state->device_feature_select,
        .device_feature = half(device->offered, state->device_feature_select),
        .guest_feature_select = state->driver_feature_select,
        .guest_feature = half(state->features, state->driver_feature_select),
        .msix_config = state->config_vector,
        .num_queues = (uint16_t)device->about.queue_count,
        .device_status = state->status,
        .config_generation = state->generation,
        .queue_select = state->queue_select,
    };

    if (!queue)
        return all;
    all.queue_size = queue->state.size;
    all.queue_msix_vector = queue->state.vector;
    all.queue_enable = queue->state.enabled;
    all.queue_notify_off = (uint16_t)queue->index;
    all.queue_desc_lo = (uint32_t)queue->state.descriptors;
    all.queue_desc_hi = (uint32_t)(queue->state.descriptors >> 32);
    all.queue_avail_lo = (uint32_t)queue->state.avail;
    all.queue_avail_hi = (uint32_t)(queue->state.avail >> 32);
    all.queue_used_lo = (uint32_t)queue->state.used;
    all.queue_used_hi = (uint32_t)(queue->state.used >> 32);
    return all;
}

static uint16_t vector_of(const struct virtio_device *device, uint16_t value)
{
    return value < device->pci.msix.count ? value : NO_VECTOR;
}

/* Nothing of a queue changes while it may be in use. */
static void queue_write(struct virtio_queue *queue, uint64_t offset, const struct virtio_pci_common_cfg *all)
{
    struct virtio_queue_state *state = &queue->state;
    uint16_t size = all->queue_size;

    if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
        state->vector = vector_of(queue->device, all->queue_msix_vector);
        return;
    }
    if (state->enabled || queue->device->active)
        return;
    if (size > 0 && size <= VIRTIO_QUEUE_SIZE && (size & (size - 1)) == 0)
        state->size = size;
    state->enabled = all->queue_enable == 1;
    state->descriptors = (uint64_t)all->queue_desc_hi << 32 | all->queue_desc_lo;
    state->avail = (uint64_t)all->queue_avail_hi << 32 | all->queue_avail_lo;
    state->used = (uint64_t)all->queue_used_hi << 32 | all->queue_used_lo;
}

static void features_write(struct virtio_state *state, uint32_t value)
{
    unsigned shift = 32 * state->driver_feature_select;

    if (state->driver_feature_select < 2 && !(state->status & VIRTIO_CONFIG_S_FEATURES_OK))
        state->features = (state->features & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value << shift;
}

static uint64_t common_read(struct virtio_device *device, uint64_t offset, unsigned size)
{
    const struct virtio_pci_common_cfg all = common_show(device);
    uint64_t value = 0;

    if (offset + size <= sizeof(all))
        memcpy(&value, (const uint8_t *)&all + offset, size);
    return value;
}

/* A register is written from its beginning; of a queue's addresses, any part. */
static void common_write(struct virtio_device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_pci_common_cfg all = common_show(device);
    struct virtio_state *state = &device->state;

    if (offset + size > sizeof(all))
        return;
    memcpy((uint8_t *)&all + offset, &value, size);
    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        state->device_feature_select = all.device_feature_select;
        break;
    case VIRTIO_PCI_COMMON_GFSELECT:
        state->driver_feature_select = all.guest_feature_select;
        break;
    case VIRTIO_PCI_COMMON_GF:
        features_write(state, all.guest_feature);
        break;
    case VIRTIO_PCI_COMMON_MSIX:
        state->config_vector = vector_of(device, all.msix_config);
        break;
    case VIRTIO_PCI_COMMON_STATUS:
        status_write(device, all.device_status);
        break;
    case VIRTIO_PCI_COMMON_Q_SELECT:
        state->queue_select = all.queue_select;
        break;
    default:
        if (offset >= VIRTIO_PCI_COMMON_Q_SIZE && queue_selected(device))
            queue_write(queue_selected(device), offset, &all);
    }
}

/* ---- The BARs ---- */

static void ports_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_device *device = owner;

    (void)size;
    (void)value;
    if (offset / NOTIFY_STEP < device->about.queue_count)
        eventfd_write(device->queue[offset / NOTIFY_STEP].kick.fd, 1);
}

static uint64_t isr_read(struct virtio_device *device)
{
    pci_intx_set(&device->pci, false); /* first: who sets a bit raises the line after it */
    return atomic_exchange(&device->state.isr, 0);
}

static uint64_t bar_read(void *owner, uint64_t offset, unsigned size)
{
    struct virtio_device *device = owner;
    uint64_t value = 0, in_page = offset % PAGE;

    switch (offset - in_page) {
    case COMMON:
        return common_read(device, in_page, size);
    case ISR:
        return in_page == 0 ? isr_read(device) : 0;
    case CONFIG:
        if (in_page + size <= device->about.config_size)
            memcpy(&value, (uint8_t *)device->about.config + in_page, size);
        return value;
    default:
        return pci_msix_read(&device->pci, offset, size);
    }
}

static void device_config_write(struct virtio_device *device, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset + size > device->about.config_size || offset + size > 64)
        return;
    for (unsigned i = 0; i < size; i++)
        if (!(device->about.config_writable >> (offset + i) & 1))
            return;
    memcpy((uint8_t *)device->about.config + offset, &value, size);
    if (device->about.ops->config_written)
        device->about.ops->config_written(device);
}

static void bar_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_device *device = owner;
    uint64_t in_page = offset % PAGE;

    switch (offset - in_page) {
    case COMMON:
        common_write(device, in_page, size, value);
        break;
    case CONFIG:
        device_config_write(device, in_page, size, value);
        break;
    case NOTIFY:
        ports_write(device, in_page, size, value);
        break;
    default:
        pci_msix_write(&device->pci, offset, size, value);
    }
}

/* ---- Description ---- */

static void capability_add(struct virtio_device *device, uint8_t type, uint8_t bar, uint32_t offset, uint32_t length)
{
    bool notify = type == VIRTIO_PCI_CAP_NOTIFY_CFG;
    uint8_t size = notify ? sizeof(struct virtio_pci_notify_cap) : sizeof(struct virtio_pci_cap);
    uint8_t at = pci_capability_add(&device->pci, PCI_CAP_ID_VNDR, size);

    pci_set(&device->pci, at + VIRTIO_PCI_CAP_LEN, 1, size);
    pci_set(&device->pci, at + VIRTIO_PCI_CAP_CFG_TYPE, 1, type);
    pci_set(&device->pci, at + VIRTIO_PCI_CAP_BAR, 1, bar);
    pci_set(&device->pci, at + VIRTIO_PCI_CAP_OFFSET, 4, offset);
    pci_set(&device->pci, at + VIRTIO_PCI_CAP_LENGTH, 4, length);
    if (notify)
        pci_set(&device->pci, at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4, NOTIFY_STEP);
}

static void pci_describe(struct virtio_device *device, const struct virtio_description *description)
{
    const struct pci_id id = {
        .vendor = PCI_VENDOR_VIRTIO,
        .device = (uint16_t)(PCI_DEVICE_VIRTIO + description->id),
        .subsystem_vendor = PCI_VENDOR_VIRTIO,
        .subsystem = description->id,
        .class = description->class,
        .revision = 1,
    };
    const struct bus_range range = {.size = BAR_SIZE, .owner = device, .read = bar_read, .write = bar_write};
    struct bus_range ports = {.size = PORTS_MIN, .owner = device, .write = ports_write};

    while (ports.size < (uint64_t)description->queue_count * NOTIFY_STEP)
        ports.size *= 2;

    pci_device_init(&device->pci, description->name, &id);
    pci_bar_add(&device->pci, BAR, false, &range);
    pci_bar_add(&device->pci, PORTS, true, &ports);
    pci_msix_add(&device->pci, description->queue_count + 1, BAR, MSIX_TABLE, MSIX_PENDING);
    if (description->config_size > 0)
        capability_add(device, VIRTIO_PCI_CAP_DEVICE_CFG, BAR, CONFIG, description->config_size);
    capability_add(device, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR, NOTIFY, description->queue_count * NOTIFY_STEP);
    capability_add(device, VIRTIO_PCI_CAP_ISR_CFG, BAR, ISR, 1);
    /* What is added later is found earlier: the ports. */
    capability_add(device, VIRTIO_PCI_CAP_NOTIFY_CFG, PORTS, 0, description->queue_count * NOTIFY_STEP);
    capability_add(device, VIRTIO_PCI_CAP_COMMON_CFG, BAR, COMMON, sizeof(struct virtio_pci_common_cfg));
    pci_set(&device->pci, PCI_INTERRUPT_PIN, 1, 1);
    device->pci.config_written = kicks_place;
    device->pci.reset = reset;
}

static int kicks_open(struct virtio_device *device)
{
    for (unsigned i = 0; i < device->about.queue_count; i++) {
        struct virtio_queue *queue = &device->queue[i];

        queue->device = device;
        queue->index = i;
        queue->kick = (struct loop_source){eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), kicked, queue};
        if (queue->kick.fd < 0)
            return -errno;
        queue_state_clear(queue);
    }
    return 0;
}

static void kicks_close(struct virtio_device *device)
{
    for (unsigned i = 0; i < device->about.queue_count; i++)
        if (device->queue[i].device && device->queue[i].kick.fd >= 0)
            close(device->queue[i].kick.fd);
}

int virtio_open(struct virtio_device *device, struct machine *machine, const struct virtio_description *description)
{
    int err;

    assert(description->queue_count > 0 && description->queue_count <= VIRTIO_QUEUES_MAX);
    pci_describe(device, description);
    device->machine = machine;
    device->memory = machine ? &machine->memory : device->memory;
    device->about = *description;
    device->offered = description->features | VIRTIO_INDIRECT | VIRTIO_EVENT_INDEX | VIRTIO_VERSION_1;
    device->state.config_vector = NO_VECTOR;
    err = kicks_open(device);
    if (err == 0 && machine)
        err = pci_plug(&machine->pci, &device->pci, PCI_ANYWHERE);
    if (err < 0) {
        kicks_close(device);
        return err;
    }
    device->part = (struct machine_part){.name = description->name, .close = virtio_free, .owner = device};
    if (machine)
        machine_part_add(machine, &device->part);
    return 0;
}

void virtio_free(void *owner)
{
    struct virtio_device *device = owner;

    device_reset(device);
    if (device->machine) {
        pci_unplug(&device->pci);
        kicks_place(&device->pci);
    }
    kicks_close(device);
    if (device->about.ops->free)
        device->about.ops->free(device);
}
