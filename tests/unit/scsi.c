/* SPDX-License-Identifier: BSD-2-Clause */
/* The SCSI unit against an initiator that is right, and one that is not: each command, the sense of each refusal,
 * buffers that do not fit, storage that fails or is full, what resets and changes of size tell, and random CDBs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "scsi/scsi.h"
#include "scsi/unit.h"
#include "tests/support.h"

#define MIB (1u << 20)
#define SIZE (64 * MIB)
#define BUFFER (4 * MIB)

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;
static struct vdisk_ring *ring;
static struct vdisk_port *port;
static struct scsi_unit *unit;
static struct scsi_target target;
static struct scsi_nexus nexus;
static struct scsi_lane lane;
static uint8_t data[BUFFER];
static uint64_t sector;

static void start(uint32_t sector_size, bool readonly)
{
    struct vdisk_create_options create = {
        .flags = VDISK_CREATE_OVERWRITE, .size = SIZE, .sector_size = sector_size, .log = messages_log(&messages)};
    struct vdisk_open_options open = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    struct scsi_unit_options options = {.readonly = readonly, .serial = "serial-0001"};
    struct vdisk *made;

    sector = sector_size;
    test_ok(vdisk_create(scratch_path(dir, "a.vhdx"), &create, &made));
    test_ok(vdisk_commit(made));
    test_ok(vdisk_port_open(scratch_path(dir, "a.vhdx"), &open, &port));
    test_ok(scsi_unit_open(port, &options, &unit));
    scsi_target_open(&target);
    test_ok(scsi_target_add(&target, 0, unit));
    scsi_nexus_open(&nexus, &target);
    atomic_store(&nexus.attention[0], 0);
    test_ok(scsi_lane_open(&lane, ring));
}

static void stop(void)
{
    scsi_lane_close(&lane);
    scsi_nexus_close(&nexus);
    scsi_target_close(&target);
    scsi_unit_close(unit);
    test_ok(vdisk_port_close(port));
}

/* ---- Commands ---- */

struct asked {
    struct scsi_command command; /* first */
    struct iovec in, out;
    unsigned done;
};

static void asked_done(struct scsi_command *command)
{
    ((struct asked *)command)->done++;
}

static void give(struct asked *asked, const uint8_t *cdb, size_t in, size_t out)
{
    asked->in = asked->out = (struct iovec){data, 0};
    asked->in.iov_len = in;
    asked->out.iov_len = out;
    asked->done = 0;
    asked->command = (struct scsi_command){.nexus = &nexus,
                                           .lun = asked->command.lun,
                                           .cdb_length = SCSI_CDB,
                                           .in = &asked->in,
                                           .in_count = 1,
                                           .in_length = in,
                                           .out = &asked->out,
                                           .out_count = 1,
                                           .out_length = out,
                                           .done = asked_done};
    memcpy(asked->command.cdb, cdb, SCSI_CDB);
    scsi_submit(&lane, &asked->command);
}

static void await(struct asked *asked)
{
    while (!asked->done)
        vdisk_ring_poll(ring, true);
    test_equal(asked->done, 1);
    test_equal(asked->command.sense_length, asked->command.status == SCSI_CHECK_CONDITION ? SCSI_SENSE : 0);
}

static struct asked last;

static void run(const uint8_t *cdb, size_t in, size_t out)
{
    give(&last, cdb, in, out);
    await(&last);
}

#define CDB(...) ((const uint8_t[SCSI_CDB]){__VA_ARGS__})

#define good(cdb, in, out)                                                                                             \
    do {                                                                                                               \
        run((cdb), (in), (out));                                                                                       \
        if (last.command.status)                                                                                       \
            test_fail("status %#x, sense %x/%04x", last.command.status, last.command.sense[2],                         \
                      scsi_be16(&last.command.sense[12]));                                                             \
    } while (0)

#define refused(cdb, in, out, key, code)                                                                               \
    do {                                                                                                               \
        run((cdb), (in), (out));                                                                                       \
        test_equal(last.command.status, SCSI_CHECK_CONDITION);                                                         \
        test_equal(last.command.sense[2], (key));                                                                      \
        test_equal(scsi_be16(&last.command.sense[12]), (code));                                                        \
    } while (0)

