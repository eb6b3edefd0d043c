/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Boot by SeaBIOS: the firmware's image ends at 4 GiB, its last 128 KiB lie below 1 MiB, too, and fw_cfg tells it what
 * the machine is: the memory map, the ACPI tables with the notes by which it places them, and the order in which to try
 * what can boot.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot.h"
#include "chipset.h"
#include "kvm.h"

#define FIRMWARE "/usr/share/seabios/bios-256k.bin"
#define ROM_MAX (8u << 20)
#define SHADOW (128u << 10) /* of the ROM, below 1 MiB */
#define END_OF_4G UINT64_C(0x100000000)

#define KEY_MEMORY 0x03u
#define KEY_NO_GRAPHICS 0x04u
#define KEY_CPUS 0x05u
#define KEY_MENU 0x0eu
#define KEY_CPUS_MAX 0x0fu

/* ---- The boot order ---- */

#define VIRTIO_NET 0x1041u
#define VIRTIO_BLK 0x1042u
#define VIRTIO_SCSI 0x1048u

/* The slot of the nth device of a kind; 0: there is none. */
static unsigned slot_find(const struct machine *machine, uint32_t device, unsigned nth)
{
    for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
        const struct pci_device *pci = machine->pci.device[PCI_DEVFN(slot, 0)];

        if (pci && pci_get(pci, 2, 2) == device && nth-- == 0)
            return slot;
    }
    return 0;
}

static void order_add(struct boot *boot, const char *path)
{
    size_t length = strlen(boot->order), room = sizeof(boot->order) - length;

    if (strlen(path) + 2 < room)
        snprintf(boot->order + length, room, "%s%s", length > 0 ? "\n" : "", path);
}

static void disks_order(struct machine *machine)
{
    unsigned nth[3] = {0};

    for (unsigned i = 0; i < machine->options->disk_count; i++) {
        enum machine_disk_bus bus = machine->options->disk[i].bus;
        unsigned n = nth[bus]++;
        char path[64];

        if (bus == MACHINE_VIRTIO)
            snprintf(path, sizeof(path), "/pci@i0cf8/scsi@%x", slot_find(machine, VIRTIO_BLK, n));
        else if (bus == MACHINE_SCSI)
            snprintf(path, sizeof(path), "/pci@i0cf8/scsi@%x/channel@0/disk@0,%x", slot_find(machine, VIRTIO_SCSI, 0),
                     n);
        else
            snprintf(path, sizeof(path), "/pci@i0cf8/ide@1,1/drive@%x/disk@%x", n / 2, n % 2);
        order_add(machine->boot, path);
    }
}

static void nics_order(struct machine *machine)
{
    for (unsigned i = 0; i < machine->options->nic_count; i++) {
        char path[64];

        snprintf(path, sizeof(path), "/pci@i0cf8/ethernet@%x", slot_find(machine, VIRTIO_NET, i));
        order_add(machine->boot, path);
    }
}

/* "disk,net": what is not named is not tried ("HALT"). */
static int order_make(struct machine *machine)
{
    const char *word = machine->options->boot ? machine->options->boot : "disk,net";

    while (*word) {
        size_t length = strcspn(word, ",");

        if (length == 4 && strncmp(word, "disk", 4) == 0)
            disks_order(machine);
        else if (length == 3 && strncmp(word, "net", 3) == 0)
            nics_order(machine);
        else
            return machine_error(machine, -EINVAL, "--boot %s: disk and net, with a comma between them",
                                 machine->options->boot);
        word += length + (word[length] == ',');
    }
    order_add(machine->boot, "HALT");
    return 0;
}

/* ---- Opening ---- */

static void describe(struct machine *machine)
{
    static const uint8_t console[8] = {0xf8, 0x03}; /* SeaBIOS shows its screen on COM1 */
    struct boot *boot = machine->boot;
    struct fwcfg *fwcfg = &boot->fwcfg;
    unsigned count = boot_memory_map(machine, boot->map), cpus = machine->options->cpus;

    fwcfg_number_add(fwcfg, KEY_MEMORY, machine->memory.size, 8);
    fwcfg_number_add(fwcfg, KEY_NO_GRAPHICS, 1, 2);
    fwcfg_number_add(fwcfg, KEY_CPUS, cpus, 2);
    fwcfg_number_add(fwcfg, KEY_MENU, 0, 2);
    fwcfg_number_add(fwcfg, KEY_CPUS_MAX, cpus, 2);
    fwcfg_file_add(fwcfg, "etc/e820", boot->map, count * (uint32_t)sizeof(*boot->map));
    fwcfg_file_add(fwcfg, ACPI_RSDP_FILE, boot->acpi.rsdp, sizeof(boot->acpi.rsdp));
    fwcfg_file_add(fwcfg, ACPI_TABLES_FILE, boot->acpi.tables, boot->acpi.length);
    fwcfg_file_add(fwcfg, "etc/table-loader", boot->acpi.entry,
                   boot->acpi.entry_count * (uint32_t)sizeof(*boot->acpi.entry));
    fwcfg_file_add(fwcfg, "bootorder", boot->order, (uint32_t)strlen(boot->order) + 1);
    fwcfg_file_add(fwcfg, "etc/sercon-port", console, sizeof(console));
}

static int rom_map(struct machine *machine, int fd, const char *path)
{
    struct boot *boot = machine->boot;

    if (boot->rom_size < SHADOW || boot->rom_size > ROM_MAX || boot->rom_size % MEMORY_PAGE != 0)
        return machine_error(machine, -EINVAL, "%s: not a firmware image (128 KiB to 8 MiB, in whole pages)", path);
    boot->rom = mmap(NULL, boot->rom_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (boot->rom != MAP_FAILED)
        return kvm_rom_show(machine, END_OF_4G - boot->rom_size, boot->rom, boot->rom_size);
    boot->rom = NULL;
    return machine_error(machine, -errno, "%s: %s", path, strerror(errno));
}

int seabios_open(struct machine *machine)
{
    const char *path = machine->options->firmware ? machine->options->firmware : FIRMWARE;
    int fd, err;

    if (!machine->options->firmware && access(path, F_OK) < 0 && errno == ENOENT)
        return machine_error(
            machine, -ENOENT,
            "%s: not there: install the package seabios, or name an image with --firmware, or a kernel with "
            "--kernel",
            path);
    fd = boot_file_open(machine, path, &machine->boot->rom_size);
    if (fd < 0)
        return fd;
    err = rom_map(machine, fd, path);
    close(fd);
    if (err == 0)
        err = order_make(machine);
    if (err == 0)
        describe(machine);
    return err;
}

/* The processors begin at the reset vector, in the ROM; the copy below 1 MiB is as after power-on. */
int seabios_start(struct machine *machine)
{
    const struct boot *boot = machine->boot;
    int err = memory_write(&machine->memory, BOOT_TABLES_END - SHADOW, boot->rom + boot->rom_size - SHADOW, SHADOW);

    return err < 0 ? machine_error(machine, err, "firmware: no memory below 1 MiB") : 0;
}
