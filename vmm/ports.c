/* SPDX-License-Identifier: BSD-2-Clause */
/* Small things on the ISA bus: a keyboard controller without a keyboard, port 92, the APM ports, and pvpanic. */
#include "chipset.h"

#define KEYBOARD_DATA 0x60u
#define KEYBOARD_COMMAND 0x64u
#define CONTROL_A 0x92u
#define APM 0xb2u /* and B3 */

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

static void keyboard_command(struct ports *ports, uint8_t value)
{
    ports->state.command = value;
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

static void keyboard_data(struct ports *ports, uint8_t value)
{
    if (ports->state.command == WRITE_MODE)
        ports->state.mode = value;
    ports->state.command = 0;
}

static void control_a(struct ports *ports, uint8_t value)
{
    if (value & ~ports->state.control_a & FAST_RESET)
        machine_reset(ports->machine);
    ports->state.control_a = value & (uint8_t)~FAST_RESET;
}

static void panicked(struct ports *ports, uint8_t value)
{
    if (value & PANICKED) {
        if (ports->machine->end == MACHINE_RUNS)
            machine_say(ports->machine, VDISK_ERROR, "the guest has panicked");
        machine_stop(ports->machine, MACHINE_PANICKED);
    } else if (value & CRASH_LOADED && machine_guest_heard(ports->machine)) {
        machine_say(ports->machine, VDISK_WARNING, "the guest has panicked and starts its crash kernel");
    }
}

/* Each register is of one byte. */
static uint64_t port_read(void *owner, uint64_t offset, unsigned size)
{
    const struct port *port = owner;
    struct ports_state *state = &port->ports->state;

    switch (port->range.start + offset) {
    case KEYBOARD_COMMAND:
        return STATUS_SYSTEM | STATUS_UNLOCKED | (state->answered ? STATUS_ANSWER : 0);
    case KEYBOARD_DATA:
        state->answered = false;
        return state->answer;
    case CONTROL_A:
        return state->control_a | A20;
    case PANIC_PORT:
        return PANICKED | CRASH_LOADED;
    default:
        return size == 1 ? state->apm[offset] : state->apm[0] | (uint64_t)state->apm[1] << 8;
    }
}

static void port_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    const struct port *port = owner;
    uint8_t byte = (uint8_t)value;

    switch (port->range.start + offset) {
    case KEYBOARD_COMMAND:
        keyboard_command(port->ports, byte);
        break;
    case KEYBOARD_DATA:
        keyboard_data(port->ports, byte);
        break;
    case CONTROL_A:
        control_a(port->ports, byte);
        break;
    case PANIC_PORT:
        panicked(port->ports, byte);
        break;
    default:
        if (size == 1)
            port->ports->state.apm[offset] = byte;
    }
}

int ports_open(struct ports *ports, struct machine *machine)
{
    static const uint16_t where[PORTS][2] = {
        {KEYBOARD_DATA, 1}, {KEYBOARD_COMMAND, 1}, {CONTROL_A, 1}, {APM, 2}, {PANIC_PORT, 1}};
    int err = 0;

    ports->machine = machine;
    for (unsigned i = 0; i < PORTS && err == 0; i++) {
        struct port *port = &ports->port[i];

        *port = (struct port){.ports = ports, .range = {where[i][0], where[i][1], port, port_read, port_write}};
        err = bus_add(&machine->pio, &port->range);
    }
    return err;
}

void ports_close(struct ports *ports)
{
    for (unsigned i = 0; i < PORTS; i++)
        bus_remove(&ports->machine->pio, &ports->port[i].range);
}
