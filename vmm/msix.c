/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSI-X ([PCI] 6.8.2). A vector that is masked is kept pending and its route stays as it is, so that an I/O thread that
 * fires while the guest masks loses nothing: the message goes where it went a moment ago, as one on its way would.
 */
#include <assert.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "msix.h"

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

void msix_config_written(struct pci_device *device)
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

int msix_open(struct pci_device *device)
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

void msix_close(struct pci_device *device)
{
    for (unsigned i = 0; i < device->msix.count; i++)
        irq_message_close(&device->msix.message[i]);
}

void msix_reset(struct pci_device *device)
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

bool pci_msix_enabled(const struct pci_device *device)
{
    return device->msix.enabled;
}

bool pci_msix_holds(const struct pci_device *device, uint64_t offset)
{
    const struct pci_msix *msix = &device->msix;

    return (offset >= msix->table && offset < msix->table + (uint64_t)msix->count * ENTRY) ||
           (offset >= msix->pending && offset < msix->pending + sizeof(device->state.msix_pending));
}

/* The table and the bits are read and written by 4 or 8 bytes, aligned; the rest is nothing. */
uint64_t pci_msix_read(struct pci_device *device, uint64_t offset, unsigned size)
{
    const struct pci_msix *msix = &device->msix;
    bool table = offset >= msix->table && offset < msix->table + (uint64_t)msix->count * ENTRY;
    const uint8_t *from = table ? (const uint8_t *)device->state.msix : (const uint8_t *)device->state.msix_pending;
    uint64_t value = 0;

    if (!pci_msix_holds(device, offset) || (size != 4 && size != 8) || offset % size != 0)
        return 0;
    memcpy(&value, from + (offset - (table ? msix->table : msix->pending)), size);
    return value;
}

void pci_msix_write(struct pci_device *device, uint64_t offset, unsigned size, uint64_t value)
{
    const struct pci_msix *msix = &device->msix;
    unsigned vector;

    if (offset < msix->table || offset >= msix->table + (uint64_t)msix->count * ENTRY || (size != 4 && size != 8) ||
        offset % size != 0)
        return;
    vector = (unsigned)(offset - msix->table) / ENTRY;
    memcpy((uint8_t *)device->state.msix + (offset - msix->table), &value, size);
    vector_update(device, vector, !msix->enabled || (msix->flags & PCI_MSIX_FLAGS_MASKALL));
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