#define bad_field(cdb, in, out, byte)                                                                                  \
    do {                                                                                                               \
        refused(cdb, in, out, SCSI_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);                                        \
        test_equal(last.command.sense[15] & 0xc0, 0xc0);                                                               \
        test_equal(scsi_be16(&last.command.sense[16]), (byte));                                                        \
    } while (0)

/* A CDB of 16 bytes with an LBA and a count. */
static const uint8_t *long_cdb(uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t count)
{
    static uint8_t cdb[SCSI_CDB];

    memset(cdb, 0, sizeof(cdb));
    cdb[0] = opcode;
    cdb[1] = flags;
    scsi_put_be64(&cdb[2], lba);
    if (opcode == SCSI_COMPARE_AND_WRITE)
        cdb[13] = (uint8_t)count;
    else
        scsi_put_be32(&cdb[10], count);
    return cdb;
}

static void fill(uint8_t seed, size_t length)
{
    for (size_t i = 0; i < length; i++)
        data[i] = (uint8_t)(seed + i * 13 + i / 512);
}

static void expect_filled(uint8_t seed, size_t from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (data[i] != (uint8_t)(seed + (from + i) * 13 + (from + i) / 512))
            test_fail("byte %zu is %#x", i, data[i]);
}

/* What the disk itself holds, past the unit. */
static void expect_disk(uint8_t value, uint64_t offset, size_t length)
{
    static uint8_t bytes[MIB];

    test_ok(vdisk_port_transfer(port, ring, VDISK_READ, bytes, offset, length));
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != value)
            test_fail("byte %zu at 0x%llx is %#x, not %#x", i, (unsigned long long)offset, bytes[i], value);
}

/* ---- What a unit is ---- */

static uint64_t flushes(void)
{
    struct vdisk_stats stats;

    vdisk_port_stats(port, &stats);
    return stats.op[VDISK_FLUSH].count;
}

static void identity(void **state)
{
    (void)state;
    start(512, false);
    good(CDB(0x12, 0, 0, 0, 96), 96, 0);
    test_equal(data[0], 0);
    test_equal(data[4], 91);
    assert_memory_equal(&data[8], "VDISK   Virtual Disk    1   ", 28);
    good(CDB(0x12, 1, 0x00, 0, 255), 255, 0);
    test_equal(last.command.moved, 10);
    good(CDB(0x12, 1, 0x80, 0, 255), 255, 0);
    assert_memory_equal(&data[4], "serial-0001", 11);
    good(CDB(0x12, 1, 0x83, 0, 255), 255, 0);
    test_equal(data[1], 0x83);
    test_equal(data[4 + 4 + 8 + 11 + 4] >> 4, 3);
    good(CDB(0x12, 1, 0xb0, 0, 255), 255, 0);
    test_equal(scsi_be32(&data[28]), (32 * MIB) / 512);
    good(CDB(0x12, 1, 0xb2, 0, 255), 255, 0);
    test_equal(data[5], 0xe0);
    test_equal(data[6], 2);
    bad_field(CDB(0x12, 1, 0x84, 0, 255), 255, 0, 2);
    bad_field(CDB(0x12, 0, 0x80, 0, 255), 255, 0, 2);
    good(CDB(0x25), 8, 0);
    test_equal(scsi_be32(&data[0]), SIZE / 512 - 1);
    test_equal(scsi_be32(&data[4]), 512);
    good(CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 32, 0);
    test_equal(scsi_be64(&data[0]), SIZE / 512 - 1);
    test_equal(data[13], 3);
    test_equal(data[14], 0x80);
    stop();
}

