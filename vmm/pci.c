/* SPDX-License-Identifier: BSD-2-Clause */
/* Configuration space, the placing of BARs, and MSI-X. [PCI] is the PCI Local Bus Specification 3.0. */
#include <assert.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "machine.h"
#include "pci.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define RESET_CONTROL 1u /* CF9, inside the address register's ports */
#define ENABLED 0x80000000u

uint32_t pci_get(const struct pci_device *device, unsigned offset, unsigned size)
{
    uint32_t value = 0;

    assert(offset + size <= sizeof(device->state.config) && size <= 4);
    memcpy(&value, device->state.config + offset, size);
    return value;
}

void pci_set(struct pci_device *device, unsigned offset, unsigned size, uint32_t value)
{
    assert(offset + size <= sizeof(device->state.config) && size <= 4);
    memcpy(device->state.config + offset, &value, size);
    memcpy(device->initial + offset, &value, size);
}

void pci_allow(struct pci_device *device, unsigned offset, unsigned size, uint32_t mask)
{
    assert(offset + size <= sizeof(device->writable) && size <= 4);
    memcpy(device->writable + offset, &mask, size);
}

bool pci_master(const struct pci_device *device)
{
    return (pci_get(device, PCI_COMMAND, 2) & PCI_COMMAND_MASTER) != 0;
}

/* Of its INTA#. SeaBIOS programs the PIIX's links to 10, 10, 11, 11 and counts slots from 1; the DSDT says the same. */
static unsigned slot_gsi(unsigned slot)
{
    return ((slot - 1) & 3) < 2 ? 10 : 11;
}

/* ---- Base address registers ---- */

static uint64_t bar_address(const struct pci_device *device, unsigned index)
{
    const struct pci_bar *bar = &device->bar[index];
    uint16_t command = (uint16_t)pci_get(device, PCI_COMMAND, 2);
    uint32_t value = pci_get(device, PCI_BASE_ADDRESS_0 + 4 * index, 4);
    uint64_t address = value & ~(uint32_t)(bar->range.size - 1);

    if (!(command & (bar->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return 0;
    return bar->io && address > UINT16_MAX ? 0 : address;
}

/* A BAR that would cover another device is not answered, until it or the other one moves. */
static void bars_place(struct pci_device *device)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &device->bar[i];
        struct bus *bus = bar->io ? device->pci->pio : device->pci->mmio;
        uint64_t address = bar->range.size > 0 ? bar_address(device, i) : 0;

        if (bar->mapped && bar->range.start == address)
            continue;
        if (bar->mapped)
            bus_remove(bus, &bar->range);
        bar->mapped = false;
        if (address == 0)
            continue;
        bar->range.start = address;
        bar->mapped = bus_add(bus, &bar->range) == 0;
    }
}

void pci_bar_add(struct pci_device *device, unsigned index, bool io, const struct bus_range *range)
{
    struct pci_bar *bar = &device->bar[index];
    unsigned at = PCI_BASE_ADDRESS_0 + 4 * index;

    assert(index < PCI_BARS && range->size >= 16 && (range->size & (range->size - 1)) == 0);
    *bar = (struct pci_bar){.range = *range, .io = io};
    pci_set(device, at, 4, io ? PCI_BASE_ADDRESS_SPACE_IO : 0);
    pci_allow(device, at, 4, ~(uint32_t)(range->size - 1)); /* SeaBIOS takes the size from all 32 bits, of ports too */
}

/* An address for each BAR, as a firmware would give it. */
static int bars_allocate(struct pci *pci, struct pci_device *device)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &device->bar[i];
        uint32_t size = (uint32_t)bar->range.size, *next = bar->io ? &pci->io_next : &pci->memory_next;
        uint32_t start = size > 0 ? (*next + size - 1) & ~(size - 1) : 0;
        unsigned at = PCI_BASE_ADDRESS_0 + 4 * i;

        if (size == 0 || pci_get(device, at, 4) & ~15u)
            continue;
        if (start + size > (bar->io ? 0x10000 : PCI_MEMORY_END))
            return -ENOSPC;
        *next = start + size;
        pci_set(device, at, 4, pci_get(device, at, 4) | start);
    }
    return 0;
}

