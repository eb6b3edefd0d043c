/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * User-mode networking by libslirp: the guest is 10.0.2.15 behind a router (10.0.2.2, which is this host), a name
 * server (10.0.2.3) and a DHCP server; its connections are this process's own. No rights are needed. Ports of this
 * host's loopback address can be given to the guest.
 *
 * libslirp polls by itself: the thread's loop waits inside the hook, for libslirp's descriptors and for its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define POLLS_MAX 1024u

struct user {
    Slirp *slirp;
    struct net_link *link;
    struct loop_hook hook;
    nfds_t poll_count;
    struct pollfd poll[POLLS_MAX];
};

/* ---- What libslirp asks for ---- */

/* A frame for which the guest has no buffer is lost, as on a wire: TCP sends it again. */
static ssize_t frame_in(const void *frame, size_t length, void *owner)
{
    static const struct net_header header = {.flags = NET_CHECKSUM_GOOD};
    struct user *user = owner;

    user->link->card->deliver(user->link, &header, frame, length);
    return (ssize_t)length;
}

static void guest_error(const char *text, void *owner)
{
    (void)text; /* a hostile guest is not to fill a log */
    (void)owner;
}

static int64_t clock_now(void *owner)
{
    (void)owner;
    return (int64_t)loop_now();
}

/* Timers are for IPv6's router advertisements only, and IPv6 is off. */
static void *timer_new(SlirpTimerCb function, void *argument, void *owner)
{
    (void)function;
    (void)argument;
    return owner;
}

static void timer_free(void *timer, void *owner)
{
    (void)timer;
    (void)owner;
}

static void timer_set(void *timer, int64_t when, void *owner)
{
    (void)timer;
    (void)when;
    (void)owner;
}

static void descriptor_ignore(int fd, void *owner)
{
    (void)fd; /* every round asks for all of them */
    (void)owner;
}

static void notify(void *owner)
{
    (void)owner; /* comes from this thread: the next round looks at everything */
}

static const SlirpCb callbacks = {
    .send_packet = frame_in,
    .guest_error = guest_error,
    .clock_get_ns = clock_now,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_set,
    .register_poll_fd = descriptor_ignore,
    .unregister_poll_fd = descriptor_ignore,
    .notify = notify,
};

/* ---- Waiting ---- */

static const struct {
    int slirp;
    short poll;
} events[] = {
    {SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
    {SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

static int poll_add(int fd, int wanted, void *owner)
{
    struct user *user = owner;
    struct pollfd *poll = &user->poll[user->poll_count];

    if (user->poll_count == POLLS_MAX)
        return -1;
    *poll = (struct pollfd){.fd = fd};
    for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
        if (wanted & events[i].slirp)
            poll->events |= events[i].poll;
    return (int)user->poll_count++;
}

static int poll_result(int index, void *owner)
{
    struct user *user = owner;
    int got = 0;

    for (size_t i = 0; index >= 0 && i < sizeof(events) / sizeof(*events); i++)
        if (user->poll[index].revents & events[i].poll)
            got |= events[i].slirp;
    return got;
}

/* The first entry is the loop itself: a kick or a call ends the wait. */
static bool wait_all(void *owner)
{
    struct user *user = owner;
    uint32_t timeout = UINT32_MAX;
    int count;

    user->poll[0] = (struct pollfd){.fd = user->link->loop->epoll, .events = POLLIN};
    user->poll_count = 1;
    slirp_pollfds_fill(user->slirp, &timeout, poll_add, user);
    count = poll(user->poll, user->poll_count, timeout > INT32_MAX ? -1 : (int)timeout);
    slirp_pollfds_poll(user->slirp, count < 0, poll_result, user);
    return true;
}

static void hook_add(void *owner)
{
    struct user *user = owner;

    user->hook = (struct loop_hook){.before_wait = wait_all, .owner = user};
    loop_hook_add(user->link->loop, &user->hook);
}

/* ---- The backend ---- */

static void send_frame(struct net_link *link, const struct iovec *iov, unsigned count, size_t length)
{
    struct user *user = link->card->behind;
    struct net_header *header = (struct net_header *)link->frame;
    uint8_t *frame = link->frame + sizeof(*header), *to = link->frame;

    for (unsigned i = 0; i < count; i++)
        to = mempcpy(to, iov[i].iov_base, iov[i].iov_len);
    length -= sizeof(*header);
    if ((header->flags & NET_NEEDS_CHECKSUM) && !net_checksum(header, frame, length))
        return;
    slirp_input(user->slirp, frame, (int)length);
}

/* "tcp:8080:80,udp:53:53" */
static int forward(struct net_card *card, Slirp *slirp)
{
    char *all = card->forward ? strdup(card->forward) : NULL, *rest = NULL;
    int err = card->forward && !all ? -ENOMEM : 0;

    for (char *one = all ? strtok_r(all, ",", &rest) : NULL; one && err == 0; one = strtok_r(NULL, ",", &rest)) {
        struct in_addr host = {.s_addr = htonl(INADDR_LOOPBACK)}, guest = {.s_addr = inet_addr("10.0.2.15")};
        unsigned from, to;
        char kind[4];
        int end = 0;

        if (sscanf(one, "%3[a-z]:%5u:%5u%n", kind, &from, &to, &end) != 3 || one[end] != '\0' || from == 0 || to == 0 ||
            from > UINT16_MAX || to > UINT16_MAX || (strcmp(kind, "tcp") != 0 && strcmp(kind, "udp") != 0))
            err = net_error(card, -EINVAL, "forward=%s: not tcp:HOST-PORT:GUEST-PORT", one);
        else if (slirp_add_hostfwd(slirp, kind[0] == 'u', host, (int)from, guest, (int)to) < 0)
            err = net_error(card, -errno, "port %u of this host: %s", from, strerror(errno));
    }
    free(all);
    return err;
}

static int user_open(struct net_card *card)
{
    SlirpConfig config = {
        .version = 1,
        .in_enabled = true,
        .vnetwork.s_addr = inet_addr("10.0.2.0"),
        .vnetmask.s_addr = inet_addr("255.255.255.0"),
        .vhost.s_addr = inet_addr("10.0.2.2"),
        .vdhcp_start.s_addr = inet_addr("10.0.2.15"),
        .vnameserver.s_addr = inet_addr("10.0.2.3"),
        .vhostname = card->machine,
    };
    struct user *user = calloc(1, sizeof(*user));
    int err;

    if (!user)
        return -ENOMEM;
    user->link = card->link[0];
    user->slirp = slirp_new(&config, &callbacks, user);
    if (!user->slirp) {
        free(user);
        return net_error(card, -ENOMEM, "libslirp does not start");
    }
    card->behind = user;
    err = forward(card, user->slirp);
    if (err == 0)
        loop_call(user->link->loop, hook_add, user);
    return err;
}

static void user_close(struct net_card *card)
{
    struct user *user = card->behind;

    if (!user)
        return;
    slirp_cleanup(user->slirp);
    free(user);
}

const struct net_backend net_user = {
    .links_max = 1,
    .open = user_open,
    .close = user_close,
    .send = send_frame,
};
