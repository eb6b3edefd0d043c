/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * COM1, a 16550A. What the guest sends goes to the descriptor at once; what that does not take is kept, and once the
 * buffer is full the transmitter is not empty any more, so that the guest waits and no byte is lost. Input is read when
 * the FIFO has room.
 */
#include <errno.h>
#include <linux/serial_reg.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "chipset.h"

#define COM1 0x3f8u
#define MODEM_PRESENT (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)

static bool transmitter_empty(const struct serial *serial)
{
    return serial->out_count < SERIAL_OUT;
}

static uint8_t interrupt_pending(const struct serial *serial)
{
    const struct serial_state *state = &serial->state;

    if ((state->ier & UART_IER_RDI) && state->in_count > 0)
        return UART_IIR_RDI;
    if ((state->ier & UART_IER_THRI) && !state->thr_empty_said && transmitter_empty(serial))
        return UART_IIR_THRI;
    return UART_IIR_NO_INT;
}

/* Brings the interrupt line and the sources of the loop up to date. */
static void update(struct serial *serial)
{
    struct loop *loop = &serial->machine->loop;
    bool room = serial->state.in_count<SERIAL_FIFO, full = serial->out_count> 0;

    irq_line_set(&serial->line, interrupt_pending(serial) != UART_IIR_NO_INT);
    if (serial->input.fd >= 0 && room != serial->listening) {
        serial->listening = room && loop_add(loop, &serial->input, EPOLLIN) == 0;
        if (!room)
            loop_remove(loop, &serial->input);
        else if (!serial->listening)
            serial->input.fd = -1; /* a file: there is nothing to wait for */
    }
    if (full != serial->flushing) {
        if (full)
            loop_add(loop, &serial->output, EPOLLOUT);
        else
            loop_remove(loop, &serial->output);
        serial->flushing = full;
    }
}

static void output_drop(struct serial *serial)
{
    machine_say(serial->machine, VDISK_WARNING, "serial port: output is lost: %s", strerror(errno));
    if (serial->flushing)
        loop_remove(&serial->machine->loop, &serial->output);
    serial->flushing = false;
    serial->output.fd = -1;
    serial->out_count = 0;
}

