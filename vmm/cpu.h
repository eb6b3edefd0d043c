/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual processors: a thread each, which runs the guest and takes its accesses to the buses.
 *
 * They run between cpus_run and a pause. cpus_pause_ask is for whoever holds the machine's lock, a vCPU itself too;
 * cpus_pause waits until all stand still and is called without that lock.
 */
#ifndef VMM_CPU_H
#define VMM_CPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "machine.h"

#define CPU_MSRS_MAX 256u

/* What a saved machine holds of a processor. */
struct cpu_state {
    struct kvm_regs registers;
    struct kvm_sregs special;
    struct kvm_xsave extended;
    struct kvm_xcrs extended_control;
    struct kvm_debugregs debug;
    struct kvm_vcpu_events events;
    struct kvm_mp_state running;
    struct kvm_lapic_state apic;
    struct {
        struct kvm_msrs header;
        struct kvm_msr_entry entry[CPU_MSRS_MAX];
    } msrs;
};

struct cpu {
    struct machine *machine;
    unsigned index;
    int fd;
    struct kvm_run *run;
    pthread_t thread;
    bool started;
    struct cpu_state initial;
};

struct cpus {
    unsigned count;
    size_t run_size;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    bool pause, end, nmi;
    unsigned parked;
    struct cpu cpu[]; /* as many as the machine has */
};

int cpus_open(struct machine *machine);   /* paused, as after power-on. Said. */
void cpus_close(struct machine *machine); /* paused */
void cpus_run(struct machine *machine);
void cpus_pause_ask(struct machine *machine);
void cpus_pause(struct machine *machine);
void cpus_reset(struct machine *machine); /* paused; as after power-on */
void cpus_nmi(struct machine *machine);   /* to the first one */

/* The first processor begins in 64-bit mode at entry, with RSI and the page tables at page_table. Paused. */
int cpus_start_long(struct machine *machine, uint64_t entry, uint64_t rsi, uint64_t page_table);

/* cpu_state.c: what is in a processor, taken out and put back while it stands still. -errno: KVM refuses a part. */
int cpu_state_get(struct cpu *cpu, struct cpu_state *state);
int cpu_state_set(struct cpu *cpu, const struct cpu_state *state);

/* cpuid.c: what CPUID says to this processor. */
int cpuid_set(struct cpu *cpu);

#endif
