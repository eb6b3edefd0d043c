/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power management: the fixed hardware of ACPI ([ACPI] 4.8.3) behind the PIIX4's function 3, whose base register
 * firmware may move. The machine is in ACPI mode from the start: there is no SMI command.
 */
#include "chipset.h"

#define BASE_REGISTER 0x40u
#define BASE_MASK 0xffc0u
#define ENABLE_REGISTER 0x80u /* bit 0: the ports answer */
#define SMM_REGISTER 0x5bu    /* bit 1: firmware has set SMM up, so that it does not try */

#define STATUS 0u
#define ENABLE 2u
#define CONTROL 4u
#define TIMER 8u
#define TIMER_HZ 3579545u

#define POWER_BUTTON (1u << 8)
#define GLOBAL (1u << 5)
#define RTC (1u << 10)
#define SCI_ENABLED 1u
#define SLEEP_ENABLE (1u << 13)

#define SECOND UINT64_C(1000000000)

static uint32_t timer(const struct pm *pm)
{
    return (uint32_t)((unsigned __int128)(loop_now() - pm->state.began) * TIMER_HZ / SECOND);
}

static void update(struct pm *pm)
{
    irq_line_set(&pm->line, (pm->state.status & pm->state.enable & (POWER_BUTTON | GLOBAL | RTC)) != 0);
}

/* All registers as they lie; an access takes its bytes. */
static uint64_t port_read(void *owner, uint64_t offset, unsigned size)
{
    const struct pm *pm = owner;
    uint64_t value = (uint64_t)pm->state.control << 32 | (uint64_t)pm->state.enable << 16 | pm->state.status;

    if (offset >= TIMER && offset < TIMER + 4)
        return timer(pm) >> 8 * (offset - TIMER);
    return offset + size <= 8 ? value >> 8 * offset : 0;
}

/* Any sleep is off (S5 is the one that the DSDT names). */
static void control_write(struct pm *pm, uint16_t value)
{
    pm->state.control = (value & (uint16_t)~SLEEP_ENABLE) | SCI_ENABLED;
    if (value & SLEEP_ENABLE)
        machine_stop(pm->machine, MACHINE_POWERED_OFF);
}

static void port_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct pm *pm = owner;
    uint64_t registers = (uint64_t)pm->state.control << 32 | (uint64_t)pm->state.enable << 16, mask;

    if (offset + size > 6)
        return;
    mask = ((UINT64_C(1) << 8 * size) - 1) << 8 * offset;
    registers = (registers & ~mask) | (value << 8 * offset & mask);
    pm->state.status &= (uint16_t) ~(registers & 0xffff);
    pm->state.enable = (uint16_t)(registers >> 16);
    if (offset + size > CONTROL)
        control_write(pm, (uint16_t)(registers >> 32));
    update(pm);
}

static void place(struct pci_device *pci)
{
    struct pm *pm = (struct pm *)pci;
    uint64_t base = pci_get(&pm->pci, BASE_REGISTER, 4) & BASE_MASK;
    bool wanted = (pci_get(&pm->pci, ENABLE_REGISTER, 1) & 1) && base != 0;

    if (pm->mapped && wanted && pm->ports.start == base)
        return;
    if (pm->mapped)
        bus_remove(&pm->machine->pio, &pm->ports);
    pm->ports.start = base;
    pm->mapped = wanted && bus_add(&pm->machine->pio, &pm->ports) == 0;
}

static void reset(struct pci_device *pci)
{
    struct pm *pm = (struct pm *)pci;

    pm->state = (struct pm_state){.control = SCI_ENABLED, .began = loop_now()};
    update(pm);
}

void pm_power_button(struct pm *pm)
{
    bool heard = pm->state.enable & POWER_BUTTON;

    if (pm->state.pressed) {
        machine_stop(pm->machine, MACHINE_KILLED);
        return;
    }
    pm->state.pressed = true;
    pm->state.status |= POWER_BUTTON;
    update(pm);
    machine_say(pm->machine, VDISK_WARNING, "power button: %s; once more switches off at once",
                heard ? "the guest is told" : "the guest does not listen");
}

int pm_open(struct pm *pm, struct machine *machine)
{
    static const struct pci_id id = {0x8086, 0x7113, 0x1af4, 0x1100, 0x068000, 3};

    pci_device_init(&pm->pci, "piix4 power management", &id);
    pm->machine = machine;
    pm->line = (struct irq_line){.irq = &machine->irq, .gsi = ISA_IRQ_ACPI};
    pm->ports = (struct bus_range){PM_BASE, PM_SIZE, pm, port_read, port_write};
    pci_set(&pm->pci, BASE_REGISTER, 4, PM_BASE | 1);
    pci_allow(&pm->pci, BASE_REGISTER, 4, BASE_MASK);
    pci_set(&pm->pci, ENABLE_REGISTER, 1, 1);
    pci_allow(&pm->pci, ENABLE_REGISTER, 1, 1);
    pci_set(&pm->pci, SMM_REGISTER, 1, 2);
    pm->pci.config_written = place;
    pm->pci.reset = reset;
    reset(&pm->pci);
    place(&pm->pci);
    return pci_plug(&machine->pci, &pm->pci, PCI_DEVFN(1, 3));
}

void pm_close(struct pm *pm)
{
    if (pm->mapped)
        bus_remove(&pm->machine->pio, &pm->ports);
    pci_unplug(&pm->pci);
}
