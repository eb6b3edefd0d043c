/* SPDX-License-Identifier: BSD-2-Clause */
/* A person at the terminal: Ctrl-] and a letter is for the monitor, everything else for the guest. */
#include "chipset.h"

#define ESCAPE 0x1d /* Ctrl-] */

static void help(struct machine *machine)
{
    machine_say(
        machine, VDISK_WARNING,
        "Ctrl-] and then: p presses the power button, q switches off at once, r resets, n presses the NMI button, "
        "Ctrl-] sends Ctrl-]");
}

static bool command(struct serial *serial, uint8_t byte)
{
    struct machine *machine = serial->machine;

    switch (byte) {
    case ESCAPE:
        return false;
    case 'p':
        machine_power_button(machine);
        break;
    case 'q':
        machine_stop(machine, MACHINE_KILLED);
        break;
    case 'r':
        machine_reset(machine);
        break;
    case 'n':
        machine_nmi(machine);
        break;
    default:
        help(machine);
    }
    return true;
}

bool console_take(struct serial *serial, uint8_t byte)
{
    if (serial->escaped) {
        serial->escaped = false;
        return command(serial, byte);
    }
    serial->escaped = byte == ESCAPE;
    return serial->escaped;
}
