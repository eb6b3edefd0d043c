/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PCI bus: configuration space by CF8/CFC, base address registers, capabilities, INTx and MSI-X.
 *
 * A device embeds struct pci_device, describes itself (pci_device_init, pci_bar_add, pci_capability_add, pci_msix_add)
 * and plugs in (pci_plug), which gives it addresses, so that a guest without firmware finds it placed. Under the
 * machine's lock but for pci_msix_fire and pci_intx_set.
 */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bus.h"
#include "irq.h"

#define PCI_SLOTS 32u
#define PCI_BARS 6u
#define PCI_MSIX_MAX 72u /* vectors of one device */

#define PCI_IO_START 0xc000u
#define PCI_MEMORY_END 0xfec00000u /* the IOAPIC, the local APIC and the firmware follow */

#define PCI_DEVFN(slot, function) ((uint8_t)((slot) << 3 | (function)))

struct machine;
struct pci;
struct pci_device;

struct pci_bar {
    struct bus_range range;
    bool io;     /* ports; otherwise 32-bit memory */
    bool mapped; /* on its bus now */
};

struct pci_msix_entry {
    uint32_t address_low, address_high, data, control;
};

#define PCI_MSIX_WORDS ((PCI_MSIX_MAX + 63) / 64)

struct pci_msix {
    unsigned count; /* 0: the device has none */
    uint8_t capability;
    uint16_t flags;          /* of the capability, as last seen */
    uint32_t table, pending; /* offsets in its BAR */
    _Atomic bool enabled;
    _Atomic uint64_t blocked[PCI_MSIX_WORDS]; /* vectors that are masked: what fires is kept pending */
    struct irq_message message[PCI_MSIX_MAX];
};

/* What a saved machine holds of a device's PCI side; BARs and MSI-X routes follow from it. */
struct pci_state {
    uint8_t config[256];
    struct pci_msix_entry msix[PCI_MSIX_MAX];
    _Atomic uint64_t msix_pending[PCI_MSIX_WORDS];
};

struct pci_device {
    struct pci *pci;
    const char *name; /* "virtio-blk 0", for messages */
    uint8_t devfn;
    struct pci_state state;
    uint8_t initial[256];  /* config as it is after a reset */
    uint8_t writable[256]; /* bits that the guest may change */
    uint8_t capability_end;
    struct pci_bar bar[PCI_BARS];
    struct pci_msix msix;
    struct irq_line intx;
    void (*config_written)(struct pci_device *device); /* after it; may be NULL */
    void (*reset)(struct pci_device *device);          /* may be NULL */
};

struct pci {
    struct machine *machine; /* for the reset control register */
    struct bus *pio, *mmio;
    struct irq *irq;
    uint32_t address; /* CF8 */
    struct bus_range address_ports, data_ports;
    struct pci_device *device[256]; /* by devfn, bus 0 */
    uint32_t memory_start;          /* of the window for memory BARs */
    uint32_t io_next, memory_next;  /* where the next BAR is placed */
};

struct pci_id {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint32_t class; /* and subclass and interface: 24 bits */
    uint8_t revision;
};

/* memory_start: of the window for memory BARs, which ends at PCI_MEMORY_END. machine is NULL in tests. */
int pci_open(struct pci *pci, struct machine *machine, struct bus *pio, struct bus *mmio, struct irq *irq,
             uint32_t memory_start);
void pci_close(struct pci *pci);
void pci_reset(struct pci *pci); /* every device, as by the RST# line */

/* The device is zeroed, or whatever is around struct pci_device: this clears it. */
void pci_device_init(struct pci_device *device, const char *name, const struct pci_id *id);

/* The range's size (a power of two, at least 16; 4096 for memory), owner and callbacks are filled in. */
void pci_bar_add(struct pci_device *device, unsigned index, bool io, const struct bus_range *range);

/* Returns the offset of a capability of so many bytes, header included, whose id and link are filled in. The rest is
 * written by pci_set*, bits that the guest may change are set in writable. */
uint8_t pci_capability_add(struct pci_device *device, uint8_t id, uint8_t length);

/* Vectors whose table and pending bits are at these offsets of the BAR; accesses there that the BAR's callbacks see are
 * passed to pci_msix_read and pci_msix_write. */
void pci_msix_add(struct pci_device *device, unsigned count, unsigned bar, uint32_t table, uint32_t pending);
uint64_t pci_msix_read(struct pci_device *device, uint64_t offset, unsigned size);
void pci_msix_write(struct pci_device *device, uint64_t offset, unsigned size, uint64_t value);

#define PCI_ANYWHERE 0xffu /* the next free slot */

/* -ENOSPC: the bus is full. The device is unplugged before it
 * is freed. */
int pci_plug(struct pci *pci, struct pci_device *device, uint8_t devfn);
void pci_unplug(struct pci_device *device);

/* Any thread. A vector beyond the table, or with MSI-X off, is nothing; one that is masked is kept pending. */
void pci_msix_fire(struct pci_device *device, unsigned vector);
void pci_intx_set(struct pci_device *device, bool level);

uint32_t pci_get(const struct pci_device *device, unsigned offset, unsigned size);
void pci_set(struct pci_device *device, unsigned offset, unsigned size,
             uint32_t value); /* as it is after a reset, too */
void pci_allow(struct pci_device *device, unsigned offset, unsigned size, uint32_t mask);

/* May the device master the bus (DMA)? A device that is not on virtio asks before it moves data. */
bool pci_master(const struct pci_device *device);

#endif