/* ---- MSI-X ([PCI] 6.8.2) ----
 *
 * A vector that is masked is kept pending and its route stays as it is, so that an I/O thread that fires while the
 * guest masks loses nothing: the message goes where it went a moment ago, as one on its way would.
 */

#define ENTRY ((unsigned)sizeof(struct pci_msix_entry))

static uint64_t bit(unsigned vector)
{
    return UINT64_C(1) << vector % 64;
}

static void blocked_set(struct pci_msix *msix, unsigned vector, bool blocked)
{
    if (blocked)
        atomic_fetch_or(&msix->blocked[vector / 64], bit(vector));
    else
        atomic_fetch_and(&msix->blocked[vector / 64], ~bit(vector));
}

static bool pending_take(struct pci_device *device, unsigned vector)
{
    return atomic_fetch_and(&device->state.msix_pending[vector / 64], ~bit(vector)) & bit(vector);
}

static void vector_update(struct pci_device *device, unsigned vector, bool function_masked)
{
    struct pci_msix *msix = &device->msix;
    const struct pci_msix_entry *entry = &device->state.msix[vector];
    bool masked = function_masked || (entry->control & PCI_MSIX_ENTRY_CTRL_MASKBIT);

    if (masked) {
        blocked_set(msix, vector, true);
        return;
    }
    irq_message_route(&msix->message[vector], (uint64_t)entry->address_high << 32 | entry->address_low, entry->data,
                      !msix->enabled);
    blocked_set(msix, vector, false);
    if (pending_take(device, vector))
        irq_message_fire(&msix->message[vector]);
}

static void msix_config_written(struct pci_device *device)
{
    struct pci_msix *msix = &device->msix;
    uint16_t flags;

    if (msix->count == 0)
        return;
    flags = (uint16_t)pci_get(device, msix->capability + PCI_MSIX_FLAGS, 2);
    if (flags == msix->flags)
        return;
    msix->flags = flags;
    msix->enabled = (flags & PCI_MSIX_FLAGS_ENABLE) != 0;
    for (unsigned i = 0; i < msix->count; i++)
        vector_update(device, i, !msix->enabled || (flags & PCI_MSIX_FLAGS_MASKALL));
}

