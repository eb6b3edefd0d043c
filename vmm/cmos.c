/* SPDX-License-Identifier: BSD-2-Clause */
/* The MC146818 clock and its memory, where firmware looks for the size of memory. The time is UTC. */
#include <time.h>

#include "chipset.h"

#define PORT 0x70u

#define SECONDS 0x00u
#define SECONDS_ALARM 0x01u
#define MINUTES 0x02u
#define MINUTES_ALARM 0x03u
#define HOURS 0x04u
#define HOURS_ALARM 0x05u
#define WEEKDAY 0x06u
#define DAY 0x07u
#define MONTH 0x08u
#define YEAR 0x09u
#define STATUS_A 0x0au
#define STATUS_B 0x0bu
#define STATUS_C 0x0cu
#define STATUS_D 0x0du
#define CENTURY 0x32u

#define B_24_HOURS 0x02u
#define B_BINARY 0x04u
#define B_UPDATE 0x10u /* interrupts: update, alarm, periodic */
#define B_ALARM 0x20u
#define B_PERIODIC 0x40u
#define B_SET 0x80u
#define C_REQUEST 0x80u
#define ALARM_ANY 0xc0u /* an alarm register with these bits matches everything */

#define SECOND UINT64_C(1000000000)

static bool is_time(unsigned index)
{
    return index == CENTURY ||
           (index <= YEAR && index != SECONDS_ALARM && index != MINUTES_ALARM && index != HOURS_ALARM);
}

static int64_t now(const struct cmos *cmos)
{
    return time(NULL) + cmos->state.offset;
}

static uint8_t encode(const struct cmos *cmos, unsigned value)
{
    bool binary = cmos->state.byte[STATUS_B] & B_BINARY;

    return (uint8_t)(binary ? value : value / 10 << 4 | value % 10);
}

/* -1: it is none from low to high. */
static int decode(const struct cmos *cmos, uint8_t value, int low, int high)
{
    int number = cmos->state.byte[STATUS_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
    bool digits = encode(cmos, (unsigned)number) == value;

    return digits && number >= low && number <= high ? number : -1;
}

static uint8_t encode_hour(const struct cmos *cmos, unsigned hour)
{
    if (cmos->state.byte[STATUS_B] & B_24_HOURS)
        return encode(cmos, hour);
    return encode(cmos, hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0);
}

/* Into the registers, unless the guest is setting them. */
static void time_show(struct cmos *cmos)
{
    uint8_t *byte = cmos->state.byte;
    time_t seconds = now(cmos);
    unsigned year;
    struct tm tm;

    if ((byte[STATUS_B] & B_SET) || !gmtime_r(&seconds, &tm))
        return;
    year = (unsigned)tm.tm_year + 1900;
    byte[SECONDS] = encode(cmos, (unsigned)tm.tm_sec);
    byte[MINUTES] = encode(cmos, (unsigned)tm.tm_min);
    byte[HOURS] = encode_hour(cmos, (unsigned)tm.tm_hour);
    byte[WEEKDAY] = encode(cmos, (unsigned)tm.tm_wday + 1);
    byte[DAY] = encode(cmos, (unsigned)tm.tm_mday);
    byte[MONTH] = encode(cmos, (unsigned)tm.tm_mon + 1);
    byte[YEAR] = encode(cmos, year % 100);
    byte[CENTURY] = encode(cmos, year / 100);
}

/* The clock goes on as it was where the registers are no time. */
static void time_take(struct cmos *cmos)
{
    const uint8_t *byte = cmos->state.byte;
    bool whole = byte[STATUS_B] & B_24_HOURS;
    int year = decode(cmos, byte[YEAR], 0, 99), century = decode(cmos, byte[CENTURY], 0, 99);
    struct tm tm = {
        .tm_sec = decode(cmos, byte[SECONDS], 0, 59),
        .tm_min = decode(cmos, byte[MINUTES], 0, 59),
        .tm_hour = whole ? decode(cmos, byte[HOURS], 0, 23) : decode(cmos, byte[HOURS] & 0x7f, 1, 12),
        .tm_mday = decode(cmos, byte[DAY], 1, 31),
        .tm_mon = decode(cmos, byte[MONTH], 1, 12) - 1,
        .tm_year = year + century * 100 - 1900,
    };

    if (year < 0 || century < 0 || tm.tm_sec < 0 || tm.tm_min < 0 || tm.tm_hour < 0 || tm.tm_mday < 0 || tm.tm_mon < 0)
        return;
    if (!whole)
        tm.tm_hour = tm.tm_hour % 12 + (byte[HOURS] & 0x80 ? 12 : 0);
    cmos->state.offset = timegm(&tm) - time(NULL);
}

/* ---- Interrupts ---- */

static void timer_set(struct cmos *cmos)
{
    uint8_t enabled = cmos->state.byte[STATUS_B], rate = cmos->state.byte[STATUS_A] & 15;

    if ((enabled & B_PERIODIC) && rate >= 3)
        loop_timer_set(&cmos->timer, (SECOND << (rate - 1)) / 32768, (SECOND << (rate - 1)) / 32768);
    else if (enabled & (B_UPDATE | B_ALARM))
        loop_timer_set(&cmos->timer, SECOND / 4, SECOND / 4);
    else
        loop_timer_set(&cmos->timer, 0, 0);
}

static bool alarm_matches(const struct cmos *cmos)
{
    const uint8_t *byte = cmos->state.byte;

    for (unsigned i = SECONDS; i <= HOURS; i += 2)
        if ((byte[i + 1] & ALARM_ANY) != ALARM_ANY && byte[i + 1] != byte[i])
            return false;
    return true;
}

static void timer_ready(struct loop_source *source)
{
    struct cmos *cmos = source->owner;
    uint8_t *byte = cmos->state.byte;
    int64_t second = now(cmos);

    loop_timer_clear(source);
    byte[STATUS_C] |= byte[STATUS_B] & B_PERIODIC;
    if (second != cmos->state.second && !(byte[STATUS_B] & B_SET)) {
        cmos->state.second = second;
        time_show(cmos);
        byte[STATUS_C] |= B_UPDATE | (alarm_matches(cmos) ? B_ALARM : 0);
    }
    if (byte[STATUS_C] & byte[STATUS_B] & (B_UPDATE | B_ALARM | B_PERIODIC)) {
        byte[STATUS_C] |= C_REQUEST;
        irq_line_set(&cmos->line, true);
    }
}

/* ---- Ports ---- */

static uint8_t data_read(struct cmos *cmos)
{
    unsigned index = cmos->state.index;
    uint8_t value;

    if (is_time(index))
        time_show(cmos);
    value = cmos->state.byte[index];
    if (index == STATUS_C) {
        cmos->state.byte[STATUS_C] = 0;
        irq_line_set(&cmos->line, false);
    }
    return value;
}

static void status_b_write(struct cmos *cmos, uint8_t value)
{
    bool was_set = cmos->state.byte[STATUS_B] & B_SET;

    if ((value & B_SET) && !was_set)
        time_show(cmos);
    cmos->state.byte[STATUS_B] = value;
    if (was_set && !(value & B_SET))
        time_take(cmos);
    timer_set(cmos);
}

static void data_write(struct cmos *cmos, uint8_t value)
{
    unsigned index = cmos->state.index;
    bool setting = cmos->state.byte[STATUS_B] & B_SET;

    if (index == STATUS_B) {
        status_b_write(cmos, value);
        return;
    }
    if (index == STATUS_C || index == STATUS_D)
        return;
    if (is_time(index) && !setting)
        time_show(cmos);
    cmos->state.byte[index] = index == STATUS_A ? value & 0x7f : value;
    if (is_time(index) && !setting)
        time_take(cmos);
    if (index == STATUS_A)
        timer_set(cmos);
}

static uint64_t port_read(void *owner, uint64_t offset, unsigned size)
{
    (void)size;
    return offset == 1 ? data_read(owner) : UINT64_MAX;
}

static void port_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct cmos *cmos = owner;

    if (offset == 1)
        data_write(cmos, (uint8_t)value);
    else
        cmos->state.index = (uint8_t)value & 0x7f;
    if (offset == 0 && size > 1)
        data_write(cmos, (uint8_t)(value >> 8));
}

