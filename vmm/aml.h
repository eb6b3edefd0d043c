/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes ACPI's machine language ([ACPI] 20). What holds other things (a scope, a device, a package) is begun and
 * ended; the value of a name follows it. Names are as ACPI has them: four letters, "\\_SB" or "_HID".
 */
#ifndef VMM_AML_H
#define VMM_AML_H

#include <stdbool.h>
#include <stdint.h>

struct aml {
    uint8_t *bytes;
    uint32_t length, room; /* more than room is our bug */
};

/* What was begun: given to the end. */
struct aml_open {
    uint32_t length_at;
};

struct aml_open aml_scope_begin(struct aml *aml, const char *name);
struct aml_open aml_device_begin(struct aml *aml, const char *name);
struct aml_open aml_package_begin(struct aml *aml, uint8_t count);
void aml_end(struct aml *aml, struct aml_open open);

void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
void aml_eisa_id(struct aml *aml, const char *id); /* "PNP0A03" */

/* A resource template: a buffer of descriptors ([ACPI] 6.4). */
struct aml_open aml_resources_begin(struct aml *aml);
void aml_resources_end(struct aml *aml, struct aml_open open);
void aml_resource_io(struct aml *aml, uint16_t start, uint8_t length);
void aml_resource_irq(struct aml *aml, unsigned irq); /* edge, exclusive */
void aml_resource_buses(struct aml *aml, uint16_t first, uint16_t last);
void aml_resource_ports(struct aml *aml, uint16_t first, uint16_t last);
void aml_resource_memory(struct aml *aml, uint32_t first, uint32_t last);

#endif
