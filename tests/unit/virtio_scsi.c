/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-scsi: commands to several LUNs on several queues, task management with commands in flight, buffers that do not
 * fit, requests that break the rules, and resets. */
#include <linux/virtio_scsi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk/endian.h"
#include "scsi/protocol.h"
#include "tests/driver.h"
#include "vmm/devices.h"

#define SIZE (16u << 20)
#define DISKS 2u
#define REQUEST DRIVER_HEAP
#define RESPONSE (DRIVER_HEAP + 0x800)
#define EVENT (RESPONSE + 0x200)
#define DATA (DRIVER_HEAP + 0x1000)
#define NONE 0xee

static char dir[TEST_PATH];
static struct driver driver;
static struct machine_disk disks[DISKS];
static uint64_t iops; /* of the disks of the next start */
static struct messages messages = MESSAGES_INIT;

static void start(unsigned queues)
{
    const struct machine_disk *list[DISKS];
    struct vdisk_open_options open = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};

    for (unsigned i = 0; i < DISKS; i++) {
        const char *path = scratch_path(dir, i ? "b.vhd" : "a.vhdx");
        struct vdisk_create_options create = {
            .flags = VDISK_CREATE_OVERWRITE, .size = SIZE << i, .log = messages_log(&messages)};
        struct vdisk *made;

        test_ok(vdisk_create(path, &create, &made));
        test_ok(vdisk_commit(made));
        disks[i] = (struct machine_disk){.bus = MACHINE_SCSI, .iops = iops};
        test_ok(vdisk_port_open(path, &open, &disks[i].port));
        list[i] = &disks[i];
    }
    test_ok(memory_open(&driver.memory, DRIVER_MEMORY));
    test_ok(virtio_scsi_make(NULL, &driver.memory, list, DISKS, queues, &driver.device));
    driver_start(&driver, 1u << VIRTIO_SCSI_F_CHANGE, 2 + queues);
}

static void stop(void)
{
    virtio_free(driver.device);
    for (unsigned i = 0; i < DISKS; i++)
        test_ok(vdisk_port_close(disks[i].port));
    memory_close(&driver.memory);
}

static void request_make(uint64_t at, uint8_t lun, const uint8_t cdb[16])
{
    struct virtio_scsi_cmd_req request = {.lun = {1, 0, 0x40, lun}};

    memcpy(request.cdb, cdb, 16);
    memcpy(driver_at(&driver, at), &request, sizeof(request));
}

static const struct virtio_scsi_cmd_resp *response(void)
{
    return driver_at(&driver, RESPONSE);
}

/* One command; its status, or 0x100 and the transport's response. */
static unsigned ask(unsigned queue, uint8_t lun, const uint8_t cdb[16], uint32_t out, uint32_t in)
{
    struct part parts[4] = {{REQUEST, sizeof(struct virtio_scsi_cmd_req), false}};
    unsigned count = 1;

    request_make(REQUEST, lun, cdb);
    memset(driver_at(&driver, RESPONSE), NONE, sizeof(struct virtio_scsi_cmd_resp));
    if (out)
        parts[count++] = (struct part){DATA, out, false};
    parts[count++] = (struct part){RESPONSE, sizeof(struct virtio_scsi_cmd_resp), true};
    if (in)
        parts[count++] = (struct part){DATA, in, true};
    driver_give(&driver, 2 + queue, 0, parts, count);
    driver_wait(&driver, 2 + queue);
    return response()->response ? 0x100u + response()->response : response()->status;
}

#define CDB(...) ((const uint8_t[16]){__VA_ARGS__})

/* The first command to each LUN is told of the reset. */
static void settle(void)
{
    for (uint8_t lun = 0; lun < DISKS; lun++) {
        while (ask(0, lun, CDB(SCSI_TEST_UNIT_READY), 0, 0) == 2)
            test_equal(response()->sense[2], SCSI_UNIT_ATTENTION);
        test_equal(response()->status, 0);
    }
}

