/* SPDX-License-Identifier: BSD-2-Clause */
/* IDE: what a driver does with it by PIO and by DMA, what it refuses, and what a guest may try: tables that point
 * nowhere, the other drive selected in the middle, stops and resets with a transfer in flight, words beyond the buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/gate.h"
#include "tests/support.h"
#include "vmm/ide.h"

#define MIB (1u << 20)
#define MEMORY (64u * MIB)
#define TABLE 0x10000u
#define DATA 0x100000u
#define SECTORS (16u * MIB / 512)
#define BUSY 0x80u
#define READY 0x50u
#define DRQ 0x08u
#define ERR 0x01u

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;
static struct machine_disk disks[2];
static struct memory memory;
static struct loop loop;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t thread;
static struct ide *ide;

static void *run(void *arg)
{
    (void)arg;
    loop_run(&loop);
    return NULL;
}

static void start(bool second_readonly)
{
    const struct machine_disk *list[4] = {&disks[0], &disks[1]};
    struct vdisk_open_options open = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};

    for (unsigned i = 0; i < 2; i++) {
        const char *path = scratch_path(dir, i ? "b.vhd" : "a.vhdx");
        struct vdisk_create_options create = {
            .flags = VDISK_CREATE_OVERWRITE, .size = 16 * MIB >> i, .log = messages_log(&messages)};
        struct vdisk *made;

        test_ok(vdisk_create(path, &create, &made));
        test_ok(vdisk_commit(made));
        disks[i] = (struct machine_disk){.bus = MACHINE_IDE, .serial = "SERIAL", .readonly = i && second_readonly};
        test_ok(vdisk_port_open(path, &open, &disks[i].port));
    }
    test_ok(memory_open(&memory, MEMORY));
    test_ok(loop_open(&loop, &lock));
    test_ok(ide_make(NULL, &memory, &loop, list, &ide));
    pci_set(&ide->pci, 4, 2, 4); /* bus master */
    test_equal(pthread_create(&thread, NULL, run, NULL), 0);
}

static void stop(void)
{
    loop_stop(&loop);
    pthread_join(thread, NULL);
    ide_free(ide);
    loop_close(&loop);
    memory_close(&memory);
    for (unsigned i = 0; i < 2; i++)
        test_ok(vdisk_port_close(disks[i].port));
}

/* ---- Ports ---- */

enum ports { COMMAND, CONTROL, MASTER };

static const struct bus_range *range_of(enum ports ports)
{
    struct ide_channel *channel = &ide->channel[0];

    return ports == COMMAND   ? &channel->command_ports
           : ports == CONTROL ? &channel->control_ports
                              : &ide->pci.bar[4].range;
}

static uint32_t in(enum ports ports, unsigned offset, unsigned size)
{
    const struct bus_range *range = range_of(ports);
    uint64_t value;

    pthread_mutex_lock(&lock);
    value = range->read(range->owner, offset, size);
    pthread_mutex_unlock(&lock);
    return (uint32_t)(value & ((UINT64_C(1) << 8 * size) - 1));
}

static void out(enum ports ports, unsigned offset, unsigned size, uint32_t value)
{
    const struct bus_range *range = range_of(ports);

    pthread_mutex_lock(&lock);
    range->write(range->owner, offset, size, value);
    pthread_mutex_unlock(&lock);
}

/* The status, when it is not busy any more. */
static uint8_t settle(void)
{
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t status = (uint8_t)in(CONTROL, 0, 1);

        if (!(status & BUSY))
            return status;
        nanosleep(&(struct timespec){0, 50000}, NULL);
    }
    test_fail("busy for ever");
}

static void command(uint8_t code, unsigned drive, uint64_t sector, unsigned count)
{
    out(COMMAND, 6, 1, 0xe0 | drive << 4 | (uint32_t)(sector >> 24 & 0x0f));
    out(COMMAND, 2, 1, count >> 8);
    out(COMMAND, 2, 1, count & 0xff);
    for (unsigned i = 0; i < 3; i++) {
        out(COMMAND, 3 + i, 1, sector >> (24 + 8 * i) & 0xff);
        out(COMMAND, 3 + i, 1, sector >> 8 * i & 0xff);
    }
    out(COMMAND, 7, 1, code);
}

