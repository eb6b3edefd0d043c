/* SPDX-License-Identifier: BSD-2-Clause */
/* What is in a processor, taken out and put back while it stands still. -errno where KVM refuses a part. */
#ifndef VMM_CPU_STATE_H
#define VMM_CPU_STATE_H

#include "cpu.h"

int cpu_state_get(struct cpu *cpu, struct cpu_state *state);
int cpu_state_set(struct cpu *cpu, const struct cpu_state *state);

#endif