static void commands(void **state)
{
    uint8_t *data;

    (void)state;
    start(2);
    data = driver_at(&driver, DATA);
    test_equal(ask(0, 0, CDB(SCSI_TEST_UNIT_READY), 0, 0), 2);
    test_equal(response()->sense[2], SCSI_UNIT_ATTENTION);
    test_equal(response()->sense_len, 18);
    settle();
    test_equal(ask(0, 0, CDB(SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 1, 0), 0, 256), 0);
    test_equal(data[3], 8 * DISKS);
    test_equal(response()->resid, 256 - 8 - 8 * DISKS);
    test_equal(ask(1, 1, CDB(SCSI_READ_CAPACITY_10), 0, 8), 0);
    test_equal((uint32_t)data[1] << 16 | data[2] << 8 | data[3], (SIZE << 1) / 512 - 1);
    for (unsigned i = 0; i < 4096; i++)
        data[i] = (uint8_t)(i * 3 + i / 512);
    test_equal(ask(0, 1, CDB(SCSI_WRITE_10, 0, 0, 0, 0, 40, 0, 0, 8), 4096, 0), 0);
    memset(data, 0, 8192);
    test_equal(ask(1, 1, CDB(SCSI_READ_10, 0, 0, 0, 0, 40, 0, 0, 8), 0, 8192), 0);
    test_equal(response()->resid, 4096);
    for (unsigned i = 0; i < 4096; i++)
        test_equal(data[i], (uint8_t)(i * 3 + i / 512));
    test_equal(data[4096], 0);
    test_equal(ask(1, 0, CDB(SCSI_READ_10, 0, 0, 0, 0, 40, 0, 0, 8), 0, 4096), 0);
    test_equal(data[100], 0);
    stop();
}

/* A disk becomes larger: the next command to its LUN is told, and an event says it where there is a buffer; where there was
 * none, as soon as there is one, and tells of that. */
static void resized(void **state)
{
    const struct part buffer = {EVENT, sizeof(struct virtio_scsi_event), true};
    const struct virtio_scsi_event *event;

    (void)state;
    start(1);
    event = driver_at(&driver, EVENT);
    settle();
    for (uint32_t times = 2; times < 5; times++) {
        bool missed = times == 2;

        test_ok(vdisk_resize(disks[1].port, (uint64_t)times * 2 * SIZE, 0, NULL));
        if (!missed)
            driver_give(&driver, 1, 0, &buffer, 1);
        driver.device->part.resized(driver.device, &disks[1]);
        test_equal(ask(0, 0, CDB(SCSI_TEST_UNIT_READY), 0, 0), 0);
        test_equal(ask(0, 1, CDB(SCSI_TEST_UNIT_READY), 0, 0), 2);
        test_equal(response()->sense[12] << 8 | response()->sense[13], 0x2a09);
        test_equal(ask(0, 1, CDB(SCSI_READ_CAPACITY_10), 0, 8), 0);
        test_equal(be32_get(*(struct be32 *)driver_at(&driver, DATA)), times * 2 * SIZE / 512 - 1);
        if (missed)
            driver_give(&driver, 1, 0, &buffer, 1);
        test_equal(driver_wait(&driver, 1), sizeof(*event));
        test_equal(event->event, VIRTIO_SCSI_T_PARAM_CHANGE | (missed ? VIRTIO_SCSI_T_EVENTS_MISSED : 0));
        test_equal(event->lun[2], 0);
        test_equal(event->lun[3], 1);
        test_equal(event->reason, 0x092a); /* CAPACITY DATA HAS CHANGED */
    }
    stop();
}

static void refusals(void **state)
{
    (void)state;
    start(1);
    settle();
    test_equal(ask(0, 0, CDB(0xff), 0, 0), 2);
    test_equal(response()->sense[12], 0x20);
    test_equal(ask(0, 9, CDB(0x00), 0, 0), 2);
    test_equal(response()->sense[12], 0x25);
    test_equal(ask(0, 0, CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 8), 0, 1024), 0x100 + VIRTIO_SCSI_S_OVERRUN);
    test_equal(ask(0, 0, CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 1), 512, 512), 0x100 + VIRTIO_SCSI_S_FAILURE);
    stop();
}