static void luns(void **state)
{
    static const uint8_t flat[8] = {0x40, 7}, peripheral[8] = {0, 9}, deep[8] = {0, 1, 0, 1}, far[8] = {0x41, 0};

    (void)state;
    start(512, false);
    test_equal(scsi_target_add(&target, 0, unit), -EEXIST);
    test_ok(scsi_target_add(&target, 5, unit));
    refused(CDB(0x00), 0, 0, SCSI_UNIT_ATTENTION, SCSI_LUNS_CHANGED);
    good(CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0), 256, 0);
    test_equal(scsi_be32(data), 16);
    test_equal(data[8 + 1], 0);
    test_equal(data[16 + 1], 5);
    bad_field(CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15), 256, 0, 6);
    bad_field(CDB(0xa0, 0, 3, 0, 0, 0, 0, 0, 1, 0), 256, 0, 2);
    last.command.lun = 3;
    refused(CDB(0x00), 0, 0, SCSI_ILLEGAL_REQUEST, SCSI_LOGICAL_UNIT_NOT_SUPPORTED);
    good(CDB(0x12, 0, 0, 0, 96), 96, 0);
    test_equal(data[0], 0x7f);
    good(CDB(0x03, 0, 0, 0, 18), 18, 0);
    test_equal(scsi_be16(&data[12]), SCSI_LOGICAL_UNIT_NOT_SUPPORTED);
    last.command.lun = SCSI_LUNS + 7;
    refused(CDB(0x28), 0, 0, SCSI_ILLEGAL_REQUEST, SCSI_LOGICAL_UNIT_NOT_SUPPORTED);
    last.command.lun = 0;
    scsi_target_remove(&target, 5);
    test_equal(scsi_lun_decode(flat), 7);
    test_equal(scsi_lun_decode(peripheral), 9);
    test_equal(scsi_lun_decode(deep), SCSI_LUNS);
    test_equal(scsi_lun_decode(far), SCSI_LUNS);
    stop();
}

static void attentions(void **state)
{
    struct scsi_nexus other;

    (void)state;
    start(512, false);
    scsi_nexus_open(&other, &target);
    atomic_store(&nexus.attention[0], SCSI_ATTENTION_POWER_ON);
    good(CDB(0x12, 0, 0, 0, 96), 96, 0); /* does not take it away */
    refused(CDB(0x00), 0, 0, SCSI_UNIT_ATTENTION, SCSI_POWER_ON_OCCURRED);
    good(CDB(0x00), 0, 0);
    scsi_target_reset(&target, SCSI_LUNS);
    good(CDB(0x03, 0, 0, 0, 18), 18, 0);
    test_equal(data[2], SCSI_UNIT_ATTENTION);
    test_equal(scsi_be16(&data[12]), SCSI_RESET_OCCURRED);
    good(CDB(0x00), 0, 0);
    test_ok(vdisk_resize(port, 2 * SIZE, 0, NULL));
    scsi_target_resized(&target, 0);
    refused(CDB(0x00), 0, 0, SCSI_UNIT_ATTENTION, SCSI_CAPACITY_CHANGED);
    good(CDB(0x25), 8, 0);
    test_equal(scsi_be32(data), 2 * SIZE / 512 - 1);
    test_equal(atomic_load(&other.attention[0]),
               SCSI_ATTENTION_POWER_ON | SCSI_ATTENTION_RESET | SCSI_ATTENTION_CAPACITY);
    scsi_nexus_close(&other);
    stop();
}