static uint8_t error(void)
{
    return (uint8_t)in(COMMAND, 1, 1);
}

static void pio_in(uint8_t *data, unsigned sectors, unsigned block)
{
    for (unsigned i = 0; i < sectors; i++) {
        if (i % block == 0)
            test_equal(settle(), READY | DRQ);
        for (unsigned at = 0; at < 512; at += 4) {
            uint32_t word = in(COMMAND, 0, 4);

            memcpy(data + 512 * i + at, &word, 4);
        }
    }
    test_equal(settle(), READY);
}

static void pio_out(const uint8_t *data, unsigned sectors, unsigned block)
{
    for (unsigned i = 0; i < sectors; i++) {
        if (i % block == 0)
            test_equal(settle(), READY | DRQ);
        for (unsigned at = 0; at < 512; at += 2)
            out(COMMAND, 0, 2, (uint32_t)(data[512 * i + at] | data[512 * i + at + 1] << 8));
    }
    test_equal(settle(), READY);
}

static void fill(uint8_t *data, uint8_t seed, size_t length)
{
    for (size_t i = 0; i < length; i++)
        data[i] = (uint8_t)(seed + i * 11 + i / 512);
}

/* ---- PIO ---- */

static uint64_t count_of(struct vdisk_port *port, enum vdisk_op op)
{
    struct vdisk_stats stats;

    vdisk_port_stats(port, &stats);
    return stats.op[op].count;
}

static void identify(void **state)
{
    uint16_t words[256];

    (void)state;
    start(false);
    command(0xec, 0, 0, 0);
    pio_in((uint8_t *)words, 1, 1);
    test_equal(words[60] | (uint32_t)words[61] << 16, SECTORS);
    test_equal(words[100] | (uint32_t)words[101] << 16, SECTORS);
    assert_memory_equal(&words[10], "ESIRLA", 6); /* each pair of letters the other way round */
    command(0xec, 1, 0, 0);
    pio_in((uint8_t *)words, 1, 1);
    test_equal(words[60], SECTORS / 2);
    command(0xa1, 0, 0, 0);
    test_equal(settle(), READY | ERR);
    test_equal(error(), 4);
    stop();
}

static void pio(void **state)
{
    static uint8_t data[300 * 512], back[300 * 512];

    (void)state;
    start(false);
    fill(data, 1, sizeof(data));
    command(0x30, 0, 5, 256 & 0xff); /* 0 is 256 */
    pio_out(data, 256, 1);
    command(0x20, 0, 6, 3);
    pio_in(back, 3, 1);
    assert_memory_equal(back, data + 512, 3 * 512);
    test_equal(count_of(disks[0].port, VDISK_READ), 1);
    command(0x20, 0, 5, 256 & 0xff);
    pio_in(back, 256, 1);
    assert_memory_equal(back, data, 256 * 512);
    test_equal(count_of(disks[0].port, VDISK_READ), 3); /* 128 sectors at once */
    command(0x29, 0, 5, 32);
    test_equal(settle(), READY | ERR); /* not without SET MULTIPLE */
    command(0xc6, 0, 0, 16);
    test_equal(settle(), READY);
    command(0xc6, 0, 0, 24);
    test_equal(settle(), READY | ERR);
    command(0x39, 0, 3000, 300);
    pio_out(data, 300, 16);
    command(0x29, 0, 3000, 300);
    pio_in(back, 300, 16);
    assert_memory_equal(back, data, sizeof(data));
    command(0xe7, 0, 0, 0);
    test_equal(settle(), READY);
    test_equal(count_of(disks[0].port, VDISK_FLUSH), 1);
    command(0x42, 0, 0, 200);
    test_equal(settle(), READY);
    test_equal(count_of(disks[0].port, VDISK_READ), 3 + 3 + 2);
    out(COMMAND, 6, 1, 0xa0 | 2); /* cylinder 1, head 2, sector 3 */
    out(COMMAND, 4, 1, 1);
    out(COMMAND, 5, 1, 0);
    out(COMMAND, 3, 1, 3);
    out(COMMAND, 2, 1, 1);
    out(COMMAND, 7, 1, 0x30);
    pio_out(data, 1, 1);
    command(0x20, 0, (1 * 16 + 2) * 63 + 2, 1);
    pio_in(back, 1, 1);
    assert_memory_equal(back, data, 512);
    stop();
}

