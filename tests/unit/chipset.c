/* SPDX-License-Identifier: BSD-2-Clause */
/* What sits on the ISA bus, driven by its ports: the clock, which takes no date that is none, and the port by which a
 * guest tells of its panics, which fills nobody's disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support.h"
#include "vmm/chipset.h"

#define SECONDS 0x00u /* registers of the clock */
#define MINUTES 0x02u
#define HOURS 0x04u
#define DAY 0x07u
#define MONTH 0x08u
#define YEAR 0x09u
#define STATUS_B 0x0bu
#define CENTURY 0x32u

#define SET 0x80u /* status B: it stands still, and takes what it then shows */
#define BINARY 0x04u
#define WHOLE_DAY 0x02u

static struct machine machine;
static struct cmos cmos;
static struct ports ports;
static unsigned said;

static void count(void *arg, enum vdisk_level level, const char *text)
{
    (void)arg;
    (void)level;
    (void)text;
    said++;
}

static struct machine_options options = {.name = "test", .cpus = 1, .log = {count, NULL}};

static int setup(void **state)
{
    (void)state;
    machine = (struct machine){.options = &options};
    test_ok(memory_open(&machine.memory, 64 << 20));
    test_ok(irq_open(&machine.irq, -1));
    test_ok(loop_open(&machine.loop, NULL));
    memset(&cmos, 0, sizeof(cmos));
    test_ok(cmos_open(&cmos, &machine));
    test_ok(ports_open(&ports, &machine));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ports_close(&ports);
    cmos_close(&cmos);
    loop_close(&machine.loop);
    irq_close(&machine.irq);
    memory_close(&machine.memory);
    return 0;
}

/* ---- The clock ---- */

static uint8_t get(uint8_t index)
{
    bus_write(&machine.pio, 0x70, 1, index);
    return (uint8_t)bus_read(&machine.pio, 0x71, 1);
}

static void put(uint8_t index, uint8_t value)
{
    bus_write(&machine.pio, 0x70, 1, index);
    bus_write(&machine.pio, 0x71, 1, value);
}

/* All registers, for the new mode is theirs at once; of the hour's first second, so that it may go on for a while. */
static void date_set(uint8_t mode, uint8_t century, uint8_t year, uint8_t month, uint8_t day, uint8_t hour)
{
    put(STATUS_B, SET | mode);
    put(CENTURY, century);
    put(YEAR, year);
    put(MONTH, month);
    put(DAY, day);
    put(HOURS, hour);
    put(MINUTES, 0);
    put(SECONDS, 0);
    put(STATUS_B, mode);
}

static void date_is(uint8_t century, uint8_t year, uint8_t month, uint8_t day, uint8_t hour)
{
    test_equal(get(CENTURY), century);
    test_equal(get(YEAR), year);
    test_equal(get(MONTH), month);
    test_equal(get(DAY), day);
    test_equal(get(HOURS), hour);
}

static void dates(void **state)
{
    (void)state;
    date_set(WHOLE_DAY, 0x20, 0x24, 0x06, 0x15, 0x12);
    date_is(0x20, 0x24, 0x06, 0x15, 0x12);
    date_set(WHOLE_DAY, 0x00, 0x24, 0x06, 0x15, 0x12); /* there was such a year */
    date_is(0x00, 0x24, 0x06, 0x15, 0x12);
    date_set(WHOLE_DAY | BINARY, 19, 99, 6, 15, 12);
    date_is(19, 99, 6, 15, 12);
    date_set(0, 0x20, 0x24, 0x06, 0x15, 0x92); /* noon, in the second half of the day */
    date_is(0x20, 0x24, 0x06, 0x15, 0x92);
    put(STATUS_B, WHOLE_DAY);
    test_equal(get(HOURS), 0x12);
}

static void no_dates(void **state)
{
    static const uint8_t bad[][6] = {
        {WHOLE_DAY, 0x1f, 0x24, 0x06, 0x15, 0x12},     {WHOLE_DAY, 0xff, 0xff, 0xff, 0xff, 0xff},
        {WHOLE_DAY, 0x20, 0xa0, 0x06, 0x15, 0x12},     {WHOLE_DAY, 0x00, 0x00, 0x00, 0x01, 0x12},
        {WHOLE_DAY, 0x20, 0x24, 0x13, 0x15, 0x12},     {WHOLE_DAY, 0x20, 0x24, 0x06, 0x00, 0x12},
        {WHOLE_DAY, 0x20, 0x24, 0x06, 0x15, 0x24},     {0, 0x20, 0x24, 0x06, 0x15, 0x00},
        {WHOLE_DAY | BINARY, 255, 255, 255, 255, 255}, {WHOLE_DAY | BINARY, 20, 100, 6, 15, 12}};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        date_set(WHOLE_DAY, 0x20, 0x24, 0x06, 0x15, 0x12);
        date_set(bad[i][0], bad[i][1], bad[i][2], bad[i][3], bad[i][4], bad[i][5]);
        put(STATUS_B, WHOLE_DAY);
        date_is(0x20, 0x24, 0x06, 0x15, 0x12);
    }
}

/* Whatever is written anywhere, in any mode, is survived. */
static void anything(void **state)
{
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    for (unsigned i = 0; i < 20000; i++) {
        put((uint8_t)rng_below(&rng, 128), (uint8_t)rng_next(&rng));
        get((uint8_t)rng_below(&rng, 128));
    }
}

/* ---- Panics ---- */

/* Those of two minutes at the most, for the test may begin at the end of one. */
static void panics(void **state)
{
    (void)state;
    said = 0;
    bus_write(&machine.pio, PANIC_PORT, 1, 2);
    test_equal(said, 1);
    for (unsigned i = 0; i < 10000; i++)
        bus_write(&machine.pio, PANIC_PORT, 1, 2);
    assert_in_range(said, 2, 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(dates), TEST(no_dates), TEST(anything), TEST(panics)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