static uint8_t manage(uint32_t subtype, uint8_t lun)
{
    struct virtio_scsi_ctrl_tmf_req request = {.type = VIRTIO_SCSI_T_TMF, .subtype = subtype, .lun = {1, 0, 0x40, lun}};
    struct part parts[] = {{REQUEST + 0x400, sizeof(request), false}, {RESPONSE + 0x400, 1, true}};

    memcpy(driver_at(&driver, REQUEST + 0x400), &request, sizeof(request));
    driver_give(&driver, 0, 0, parts, 2);
    test_equal(driver_wait(&driver, 0), 1);
    return *(uint8_t *)driver_at(&driver, RESPONSE + 0x400);
}

/* When a function answers, what it was for is complete. */
static void task_management(void **state)
{
    (void)state;
    start(2);
    settle();
    for (unsigned round = 0; round < 30; round++) {
        request_make(REQUEST, 1, CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 128));
        for (unsigned i = 0; i < 60; i++) {
            struct part parts[] = {{REQUEST, sizeof(struct virtio_scsi_cmd_req), false},
                                   {RESPONSE + i % 2 * 0x100, sizeof(struct virtio_scsi_cmd_resp), true},
                                   {DATA + i * 65536, 65536, true}};

            driver_give(&driver, 2 + i % 2, (uint16_t)(3 * i), parts, 3);
        }
        for (unsigned i = 0; i < 60; i++)
            driver_wait(&driver, 2 + i % 2);
        test_equal(manage(VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 1), VIRTIO_SCSI_S_OK);
        test_equal(ask(0, 0, CDB(SCSI_TEST_UNIT_READY), 0, 0), 0);
        test_equal(ask(0, 1, CDB(SCSI_TEST_UNIT_READY), 0, 0), 2);
        test_equal(response()->sense[12], 0x29);
    }
    test_equal(manage(VIRTIO_SCSI_T_TMF_ABORT_TASK, 0), VIRTIO_SCSI_S_OK);
    test_equal(manage(VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 7), VIRTIO_SCSI_S_INCORRECT_LUN);
    test_equal(manage(VIRTIO_SCSI_T_TMF_CLEAR_ACA, 0), VIRTIO_SCSI_S_FUNCTION_REJECTED);
    stop();
}

/* What a limit has delayed is aborted, and not begun at once: a limit is not got round so. */
static void delayed_are_aborted(void **state)
{
    enum { COUNT = 60 };
    const uint64_t answers = DATA + 0x10000;
    unsigned aborted = 0, refused = 0;

    (void)state;
    iops = 1;
    start(1);
    iops = 0;
    request_make(REQUEST, 0, CDB(SCSI_TEST_UNIT_READY));
    for (unsigned i = 0; i < COUNT; i++) {
        const struct part parts[] = {{REQUEST, sizeof(struct virtio_scsi_cmd_req), false},
                                     {answers + i * 256, sizeof(struct virtio_scsi_cmd_resp), true}};

        driver_give(&driver, 2, (uint16_t)(2 * i), parts, 2);
    }
    test_equal(manage(VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 0), VIRTIO_SCSI_S_FUNCTION_REJECTED);
    test_equal(manage(VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0), VIRTIO_SCSI_S_OK);
    for (unsigned i = 0; i < COUNT; i++) {
        const struct virtio_scsi_cmd_resp *answer = driver_at(&driver, answers + i * 256);

        test_equal(driver_wait_for(&driver, 2, 1, NULL) < 0, false);
        aborted += answer->response == VIRTIO_SCSI_S_ABORTED;
        refused += answer->response == VIRTIO_SCSI_S_OK;
    }
    test_equal(aborted + refused, COUNT);
    if (aborted < COUNT / 3)
        test_fail("only %u of %u were aborted", aborted, COUNT);
    stop();
}