static void refusals(void **state)
{
    uint8_t data[512] = {0};
    static const uint8_t codes[] = {0x24, 0x34, 0x25, 0x35, 0x42};

    (void)state;
    start(true);
    for (unsigned i = 0; i < sizeof(codes); i++) {
        command(codes[i], 0, SECTORS - 1, 2);
        test_equal(settle(), READY | ERR);
        test_equal(error(), 0x10);
        command(codes[i], 0, (1ull << 48) - 1, 1);
        test_equal(settle(), READY | ERR);
    }
    command(0x30, 1, 0, 1);
    test_equal(settle(), READY | ERR);
    test_equal(error(), 4);
    command(0xca, 1, 0, 1);
    test_equal(settle(), READY | ERR);
    command(0x30, 0, 0, 1); /* then the other drive, which is read-only, is selected */
    out(COMMAND, 6, 1, 0xf0);
    for (unsigned at = 0; at < 512; at += 2)
        out(COMMAND, 0, 2, 0x5a5a);
    out(COMMAND, 6, 1, 0xe0);
    test_equal(settle(), READY);
    command(0x20, 1, 0, 1);
    pio_in(data, 1, 1);
    test_equal(data[0], 0);
    command(0x20, 0, 0, 1);
    pio_in(data, 1, 1);
    test_equal(data[0], 0x5a);
    test_equal(in(COMMAND, 0, 4), UINT32_MAX); /* beyond the buffer */
    out(COMMAND, 0, 4, 1);
    for (unsigned code = 0; code < 256; code++) { /* none leaves it stuck, and every one can be followed by another */
        command((uint8_t)code, 0, 0, 1);
        settle();
    }
    out(CONTROL, 0, 1, 4);
    out(CONTROL, 0, 1, 0);
    test_equal(settle(), READY);
    test_equal(in(COMMAND, 2, 1) | in(COMMAND, 3, 1) << 8 | in(COMMAND, 4, 1) << 16, 0x0101);
    stop();
}

/* ---- DMA ---- */

static void entry(unsigned index, uint32_t address, uint32_t length, bool last)
{
    uint32_t words[2] = {address, (length & 0xffff) | (last ? 0x80000000u : 0)};

    memcpy(memory.base + TABLE + 8 * index, words, 8);
}

static uint8_t dma(uint8_t code, uint64_t sector, unsigned count)
{
    uint8_t status;

    out(MASTER, 0, 1, 0);
    out(MASTER, 2, 1, 6);
    out(MASTER, 4, 4, TABLE);
    command(code, 0, sector, count);
    out(MASTER, 0, 1, 9);
    status = settle();
    test_equal(in(MASTER, 2, 1) & 4, 4);
    out(MASTER, 0, 1, 0);
    return status;
}

static void transfers(void **state)
{
    (void)state;
    start(false);
    fill(memory.base + DATA, 3, 128 * 512);
    entry(0, DATA, 100, false);
    entry(1, DATA + 100, 65536 - 100, true);
    test_equal(dma(0x35, 77, 128), READY);
    memset(memory.base + DATA, 0, 2 * MIB);
    entry(0, DATA + MIB, 0, true); /* 0 is 65536 */
    test_equal(dma(0x25, 77, 128), READY);
    for (unsigned i = 0; i < 65536; i++)
        test_equal(memory.base[DATA + MIB + i], (uint8_t)(3 + i * 11 + i / 512));
    test_equal(memory.base[DATA + MIB + 65536], 0);
    entry(0, DATA, 512, true); /* a table that is too short, or points nowhere */
    test_equal(dma(0x25, 77, 128), READY | ERR);
    test_equal(in(MASTER, 2, 1) & 2, 2);
    entry(0, MEMORY - 512, 1024, true);
    test_equal(dma(0x25, 0, 2), READY | ERR);
    entry(0, 0xfffffffe, 1024, true);
    test_equal(dma(0x35, 0, 2), READY | ERR);
    for (unsigned i = 0; i < 600; i++)
        entry(i, DATA, 2, false);
    test_equal(dma(0x25, 0, 3), READY | ERR);
    out(MASTER, 4, 4, MEMORY - 4);
    command(0x25, 0, 0, 1);
    out(MASTER, 0, 1, 9);
    test_equal(settle(), READY | ERR);
    out(MASTER, 0, 1, 0);
    pci_set(&ide->pci, 4, 2, 0); /* no bus master */
    entry(0, DATA, 512, true);
    test_equal(dma(0x25, 0, 1), READY | ERR);
    stop();
}