static void mode_pages(void **state)
{
    (void)state;
    start(512, false);
    good(CDB(0x1a, 0, 0x3f, 0, 255), 255, 0);
    test_equal(data[0] + 1, 4 + 8 + 20 + 12);
    test_equal(data[2], 0x10);
    test_equal(data[12], 0x08);
    test_equal(data[14], 0x04); /* WCE */
    good(CDB(0x5a, 0x08, 0x48, 0, 0, 0, 0, 0, 255), 255, 0);
    test_equal(data[8 + 2], 0x04); /* may be changed */
    refused(CDB(0x1a, 0, 0xff, 0, 255), 255, 0, SCSI_ILLEGAL_REQUEST, SCSI_SAVING_NOT_SUPPORTED);
    bad_field(CDB(0x1a, 0, 0x1c, 0, 255), 255, 0, 2);
    good(CDB(0x1a, 0x08, 0x08, 0, 255), 255, 0);
    data[0] = 0;
    data[2] = 0;
    data[4 + 2] = 0; /* the cache off */
    good(CDB(0x15, 0x10, 0, 0, 24), 0, 24);
    assert_false(atomic_load(&unit->write_cache));
    data[4 + 3] = 1; /* not ours to change */
    refused(CDB(0x15, 0x10, 0, 0, 24), 0, 24, SCSI_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_PARAMETER_LIST);
    test_equal(scsi_be16(&last.command.sense[16]), 7);
    data[4 + 3] = 0;
    refused(CDB(0x15, 0x10, 0, 0, 23), 0, 24, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
    refused(CDB(0x15, 0x10, 0, 0, 24), 0, 20, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
    refused(CDB(0x15, 0x10, 0, 0, 5), 0, 5, SCSI_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_PARAMETER_LIST);
    bad_field(CDB(0x15, 0x11, 0, 0, 24), 0, 24, 1);
    good(CDB(0x1a, 0x08, 0x0a, 0, 255), 255, 0);
    data[0] = data[2] = 0;
    data[4 + 4] = 0x08; /* software write protect */
    good(CDB(0x15, 0x10, 0, 0, 16), 0, 16);
    refused(CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1), 0, 512, SCSI_DATA_PROTECT, SCSI_WRITE_PROTECTED);
    scsi_target_reset(&target, 0);
    assert_true(atomic_load(&unit->write_cache));
    stop();
}

static void protected_and_stopped(void **state)
{
    (void)state;
    start(512, true);
    refused(CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1), 0, 512, SCSI_DATA_PROTECT, SCSI_WRITE_PROTECTED);
    refused(CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 24), 0, 24, SCSI_DATA_PROTECT, SCSI_WRITE_PROTECTED);
    refused(CDB(0x93, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), 0, 0, SCSI_DATA_PROTECT, SCSI_WRITE_PROTECTED);
    good(CDB(0x1a, 0, 0x3f, 0, 255), 255, 0);
    test_equal(data[2], 0x90);
    good(CDB(0x1b, 0, 0, 0, 0), 0, 0);
    refused(CDB(0x00), 0, 0, SCSI_NOT_READY, SCSI_INITIALIZING_COMMAND_REQUIRED);
    refused(CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1), 512, 0, SCSI_NOT_READY, SCSI_INITIALIZING_COMMAND_REQUIRED);
    good(CDB(0x1b, 0, 0, 0, 1), 0, 0);
    good(CDB(0x28, 8, 0, 0, 0, 0, 0, 0, 1), 512, 0);
    stop();
}

static void operation_codes(void **state)
{
    (void)state;
    start(512, false);
    good(CDB(0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 16, 0), 4096, 0);
    test_equal(scsi_be32(data), 8 * scsi_known_count);
    good(CDB(0xa3, 0x0c, 1, 0x28, 0, 0, 0, 0, 16, 0), 4096, 0);
    test_equal(data[1], 3);
    test_equal(scsi_be16(&data[2]), 10);
    test_equal(data[4 + 1], 0x18);
    good(CDB(0xa3, 0x0c, 3, 0x9e, 0, 0x12, 0, 0, 16, 0), 4096, 0);
    test_equal(data[1], 3);
    good(CDB(0xa3, 0x0c, 1, 0x5e, 0, 0, 0, 0, 16, 0), 4096, 0); /* PERSISTENT RESERVE IN */
    test_equal(data[1], 1);
    bad_field(CDB(0xa3, 0x0c, 1, 0x9e, 0, 0, 0, 0, 16, 0), 4096, 0, 2);
    bad_field(CDB(0xa3, 0x0b), 4096, 0, 1);
    refused(CDB(0x5e), 512, 0, SCSI_ILLEGAL_REQUEST, SCSI_INVALID_OPERATION_CODE);
    refused(CDB(0x5f), 0, 24, SCSI_ILLEGAL_REQUEST, SCSI_INVALID_OPERATION_CODE);
    stop();
}

/* ---- Bytes ---- */

static void reads_and_writes(void **state)
{
    static const uint32_t sizes[] = {512, 4096};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        start(sizes[i], false);
        fill(1, 8 * sector);
        good(CDB(0x0a, 0, 0, 16, 8), 0, 8 * sector);
        good(CDB(0x08, 0, 0, 18, 1), sector, 0);
        expect_filled(1, 2 * sector, sector);
        fill(2, 8 * sector);
        good(CDB(0x2a, 0x08, 0, 0, 0, 32, 0, 0, 8), 0, 8 * sector);
        assert_true(last.command.run.io.flags & VDISK_FUA);
        good(CDB(0xa8, 0, 0, 0, 0, 33, 0, 0, 0, 2), 2 * sector, 0);
        expect_filled(2, sector, 2 * sector);
        fill(3, 8 * sector);
        good(CDB(0xaa, 0x10, 0, 0, 0, 64, 0, 0, 0, 8), 0, 8 * sector);
        good(long_cdb(0x88, 0x08, 64, 8), 8 * sector, 0);
        expect_filled(3, 0, 8 * sector);
        fill(4, 256 * sector);
        good(CDB(0x0a, 0, 0, 0, 0), 0, 256 * sector); /* 0 is 256 */
        good(long_cdb(0x88, 0, 255, 1), sector, 0);
        expect_filled(4, 255 * sector, sector);
        test_equal(flushes(), 1); /* by the READ with FUA */
        good(CDB(0x35), 0, 0);
        test_equal(flushes(), 2);
        good(long_cdb(0x91, 2, 5, 3), 0, 0);
        stop();
    }
}

