/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio 1.x over PCI (modern only), with split queues. [VIRTIO] is the OASIS specification, version 1.2.
 *
 * virtio.c is the transport: what the guest sees in the BAR. virtio_queue.c is the data path: virtio_queue_pop copies
 * each descriptor once, checks the copy and gives two lists of memory, what the device may read and what it may write.
 *
 * Threads: a queue's kick runs on the queue's loop, and from activate to reset only that thread touches the queue (pop,
 * push, signal). Everything else is under the machine's lock. reset is called under that lock, from a vCPU: it stops
 * the queues by loop_call and returns when nothing is in flight and nothing will complete.
 */
#ifndef VMM_VIRTIO_H
#define VMM_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "base/iov.h"
#include "base/loop.h"
#include "machine.h"
#include "memory.h"
#include "pci.h"

#define VIRTIO_QUEUES_MAX 65u /* 64 and one more for control or events */
#define VIRTIO_QUEUE_SIZE 256u

/* Feature bits of every device, offered by the transport. */
#define VIRTIO_INDIRECT (UINT64_C(1) << 28)
#define VIRTIO_EVENT_INDEX (UINT64_C(1) << 29)
#define VIRTIO_VERSION_1 (UINT64_C(1) << 32)

struct virtio_device;

/* One request: the device reads the first list, then writes the second. Both lie in iov, which the caller provides. */
struct virtio_chain {
    struct iovec *iov;
    unsigned iov_max;
    struct iovec *readable, *writable;
    unsigned readable_count, writable_count;
    size_t readable_length, writable_length;
    uint16_t head;
};

/* What a saved machine holds of a queue. */
struct virtio_queue_state {
    uint16_t size; /* a power of two, at most VIRTIO_QUEUE_SIZE */
    _Atomic uint16_t vector;
    bool enabled;
    uint16_t avail_next, used_next;    /* free-running: what was popped and pushed */
    uint16_t used_signaled;            /* used_next when the driver was last told */
    uint64_t descriptors, avail, used; /* guest-physical */
};

struct virtio_queue {
    struct virtio_device *device;
    unsigned index;
    struct loop *loop; /* where kick runs; NULL: the machine's main loop */
    struct virtio_queue_state state;
    struct loop_source kick;        /* the ioeventfd */
    uint64_t kick_address;          /* where KVM has it; 0: nowhere */
    bool active;                    /* between activate and reset */
    bool broken;                    /* the driver broke the rules; nothing is popped any more */
    unsigned round;                 /* how often this kick has looked for a request */
    struct vring_desc *descriptors; /* where state says, checked at activation; x86 is little-endian */
    struct vring_avail *avail;
    struct vring_used *used;
};

struct virtio_ops {
    /* What is available on the queue has to be looked at: on its loop. */
    void (*kick)(struct virtio_queue *queue);

    /* The driver is ready: device->features is what it took, enabled queues may be used. May be NULL. */
    void (*activate)(struct virtio_device *device);

    /* See above. Afterwards the device is as new. May be NULL where kick leaves nothing in flight. */
    void (*reset)(struct virtio_device *device);

    /* The driver has written in about.config, inside config_writable. May be NULL. */
    void (*config_written)(struct virtio_device *device);

    /* The last of virtio_free: frees what the device is in. May be NULL. */
    void (*free)(struct virtio_device *device);
};

struct virtio_state {
    _Atomic uint8_t status, isr;
    uint8_t generation; /* of config */
    _Atomic uint16_t config_vector;
    uint16_t queue_select;
    uint32_t device_feature_select, driver_feature_select;
    uint64_t features; /* what the driver took */
};

struct virtio_description {
    const char *name;
    uint16_t id;    /* of the virtio device: 1 network, 2 block, 4 entropy, 8 SCSI */
    uint32_t class; /* of struct pci_id */
    uint64_t features;
    unsigned queue_count;
    void *config; /* the device's own configuration, little-endian; NULL: none */
    unsigned config_size;
    uint64_t config_writable; /* a bit for each of its first 64 bytes */
    const struct virtio_ops *ops;
};

struct virtio_device {
    struct pci_device pci;
    struct machine_part part;
    struct machine *machine;
    struct memory *memory;
    struct virtio_description about;
    uint64_t offered; /* features, the transport's included */
    struct virtio_queue queue[VIRTIO_QUEUES_MAX];
    struct virtio_state state;
    bool active;
};

/* Plugs the device in; from then on the machine closes it. A queue's loop is set before that, or is the main one.
 * machine may be NULL in tests, with memory and loops set. Free: after the vCPUs have stopped; stops the queues. */
int virtio_open(struct virtio_device *device, struct machine *machine, const struct virtio_description *description);
void virtio_free(void *device);

/* config has been changed by the device (under the machine's lock): tells the driver. */
void virtio_config_changed(struct virtio_device *device);

static inline bool virtio_has(const struct virtio_device *device, uint64_t feature)
{
    return (device->state.features & feature) != 0;
}

/* ---- The data path, on the queue's thread ---- */

/* 1: a chain; 0: there is none; -EIO: the driver broke the rules: the queue is broken and the driver told so
 * (DEVICE_NEEDS_RESET). chain->iov and iov_max are the caller's. */
int virtio_queue_pop(struct virtio_queue *queue, struct virtio_chain *chain);

/* Asks to be kicked for what comes from now on, or not to be (while polling). True: something has come meanwhile. */
bool virtio_queue_listen(struct virtio_queue *queue, bool on);

/* Gives a chain back; so many bytes from the start of its writable list were written (and are marked dirty here). */
void virtio_queue_push(struct virtio_queue *queue, const struct virtio_chain *chain, size_t written);

/* The same for several chains that the driver sees at once: each is put so many places ahead, then all are shown. Those
 * popped last may also be put back as they were; nothing of them was pushed. */
void virtio_queue_fill(struct virtio_queue *queue, unsigned ahead, const struct virtio_chain *chain, size_t written);
void virtio_queue_flush(struct virtio_queue *queue, unsigned count);
void virtio_queue_unpop(struct virtio_queue *queue, unsigned count);

/* After one or more pushes: interrupts the driver if it wants to be. */
void virtio_queue_signal(struct virtio_queue *queue);

/* What a kick takes, until it is false: there is no more, or the loop's others come first, and then another kick. The
 * driver has been signalled. */
bool virtio_queue_next(struct virtio_queue *queue, struct virtio_chain *chain);

/* A kick of a queue whose requests are answered at once: answer is given each, writes into its writable list, and
 * returns how much; 0: there was no room, and the queue breaks. */
void virtio_queue_serve(struct virtio_queue *queue,
                        size_t (*answer)(struct virtio_device *device, const struct virtio_chain *chain));

/* The request breaks the device's own rules beyond repair (no room for an answer). */
void virtio_queue_break(struct virtio_queue *queue, const char *why);

/* What the transport calls: maps the rings (-EFAULT: they are not in memory, or not aligned), and tells the driver. */
int virtio_queue_map(struct virtio_queue *queue);
void virtio_interrupt(struct virtio_device *device, uint16_t vector, uint8_t isr);

#endif
