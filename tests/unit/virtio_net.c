/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-net on user-mode networking, against a driver that is right and one that is not: an address by DHCP, a frame
 * over several buffers, a port of the host, checksums, and every way to ask badly. */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/driver.h"
#include "net/net.h"
#include "vmm/devices.h"

#define RECEIVE 0u
#define SEND 1u
#define OUT DRIVER_HEAP
#define IN (DRIVER_HEAP + 0x100000)
#define HEADER sizeof(struct net_header)
#define BACKEND (nic.backend == MACHINE_TAP ? &net_tap : &net_user)
#define ETHERNET 14u
#define ALL (NET_MAC | NET_MRG_RXBUF | NET_CSUM | NET_GUEST_CSUM | NET_HOST_TSO4)

static struct driver driver;
static struct machine_nic nic;

static void start(uint64_t features)
{
    test_ok(memory_open(&driver.memory, DRIVER_MEMORY));
    test_ok(virtio_net_make(NULL, &driver.memory, &nic, BACKEND, 0, &driver.device));
    driver_start(&driver, features, 2);
}

static void stop(void)
{
    virtio_free(driver.device);
    memory_close(&driver.memory);
}

/* ---- Frames ---- */

static uint8_t *frame_out(void)
{
    return (uint8_t *)driver_at(&driver, OUT) + HEADER;
}

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

/* The sum of a part in network order, for our own frames and those that come. */
static unsigned sum(const uint8_t *data, size_t length, unsigned from)
{
    for (size_t i = 0; i < length; i++)
        from += i % 2 ? data[i] : (unsigned)data[i] << 8;
    while (from >> 16)
        from = (from & 0xffff) + (from >> 16);
    return from;
}

static void send_out(size_t length)
{
    struct part part = {OUT, (uint32_t)(HEADER + length), false};

    driver_give(&driver, SEND, 0, &part, 1);
    test_equal(driver_wait(&driver, SEND), 0);
}

/* A UDP datagram without its checksum: what stands there is the sum of the pseudo header, as an offloading driver has
 * it. */
static size_t datagram(unsigned from, unsigned to, const char *source, const char *target, size_t length)
{
    struct net_header header = {.flags = NET_NEEDS_CHECKSUM, .checksum_start = ETHERNET + 20, .checksum_offset = 6};
    uint8_t *ip = frame_out() + ETHERNET, *udp = ip + 20;
    uint8_t pseudo[4] = {0, 17};

    memcpy(driver_at(&driver, OUT), &header, HEADER);
    memset(frame_out(), 0xff, 6);
    memcpy(frame_out() + 6, "\x52\x54\0\1\2\3\x08\0", 8);
    memset(ip, 0, 20);
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)(28 + length));
    ip[8] = 64;
    ip[9] = 17;
    inet_pton(AF_INET, source, ip + 12);
    inet_pton(AF_INET, target, ip + 16);
    put16(ip + 10, ~sum(ip, 20, 0) & 0xffff);
    put16(udp, from);
    put16(udp + 2, to);
    put16(udp + 4, (unsigned)(8 + length));
    put16(pseudo + 2, (unsigned)(8 + length));
    put16(udp + 6, sum(pseudo, 4, sum(ip + 12, 8, 0)));
    return ETHERNET + 28 + length;
}