static void out_of_range(void **state)
{
    static const uint8_t opcodes[] = {0x88, 0x8a, 0x8e, 0x8f, 0x91, 0x89, 0x93};
    static const uint64_t lbas[] = {SIZE / 512, SIZE / 512 - 1, UINT64_MAX, UINT64_MAX / 512, 1ull << 63};

    (void)state;
    start(512, false);
    for (unsigned i = 0; i < sizeof(opcodes); i++)
        for (unsigned j = 0; j < sizeof(lbas) / sizeof(*lbas); j++)
            refused(long_cdb(opcodes[i], 0, lbas[j], 2), 1024, 2048, SCSI_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
    refused(long_cdb(0x88, 0, 0, UINT32_MAX), 1024, 0, SCSI_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
    refused(CDB(0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0), 0, 0, SCSI_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
    good(long_cdb(0x88, 0, SIZE / 512 - 1, 0), 0, 0);
    bad_field(long_cdb(0x88, 0x20, 0, 1), 512, 0, 1);           /* RDPROTECT */
    bad_field(CDB(0x2a, 0, 0, 0, 0, 0, 1, 0, 1), 0, 512, 6);    /* a group */
    bad_field(CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 4), 512, 0, 9); /* NACA */
    stop();
}

static uint64_t cost(const uint8_t *cdb, size_t in, size_t out)
{
    struct scsi_command command = {.nexus = &nexus, .cdb_length = SCSI_CDB, .in_length = in, .out_length = out};

    memcpy(command.cdb, cdb, SCSI_CDB);
    return scsi_cost(&command);
}

/* What one command may move, and what it costs whom a limit is set for: not what its buffers have, but what it moves. */
static void limits(void **state)
{
    const uint32_t most = SCSI_TRANSFER_MAX / 512;

    (void)state;
    start(512, false);
    good(CDB(0x12, 1, 0xb0, 0, 64), 64, 0);
    test_equal(scsi_be32(&data[8]), most);
    test_equal(scsi_be64(&data[36]), SIZE / 512); /* of WRITE SAME */
    bad_field(long_cdb(0x88, 0, 0, most + 1), 512, 0, 10);
    bad_field(long_cdb(0x8a, 0, 0, most + 1), 0, 512, 10);
    bad_field(long_cdb(0x8f, 0, 0, most + 1), 0, 0, 10);
    bad_field(CDB(0x28, 0, 0, 0, 0, 0, 0, 0x80, 1), 512, 0, 7);
    bad_field(CDB(0xa8, 0, 0, 0, 0, 0, 0, 0, 0x80, 1), 512, 0, 6);
    good(long_cdb(0x8f, 0, 0, most), 0, 0);
    test_equal(cost(long_cdb(0x88, 0, 0, 8), MIB, 0), 4096);
    test_equal(cost(long_cdb(0x8f, 0, 0, most), 0, 0), SCSI_TRANSFER_MAX);
    test_equal(cost(long_cdb(0x8f, 0, 0, most + 1), 0, 0), 0);
    test_equal(cost(long_cdb(0x93, 0, 0, SIZE / 512), 0, 512), SIZE);
    test_equal(cost(long_cdb(0x88, 0, SIZE / 512, 1), BUFFER, 0), 0);
    test_equal(cost(CDB(0x08, 0, 0, 0, 0), 0, 0), 256 * 512);
    test_equal(cost(CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 24), 0, 24), 0);
    test_equal(cost(CDB(0x12, 0, 0, 0, 255), 255, 0), 0);
    stop();
}

/* Buffers that do not fit: what there is is moved, and no byte behind it. */
static void residuals(void **state)
{
    (void)state;
    start(512, false);
    fill(1, 8 * 512);
    good(long_cdb(0x8a, 0, 0, 8), 0, 8 * 512);
    memset(data, 0xee, 8192);
    good(long_cdb(0x88, 0, 0, 2), 4096, 0);
    test_equal(last.command.moved, 1024);
    test_equal(last.command.wanted, 1024);
    test_equal(data[1024], 0xee);
    memset(data, 0xee, 8192);
    good(long_cdb(0x88, 0, 0, 8), 1300, 0); /* the buffer ends inside a block */
    test_equal(last.command.moved, 1300);
    test_equal(last.command.wanted, 4096);
    expect_filled(1, 0, 1300);
    test_equal(data[1300], 0xee);
    memset(data, 0x55, 8192);
    good(long_cdb(0x8a, 0, 100, 4), 0, 1300);
    test_equal(last.command.moved, 1024);
    test_equal(last.command.wanted, 2048);
    expect_disk(0x55, 100 * 512, 1024);
    expect_disk(0, 102 * 512, 1024);
    good(CDB(0x12, 0, 0, 0, 96), 10, 0);
    test_equal(last.command.moved, 10);
    good(CDB(0x12, 0, 0, 0, 5), 96, 0);
    test_equal(last.command.moved, 5);
    good(long_cdb(0x88, 0, 0, 8), 0, 0);
    test_equal(last.command.moved, 0);
    stop();
}

static void verify(void **state)
{
    const unsigned count = 300; /* more than the scratch */

    (void)state;
    start(512, false);
    fill(1, count * 512);
    good(long_cdb(0x8e, 0x02, 10, count), 0, count * 512);
    good(long_cdb(0x8f, 0, 10, count), 0, 0);
    good(long_cdb(0x8f, 0x02, 10, count), 0, count * 512);
    data[200 * 512 + 17] ^= 1;
    refused(long_cdb(0x8f, 0x02, 10, count), 0, count * 512, SCSI_MISCOMPARE, SCSI_MISCOMPARE_DURING_VERIFY);
    test_equal(scsi_be32(&last.command.sense[3]), 200 * 512 + 17);
    refused(long_cdb(0x8f, 0x02, 10, count), 0, 512, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
    memset(data, 0, 512);
    good(long_cdb(0x8f, 0x06, 1000, 2000), 0, 512);
    data[0] = 1;
    refused(long_cdb(0x8f, 0x06, 1000, 2000), 0, 512, SCSI_MISCOMPARE, SCSI_MISCOMPARE_DURING_VERIFY);
    bad_field(long_cdb(0x8f, 0x04, 0, 1), 0, 512, 1);
    stop();
}

static void compare_and_write(void **state)
{
    struct asked many[8] = {0};
    unsigned won = 0;

    struct scsi_lane second;

    (void)state;
    start(512, false);
    memset(data, 0, 1024);
    memset(data + 1024, 0x77, 1024);
    good(long_cdb(0x89, 0, 4, 2), 0, 2048);
    expect_disk(0x77, 4 * 512, 1024);
    refused(long_cdb(0x89, 0, 4, 2), 0, 2048, SCSI_MISCOMPARE, SCSI_MISCOMPARE_DURING_VERIFY);
    test_equal(last.command.moved, 0);
    data[0] = 0x77;
    refused(long_cdb(0x89, 0, 4, 2), 0, 2048, SCSI_MISCOMPARE, SCSI_MISCOMPARE_DURING_VERIFY);
    test_equal(scsi_be32(&last.command.sense[3]), 1);
    refused(long_cdb(0x89, 0, 4, 2), 0, 2047, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
    bad_field(long_cdb(0x89, 0, 0, 129), 0, 2 * 129 * 512, 13);
    good(long_cdb(0x89, 0, 0, 0), 0, 0);
    memset(data, 0, 512);
    memset(data + 512, 0x11, 512);
    for (unsigned i = 0; i < 8; i++)
        give(&many[i], long_cdb(0x89, 0, 90, 1), 0, 1024);
    for (unsigned i = 0; i < 8; i++) {
        await(&many[i]);
        won += many[i].command.status == SCSI_GOOD;
    }
    test_equal(won, 1);
    give(&last, long_cdb(0x89, 0, 91, 1), 0, 1024); /* while another lane compares, this one is told to come again */
    test_ok(scsi_lane_open(&second, ring));
    many[0].done = 0;
    many[0].command.run.lane = NULL;
    scsi_submit(&second, &many[0].command);
    await(&many[0]);
    test_equal(many[0].command.status, SCSI_BUSY);
    await(&last);
    test_equal(last.command.status, SCSI_GOOD);
    scsi_lane_close(&second);
    stop();
}

/* ---- Space ---- */

static void unmap_list(unsigned descriptors)
{
    memset(data, 0, 8 + 16 * descriptors);
    scsi_put_be16(&data[0], (uint16_t)(6 + 16 * descriptors));
    scsi_put_be16(&data[2], (uint16_t)(16 * descriptors));
}

static void unmap(void **state)
{
    (void)state;
    start(512, false);
    memset(data, 0x5a, 4 * MIB);
    good(long_cdb(0x8a, 0, 0, 8192), 0, 4 * MIB);
    unmap_list(2);
    scsi_put_be64(&data[8], 0);
    scsi_put_be32(&data[16], 65536);
    scsi_put_be64(&data[24], 70000);
    good(CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40), 0, 40);
    expect_disk(0, 0, MIB); /* a whole block of a dynamic disk is given back */
    scsi_put_be64(&data[24], SIZE / 512);
    scsi_put_be32(&data[32], 1);
    refused(CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40), 0, 40, SCSI_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
    refused(CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40), 0, 39, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
    refused(CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 7), 0, 7, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
    good(CDB(0x42), 0, 0);
    unmap_list(257);
    refused(CDB(0x42, 0, 0, 0, 0, 0, 0, 0x10, 0x18), 0, 8 + 16 * 257, SCSI_ILLEGAL_REQUEST,
            SCSI_INVALID_FIELD_IN_PARAMETER_LIST);
    bad_field(CDB(0x42, 1, 0, 0, 0, 0, 0, 0, 24), 0, 24, 1); /* ANCHOR */
    stop();
}

static void write_same(void **state)
{
    (void)state;
    start(512, false);
    memset(data, 0x5a, 512);
    good(long_cdb(0x93, 0, 3, 5000), 0, 512);
    expect_disk(0x5a, 3 * 512, MIB);
    expect_disk(0x5a, 5000 * 512, 3 * 512);
    expect_disk(0, 5003 * 512, 512);
    expect_disk(0, 0, 3 * 512);
    memset(data, 0, 512);
    good(long_cdb(0x93, 0x08, 4, 10), 0, 512);
    expect_disk(0, 4 * 512, 10 * 512);
    good(long_cdb(0x93, 0x01, 20, 10), 0, 0); /* no data: zeros */
    expect_disk(0, 20 * 512, 10 * 512);
    expect_disk(0x5a, 14 * 512, 6 * 512);
    good(CDB(0x41, 0, 0, 0, 0, 100, 0, 0, 1), 0, 512);
    expect_disk(0, 100 * 512, 512);
    bad_field(long_cdb(0x93, 0, 0, 0), 0, 512, 10);
    refused(long_cdb(0x93, 0, 0, 1), 0, 511, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
    stop();
}

/* While others are in flight, too. */
static void lba_status(void **state)
{
    static struct asked reads[16];

    (void)state;
    start(512, false);
    memset(data, 1, MIB);
    good(long_cdb(0x8a, 0, 65536, 2048), 0, MIB);
    for (unsigned i = 0; i < 8; i++)
        give(&reads[i], long_cdb(0x88, 0, 65536, 64), 32768, 0);
    give(&last, CDB(0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0), 256, 0);
    for (unsigned i = 8; i < 16; i++)
        give(&reads[i], long_cdb(0x88, 0, 65536 + 64, 64), 32768, 0);
    await(&last);
    for (unsigned i = 0; i < 16; i++) {
        await(&reads[i]);
        test_equal(reads[i].command.status, SCSI_GOOD);
    }
    good(CDB(0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0), 256, 0);
    test_equal(scsi_be64(&data[8]), 0);
    test_equal(scsi_be32(&data[16]), 65536);
    test_equal(data[20], 1);
    test_equal(scsi_be64(&data[24]), 65536);
    test_equal(data[36], 0);
    refused(long_cdb(0x9e, 0x12, SIZE / 512, 256), 256, 0, SCSI_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
    bad_field(long_cdb(0x9e, 0x12, 0, 23), 256, 0, 10);
    stop();
}

/* ---- Storage that fails ---- */

static void errors(void **state)
{
    static const struct {
        int error;
        enum vdisk_op op;
        uint8_t status, key;
        uint16_t code;
    } expected[] = {
        {-EIO, VDISK_READ, SCSI_CHECK_CONDITION, SCSI_MEDIUM_ERROR, SCSI_UNRECOVERED_READ_ERROR},
        {-EIO, VDISK_WRITE, SCSI_CHECK_CONDITION, SCSI_MEDIUM_ERROR, SCSI_WRITE_ERROR},
        {-ENOSPC, VDISK_WRITE, SCSI_CHECK_CONDITION, SCSI_DATA_PROTECT, SCSI_SPACE_ALLOCATION_FAILED},
        {-EROFS, VDISK_ZERO, SCSI_CHECK_CONDITION, SCSI_DATA_PROTECT, SCSI_WRITE_PROTECTED},
        {-ENOMEM, VDISK_READ, SCSI_BUSY, 0, 0},
        {-ENXIO, VDISK_READ, SCSI_CHECK_CONDITION, SCSI_HARDWARE_ERROR, SCSI_INTERNAL_TARGET_FAILURE},
    };

    (void)state;
    start(512, false);
    for (unsigned i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
        struct asked asked = {.command = {.nexus = &nexus, .done = asked_done}};

        asked.command.run.lane = &lane;
        asked.command.run.unit = unit;
        asked.command.run.io.op = expected[i].op;
        scsi_fail_errno(&asked.command, expected[i].error);
        test_equal(asked.command.status, expected[i].status);
        test_equal(asked.command.sense[2], expected[i].key);
        test_equal(scsi_be16(&asked.command.sense[12]), expected[i].code);
    }
    stop();
}

/* Any CDB is answered, once, whatever the buffers; and the unit is as good as before. */
static void random_commands(void **state)
{
    static struct asked many[32];
    struct rng rng;

    (void)state;
    start(512, false);
    rng_seed(&rng, test_number("SCSI_SEED", 1));
    for (unsigned i = 0; i < 20000; i++) {
        struct asked *asked = &many[i % 32];
        uint8_t cdb[SCSI_CDB];

        if (i >= 32)
            await(asked);
        for (unsigned j = 0; j < SCSI_CDB; j++)
            cdb[j] = rng_below(&rng, 3) ? 0 : (uint8_t)rng_next(&rng);
        if (rng_below(&rng, 8))
            cdb[0] = scsi_known[rng_below(&rng, scsi_known_count)].opcode;
        if (cdb[0] >> 5 == 4 && rng_below(&rng, 4)) /* near enough */
            memset(&cdb[2], 0, 5);
        if (rng_below(&rng, 4))
            cdb[1] = cdb[SCSI_CDB - 1] = 0;
        cdb[0] = cdb[0] == SCSI_START_STOP_UNIT ? 0 : cdb[0];
        give(asked, cdb, rng_below(&rng, 5000), rng_below(&rng, 5000));
    }
    for (unsigned i = 0; i < 32; i++)
        await(&many[i]);
    scsi_target_reset(&target, 0);
    atomic_store(&nexus.attention[0], 0);
    fill(9, 4096);
    good(long_cdb(0x8a, 0, 0, 8), 0, 4096);
    good(long_cdb(0x88, 0, 0, 8), 4096, 0);
    expect_filled(9, 0, 4096);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity),
        cmocka_unit_test(luns),
        cmocka_unit_test(attentions),
        cmocka_unit_test(mode_pages),
        cmocka_unit_test(protected_and_stopped),
        cmocka_unit_test(operation_codes),
        cmocka_unit_test(reads_and_writes),
        cmocka_unit_test(out_of_range), cmocka_unit_test(limits),
        cmocka_unit_test(residuals),
        cmocka_unit_test(verify),
        cmocka_unit_test(compare_and_write),
        cmocka_unit_test(unmap),
        cmocka_unit_test(write_same),
        cmocka_unit_test(lba_status),
        cmocka_unit_test(errors),
        cmocka_unit_test(random_commands),
    };
    int failed;

    scratch_make(dir, true);
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &ring));
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    vdisk_ring_close(ring);
    return failed;
}
