/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The chassis: an i440FX host bridge, a PIIX3 ISA bridge, the PIIX4's power management, and what sits on the ISA bus,
 * as far as SeaBIOS, OVMF and Linux touch it. Each part is its state and its ports; all of it is under the machine's
 * lock.
 */
#ifndef VMM_CHIPSET_H
#define VMM_CHIPSET_H

#include <stdint.h>

#include "machine.h"

#define PM_BASE 0x600u /* where power management is at first, and where the FADT says it is */
#define PM_SIZE 0x40u
#define PANIC_PORT 0x505u

#define ISA_IRQ_SERIAL 4u
#define ISA_IRQ_RTC 8u
#define ISA_IRQ_ACPI 9u

#define SERIAL_FIFO 16u
#define SERIAL_OUT 4096u

/* A 16550A on COM1. */
struct serial_state {
    uint8_t ier, lcr, mcr, scratch, dll, dlm, fifo; /* fifo: as FCR was written */
    bool thr_empty_said;                            /* false: the interrupt for an empty transmitter is due */
    uint8_t in[SERIAL_FIFO];
    uint8_t in_first, in_count;
};

struct serial {
    struct machine *machine;
    struct bus_range ports;
    struct irq_line line;
    struct serial_state state;
    struct loop_source input, output;
    bool listening, flushing; /* the sources are on the loop */
    uint8_t out[SERIAL_OUT];  /* what the descriptor does not take at once */
    unsigned out_first, out_count;
};

int serial_open(struct serial *serial, struct machine *machine);
void serial_close(struct serial *serial);
void serial_reset(struct serial *serial);

/* The clock and the battery-backed memory (MC146818). */
struct cmos_state {
    uint8_t index;
    uint8_t byte[128];
    int64_t offset; /* seconds from the host's clock */
    int64_t second; /* the last one for which alarm and update were looked at */
};

struct cmos {
    struct machine *machine;
    struct bus_range ports;
    struct irq_line line;
    struct loop_source timer;
    struct cmos_state state;
};

int cmos_open(struct cmos *cmos, struct machine *machine);
void cmos_close(struct cmos *cmos);
void cmos_reset(struct cmos *cmos);

/* ACPI's fixed hardware, function 3 of the PIIX4. */
struct pm_state {
    uint16_t status, enable, control;
    uint64_t began; /* of the timer: CLOCK_MONOTONIC, nanoseconds */
    bool pressed;   /* the power button, once */
};

struct pm {
    struct pci_device pci;
    struct machine *machine;
    struct bus_range ports;
    bool mapped;
    struct irq_line line;
    struct pm_state state;
};

int pm_open(struct pm *pm, struct machine *machine);
void pm_close(struct pm *pm);
void pm_power_button(struct pm *pm);

/* The rest: keyboard controller (for its reset line), port 92, pvpanic. */
struct ports_state {
    uint8_t command; /* of the keyboard controller, that waits for its byte */
    uint8_t mode;    /* its command byte */
    uint8_t answer;
    bool answered;
    uint8_t control_a; /* port 92 */
    uint8_t apm[2];    /* B2, B3 */
};

#define PORTS 5u

struct ports {
    struct machine *machine;
    struct port {
        struct bus_range range;
        struct ports *ports;
    } port[PORTS];
    struct ports_state state;
};

int ports_open(struct ports *ports, struct machine *machine);
void ports_close(struct ports *ports);

struct chipset {
    struct pci_device host, isa;
    struct pm pm;
    struct cmos cmos;
    struct serial serial;
    struct ports ports;
    struct machine_part part;
};

int chipset_open(struct machine *machine);
void chipset_reset(struct machine *machine); /* what pci_reset does not reach */

#endif
