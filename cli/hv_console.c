/* SPDX-License-Identifier: BSD-2-Clause */
/* A person at the machine's terminal: Ctrl-] and a letter is for the monitor, everything else for the guest. */
#include <termios.h>
#include <unistd.h>

#include "cli/hv.h"

#define ESCAPE 0x1d /* Ctrl-] */

static struct termios before;

static void help(struct machine *machine)
{
    machine_say(
        machine, VDISK_WARNING,
        "Ctrl-] and then: p presses the power button, q switches off at once, r resets, n presses the NMI button, "
        "Ctrl-] sends Ctrl-]");
}

static bool command(struct machine *machine, uint8_t byte)
{
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

bool hv_console_typed(struct machine *machine, uint8_t byte)
{
    static bool escaped;

    if (escaped) {
        escaped = false;
        return command(machine, byte);
    }
    escaped = byte == ESCAPE;
    return escaped;
}

/* The guest's terminal does what a terminal does with what is typed: this one passes it on. */
void hv_console_begin(struct cli *cli)
{
    struct termios raw;

    tcgetattr(STDIN_FILENO, &before);
    raw = before;
    cfmakeraw(&raw);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    cli->raw_terminal = true;
}

void hv_console_end(struct cli *cli)
{
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    cli->raw_terminal = false;
}
