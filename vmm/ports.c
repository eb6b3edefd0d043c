/* SPDX-License-Identifier: BSD-2-Clause */
/* Small things on the ISA bus: a keyboard controller without a keyboard, port 92, the APM ports, and pvpanic. */
#include "chipset.h"

#define KEYBOARD_DATA 0x60u
#define KEYBOARD_COMMAND 0x64u
#define CONTROL_A 0x92u
#define APM 0xb2u

#define STATUS_ANSWER 0x01u
#define STATUS_SYSTEM 0x04u
#define STATUS_UNLOCKED 0x10u

#define READ_MODE 0x20u /* commands */
#define WRITE_MODE 0x60u
#define TEST_CONTROLLER 0xaau
#define TEST_KEYBOARD 0xabu
#define TEST_MOUSE 0xa9u
#define READ_OUTPUT 0xd0u
#define PULSE 0xf0u /* the low bits that are 0 are pulsed: bit 0 is the reset line */

#define TEST_PASSED 0x55u
#define NO_DEVICE 0x02u /* "clock line stuck high" */

#define A20 0x02u
#define FAST_RESET 0x01u

#define PANICKED 0x01u
#define CRASH_LOADED 0x02u

static void answer(struct ports *ports, uint8_t value)
{
    ports->state.answer = value;
    ports->state.answered = true;
}

static uint64_t keyboard_status(void *owner, uint64_t offset, unsigned size)
{
    const struct ports *ports = owner;

    (void)offset;
    (void)size;
    return STATUS_SYSTEM | STATUS_UNLOCKED | (ports->state.answered ? STATUS_ANSWER : 0);
}

static void keyboard_command(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct ports *ports = owner;

    (void)offset;
    (void)size;
    ports->state.command = (uint8_t)value;
    if ((value & PULSE) == PULSE && !(value & 1))
        machine_reset(ports->machine);
    else if (value == READ_MODE)
        answer(ports, ports->state.mode);
    else if (value == TEST_CONTROLLER)
        answer(ports, TEST_PASSED);
    else if (value == TEST_KEYBOARD || value == TEST_MOUSE)
        answer(ports, NO_DEVICE);
    else if (value == READ_OUTPUT)
        answer(ports, A20 | FAST_RESET);
}

static uint64_t keyboard_read(void *owner, uint64_t offset, unsigned size)
{
    struct ports *ports = owner;

    (void)offset;
    (void)size;
    ports->state.answered = false;
    return ports->state.answer;
}

static void keyboard_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct ports *ports = owner;

    (void)offset;
    (void)size;
    if (ports->state.command == WRITE_MODE)
        ports->state.mode = (uint8_t)value;
    ports->state.command = 0;
}

static uint64_t control_a_read(void *owner, uint64_t offset, unsigned size)
{
    const struct ports *ports = owner;

    (void)offset;
    (void)size;
    return ports->state.control_a | A20;
}

static void control_a_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct ports *ports = owner;

    (void)offset;
    (void)size;
    if (value & ~(uint64_t)ports->state.control_a & FAST_RESET)
        machine_reset(ports->machine);
    ports->state.control_a = (uint8_t)value & (uint8_t)~FAST_RESET;
}

static uint64_t apm_read(void *owner, uint64_t offset, unsigned size)
{
    const struct ports *ports = owner;

    (void)size;
    return ports->state.apm[offset];
}

static void apm_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct ports *ports = owner;

    if (size == 1)
        ports->state.apm[offset] = (uint8_t)value;
}

static uint64_t panic_read(void *owner, uint64_t offset, unsigned size)
{
    (void)owner;
    (void)offset;
    (void)size;
    return PANICKED | CRASH_LOADED;
}

static void panic_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct ports *ports = owner;

    (void)offset;
    (void)size;
    if (value & PANICKED) {
        machine_say(ports->machine, VDISK_ERROR, "the guest has panicked");
        machine_stop(ports->machine, MACHINE_PANICKED);
    } else if (value & CRASH_LOADED) {
        machine_say(ports->machine, VDISK_WARNING, "the guest has panicked and starts its crash kernel");
    }
}

int ports_open(struct ports *ports, struct machine *machine)
{
    struct bus_range *const all[] = {&ports->keyboard_data, &ports->keyboard_command, &ports->control_a, &ports->apm,
                                     &ports->panic};

    ports->machine = machine;
    ports->keyboard_data = (struct bus_range){KEYBOARD_DATA, 1, ports, keyboard_read, keyboard_write};
    ports->keyboard_command = (struct bus_range){KEYBOARD_COMMAND, 1, ports, keyboard_status, keyboard_command};
    ports->control_a = (struct bus_range){CONTROL_A, 1, ports, control_a_read, control_a_write};
    ports->apm = (struct bus_range){APM, 2, ports, apm_read, apm_write};
    ports->panic = (struct bus_range){PANIC_PORT, 1, ports, panic_read, panic_write};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        int err = bus_add(&machine->pio, all[i]);

        if (err < 0)
            return err;
    }
    return 0;
}

void ports_close(struct ports *ports)
{
    struct bus *pio = &ports->machine->pio;

    bus_remove(pio, &ports->keyboard_data);
    bus_remove(pio, &ports->keyboard_command);
    bus_remove(pio, &ports->control_a);
    bus_remove(pio, &ports->apm);
    bus_remove(pio, &ports->panic);
}
