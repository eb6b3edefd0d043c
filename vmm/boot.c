/* SPDX-License-Identifier: BSD-2-Clause */
/* How a machine begins: see boot.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot.h"

static void boot_close(void *owner)
{
    struct boot *boot = owner;

    fwcfg_close(&boot->fwcfg);
    if (boot->rom)
        munmap(boot->rom, boot->rom_size);
    if (boot->kernel >= 0)
        close(boot->kernel);
    if (boot->initrd >= 0)
        close(boot->initrd);
    free(boot);
}

int boot_open(struct machine *machine)
{
    struct boot *boot = calloc(1, sizeof(*boot));
    int err;

    if (!boot)
        return machine_error(machine, -ENOMEM, "out of memory");
    machine->boot = boot;
    boot->kernel = boot->initrd = -1;
    err = fwcfg_open(&boot->fwcfg, machine);
    boot->part = (struct machine_part){.name = "fw_cfg",
                                       .close = boot_close,
                                       .owner = boot,
                                       .state = &boot->fwcfg.state,
                                       .state_size = sizeof(boot->fwcfg.state)};
    machine_part_add(machine, &boot->part);
    if (err < 0)
        return machine_error(machine, err, "fw_cfg: its ports are taken");
    acpi_build(&boot->acpi, machine);
    return machine->options->kernel ? linux_open(machine) : seabios_open(machine);
}

int boot_start(struct machine *machine)
{
    machine->boot->fwcfg.state = (struct fwcfg_state){0};
    return machine->options->kernel ? linux_start(machine) : seabios_start(machine);
}

/* From the EBDA to 1 MiB is the firmware's and the tables'. */
unsigned boot_memory_map(const struct machine *machine, struct boot_range range[BOOT_RANGES_MAX])
{
    const struct memory *memory = &machine->memory;
    unsigned count = 0;

    range[count++] = (struct boot_range){0, BOOT_LOW_END, BOOT_RAM};
    range[count++] = (struct boot_range){BOOT_LOW_END, 0xa0000 - BOOT_LOW_END, BOOT_RESERVED};
    range[count++] = (struct boot_range){BOOT_TABLES, BOOT_TABLES_END - BOOT_TABLES, BOOT_RESERVED};
    range[count++] = (struct boot_range){BOOT_TABLES_END, memory->region[0].size - BOOT_TABLES_END, BOOT_RAM};
    for (unsigned i = 1; i < memory->region_count; i++)
        range[count++] = (struct boot_range){memory->region[i].start, memory->region[i].size, BOOT_RAM};
    return count;
}