void pci_msix_add(struct pci_device *device, unsigned count, unsigned bar, uint32_t table, uint32_t pending)
{
    uint8_t at = pci_capability_add(device, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);

    assert(count > 0 && count <= PCI_MSIX_MAX);
    pci_set(device, at + PCI_MSIX_FLAGS, 2, count - 1);
    pci_allow(device, at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    pci_set(device, at + PCI_MSIX_TABLE, 4, table | bar);
    pci_set(device, at + PCI_MSIX_PBA, 4, pending | bar);
    device->msix.count = count;
    device->msix.capability = at;
    device->msix.table = table;
    device->msix.pending = pending;
}

static void msix_reset(struct pci_device *device)
{
    struct pci_msix *msix = &device->msix;

    msix->enabled = false;
    msix->flags = 0;
    for (unsigned i = 0; i < msix->count; i++) {
        device->state.msix[i] = (struct pci_msix_entry){.control = PCI_MSIX_ENTRY_CTRL_MASKBIT};
        blocked_set(msix, i, true);
        pending_take(device, i);
        irq_message_route(&msix->message[i], 0, 0, true);
    }
}

static int msix_open(struct pci_device *device)
{
    struct pci_msix *msix = &device->msix;

    for (unsigned i = 0; i < msix->count; i++) {
        int err = irq_message_open(device->pci->irq, &msix->message[i]);

        if (err == 0)
            continue;
        while (i-- > 0)
            irq_message_close(&msix->message[i]);
        return err;
    }
    msix_reset(device);
    return 0;
}

static void msix_close(struct pci_device *device)
{
    for (unsigned i = 0; i < device->msix.count; i++)
        irq_message_close(&device->msix.message[i]);
}

/* The table and the bits are read and written by 4 or 8 bytes, aligned; the rest is nothing. */
static bool msix_holds(uint64_t start, uint64_t length, uint64_t offset, unsigned size)
{
    return offset >= start && offset < start + length && (size == 4 || size == 8) && offset % size == 0;
}

uint64_t pci_msix_read(struct pci_device *device, uint64_t offset, unsigned size)
{
    const struct pci_msix *msix = &device->msix;
    uint64_t value = 0;

    if (msix_holds(msix->table, (uint64_t)msix->count * ENTRY, offset, size))
        memcpy(&value, (const uint8_t *)device->state.msix + (offset - msix->table), size);
    else if (msix_holds(msix->pending, sizeof(device->state.msix_pending), offset, size))
        memcpy(&value, (const uint8_t *)device->state.msix_pending + (offset - msix->pending), size);
    return value;
}

void pci_msix_write(struct pci_device *device, uint64_t offset, unsigned size, uint64_t value)
{
    const struct pci_msix *msix = &device->msix;

    if (!msix_holds(msix->table, (uint64_t)msix->count * ENTRY, offset, size))
        return;
    memcpy((uint8_t *)device->state.msix + (offset - msix->table), &value, size);
    vector_update(device, (unsigned)(offset - msix->table) / ENTRY,
                  !msix->enabled || (msix->flags & PCI_MSIX_FLAGS_MASKALL));
}

void pci_msix_fire(struct pci_device *device, unsigned vector)
{
    struct pci_msix *msix = &device->msix;

    if (vector >= msix->count || !msix->enabled)
        return;
    if (atomic_load(&msix->blocked[vector / 64]) & bit(vector)) {
        atomic_fetch_or(&device->state.msix_pending[vector / 64], bit(vector));
        /* Unmasked meanwhile: whoever takes the bit fires. */
        if ((atomic_load(&msix->blocked[vector / 64]) & bit(vector)) || !pending_take(device, vector))
            return;
    }
    irq_message_fire(&msix->message[vector]);
}

/* ---- Devices ---- */

void pci_device_init(struct pci_device *device, const char *name, const struct pci_id *id)
{
    memset(device, 0, sizeof(*device));
    device->name = name;
    device->capability_end = 0x40;
    pci_set(device, PCI_VENDOR_ID, 2, id->vendor);
    pci_set(device, PCI_DEVICE_ID, 2, id->device);
    pci_set(device, PCI_REVISION_ID, 1, id->revision);
    pci_set(device, PCI_CLASS_PROG, 1, id->class);
    pci_set(device, PCI_CLASS_DEVICE, 2, id->class >> 8);
    pci_set(device, PCI_SUBSYSTEM_VENDOR_ID, 2, id->subsystem_vendor);
    pci_set(device, PCI_SUBSYSTEM_ID, 2, id->subsystem);
    pci_allow(device, PCI_COMMAND, 2,
              PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    pci_allow(device, PCI_CACHE_LINE_SIZE, 2, 0xffff);
    pci_allow(device, PCI_INTERRUPT_LINE, 1, 0xff);
}

uint8_t pci_capability_add(struct pci_device *device, uint8_t id, uint8_t length)
{
    uint8_t at = device->capability_end;

    assert(at + length <= 0x100);
    device->capability_end = (uint8_t)((at + length + 3) & ~3);
    pci_set(device, at + PCI_CAP_LIST_ID, 1, id);
    pci_set(device, at + PCI_CAP_LIST_NEXT, 1, pci_get(device, PCI_CAPABILITY_LIST, 1));
    pci_set(device, PCI_CAPABILITY_LIST, 1, at);
    pci_set(device, PCI_STATUS, 2, pci_get(device, PCI_STATUS, 2) | PCI_STATUS_CAP_LIST);
    return at;
}

static int free_slot(const struct pci *pci)
{
    for (unsigned slot = 2; slot < PCI_SLOTS; slot++)
        if (!pci->device[PCI_DEVFN(slot, 0)])
            return (int)slot;
    return -ENOSPC;
}

int pci_plug(struct pci *pci, struct pci_device *device, uint8_t devfn)
{
    int slot, err;

    if (devfn == PCI_ANYWHERE) {
        slot = free_slot(pci);
        if (slot < 0)
            return slot;
        devfn = PCI_DEVFN(slot, 0);
    }
    assert(!pci->device[devfn]);
    device->pci = pci;
    device->devfn = devfn;
    device->intx = (struct irq_line){.irq = pci->irq, .gsi = slot_gsi(devfn >> 3)};
    if (pci_get(device, PCI_INTERRUPT_PIN, 1))
        pci_set(device, PCI_INTERRUPT_LINE, 1, device->intx.gsi);
    err = bars_allocate(pci, device);
    if (err == 0)
        err = msix_open(device);
    if (err < 0)
        return err;
    pci->device[devfn] = device;
    bars_place(device);
    return 0;
}

void pci_unplug(struct pci_device *device)
{
    pci_set(device, PCI_COMMAND, 2, 0);
    bars_place(device);
    irq_line_set(&device->intx, false);
    msix_close(device);
    device->pci->device[device->devfn] = NULL;
}

void pci_intx_set(struct pci_device *device, bool level)
{
    if (device->intx.irq) /* else it is not plugged in */
        irq_line_set(&device->intx, level && !(pci_get(device, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE));
}

/* ---- What the guest sees ---- */

static struct pci_device *addressed(const struct pci *pci)
{
    bool bus_0 = (pci->address & ENABLED) && (pci->address >> 16 & 0xff) == 0;

    return bus_0 ? pci->device[pci->address >> 8 & 0xff] : NULL;
}

static void config_write(struct pci_device *device, unsigned offset, unsigned size, uint32_t value)
{
    for (unsigned i = 0; i < size; i++) {
        uint8_t mask = device->writable[offset + i];
        uint8_t *byte = &device->state.config[offset + i];

        *byte = (uint8_t)((*byte & ~mask) | ((value >> 8 * i) & mask));
    }
    bars_place(device);
    msix_config_written(device);
    if (device->config_written)
        device->config_written(device);
}

static uint64_t data_read(void *owner, uint64_t port, unsigned size)
{
    struct pci *pci = owner;
    struct pci_device *device = addressed(pci);

    return device ? pci_get(device, (pci->address & 0xfc) + (unsigned)port, size) : UINT64_MAX;
}

static void data_write(void *owner, uint64_t port, unsigned size, uint64_t value)
{
    struct pci *pci = owner;
    struct pci_device *device = addressed(pci);

    if (device)
        config_write(device, (pci->address & 0xfc) + (unsigned)port, size, (uint32_t)value);
}

static uint64_t address_read(void *owner, uint64_t port, unsigned size)
{
    const struct pci *pci = owner;

    return port == 0 && size == 4 ? pci->address : UINT64_MAX;
}

/* CF8 is a register of 32 bits; a byte at CF9 is the PIIX3's reset control, whose bit 2 resets. */
static void address_write(void *owner, uint64_t port, unsigned size, uint64_t value)
{
    struct pci *pci = owner;

    if (port == 0 && size == 4)
        pci->address = (uint32_t)value;
    else if (port == RESET_CONTROL && size == 1 && (value & 4) && pci->machine)
        machine_reset(pci->machine);
}

int pci_open(struct pci *pci, struct machine *machine, struct bus *pio, struct bus *mmio, struct irq *irq,
             uint32_t memory_start)
{
    int err;

    memset(pci, 0, sizeof(*pci));
    pci->machine = machine;
    pci->pio = pio;
    pci->mmio = mmio;
    pci->irq = irq;
    pci->io_next = PCI_IO_START;
    pci->memory_start = pci->memory_next = memory_start;
    pci->address_ports = (struct bus_range){CONFIG_ADDRESS, 4, pci, address_read, address_write};
    pci->data_ports = (struct bus_range){CONFIG_DATA, 4, pci, data_read, data_write};
    err = bus_add(pio, &pci->address_ports);
    return err < 0 ? err : bus_add(pio, &pci->data_ports);
}

void pci_close(struct pci *pci)
{
    bus_remove(pci->pio, &pci->address_ports);
    bus_remove(pci->pio, &pci->data_ports);
}

void pci_reset(struct pci *pci)
{
    pci->address = 0;
    for (unsigned i = 0; i < 256; i++) {
        struct pci_device *device = pci->device[i];

        if (!device)
            continue;
        if (device->reset)
            device->reset(device);
        memcpy(device->state.config, device->initial, sizeof(device->initial));
        irq_line_set(&device->intx, false);
        msix_reset(device);
        bars_place(device);
        if (device->config_written)
            device->config_written(device);
    }
}
