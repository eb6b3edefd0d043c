/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What CPUID says: what this kernel and hardware can give, without what a guest here has no use for (virtualization of
 * its own, performance counters), with one socket whose cores are the machine's processors. A processor's APIC id is
 * its index. [SDM] is Intel's manual, volume 2, CPUID; [APM] is AMD's, volume 3, appendix E.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "cpu.h"

#define ENTRIES_MAX 256u

#define LEAF1_ECX_VMX (1u << 5)
#define LEAF1_ECX_PDCM (1u << 15)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR (1u << 31)
#define LEAF1_EDX_HTT (1u << 28)
#define AMD1_ECX_CMP_LEGACY (1u << 1)
#define AMD1_ECX_SVM (1u << 2)
#define AMD1_ECX_PERFCTR (3u << 23 | 1u << 28)

struct table {
    struct kvm_cpuid2 header;
    struct kvm_cpuid_entry2 entry[ENTRIES_MAX];
};

static unsigned bits_for(unsigned count)
{
    unsigned bits = 0;

    while (1u << bits < count)
        bits++;
    return bits;
}

static void features(struct cpu *cpu, struct kvm_cpuid_entry2 *entry, unsigned count)
{
    entry->ebx = (entry->ebx & 0xffff) | count << 16 | cpu->index << 24;
    entry->ecx &= ~(LEAF1_ECX_VMX | LEAF1_ECX_PDCM);
    entry->ecx |= LEAF1_ECX_HYPERVISOR;
    if (ioctl(cpu->machine->kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
        entry->ecx |= LEAF1_ECX_TSC_DEADLINE;
    if (count > 1)
        entry->edx |= LEAF1_EDX_HTT;
}

/* Who shares a cache: all the last level, nobody the others (EAX 7:5 level, 25:14 sharers - 1, 31:26 cores - 1). */
static void cache(struct kvm_cpuid_entry2 *entry, unsigned count, bool intel)
{
    unsigned level = entry->eax >> 5 & 7, sharers = level >= 3 ? (1u << bits_for(count)) - 1 : 0;

    if ((entry->eax & 0x1f) == 0)
        return;
    entry->eax = (entry->eax & 0x3fff) | sharers << 14;
    if (intel)
        entry->eax |= ((1u << bits_for(count)) - 1) << 26;
}

/* [SDM] leaves 0BH and 1FH: a level of threads (one each) and a level of cores. */
static void topology(struct kvm_cpuid_entry2 *entry, unsigned index, unsigned count)
{
    entry->eax = entry->ebx = 0;
    entry->ecx = entry->index;
    entry->edx = index;
    if (entry->index == 0) {
        entry->ebx = 1;
        entry->ecx |= 1u << 8;
    } else if (entry->index == 1) {
        entry->eax = bits_for(count);
        entry->ebx = count;
        entry->ecx |= 2u << 8;
    }
}

static void filter(struct cpu *cpu, struct kvm_cpuid_entry2 *entry, unsigned count)
{
    switch (entry->function) {
    case 1:
        features(cpu, entry, count);
        break;
    case 4:
        cache(entry, count, true);
        break;
    case 0xb:
    case 0x1f:
        topology(entry, cpu->index, count);
        break;
    case 0xa:        /* performance counters */
    case 0x8000000a: /* SVM */
    case 0x80000022: /* performance counters */
        entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
        break;
    case 0x80000001:
        entry->ecx &= ~(AMD1_ECX_SVM | AMD1_ECX_PERFCTR | AMD1_ECX_CMP_LEGACY);
        entry->ecx |= count > 1 ? AMD1_ECX_CMP_LEGACY : 0;
        break;
    case 0x80000008: /* [APM] E.4.7: cores and the bits of an APIC id that name one */
        entry->ecx = (entry->ecx & ~0xf0ffu) | bits_for(count) << 12 | (count - 1);
        break;
    case 0x8000001d:
        cache(entry, count, false);
        break;
    case 0x8000001e: /* [APM] E.4.17: extended APIC id, core, node */
        entry->eax = entry->ebx = cpu->index;
        entry->ecx = 0;
        break;
    }
}

/* KVM's list has the first subleaf of the topology at least; both levels are wanted. */
static void topology_complete(struct table *table)
{
    uint32_t first = UINT32_MAX;

    for (uint32_t i = 0; i < table->header.nent; i++) {
        if (table->entry[i].function == 0xb && table->entry[i].index == 1)
            return;
        if (table->entry[i].function == 0xb && table->entry[i].index == 0)
            first = i;
    }
    if (first == UINT32_MAX || table->header.nent == ENTRIES_MAX)
        return;
    table->entry[table->header.nent] = table->entry[first];
    table->entry[table->header.nent++].index = 1;
}

int cpuid_set(struct cpu *cpu)
{
    struct table *table = calloc(1, sizeof(*table));
    int err = 0;

    if (!table)
        return -ENOMEM;
    table->header.nent = ENTRIES_MAX;
    if (ioctl(cpu->machine->kvm, KVM_GET_SUPPORTED_CPUID, table) < 0)
        err = -errno;
    if (err == 0) {
        topology_complete(table);
        for (uint32_t i = 0; i < table->header.nent; i++)
            filter(cpu, &table->entry[i], cpu->machine->options->cpus);
        if (ioctl(cpu->fd, KVM_SET_CPUID2, table) < 0)
            err = -errno;
    }
    free(table);
    return err;
}