/* Writes what the descriptor takes without waiting, whether it is blocking or not. */
static void flush(struct serial *serial)
{
    while (serial->out_count > 0) {
        struct pollfd ready = {.fd = serial->output.fd, .events = POLLOUT};
        unsigned length = SERIAL_OUT - serial->out_first;
        ssize_t wrote;

        if (length > serial->out_count)
            length = serial->out_count;
        if (length > 256)
            length = 256; /* a terminal that is ready takes so much at once */
        if (poll(&ready, 1, 0) <= 0)
            return;
        wrote = write(serial->output.fd, serial->out + serial->out_first, length);
        if (wrote < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (wrote < 0) {
            output_drop(serial);
            return;
        }
        serial->out_first = (serial->out_first + (unsigned)wrote) % SERIAL_OUT;
        serial->out_count -= (unsigned)wrote;
    }
}

static void receive(struct serial *serial, uint8_t byte) /* there is room */
{
    struct serial_state *state = &serial->state;

    state->in[(state->in_first + state->in_count) % SERIAL_FIFO] = byte;
    state->in_count++;
}

static void transmit(struct serial *serial, uint8_t byte)
{
    if (serial->state.mcr & UART_MCR_LOOP) {
        if (serial->state.in_count < SERIAL_FIFO)
            receive(serial, byte);
        return;
    }
    serial->state.thr_empty_said = false;
    if (serial->output.fd < 0 || !transmitter_empty(serial))
        return;
    serial->out[(serial->out_first + serial->out_count) % SERIAL_OUT] = byte;
    serial->out_count++;
    flush(serial);
}

static uint8_t receive_take(struct serial_state *state)
{
    uint8_t byte = state->in[state->in_first];

    if (state->in_count == 0)
        return 0;
    state->in_first = (state->in_first + 1) % SERIAL_FIFO;
    state->in_count--;
    return byte;
}

static uint8_t interrupt_read(struct serial *serial)
{
    uint8_t pending = interrupt_pending(serial);

    if (pending == UART_IIR_THRI)
        serial->state.thr_empty_said = true;
    return pending | (serial->state.fifo & UART_FCR_ENABLE_FIFO ? 0xc0 : 0);
}

/* In loopback the modem's outputs come back as its inputs. */
static uint8_t modem_status(uint8_t mcr)
{
    if (!(mcr & UART_MCR_LOOP))
        return MODEM_PRESENT;
    return (uint8_t)((mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) | (mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
                     (mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) | (mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0));
}

static uint8_t register_read(struct serial *serial, uint64_t offset)
{
    struct serial_state *state = &serial->state;
    bool divisor = state->lcr & UART_LCR_DLAB;

    switch (offset) {
    case UART_RX:
        return divisor ? state->dll : receive_take(state);
    case UART_IER:
        return divisor ? state->dlm : state->ier;
    case UART_IIR:
        return interrupt_read(serial);
    case UART_LCR:
        return state->lcr;
    case UART_MCR:
        return state->mcr;
    case UART_LSR:
        return (uint8_t)((state->in_count > 0 ? UART_LSR_DR : 0) |
                         (transmitter_empty(serial) ? UART_LSR_THRE | UART_LSR_TEMT : 0));
    case UART_MSR:
        return modem_status(state->mcr);
    default:
        return state->scratch;
    }
}

static void register_write(struct serial *serial, uint64_t offset, uint8_t value)
{
    struct serial_state *state = &serial->state;
    bool divisor = state->lcr & UART_LCR_DLAB;

    switch (offset) {
    case UART_TX:
        if (divisor)
            state->dll = value;
        else
            transmit(serial, value);
        break;
    case UART_IER:
        if (divisor) {
            state->dlm = value;
            break;
        }
        if (value & ~state->ier & UART_IER_THRI)
            state->thr_empty_said = false;
        state->ier = value & 0xf;
        break;
    case UART_FCR:
        if (value & UART_FCR_CLEAR_RCVR)
            state->in_count = 0;
        state->fifo = value;
        break;
    case UART_LCR:
        state->lcr = value;
        break;
    case UART_MCR:
        state->mcr = value & 0x1f;
        break;
    case UART_SCR:
        state->scratch = value;
        break;
    }
}

static uint64_t port_read(void *owner, uint64_t offset, unsigned size)
{
    struct serial *serial = owner;
    uint8_t value = register_read(serial, offset);

    (void)size;
    update(serial);
    return value;
}

static void port_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct serial *serial = owner;

    (void)size;
    register_write(serial, offset, (uint8_t)value);
    update(serial);
}

static void input_ready(struct loop_source *source)
{
    struct serial *serial = source->owner;
    bool (*typed)(struct machine * machine, uint8_t byte) = serial->machine->options->typed;
    uint8_t bytes[SERIAL_FIFO];
    ssize_t got = read(source->fd, bytes, SERIAL_FIFO - serial->state.in_count);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) { /* the end of what was piped in, or the terminal has gone: the machine goes on */
        loop_remove(&serial->machine->loop, source);
        source->fd = -1;
        return;
    }
    for (ssize_t i = 0; i < got; i++)
        if (!typed || !typed(serial->machine, bytes[i]))
            receive(serial, bytes[i]);
    update(serial);
}

static void output_ready(struct loop_source *source)
{
    struct serial *serial = source->owner;

    flush(serial);
    update(serial);
}

void serial_reset(struct serial *serial)
{
    memset(&serial->state, 0, sizeof(serial->state));
    update(serial);
}

int serial_open(struct serial *serial, struct machine *machine)
{
    serial->machine = machine;
    serial->line = (struct irq_line){.irq = &machine->irq, .gsi = ISA_IRQ_SERIAL};
    serial->ports = (struct bus_range){COM1, 8, serial, port_read, port_write};
    serial->input = (struct loop_source){machine->options->serial_in, input_ready, serial};
    serial->output = (struct loop_source){machine->options->serial_out, output_ready, serial};
    update(serial);
    return bus_add(&machine->pio, &serial->ports);
}

void serial_close(struct serial *serial)
{
    if (serial->output.fd >= 0)
        flush(serial);
    bus_remove(&serial->machine->pio, &serial->ports);
}
