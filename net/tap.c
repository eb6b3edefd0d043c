/* SPDX-License-Identifier: BSD-2-Clause */
/* A TAP interface of this host, with its frames' headers as the guest has them, so that segmentation and checksums are
 * left to who needs them. A link is a queue of the interface. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "net.h"

#define RECEIVE_ROUND 64u

struct tap {
    struct loop_source source;
    struct net_link *link;
    bool attached;
    ssize_t held; /* bytes of link->frame that wait for a buffer; 0: none */
};

/* ---- To the guest ---- */

/* False: the guest has no buffer; the frame is held, and the interface keeps the rest. */
static bool deliver(struct tap *tap)
{
    struct net_header header;

    memcpy(&header, tap->link->frame, sizeof(header));
    if (tap->link->card->deliver(tap->link, &header, tap->link->frame + sizeof(header),
                                 (size_t)tap->held - sizeof(header)) == -EAGAIN)
        return false;
    tap->held = 0;
    return true;
}

static void readable(struct loop_source *source)
{
    struct tap *tap = source->owner;

    for (unsigned i = 0; i < RECEIVE_ROUND; i++) {
        tap->held = read(source->fd, tap->link->frame, sizeof(tap->link->frame));
        if (tap->held <= (ssize_t)sizeof(struct net_header)) {
            tap->held = 0;
            return;
        }
        if (!deliver(tap)) {
            loop_change(tap->link->loop, source, 0);
            return;
        }
    }
}

static void resume(struct net_link *link)
{
    struct tap *tap = link->behind;

    if (tap->held == 0 || !deliver(tap))
        return;
    loop_change(link->loop, &tap->source, EPOLLIN);
}

/* ---- From the guest ---- */

/* Nothing waits here: what the interface does not take is lost, as on a wire. */
static void send_frame(struct net_link *link, const struct iovec *iov, unsigned count, size_t length)
{
    struct tap *tap = link->behind;
    ssize_t sent = writev(tap->source.fd, iov, (int)count);

    (void)sent;
    (void)length;
}

/* ---- Queues and offloads ---- */

static void links(struct net_card *card, unsigned count)
{
    for (unsigned i = 0; i < card->link_count && card->link_count > 1; i++) {
        struct tap *tap = card->link[i]->behind;
        struct ifreq request = {.ifr_flags = i < count ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

        if (tap->attached != (i < count) && ioctl(tap->source.fd, TUNSETQUEUE, &request) == 0)
            tap->attached = i < count;
    }
}

static void offloads(struct net_card *card, uint64_t features)
{
    struct tap *tap = card->link[0]->behind;
    unsigned long flags = 0;

    if (features & NET_GUEST_CSUM)
        flags |= TUN_F_CSUM;
    if (flags && (features & NET_GUEST_TSO4))
        flags |= TUN_F_TSO4;
    if (flags && (features & NET_GUEST_TSO6))
        flags |= TUN_F_TSO6;
    if (ioctl(tap->source.fd, TUNSETOFFLOAD, flags) < 0)
        net_error(card, 0, "tap=%s: offloads: %s", card->tap, strerror(errno));
}

/* ---- The backend ---- */

static int queue_open(struct net_card *card, struct tap *tap)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int size = sizeof(struct net_header), fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return net_error(card, -errno, "/dev/net/tun: %s", strerror(errno));
    tap->source = (struct loop_source){fd, readable, tap};
    tap->attached = true;
    if (card->link_count > 1)
        request.ifr_flags |= IFF_MULTI_QUEUE;
    strncpy(request.ifr_name, card->tap, sizeof(request.ifr_name) - 1);
    if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
        return net_error(card, -errno, "tap=%s: %s (make it beforehand: ip tuntap add %s mode tap user NAME%s)",
                         card->tap, strerror(errno), card->tap, card->link_count > 1 ? " multi_queue" : "");
    return loop_add(tap->link->loop, &tap->source, EPOLLIN);
}

static int tap_open(struct net_card *card)
{
    int err = 0;

    for (unsigned i = 0; i < card->link_count && err == 0; i++) {
        struct tap *tap = calloc(1, sizeof(*tap));

        if (!tap)
            return -ENOMEM;
        tap->link = card->link[i];
        tap->source.fd = -1;
        card->link[i]->behind = tap;
        err = queue_open(card, tap);
    }
    return err;
}

static void tap_close(struct net_card *card)
{
    for (unsigned i = 0; i < card->link_count; i++) {
        struct tap *tap = card->link[i]->behind;

        if (tap && tap->source.fd >= 0)
            close(tap->source.fd);
        free(tap);
    }
}

const struct net_backend net_tap = {
    .links_max = NET_LINKS_MAX,
    .offload = true,
    .open = tap_open,
    .close = tap_close,
    .send = send_frame,
    .resume = resume,
    .offloads = offloads,
    .links = links,
};