static void expect_broken(unsigned queue, const struct part *parts, unsigned count)
{
    request_make(REQUEST, 0, CDB(0));
    driver_give(&driver, queue, 0, parts, count);
    for (unsigned i = 0; i < 5000 && !driver_needs_reset(&driver); i++)
        nanosleep(&(struct timespec){0, 100000}, NULL);
    assert_true(driver_needs_reset(&driver));
    driver_start(&driver, 0, 3);
    settle();
}

static void bad_requests(void **state)
{
    const uint32_t request = sizeof(struct virtio_scsi_cmd_req), answer = sizeof(struct virtio_scsi_cmd_resp);

    (void)state;
    start(1);
    expect_broken(2, (struct part[]){{REQUEST, request, false}}, 1);
    expect_broken(2, (struct part[]){{REQUEST, request, false}, {RESPONSE, answer - 1, true}}, 2);
    expect_broken(2, (struct part[]){{REQUEST, request - 1, false}, {RESPONSE, answer, true}}, 2);
    expect_broken(2, (struct part[]){{REQUEST, request, false}, {DRIVER_MEMORY - 1, answer, true}}, 2);
    expect_broken(0, (struct part[]){{REQUEST, 3, false}, {RESPONSE, 1, true}}, 2);
    expect_broken(0, (struct part[]){{REQUEST, 24, false}}, 1);
    stop();
}

static void reset_in_flight(void **state)
{
    (void)state;
    start(2);
    for (unsigned round = 0; round < 30; round++) {
        driver_start(&driver, 0, 4);
        settle();
        request_make(REQUEST, 0, CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 128));
        for (unsigned i = 0; i < 60; i++) {
            struct part parts[] = {{REQUEST, sizeof(struct virtio_scsi_cmd_req), false},
                                   {RESPONSE + i % 2 * 0x100, sizeof(struct virtio_scsi_cmd_resp), true},
                                   {DATA + i * 65536, 65536, true}};

            driver_give(&driver, 2 + i % 2, (uint16_t)(3 * i), parts, 3);
        }
        driver_put(&driver, VIRTIO_PCI_COMMON_STATUS, 1, 0);
        memset(driver_at(&driver, DATA), 0xaa, 60 * 65536);
        nanosleep(&(struct timespec){0, 500000}, NULL);
        for (uint32_t i = 0; i < 60 * 65536; i++)
            if (((uint8_t *)driver_at(&driver, DATA))[i] != 0xaa)
                test_fail("round %u: byte %u was written after the reset", round, i);
    }
    stop();
}

/* The driver may choose smaller sizes, and no larger ones. */
static void sizes(void **state)
{
    (void)state;
    start(1);
    driver_put(&driver, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    driver_put(&driver, 0x2000 + offsetof(struct virtio_scsi_config, sense_size), 4, 4096);
    test_equal(driver_get(&driver, 0x2000 + offsetof(struct virtio_scsi_config, sense_size), 4), 96);
    driver_put(&driver, 0x2000 + offsetof(struct virtio_scsi_config, cdb_size), 4, UINT32_MAX);
    test_equal(driver_get(&driver, 0x2000 + offsetof(struct virtio_scsi_config, cdb_size), 4), 32);
    driver_put(&driver, 0x2000 + offsetof(struct virtio_scsi_config, num_queues), 4, 77);
    test_equal(driver_get(&driver, 0x2000 + offsetof(struct virtio_scsi_config, num_queues), 4), 1);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands),        cmocka_unit_test(resized),
        cmocka_unit_test(refusals),     cmocka_unit_test(task_management), cmocka_unit_test(delayed_are_aborted),
        cmocka_unit_test(reset_in_flight), cmocka_unit_test(bad_requests), cmocka_unit_test(sizes),
    };

    scratch_make(dir, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