/* A command is given to one drive, and the bus master started when the other is selected. */
static void other_drive(void **state)
{
    uint8_t data[512];

    (void)state;
    start(true);
    memset(memory.base + DATA, 0x66, 512);
    entry(0, DATA, 512, true);
    out(MASTER, 4, 4, TABLE);
    command(0xca, 0, SECTORS - 1, 1); /* beyond the end of the other */
    out(COMMAND, 6, 1, 0xf0);
    out(MASTER, 0, 1, 1);
    out(COMMAND, 6, 1, 0xe0);
    test_equal(settle(), READY);
    command(0x24, 0, SECTORS - 1, 1);
    pio_in(data, 1, 1);
    test_equal(data[511], 0x66);
    stop();
}

/* When a reset or a stop has returned nothing is written to memory any more. */
static void in_flight(void **state)
{
    (void)state;
    start(false);
    for (unsigned i = 0; i < 32; i++)
        entry(i, DATA + i * 65536, 0, i == 31);
    for (unsigned round = 0; round < 200; round++) {
        out(MASTER, 0, 1, 0);
        out(MASTER, 4, 4, TABLE);
        command(0x25, 0, 0, 4096);
        out(MASTER, 0, 1, 9);
        if (round % 3)
            nanosleep(&(struct timespec){0, round * 1000}, NULL);
        if (round % 2) {
            out(MASTER, 0, 1, 0);
        } else {
            out(CONTROL, 0, 1, 4);
            out(CONTROL, 0, 1, 0);
        }
        memset(memory.base + DATA, 0xaa, 2 * MIB);
        nanosleep(&(struct timespec){0, 300000}, NULL);
        for (unsigned i = 0; i < 2 * MIB; i++)
            if (memory.base[DATA + i] != 0xaa)
                test_fail("round %u: byte %u was written afterwards", round, i);
        settle();
    }
    stop();
}

static bool flying(void)
{
    bool flying;

    pthread_mutex_lock(&lock);
    flying = ide->channel[0].flying;
    pthread_mutex_unlock(&lock);
    return flying;
}

/* A reset, and a stop of the bus master, are over when the transfer is. */
static void transfer_waited_for(void **state)
{
    struct gate gate;

    (void)state;
    if (!gate_works())
        skip();
    start(false);
    entry(0, DATA, 0, true); /* 64 KiB */
    out(MASTER, 4, 4, TABLE);
    command(0x35, 0, 0, 128);
    out(MASTER, 0, 1, 1);
    test_equal(settle(), READY);
    out(MASTER, 0, 1, 0);
    for (unsigned round = 0; round < 2; round++) {
        gate_shut(&gate, disks[0].port);
        command(0x25, 0, 0, 128);
        out(MASTER, 0, 1, 9);
        while (!flying())
            nanosleep(&(struct timespec){0, 100000}, NULL);
        gate_open_later(&gate, 65536);
        if (round == 0)
            out(CONTROL, 0, 1, 4);
        else
            out(MASTER, 0, 1, 0);
        gate_end(&gate);
        out(CONTROL, 0, 1, 0);
        out(MASTER, 0, 1, 0);
        settle();
    }
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identify),
        cmocka_unit_test(pio),
        cmocka_unit_test(refusals),
        cmocka_unit_test(transfers),
        cmocka_unit_test(other_drive),
        cmocka_unit_test(in_flight),
        cmocka_unit_test(transfer_waited_for),
    };

    scratch_make(dir, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
