/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-blk against a driver that is right, and one that is not: every request, every way to ask for it badly, resets
 * with requests in flight, limits, and what is durable when. */
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/driver.h"
#include "tests/gate.h"
#include "vmm/devices.h"

#define MIB (1u << 20)
#define SIZE (16 * MIB)
#define HEADER DRIVER_HEAP
#define STATUS (DRIVER_HEAP + 0x800)
#define DATA (DRIVER_HEAP + 0x1000)
#define ALL_FEATURES                                                                                                   \
    (1u << VIRTIO_BLK_F_FLUSH | 1u << VIRTIO_BLK_F_MQ | 1u << VIRTIO_BLK_F_DISCARD | 1u << VIRTIO_BLK_F_WRITE_ZEROES | \
     1u << VIRTIO_BLK_F_CONFIG_WCE)
#define NONE 0xee

static char dir[TEST_PATH];
static struct driver driver;
static struct machine_disk given;
static struct messages messages = MESSAGES_INIT;

/* ---- A disk with the device before it ---- */

static void start(const char *name, struct machine_disk disk, uint32_t sector)
{
    struct vdisk_create_options create = {
        .flags = VDISK_CREATE_OVERWRITE, .size = SIZE, .sector_size = sector, .log = messages_log(&messages)};
    struct vdisk_open_options open = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    struct vdisk *made;

    given = disk;
    test_ok(vdisk_create(scratch_path(dir, name), &create, &made));
    test_ok(vdisk_commit(made));
    test_ok(vdisk_port_open(scratch_path(dir, name), &open, &given.port));
    test_ok(memory_open(&driver.memory, DRIVER_MEMORY));
    test_ok(virtio_blk_make(NULL, &driver.memory, &given, 0, &driver.device));
}

static void stop(void)
{
    virtio_free(driver.device);
    test_ok(vdisk_port_close(given.port));
    memory_close(&driver.memory);
}

static void header(uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr out = {.type = type, .sector = sector};

    memcpy(driver_at(&driver, HEADER), &out, sizeof(out));
    *(uint8_t *)driver_at(&driver, STATUS) = NONE;
}

static uint8_t status(void)
{
    return *(uint8_t *)driver_at(&driver, STATUS);
}

/* One request, start to end; its status. */
static uint8_t ask(unsigned queue, uint32_t type, uint64_t sector, uint32_t length)
{
    bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    struct part parts[] = {{HEADER, 16, false}, {DATA, length, in}, {STATUS, 1, true}};

    header(type, sector);
    if (length == 0)
        parts[1] = parts[2];
    driver_give(&driver, queue, 0, parts, length ? 3 : 2);
    test_equal(driver_wait(&driver, queue), status() == VIRTIO_BLK_S_OK && in ? length + 1 : 1);
    return status();
}

static void fill(uint8_t seed, uint32_t length)
{
    uint8_t *data = driver_at(&driver, DATA);

    for (uint32_t i = 0; i < length; i++)
        data[i] = (uint8_t)(seed + i * 7 + (i >> 9));
}

static void assert_filled(uint8_t seed, uint32_t length)
{
    const uint8_t *data = driver_at(&driver, DATA);

    for (uint32_t i = 0; i < length; i++)
        if (data[i] != (uint8_t)(seed + i * 7 + (i >> 9)))
            test_fail("byte %u is %#x", i, data[i]);
}

static void assert_zero(uint32_t length)
{
    const uint8_t *data = driver_at(&driver, DATA);

    for (uint32_t i = 0; i < length; i++)
        if (data[i])
            test_fail("byte %u is %#x, not zero", i, data[i]);
}

/* ---- What is right ---- */

static uint64_t flushes(struct vdisk_port *port)
{
    struct vdisk_stats stats;

    vdisk_port_stats(port, &stats);
    return stats.op[VDISK_FLUSH].count;
}

