/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a network card's frames go to: user-mode networking (user.c) or a TAP interface (tap.c). The card is whoever
 * fills in struct net_card: a virtio device, or a test.
 *
 * A frame has struct net_header before it, as the TAP device and virtio's drivers both have it ([VIRTIO] 5.1.6). A card
 * has a link for each pair of its queues, with a thread and a loop of its own; what is here runs on the link's thread
 * but for open and close.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <sys/uio.h>

#include "base/loop.h"

#define NET_LINKS_MAX 8u
#define NET_FRAME_MAX 65562u /* without the header: the largest that segmentation gives, with a VLAN tag */

/* Features that a card and its driver agree on ([VIRTIO] 5.1.3). */
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

struct net_card;
struct net_link;

struct net_backend {
    unsigned links_max;
    bool offload; /* takes and gives frames that are not segmented and have no checksum yet */

    /* Before the threads run. Says what is wrong. */
    int (*open)(struct net_card *card);
    void (*close)(struct net_card *card); /* also after a failed open, which leaves what is behind NULL or its own */

    /* A frame of the guest's, header first. It is taken or lost now. */
    void (*send)(struct net_link *link, const struct iovec *iov, unsigned count, size_t length);

    /* The driver has given buffers after deliver had found none. May be NULL. */
    void (*resume)(struct net_link *link);

    /* The driver has agreed on features; it uses so many links from now on. Under the machine's lock, or from link 0's
     * thread; may be NULL. */
    void (*offloads)(struct net_card *card, uint64_t features);
    void (*links)(struct net_card *card, unsigned count);
};

extern const struct net_backend net_user, net_tap;

struct net_link {
    struct net_card *card;
    unsigned index;
    struct loop *loop;                                        /* of its thread */
    void *behind;                                             /* the backend's own for this link */
    uint8_t frame[sizeof(struct net_header) + NET_FRAME_MAX]; /* a backend's: what it receives or sends */
};

struct net_card {
    const struct net_backend *backend;
    const char *name;    /* "nic 0", for messages */
    const char *machine; /* what the guest is called by DHCP */
    const char *tap, *forward;
    unsigned link_count;
    struct net_link *link[NET_LINKS_MAX];
    void *behind; /* the backend's own */

    /* Gives the guest a frame of so many bytes, header apart. -EAGAIN: it has no buffers for it now (resume is called
     * when it has); -EIO, -EMSGSIZE: no driver, one that broke the rules, or buffers that are too small: the frame is
     * lost. */
    int (*deliver)(struct net_link *link, const struct net_header *header, const void *frame, size_t length);
    void (*say)(struct net_card *card, const char *text); /* an error, of opening */
};

/* Says it, and returns error. */
int net_error(struct net_card *card, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* An address for the card where it is zeros: locally administered, and the same for the same machine's name and number. */
void net_address_make(const struct net_card *card, unsigned number, uint8_t address[6]);

/* What NET_NEEDS_CHECKSUM asks for, done here. False: it points outside the frame. */
bool net_checksum(const struct net_header *header, uint8_t *frame, size_t length);

#endif
