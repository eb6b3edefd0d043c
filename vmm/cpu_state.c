/* SPDX-License-Identifier: BSD-2-Clause */
/* What is in a processor: see cpu.h. [SDM] is Intel's Software Developer's Manual, volume 3. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "cpu.h"

#define MSR_TSC 0x10u
#define MSR_TSC_ADJUST 0x3bu
#define MSR_MTRR_DEFAULT 0x2ffu
#define MTRR_WRITE_BACK (1u << 11 | 6u) /* enabled; what no range names is write-back */

#define CR0_PE 1u
#define CR0_ET 0x10u
#define CR0_NE 0x20u
#define CR0_PG 0x80000000u
#define CR4_PAE 0x20u
#define EFER_LONG 0x500u /* LME and LMA */
#define FLAGS_RESERVED 2u

/* Which MSRs this kernel saves. The time goes on: it is not put back. */
static int msrs_list(struct cpu *cpu, struct cpu_state *state)
{
    struct {
        struct kvm_msr_list header;
        uint32_t index[CPU_MSRS_MAX];
    } list = {.header = {.nmsrs = CPU_MSRS_MAX}};

    if (ioctl(cpu->machine->kvm, KVM_GET_MSR_INDEX_LIST, &list) < 0)
        return -errno;
    state->msrs.header.nmsrs = 0;
    for (uint32_t i = 0; i < list.header.nmsrs; i++)
        if (list.index[i] != MSR_TSC && list.index[i] != MSR_TSC_ADJUST)
            state->msrs.entry[state->msrs.header.nmsrs++].index = list.index[i];
    return 0;
}

/* KVM stops at the first MSR that it refuses (one that this processor does not have): that one is left out. */
static void msrs_move(struct cpu *cpu, unsigned long verb, struct cpu_state *state)
{
    struct cpu_state *rest = malloc(sizeof(*rest));
    uint32_t kept = 0, at = 0, count = state->msrs.header.nmsrs;

    while (rest && at < count) {
        int done;

        rest->msrs.header = (struct kvm_msrs){.nmsrs = count - at};
        memcpy(rest->msrs.entry, state->msrs.entry + at, (count - at) * sizeof(*rest->msrs.entry));
        done = ioctl(cpu->fd, verb, &rest->msrs);
        if (done < 0)
            done = 0;
        memcpy(state->msrs.entry + kept, rest->msrs.entry, (size_t)done * sizeof(*rest->msrs.entry));
        kept += (uint32_t)done;
        at += (uint32_t)done + 1;
    }
    state->msrs.header.nmsrs = kept;
    free(rest);
}

int cpu_state_get(struct cpu *cpu, struct cpu_state *state)
{
    int err;

    if (ioctl(cpu->fd, KVM_GET_REGS, &state->registers) < 0 || ioctl(cpu->fd, KVM_GET_SREGS, &state->special) < 0 ||
        ioctl(cpu->fd, KVM_GET_XSAVE, &state->extended) < 0 ||
        ioctl(cpu->fd, KVM_GET_XCRS, &state->extended_control) < 0 ||
        ioctl(cpu->fd, KVM_GET_DEBUGREGS, &state->debug) < 0 ||
        ioctl(cpu->fd, KVM_GET_VCPU_EVENTS, &state->events) < 0 ||
        ioctl(cpu->fd, KVM_GET_MP_STATE, &state->running) < 0 || ioctl(cpu->fd, KVM_GET_LAPIC, &state->apic) < 0)
        return -errno;
    err = msrs_list(cpu, state);
    if (err == 0)
        msrs_move(cpu, KVM_GET_MSRS, state);
    return err;
}

/* The special registers come before the APIC (its base) and the MSRs; what is pending comes last. */
int cpu_state_set(struct cpu *cpu, const struct cpu_state *state)
{
    struct cpu_state *copy = malloc(sizeof(*copy));

    if (!copy)
        return -ENOMEM;
    *copy = *state;
    if (ioctl(cpu->fd, KVM_SET_XCRS, &copy->extended_control) < 0 ||
        ioctl(cpu->fd, KVM_SET_SREGS, &copy->special) < 0 || ioctl(cpu->fd, KVM_SET_REGS, &copy->registers) < 0 ||
        ioctl(cpu->fd, KVM_SET_XSAVE, &copy->extended) < 0 || ioctl(cpu->fd, KVM_SET_DEBUGREGS, &copy->debug) < 0 ||
        ioctl(cpu->fd, KVM_SET_LAPIC, &copy->apic) < 0 || ioctl(cpu->fd, KVM_SET_MP_STATE, &copy->running) < 0) {
        free(copy);
        return -errno;
    }
    msrs_move(cpu, KVM_SET_MSRS, copy);
    ioctl(cpu->fd, KVM_SET_VCPU_EVENTS, &copy->events);
    free(copy);
    return 0;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code)
{
    return (struct kvm_segment){
        .limit = UINT32_MAX, .selector = selector, .type = type, .present = 1, .s = 1, .g = 1, .l = code, .db = !code};
}

/* A firmware sets them on every processor alike. */
static void mtrr_enable(struct cpu *cpu)
{
    struct {
        struct kvm_msrs header;
        struct kvm_msr_entry entry;
    } mtrr = {.header = {.nmsrs = 1}, .entry = {.index = MSR_MTRR_DEFAULT, .data = MTRR_WRITE_BACK}};

    ioctl(cpu->fd, KVM_SET_MSRS, &mtrr);
}

/* [SDM] 9.8.5, as a boot loader would leave it; selectors as Linux's boot protocol wants them. */
int cpus_start_long(struct machine *machine, uint64_t entry, uint64_t rsi, uint64_t page_table)
{
    struct cpu *cpu = &machine->cpus->cpu[0];
    struct kvm_regs registers = {.rip = entry, .rsi = rsi, .rflags = FLAGS_RESERVED};
    struct kvm_sregs special = cpu->initial.special;

    special.cs = segment(0x10, 0xb, true);
    special.ds = special.es = special.fs = special.gs = special.ss = segment(0x18, 0x3, false);
    special.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    special.cr3 = page_table;
    special.cr4 = CR4_PAE;
    special.efer = EFER_LONG;
    special.idt.limit = 0;
    if (ioctl(cpu->fd, KVM_SET_SREGS, &special) < 0 || ioctl(cpu->fd, KVM_SET_REGS, &registers) < 0)
        return -errno;
    for (unsigned i = 0; i < machine->cpus->count; i++)
        mtrr_enable(&machine->cpus->cpu[i]);
    return 0;
}