static size_t discover(void)
{
    static const uint8_t options[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
    size_t length = datagram(68, 67, "0.0.0.0", "255.255.255.255", 300);
    uint8_t *bootp = frame_out() + ETHERNET + 28;

    memset(bootp, 0, 300);
    memcpy(bootp, "\1\1\6\0\xde\xad\xbe\xef", 8);
    memcpy(bootp + 28, "\x52\x54\0\1\2\3", 6);
    memcpy(bootp + 236, options, sizeof(options));
    return length;
}

/* Buffers of so many bytes each, one descriptor a buffer. */
static void buffers(unsigned count, uint32_t length)
{
    memset(driver_at(&driver, IN), 0xee, (size_t)count * 0x10000);
    for (unsigned i = 0; i < count; i++) {
        struct part part = {IN + (uint64_t)i * 0x10000, length, true};

        driver_give(&driver, RECEIVE, (uint16_t)i, &part, 1);
    }
}

/* The frame that came, put together. Its length without the header; the number of buffers is in *count, and in *last
 * the last of them. */
static size_t received_in(uint8_t *frame, unsigned *count, uint32_t *last)
{
    struct net_header header;
    size_t done = 0;

    *count = 1;
    for (unsigned i = 0; i < *count; i++) {
        int64_t length = driver_wait_for(&driver, RECEIVE, 10000, last);

        if (length < 0)
            test_fail("no frame, or not all of it, came");
        memcpy(frame + done, driver_at(&driver, IN + (uint64_t)*last * 0x10000), (size_t)length);
        done += (size_t)length;
        memcpy(&header, frame, HEADER);
        *count = header.buffers;
        assert_true(*count >= 1 && *count < 100);
    }
    memmove(frame, frame + HEADER, done - HEADER);
    return done - HEADER;
}

static size_t received(uint8_t *frame, unsigned *count)
{
    uint32_t last;

    return received_in(frame, count, &last);
}

static void assert_offer(const uint8_t *frame, size_t length)
{
    const uint8_t *ip = frame + ETHERNET, *bootp = ip + 28;

    assert_true(length > ETHERNET + 28 + 240);
    test_equal(sum(ip, 20, 0), 0xffff);
    test_equal(get16(ip + 22), 68);
    assert_memory_equal(bootp, "\2\1\6\0\xde\xad\xbe\xef", 8);
    assert_memory_equal(bootp + 16, "\12\0\2\17", 4);
}

/* ---- What is right ---- */

static void an_address(void **state)
{
    static uint8_t frame[4096];
    unsigned count;

    (void)state;
    nic = (struct machine_nic){.mac = {0x52, 0x54, 0, 1, 2, 3}};
    start(ALL);
    test_equal(driver_get(&driver, 0x2000, 4), 0x01005452);
    buffers(4, 2048);
    send_out(discover());
    assert_offer(frame, received(frame, &count));
    test_equal(count, 1);
    stop();
}

/* Without a checksum that is right the router takes nothing: what is left to the device has to be done. */
static void small_buffers(void **state)
{
    static uint8_t frame[4096];
    unsigned count;

    (void)state;
    start(ALL);
    buffers(20, 64);
    send_out(discover());
    assert_offer(frame, received(frame, &count));
    assert_true(count > 5);
    stop();
}

/* The frame for which there were too few buffers is lost, the buffers are not. */
static void too_few(void **state)
{
    static uint8_t frame[4096];
    unsigned count;

    (void)state;
    start(ALL);
    buffers(3, 64);
    send_out(discover());
    test_equal(driver_wait_for(&driver, RECEIVE, 200, NULL), -1);
    for (unsigned i = 3; i < 20; i++) {
        struct part part = {IN + (uint64_t)i * 0x10000, 64, true};

        driver_give(&driver, RECEIVE, (uint16_t)i, &part, 1);
    }
    send_out(discover());
    assert_offer(frame, received(frame, &count));
    test_equal(driver.queue[RECEIVE].used->ring[0].id, 0); /* those that were too few are the first */
    assert_false(driver_needs_reset(&driver));
    stop();
}

/* Something sent to a port of this host arrives at the guest's. */
static void a_port(void **state)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static uint8_t frame[4096];
    socklen_t size = sizeof(to);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char forward[32];
    unsigned count;

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0); /* a port that is free */
    assert_int_equal(getsockname(fd, (struct sockaddr *)&to, &size), 0);
    close(fd);
    snprintf(forward, sizeof(forward), "udp:%u:7", ntohs(to.sin_port));
    nic.forward = forward;
    start(ALL);
    buffers(8, 2048);
    send_out(discover()); /* the router learns our address from it */
    assert_offer(frame, received(frame, &count));
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(sendto(fd, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to)), 5);
    test_equal(received(frame, &count), ETHERNET + 28 + 5);
    test_equal(get16(frame + ETHERNET + 22), 7);
    assert_memory_equal(frame + ETHERNET + 28, "hello", 5);
    close(fd);
    stop();
    nic.forward = "tcp:80";
    test_ok(memory_open(&driver.memory, DRIVER_MEMORY));
    test_equal(virtio_net_make(NULL, &driver.memory, &nic, BACKEND, 0, &driver.device), -EINVAL);
    memory_close(&driver.memory);
    nic.forward = NULL;
}

/* ---- What is not ---- */

static void bad_frames(void **state)
{
    struct net_header header = {.flags = NET_NEEDS_CHECKSUM, .checksum_start = 60000, .checksum_offset = 60000};
    struct part huge = {OUT, 32u << 20, false};
    static uint8_t frame[4096];
    unsigned count;

    (void)state;
    start(ALL);
    buffers(4, 2048);
    for (size_t length = 0; length < 64; length++) /* less than a header, and frames that end anywhere */
        if (HEADER + length > 0)
            send_out(length);
    memcpy(driver_at(&driver, OUT), &header, HEADER);
    send_out(100);
    driver_give(&driver, SEND, 0, &huge, 1);
    test_equal(driver_wait(&driver, SEND), 0);
    assert_false(driver_needs_reset(&driver));
    send_out(discover());
    assert_offer(frame, received(frame, &count));
    stop();
}

static void no_room(void **state)
{
    (void)state;
    start(ALL);
    buffers(1, 8);
    send_out(discover());
    for (unsigned i = 0; i < 2000 && !driver_needs_reset(&driver); i++)
        usleep(1000);
    assert_true(driver_needs_reset(&driver));
    driver_start(&driver, ALL & ~NET_MRG_RXBUF, 2); /* and a buffer that no frame fits into */
    buffers(1, 64);
    send_out(discover());
    test_equal(driver_wait_for(&driver, RECEIVE, 100, NULL), -1);
    assert_false(driver_needs_reset(&driver));
    stop();
}