/* Where PC firmware expects the size of memory: below 64 MiB in KiB, to 4 GiB and beyond in units of 64 KiB. */
static void memory_describe(struct cmos *cmos)
{
    const struct memory *memory = &cmos->machine->memory;
    uint64_t low = memory->region[0].size, high = memory->size - low;
    uint64_t kib = (low - (1 << 20)) / 1024, units = low > 16 << 20 ? (low - (16 << 20)) / 65536 : 0;
    uint8_t *byte = cmos->state.byte;

    kib = kib < 0xffff ? kib : 0xffff;
    byte[0x15] = 640 & 0xff;
    byte[0x16] = 640 >> 8;
    byte[0x17] = byte[0x30] = (uint8_t)kib;
    byte[0x18] = byte[0x31] = (uint8_t)(kib >> 8);
    byte[0x34] = (uint8_t)units;
    byte[0x35] = (uint8_t)(units >> 8);
    for (unsigned i = 0; i < 3; i++)
        byte[0x5b + i] = (uint8_t)(high / 65536 >> 8 * i);
    byte[0x5f] = (uint8_t)(cmos->machine->options->cpus - 1);
}

/* The clock and the memory have a battery: only the interrupts go. */
void cmos_reset(struct cmos *cmos)
{
    cmos->state.byte[STATUS_A] = 0x26;
    cmos->state.byte[STATUS_B] = B_24_HOURS;
    cmos->state.byte[STATUS_C] = 0;
    cmos->state.byte[STATUS_D] = 0x80;
    memory_describe(cmos);
    irq_line_set(&cmos->line, false);
    timer_set(cmos);
}

int cmos_open(struct cmos *cmos, struct machine *machine)
{
    int err;

    cmos->machine = machine;
    cmos->line = (struct irq_line){.irq = &machine->irq, .gsi = ISA_IRQ_RTC};
    cmos->ports = (struct bus_range){PORT, 2, cmos, port_read, port_write};
    err = loop_timer_open(&cmos->timer, timer_ready, cmos);
    if (err == 0)
        err = loop_add(&machine->loop, &cmos->timer, EPOLLIN);
    if (err < 0)
        return err;
    cmos_reset(cmos);
    return bus_add(&machine->pio, &cmos->ports);
}

void cmos_close(struct cmos *cmos)
{
    bus_remove(&cmos->machine->pio, &cmos->ports);
    loop_timer_close(&cmos->timer);
}
