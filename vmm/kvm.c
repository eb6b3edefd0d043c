/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtual machine as KVM has it: see kvm.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm.h"
#include "machine.h"

/* Three pages and one that KVM needs on Intel's processors: between the local APIC and the firmware. */
#define IDENTITY_MAP UINT64_C(0xfeffc000)
#define TASK_STATE 0xfeffd000ul

#define ROM_SLOT MEMORY_REGIONS_MAX

/* What a saved machine holds of them. */
struct chips {
    struct kvm_irqchip irqchip[3];
    struct kvm_pit_state2 pit;
};

static int device_open(struct machine *machine)
{
    machine->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (machine->kvm >= 0)
        return 0;
    if (errno == EACCES || errno == EPERM)
        return machine_error(machine, -errno,
                             "/dev/kvm: no rights: join its group (usermod -aG kvm NAME), and log in again");
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
        return machine_error(
            machine, -errno,
            "/dev/kvm: not there: load kvm_intel or kvm_amd; virtualization may be switched off in the "
            "computer's firmware, or not be given to this virtual machine");
    return machine_error(machine, -errno, "/dev/kvm: %s", strerror(errno));
}

static int capabilities_check(struct machine *machine)
{
    static const struct {
        int number;
        const char *name;
    } needed[] = {
        {KVM_CAP_IRQCHIP, "interrupt controllers"},
        {KVM_CAP_PIT2, "timer (PIT)"},
        {KVM_CAP_IRQFD, "irqfd"},
        {KVM_CAP_IOEVENTFD, "ioeventfd"},
        {KVM_CAP_USER_MEMORY, "user memory"},
        {KVM_CAP_READONLY_MEM, "read-only memory"},
        {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
        {KVM_CAP_XSAVE, "XSAVE state"},
        {KVM_CAP_IRQ_ROUTING, "interrupt routing"},
        {KVM_CAP_IOEVENTFD_ANY_LENGTH, "ioeventfd of any length"},
    };

    if (ioctl(machine->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        return machine_error(machine, -ENOTSUP, "/dev/kvm: speaks another version of the API");
    for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++)
        if (ioctl(machine->kvm, KVM_CHECK_EXTENSION, needed[i].number) <= 0)
            return machine_error(machine, -ENOTSUP, "/dev/kvm: this kernel has no %s", needed[i].name);
    return 0;
}

static int chips_make(struct machine *machine)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    uint64_t identity_map = IDENTITY_MAP;
    struct chips *chips = machine->chips;

    if (ioctl(machine->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
        ioctl(machine->vm, KVM_SET_TSS_ADDR, TASK_STATE) < 0 || ioctl(machine->vm, KVM_CREATE_IRQCHIP, 0) < 0 ||
        ioctl(machine->vm, KVM_CREATE_PIT2, &pit) < 0 || ioctl(machine->vm, KVM_GET_PIT2, &chips->pit) < 0)
        return -errno;
    for (unsigned i = 0; i < 3; i++) {
        chips->irqchip[i].chip_id = i;
        if (ioctl(machine->vm, KVM_GET_IRQCHIP, &chips->irqchip[i]) < 0)
            return -errno;
    }
    return 0;
}

int kvm_open(struct machine *machine)
{
    int err = device_open(machine);

    if (err == 0)
        err = capabilities_check(machine);
    if (err < 0)
        return err;
    machine->chips = calloc(1, sizeof(*machine->chips));
    if (!machine->chips)
        return machine_error(machine, -ENOMEM, "out of memory");
    do {
        machine->vm = ioctl(machine->kvm, KVM_CREATE_VM, 0ul);
    } while (machine->vm < 0 && errno == EINTR);
    if (machine->vm < 0)
        return machine_error(machine, -errno, "/dev/kvm: no virtual machine can be made: %s", strerror(errno));
    err = chips_make(machine);
    return err < 0 ? machine_error(machine, err, "/dev/kvm: the chips: %s", strerror(-err)) : 0;
}

void kvm_close(struct machine *machine)
{
    free(machine->chips);
    if (machine->vm >= 0)
        close(machine->vm);
    if (machine->kvm >= 0)
        close(machine->kvm);
}

static int slot_set(struct machine *machine, uint32_t slot, uint32_t flags, uint64_t address, const void *host,
                    uint64_t size)
{
    const struct kvm_userspace_memory_region region = {slot, flags, address, size, (uintptr_t)host};

    if (ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &region) == 0)
        return 0;
    return machine_error(machine, -errno, "memory at 0x%llx: %s", (unsigned long long)address, strerror(errno));
}

int kvm_memory_show(struct machine *machine)
{
    const struct memory *memory = &machine->memory;
    int err = 0;

    for (unsigned i = 0; i < memory->region_count && err == 0; i++)
        err = slot_set(machine, i, 0, memory->region[i].start, memory->base + memory->region[i].position,
                       memory->region[i].size);
    return err;
}

int kvm_rom_show(struct machine *machine, uint64_t address, const void *host, uint64_t size)
{
    return slot_set(machine, ROM_SLOT, KVM_MEM_READONLY, address, host, size);
}

void kvm_reset(struct machine *machine)
{
    for (unsigned i = 0; i < 3; i++)
        ioctl(machine->vm, KVM_SET_IRQCHIP, &machine->chips->irqchip[i]);
    ioctl(machine->vm, KVM_SET_PIT2, &machine->chips->pit);
}