static void resets(void **state)
{
    static uint8_t frame[4096];
    unsigned count;

    (void)state;
    start(ALL);
    for (unsigned i = 0; i < 50; i++) {
        struct part part = {OUT, (uint32_t)(HEADER + discover()), false};

        buffers(4, 2048);
        for (unsigned j = 0; j < 100; j++)
            driver_give(&driver, SEND, (uint16_t)j, &part, 1);
        driver_start(&driver, ALL, 2);
    }
    buffers(4, 2048);
    send_out(discover());
    assert_offer(frame, received(frame, &count));
    stop();
}

/* ---- TAP, in a network of our own ---- */

static int interface_up(void)
{
    struct ifreq request = {.ifr_name = "vdisktest0"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

    request.ifr_flags = IFF_UP;
    err = ioctl(fd, SIOCSIFFLAGS, &request);
    close(fd);
    return err;
}

/* A packet socket on the interface is the other side. Held frames arrive once there are buffers. */
static void tap(void **state)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(0x88b5)};
    struct timeval patience = {.tv_sec = 5};
    static uint8_t frame[4096];
    unsigned count;
    uint32_t last;
    int fd;

    (void)state;
    if (unshare(CLONE_NEWNET) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0)
        skip();
    nic = (struct machine_nic){.backend = MACHINE_TAP, .tap = "vdisktest0", .queues = 2};
    test_ok(memory_open(&driver.memory, DRIVER_MEMORY));
    test_ok(virtio_net_make(NULL, &driver.memory, &nic, BACKEND, 0, &driver.device));
    driver_start(&driver, ALL | NET_CTRL_VQ | NET_MQ, 5);
    test_ok(interface_up());
    address.sll_ifindex = (int)if_nametoindex("vdisktest0");
    fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x88b5));
    test_ok(bind(fd, (struct sockaddr *)&address, sizeof(address)));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    memset(frame, 0xff, 12);
    put16(frame + 12, 0x88b5);
    for (unsigned i = 0; i < 100; i++) {
        frame[14] = (uint8_t)i;
        test_equal(send(fd, frame, 1000, 0), 1000);
    }
    buffers(100, 2048);
    for (unsigned i = 0; i < 100;) { /* the host's own frames come in between */
        test_equal(received_in(frame, &count, &last) >= 14, true);
        test_equal(count, 1);
        driver_give(&driver, RECEIVE, (uint16_t)last, &(struct part){IN + last * 0x10000, 2048, true}, 1);
        if (get16(frame + 12) == 0x88b5)
            test_equal(frame[14], i++);
    }
    memset(driver_at(&driver, OUT), 0, HEADER);
    memcpy(frame_out(), frame, 14);
    memcpy(frame_out() + 14, "from the guest", 14);
    send_out(60);
    test_equal(recv(fd, frame, sizeof(frame), 0), 60);
    assert_memory_equal(frame + 14, "from the guest", 14);
    close(fd);
    stop();
    nic = (struct machine_nic){0};
}

static void pairs(void **state)
{
    struct part parts[] = {{OUT, 4, false}, {OUT + 16, 1, true}};
    uint8_t *command;

    (void)state;
    if (access("/dev/net/tun", R_OK | W_OK) < 0)
        skip();
    nic = (struct machine_nic){.backend = MACHINE_TAP, .tap = "vdisktest0", .queues = 2};
    test_ok(memory_open(&driver.memory, DRIVER_MEMORY));
    if (virtio_net_make(NULL, &driver.memory, &nic, BACKEND, 0, &driver.device) < 0)
        skip();
    driver_start(&driver, ALL | NET_CTRL_VQ | NET_MQ, 5);
    command = driver_at(&driver, OUT);
    for (unsigned count = 0; count < 4; count++) {
        memcpy(command, (uint8_t[]){4, 0, (uint8_t)count, 0}, 4);
        driver_give(&driver, 4, 0, parts, 2);
        test_equal(driver_wait(&driver, 4), 1);
        test_equal(command[16], count < 1 || count > 2);
    }
    stop();
    nic = (struct machine_nic){0};
}

static void too_many_queues(void **state)
{
    (void)state;
    nic.queues = 2;
    test_ok(memory_open(&driver.memory, DRIVER_MEMORY));
    test_equal(virtio_net_make(NULL, &driver.memory, &nic, BACKEND, 0, &driver.device), -EINVAL);
    memory_close(&driver.memory);
    nic.queues = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address), cmocka_unit_test(small_buffers),   cmocka_unit_test(too_few),
        cmocka_unit_test(a_port),     cmocka_unit_test(bad_frames),      cmocka_unit_test(no_room),
        cmocka_unit_test(resets),     cmocka_unit_test(too_many_queues), cmocka_unit_test(tap),
        cmocka_unit_test(pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