static void requests(void **state)
{
    (void)state;
    start("a.vhdx", (struct machine_disk){.serial = "serial-of-this-disk"}, 512);
    driver_start(&driver, ALL_FEATURES, 1);
    fill(1, 65536);
    test_equal(ask(0, VIRTIO_BLK_T_OUT, 100, 65536), VIRTIO_BLK_S_OK);
    memset(driver_at(&driver, DATA), 0xcc, 65536);
    test_equal(ask(0, VIRTIO_BLK_T_IN, 100, 65536), VIRTIO_BLK_S_OK);
    assert_filled(1, 65536);
    test_equal(ask(0, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    test_equal(flushes(given.port), 1);
    test_equal(ask(0, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
    assert_string_equal(driver_at(&driver, DATA), "serial-of-this-disk");
    test_equal(driver_get(&driver, 0x2000, 4), SIZE / 512);
    stop();
}

static void ranges(void **state)
{
    struct virtio_blk_discard_write_zeroes *range;

    (void)state;
    start("r.vhdx", (struct machine_disk){.queues = 1}, 512);
    driver_start(&driver, ALL_FEATURES, 1);
    fill(3, 65536);
    test_equal(ask(0, VIRTIO_BLK_T_OUT, 0, 65536), VIRTIO_BLK_S_OK);
    range = driver_at(&driver, DATA);
    range[0] = (struct virtio_blk_discard_write_zeroes){.sector = 8, .num_sectors = 8};
    range[1] = (struct virtio_blk_discard_write_zeroes){.sector = 64, .num_sectors = 64, .flags = 1};
    test_equal(ask(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, 32), VIRTIO_BLK_S_OK);
    test_equal(ask(0, VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
    assert_zero(4096);
    test_equal(ask(0, VIRTIO_BLK_T_IN, 64, 32768), VIRTIO_BLK_S_OK);
    assert_zero(32768);
    test_equal(ask(0, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
    assert_filled(3, 4096);
    range[0] = (struct virtio_blk_discard_write_zeroes){.sector = 0, .num_sectors = 8};
    test_equal(ask(0, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_OK);
    range[0].flags = 1; /* of a discard there are none */
    test_equal(ask(0, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_UNSUPP);
    range[0] = (struct virtio_blk_discard_write_zeroes){.sector = SIZE / 512 - 1, .num_sectors = 2};
    test_equal(ask(0, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_IOERR);
    range[0] = (struct virtio_blk_discard_write_zeroes){.sector = UINT64_MAX, .num_sectors = 2};
    test_equal(ask(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_IOERR);
    test_equal(ask(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, 17), VIRTIO_BLK_S_IOERR);
    test_equal(ask(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0), VIRTIO_BLK_S_IOERR);
    test_equal(ask(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16 * 33), VIRTIO_BLK_S_IOERR);
    stop();
}

static void read_only(void **state)
{
    (void)state;
    start("ro.vhd", (struct machine_disk){.readonly = true}, 512);
    driver_start(&driver, 1u << VIRTIO_BLK_F_FLUSH, 1);
    test_equal(ask(0, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
    test_equal(ask(0, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_IOERR);
    test_equal(ask(0, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    assert_zero(512);
    stop();
}

static void large_sectors(void **state)
{
    (void)state;
    start("k.vhdx", (struct machine_disk){.queues = 2}, 4096);
    driver_start(&driver, ALL_FEATURES, 2);
    test_equal(driver_get(&driver, 0x2000 + offsetof(struct virtio_blk_config, blk_size), 4), 4096);
    fill(9, 8192);
    test_equal(ask(1, VIRTIO_BLK_T_OUT, 8, 8192), VIRTIO_BLK_S_OK);
    test_equal(ask(1, VIRTIO_BLK_T_OUT, 8, 512), VIRTIO_BLK_S_IOERR);
    test_equal(ask(1, VIRTIO_BLK_T_OUT, 9, 4096), VIRTIO_BLK_S_IOERR);
    memset(driver_at(&driver, DATA), 0, 8192);
    test_equal(ask(0, VIRTIO_BLK_T_IN, 8, 8192), VIRTIO_BLK_S_OK);
    assert_filled(9, 8192);
    stop();
}

/* The disk becomes larger: the driver is told, reads the new capacity, and uses what is new. */
static void resized(void **state)
{
    struct machine_disk another = {.port = NULL};
    uint64_t generation;

    (void)state;
    start("grows.vhdx", (struct machine_disk){.queues = 1}, 512);
    driver_start(&driver, ALL_FEATURES, 1);
    driver_get(&driver, 0x1000, 1); /* the interrupt status, which reading clears */
    generation = driver_get(&driver, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
    test_equal(ask(0, VIRTIO_BLK_T_OUT, SIZE / 512, 512), VIRTIO_BLK_S_IOERR);
    test_ok(vdisk_resize(given.port, 2 * SIZE, 0, NULL));
    driver.device->part.resized(driver.device, &another);
    test_equal(driver_get(&driver, 0x2000, 8), SIZE / 512);
    driver.device->part.resized(driver.device, &given);
    test_equal(driver_get(&driver, 0x1000, 1) & 2, 2);
    test_equal(driver_get(&driver, VIRTIO_PCI_COMMON_CFGGENERATION, 1), (generation + 1) & 0xff);
    test_equal(driver_get(&driver, 0x2000, 8), 2 * SIZE / 512);
    fill(7, 512);
    test_equal(ask(0, VIRTIO_BLK_T_OUT, SIZE / 512, 512), VIRTIO_BLK_S_OK);
    stop();
}

/* ---- What is not ---- */

static void out_of_range(void **state)
{
    static const uint64_t sectors[] = {SIZE / 512, SIZE / 512 - 1, UINT64_MAX, UINT64_MAX / 512, 1ull << 55};

    (void)state;
    start("o.vhdx", (struct machine_disk){.queues = 1}, 512);
    driver_start(&driver, ALL_FEATURES, 1);
    for (unsigned i = 0; i < sizeof(sectors) / sizeof(*sectors); i++) {
        test_equal(ask(0, VIRTIO_BLK_T_IN, sectors[i], 1024), VIRTIO_BLK_S_IOERR);
        test_equal(ask(0, VIRTIO_BLK_T_OUT, sectors[i], 1024), VIRTIO_BLK_S_IOERR);
    }
    test_equal(ask(0, VIRTIO_BLK_T_IN, 0, 100), VIRTIO_BLK_S_IOERR);
    test_equal(ask(0, VIRTIO_BLK_T_IN, 0, 0), VIRTIO_BLK_S_IOERR);
    test_equal(ask(0, 77, 0, 512), VIRTIO_BLK_S_UNSUPP);
    test_equal(ask(0, VIRTIO_BLK_T_SCSI_CMD, 0, 512), VIRTIO_BLK_S_UNSUPP);
    assert_false(driver_needs_reset(&driver));
    stop();
}

static void wait_broken(void)
{
    for (unsigned i = 0; i < 50000 && !driver_needs_reset(&driver); i++)
        nanosleep(&(struct timespec){0, 100000}, NULL);
    assert_true(driver_needs_reset(&driver));
}

/* Gives a chain that breaks the rules: the queue stops, and is as new after a reset. */
static void expect_broken(const struct part *parts, unsigned count)
{
    header(VIRTIO_BLK_T_IN, 0);
    driver_give(&driver, 0, 0, parts, count);
    wait_broken();
    test_equal(status(), NONE);
    driver_start(&driver, ALL_FEATURES, 1);
    test_equal(ask(0, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

static void bad_chains(void **state)
{
    (void)state;
    start("b.vhdx", (struct machine_disk){.queues = 1}, 512);
    driver_start(&driver, ALL_FEATURES, 1);
    expect_broken((struct part[]){{HEADER, 16, false}}, 1);                               /* nothing to write to */
    expect_broken((struct part[]){{HEADER, 16, false}, {DATA, 0, true}}, 2);              /* empty */
    expect_broken((struct part[]){{HEADER, 16, false}, {DRIVER_MEMORY - 4, 8, true}}, 2); /* beyond memory */
    expect_broken((struct part[]){{HEADER, 16, false}, {UINT64_MAX - 4, 8, true}}, 2);    /* around the end */
    expect_broken((struct part[]){{0xfe000000, 16, false}, {STATUS, 1, true}}, 2);        /* at registers */
    expect_broken((struct part[]){{HEADER, 16, false}, {STATUS, 1, true}, {DATA, 8, false}}, 3);
    expect_broken((struct part[]){{HEADER, UINT32_MAX, false}, {STATUS, 1, true}}, 2);
    stop();
}

/* While as many requests are in flight as there are descriptors, one more is one too many. */
static void one_too_many(void **state)
{
    const struct part parts[] = {{HEADER, 16, false}, {DATA, 512, true}, {STATUS, 1, true}};

    (void)state;
    start("o.vhdx", (struct machine_disk){.queues = 1, .iops = 1}, 512);
    driver_start(&driver, ALL_FEATURES, 1);
    header(VIRTIO_BLK_T_IN, 0);
    driver_give(&driver, 0, 0, parts, 3);
    for (unsigned i = 1; i < DRIVER_SIZE; i++)
        driver_give_again(&driver, 0, 0);
    while (driver_wait_for(&driver, 0, 50, NULL) >= 0) /* what the limit lets through at once */
        driver_give_again(&driver, 0, 0);
    assert_false(driver_needs_reset(&driver));
    for (unsigned i = 0; i < 8; i++) /* one may end meanwhile */
        driver_give_again(&driver, 0, 0);
    wait_broken();
    driver_put(&driver, VIRTIO_PCI_COMMON_STATUS, 1, 0); /* returns */
    stop();
}

/* A header that is too short, or in pieces, and a status in the same buffer as the data. */
static void odd_chains(void **state)
{
    struct part shorter[] = {{HEADER, 15, false}, {STATUS, 1, true}};
    struct part pieces[] = {{HEADER, 7, false}, {HEADER + 7, 9, false}, {DATA, 100, true}, {DATA + 100, 413, true}};

    (void)state;
    start("p.vhdx", (struct machine_disk){.queues = 1}, 512);
    driver_start(&driver, ALL_FEATURES, 1);
    header(VIRTIO_BLK_T_IN, 0);
    driver_give(&driver, 0, 0, shorter, 2);
    driver_wait(&driver, 0);
    test_equal(status(), VIRTIO_BLK_S_IOERR);
    fill(5, 512);
    test_equal(ask(0, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    memset(driver_at(&driver, DATA), NONE, 1024);
    header(VIRTIO_BLK_T_IN, 0);
    driver_give(&driver, 0, 0, pieces, 4);
    test_equal(driver_wait(&driver, 0), 513);
    assert_filled(5, 512);
    test_equal(((uint8_t *)driver_at(&driver, DATA))[512], VIRTIO_BLK_S_OK);
    test_equal(((uint8_t *)driver_at(&driver, DATA))[513], NONE);
    stop();
}

/* Requests that are in flight when the device is reset write no more into the guest's memory, nor into its rings. */
static void reset_in_flight(void **state)
{
    (void)state;
    start("f.vhdx", (struct machine_disk){.queues = 1}, 512);
    for (unsigned round = 0; round < 50; round++) {
        driver_start(&driver, ALL_FEATURES, 1);
        header(VIRTIO_BLK_T_IN, 0);
        for (unsigned i = 0; i < 64; i++) {
            struct part parts[] = {{HEADER, 16, false}, {DATA + i * 65536, 65536, true}, {STATUS, 1, true}};

            driver_give(&driver, 0, (uint16_t)(3 * i), parts, 3);
        }
        driver_put(&driver, VIRTIO_PCI_COMMON_STATUS, 1, 0);
        memset(driver_at(&driver, DATA), 0xaa, 64 * 65536);
        memset(driver_at(&driver, DRIVER_RINGS), 0xbb, DRIVER_RINGS);
        nanosleep(&(struct timespec){0, 500000}, NULL);
        for (uint32_t i = 0; i < 64 * 65536; i++)
            if (((uint8_t *)driver_at(&driver, DATA))[i] != 0xaa)
                test_fail("round %u: byte %u was written after the reset", round, i);
        for (uint32_t i = 0; i < DRIVER_RINGS; i++)
            if (((uint8_t *)driver_at(&driver, DRIVER_RINGS))[i] != 0xbb)
                test_fail("round %u: the ring was written after the reset", round);
    }
    stop();
}

/* A reset is over when what is in flight is. */
static void reset_waits(void **state)
{
    struct part id[] = {{HEADER + 64, 16, false}, {HEADER + 128, 20, true}, {STATUS + 1, 1, true}};
    struct virtio_blk_outhdr *out;
    struct gate gate;

    (void)state;
    if (!gate_works())
        skip();
    start("w.vhdx", (struct machine_disk){.queues = 1}, 512);
    driver_start(&driver, ALL_FEATURES, 1);
    test_equal(ask(0, VIRTIO_BLK_T_OUT, 0, MIB), VIRTIO_BLK_S_OK);
    gate_shut(&gate, given.port);
    header(VIRTIO_BLK_T_IN, 0);
    for (unsigned i = 0; i < 8; i++) {
        struct part parts[] = {{HEADER, 16, false}, {DATA + i * 65536, 65536, true}, {STATUS, 1, true}};

        driver_give(&driver, 0, (uint16_t)(3 * i), parts, 3);
    }
    out = driver_at(&driver, HEADER + 64);
    *out = (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_GET_ID};
    driver_give(&driver, 0, 100, id, 3);
    driver_wait(&driver, 0); /* its answer: those before it have begun */
    gate_open_later(&gate, 8 * 65536);
    driver_put(&driver, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    gate_end(&gate);
    stop();
}

/* ---- How fast, how durable ---- */

static double seconds_of(unsigned requests_count, uint32_t length)
{
    struct timespec before, after;

    clock_gettime(CLOCK_MONOTONIC, &before);
    for (unsigned i = 0; i < requests_count; i++)
        test_equal(ask(0, VIRTIO_BLK_T_IN, 0, length), VIRTIO_BLK_S_OK);
    clock_gettime(CLOCK_MONOTONIC, &after);
    return (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
}

static void limits(void **state)
{
    double seconds;

    (void)state;
    start("l.vhdx", (struct machine_disk){.queues = 1, .iops = 200}, 512);
    driver_start(&driver, ALL_FEATURES, 1);
    seconds_of(25, 512); /* what was saved up */
    seconds = seconds_of(60, 512);
    if (seconds < 0.2)
        test_fail("60 requests at 200 a second took %.3f s", seconds);
    stop();
    start("l.vhdx", (struct machine_disk){.queues = 1, .bytes_per_second = 4 * MIB}, 512);
    driver_start(&driver, ALL_FEATURES, 1);
    seconds = seconds_of(24, 65536);
    if (seconds < 0.2)
        test_fail("1.5 MiB at 4 MiB a second took %.3f s", seconds);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),      cmocka_unit_test(ranges),          cmocka_unit_test(resized),
        cmocka_unit_test(read_only),
        cmocka_unit_test(large_sectors), cmocka_unit_test(out_of_range),    cmocka_unit_test(bad_chains),
        cmocka_unit_test(odd_chains),    cmocka_unit_test(reset_in_flight), cmocka_unit_test(reset_waits),
        cmocka_unit_test(limits),        cmocka_unit_test(one_too_many),
    };

    scratch_make(dir, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
