/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtual machine as KVM has it: memory slots and the interrupt and timer chips in the kernel. */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <stdint.h>

struct machine;

/* Opens /dev/kvm and makes the VM with its chips. Said. */
int kvm_open(struct machine *machine);
void kvm_close(struct machine *machine);

/* Shows the machine's memory to the guest. Said. */
int kvm_memory_show(struct machine *machine);

/* Shows size bytes at host to the guest, read-only: its writes are lost. Said. */
int kvm_rom_show(struct machine *machine, uint64_t address, const void *host, uint64_t size);

/* The chips as they were at first. */
void kvm_reset(struct machine *machine);

#endif
