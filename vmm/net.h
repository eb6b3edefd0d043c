/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A network card's two halves: the virtio device (virtio_net.c) and what its frames go to (net_user.c, net_tap.c).
 *
 * A frame has struct net_header before it, as the TAP device and the driver both have it ([VIRTIO] 5.1.6). Each pair of
 * queues has a thread of its own; what is here runs on the pair's thread but for open and close.
 */
#ifndef VMM_NET_H
#define VMM_NET_H

#include "loop.h"
#include "machine.h"
#include "virtio.h"

#define NET_PAIRS_MAX 8u
#define NET_FRAME_MAX 65562u /* without the header: the largest that segmentation gives, with a VLAN tag */

/* Features ([VIRTIO] 5.1.3) */
#define NET_CSUM (UINT64_C(1) << 0)
#define NET_GUEST_CSUM (UINT64_C(1) << 1)
#define NET_MAC (UINT64_C(1) << 5)
#define NET_GUEST_TSO4 (UINT64_C(1) << 7)
#define NET_GUEST_TSO6 (UINT64_C(1) << 8)
#define NET_HOST_TSO4 (UINT64_C(1) << 11)
#define NET_HOST_TSO6 (UINT64_C(1) << 12)
#define NET_MRG_RXBUF (UINT64_C(1) << 15)
#define NET_STATUS (UINT64_C(1) << 16)
#define NET_CTRL_VQ (UINT64_C(1) << 17)
#define NET_MQ (UINT64_C(1) << 22)

#define NET_NEEDS_CHECKSUM 1u /* flags */
#define NET_CHECKSUM_GOOD 2u

struct net_header {
    uint8_t flags, gso_type;
    uint16_t header_length, gso_size, checksum_start, checksum_offset;
    uint16_t buffers; /* how many of the driver's a received frame takes */
};
_Static_assert(sizeof(struct net_header) == 12, "struct virtio_net_hdr_v1");

struct net;
struct net_pair;

struct net_backend_ops {
    unsigned pairs_max;
    bool offload; /* takes and gives frames that are not segmented and have no checksum yet */

    /* Before the threads run, every pair having its loop. Says what is wrong. */
    int (*open)(struct net *net);
    void (*close)(struct net *net); /* also after a failed open, which leaves net->backend NULL or its own */

    /* A frame of the guest's, header first. It is taken or lost now. */
    void (*send)(struct net_pair *pair, const struct iovec *iov, unsigned count, size_t length);

    /* The driver has given buffers after net_deliver had found none. May be NULL. */
    void (*resume)(struct net_pair *pair);

    /* The driver has agreed on features; it uses so many pairs from now on. Under the machine's lock, or from
     * pair 0's thread; may be NULL. */
    void (*offloads)(struct net *net, uint64_t features);
    void (*pairs)(struct net *net, unsigned count);
};

extern const struct net_backend_ops net_user, net_tap;

struct net_pair {
    struct net *net;
    unsigned index;
    struct loop_thread thread;
    bool started;
    int error; /* of its beginning */
    struct loop_hook again;
    bool more; /* the send queue was left with something in it, so that others have their turn */
    struct iovec send_iov[VIRTIO_QUEUE_SIZE], first_iov[VIRTIO_QUEUE_SIZE], iov[VIRTIO_QUEUE_SIZE];
    void *backend;                                            /* the backend's own for this pair */
    uint8_t frame[sizeof(struct net_header) + NET_FRAME_MAX]; /* a backend's: what it receives or sends */
};

struct net {
    struct virtio_device device; /* first */
    struct machine *machine;
    const struct machine_nic *nic;
    const struct net_backend_ops *ops;
    void *backend;
    char name[24];
    unsigned pair_count;
    struct net_pair *pair;
    uint8_t config[12];
};

/* For what is said at opening; the machine may be NULL in tests, where nothing is said. net_error returns error. */
const char *net_machine_name(const struct net *net);
int net_error(struct net *net, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Without a machine for tests: memory is what the driver's addresses are in. */
int virtio_net_make(struct machine *machine, struct memory *memory, const struct machine_nic *nic,
                    const struct net_backend_ops *backend, unsigned index, struct virtio_device **device);

/* Gives the guest a frame of so many bytes, header apart. -EAGAIN: it has no buffers for it now (resume is called when
 * it has); -EIO, -EMSGSIZE: no driver, one that broke the rules, or buffers that are too small: the frame is lost. */
int net_deliver(struct net_pair *pair, const struct net_header *header, const void *frame, size_t length);

/* What NET_NEEDS_CHECKSUM asks for, done here. False: it points outside the frame. */
bool net_checksum(const struct net_header *header, uint8_t *frame, size_t length);

#endif
