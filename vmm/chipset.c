/* SPDX-License-Identifier: BSD-2-Clause */
/* The chassis: see chipset.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chipset.h"

/* SeaBIOS knows by the subsystem that fw_cfg is there. It writes the PAM registers; memory answers there always. */
static int bridges_open(struct chipset *chipset, struct machine *machine)
{
    static const struct pci_id host = {0x8086, 0x1237, 0x1af4, 0x1100, 0x060000, 2};
    static const struct pci_id isa = {0x8086, 0x7000, 0x1af4, 0x1100, 0x060100, 0};
    int err;

    pci_device_init(&chipset->host, "i440fx host bridge", &host);
    pci_allow(&chipset->host, 0x58, 4, UINT32_MAX);
    pci_allow(&chipset->host, 0x5c, 4, UINT32_MAX);
    pci_allow(&chipset->host, 0x72, 1, 0xff);
    err = pci_plug(&machine->pci, &chipset->host, PCI_DEVFN(0, 0));
    if (err < 0)
        return err;
    pci_device_init(&chipset->isa, "piix3 isa bridge", &isa);
    pci_set(&chipset->isa, 0x0e, 1, 0x80); /* header type: more functions follow */
    for (unsigned i = 0; i < 4; i++) {     /* where INTA# to INTD# go; pci.c says the same */
        pci_set(&chipset->isa, 0x60 + i, 1, i < 2 ? 10 : 11);
        pci_allow(&chipset->isa, 0x60 + i, 1, 0xff);
    }
    return pci_plug(&machine->pci, &chipset->isa, PCI_DEVFN(1, 0));
}

static void chipset_close(void *owner)
{
    struct chipset *chipset = owner;

    serial_close(&chipset->serial);
    ports_close(&chipset->ports);
    cmos_close(&chipset->cmos);
    pm_close(&chipset->pm);
    pci_unplug(&chipset->isa);
    pci_unplug(&chipset->host);
    free(chipset);
}

int chipset_open(struct machine *machine)
{
    struct chipset *chipset = calloc(1, sizeof(*chipset));
    int err;

    if (!chipset)
        return machine_error(machine, -ENOMEM, "out of memory");
    machine->chipset = chipset;
    err = bridges_open(chipset, machine);
    if (err == 0)
        err = pm_open(&chipset->pm, machine);
    if (err == 0)
        err = cmos_open(&chipset->cmos, machine);
    if (err == 0)
        err = serial_open(&chipset->serial, machine);
    if (err == 0)
        err = ports_open(&chipset->ports, machine);
    if (err < 0)
        return machine_error(machine, err, "chipset: %s", strerror(-err));
    chipset->part = (struct machine_part){.name = "chipset", .close = chipset_close, .owner = chipset};
    machine_part_add(machine, &chipset->part);
    return 0;
}

void chipset_reset(struct machine *machine)
{
    struct chipset *chipset = machine->chipset;

    cmos_reset(&chipset->cmos);
    serial_reset(&chipset->serial);
    memset(&chipset->ports.state, 0, sizeof(chipset->ports.state));
}
