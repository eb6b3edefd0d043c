/* SPDX-License-Identifier: BSD-2-Clause */
/* What a unit is: INQUIRY with its pages, and READ CAPACITY. */
#include <stddef.h>
#include <stdio.h>

#include "unit.h"

#define NO_UNIT 0x7f /* qualifier 011b, type 1Fh: nothing can be here */
#define PAGE_HEADER 4

struct page {
    uint8_t bytes[256];
    size_t length;
};

/* Text in a field of this width, filled with spaces. */
static void put_text(uint8_t *field, size_t width, const char *text)
{
    size_t length = strnlen(text, width);

    memset(field, ' ', width);
    memcpy(field, text, length);
}

static void page_pages(const struct scsi_unit *unit, struct page *page)
{
    static const uint8_t pages[] = {0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2};

    (void)unit;
    memcpy(page->bytes + PAGE_HEADER, pages, sizeof(pages));
    page->length = sizeof(pages);
}

static void page_serial(const struct scsi_unit *unit, struct page *page)
{
    page->length = strlen(unit->options.serial);
    memcpy(page->bytes + PAGE_HEADER, unit->options.serial, page->length);
}

/* Two names for the unit, both made of its serial number: the vendor's, and an NAA one, locally assigned
 * (SPC-4 7.8.6.6.4), for those that know only this. */
static void page_identity(const struct scsi_unit *unit, struct page *page)
{
    uint8_t *vendor = page->bytes + PAGE_HEADER, *naa;
    size_t serial = strlen(unit->options.serial);
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    vendor[0] = 0x02; /* ASCII */
    vendor[1] = 0x01; /* of the unit, T10 vendor */
    vendor[3] = (uint8_t)(8 + serial);
    put_text(vendor + 4, 8, unit->options.vendor);
    memcpy(vendor + 12, unit->options.serial, serial);
    for (size_t i = 0; i < 8 + serial; i++)
        hash = (hash ^ vendor[4 + i]) * UINT64_C(0x100000001b3);
    naa = vendor + 12 + serial;
    naa[0] = 0x01; /* binary */
    naa[1] = 0x03; /* of the unit, NAA */
    naa[3] = 8;
    scsi_put_be64(naa + 4, (hash & UINT64_C(0x0fffffffffffffff)) | UINT64_C(3) << 60);
    page->length = 4 + 8 + serial + 4 + 8;
}

/* SBC-3 6.5.3 */
static void page_limits(const struct scsi_unit *unit, struct page *page)
{
    uint8_t *bytes = page->bytes;
    uint32_t compare = SCSI_SCRATCH / unit->block;

    bytes[4] = 0x01; /* WSNZ */
    bytes[5] = (uint8_t)(compare < 255 ? compare : 255);
    scsi_put_be16(&bytes[6], (uint16_t)(unit->physical_block / unit->block));
    scsi_put_be32(&bytes[8], SCSI_TRANSFER_MAX / unit->block);
    scsi_put_be32(&bytes[20], UINT32_MAX); /* MAXIMUM UNMAP LBA COUNT */
    scsi_put_be32(&bytes[24], SCSI_UNMAP_DESCRIPTORS);
    scsi_put_be32(&bytes[28], unit->granularity / unit->block);
    scsi_put_be32(&bytes[32], UINT32_C(1) << 31); /* UGAVALID, aligned at 0 */
    scsi_put_be64(&bytes[36], SCSI_SAME_MAX / unit->block);
    page->length = 0x3c;
}

static void page_characteristics(const struct scsi_unit *unit, struct page *page)
{
    (void)unit;
    scsi_put_be16(&page->bytes[4], 1); /* does not rotate */
    page->length = 0x3c;
}

/* LBPU, LBPWS, LBPWS10: all three ways. LBPRZ is 0, since what UNMAP takes may keep its bytes (VDISK_DISCARD); a WRITE
 * SAME of zeros gives back space too, and does promise them. */
static void page_provisioning(const struct scsi_unit *unit, struct page *page)
{
    page->bytes[5] = 0xe0;
    page->bytes[6] = unit->thin ? 2 : 1; /* thin, resource */
    page->length = 4;
}

static void inquire_page(struct scsi_command *command, uint16_t allocation)
{
    static const struct {
        uint8_t code;
        void (*build)(const struct scsi_unit *unit, struct page *page);
    } pages[] = {
        {0x00, page_pages},  {0x80, page_serial},          {0x83, page_identity},
        {0xb0, page_limits}, {0xb1, page_characteristics}, {0xb2, page_provisioning},
    };
    struct page page = {.length = 0};

    for (unsigned i = 0; command->run.unit && i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (pages[i].code != command->cdb[2])
            continue;
        pages[i].build(command->run.unit, &page);
        page.bytes[1] = command->cdb[2];
        scsi_put_be16(&page.bytes[2], (uint16_t)page.length);
        scsi_reply(command, page.bytes, PAGE_HEADER + page.length, allocation);
        return;
    }
    scsi_fail_cdb(command, 2, 7);
}

void scsi_inquiry(struct scsi_command *command)
{
    static const uint16_t versions[] = {0x00a0, 0x0460, 0x04c0}; /* SAM-5, SPC-4, SBC-3 */
    const struct scsi_unit *unit = command->run.unit;
    uint16_t allocation = scsi_be16(&command->cdb[3]);
    uint8_t data[96] = {0};

    if (command->cdb[1] & 0x01) {
        inquire_page(command, allocation);
        return;
    }
    if (command->cdb[2]) {
        scsi_fail_cdb(command, 2, 7);
        return;
    }
    data[0] = unit ? 0 : NO_UNIT;
    data[2] = 0x06; /* SPC-4 */
    data[3] = 0x12; /* HISUP, response format 2 */
    data[4] = sizeof(data) - 5;
    data[7] = 0x02; /* CMDQUE */
    put_text(&data[8], 8, unit ? unit->options.vendor : "");
    put_text(&data[16], 16, unit ? unit->options.product : "");
    put_text(&data[32], 4, unit ? unit->options.revision : "");
    for (unsigned i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
        scsi_put_be16(&data[58 + 2 * i], versions[i]);
    scsi_reply(command, data, sizeof(data), allocation);
}

void scsi_read_capacity_10(struct scsi_command *command)
{
    uint64_t last = atomic_load(&command->run.unit->blocks) - 1;
    uint8_t data[8];

    scsi_put_be32(&data[0], last < UINT32_MAX ? (uint32_t)last : UINT32_MAX);
    scsi_put_be32(&data[4], command->run.unit->block);
    scsi_reply(command, data, sizeof(data), sizeof(data));
}

void scsi_read_capacity_16(struct scsi_command *command)
{
    const struct scsi_unit *unit = command->run.unit;
    unsigned physical = unit->physical_block;
    uint8_t data[32] = {0};

    scsi_put_be64(&data[0], atomic_load(&unit->blocks) - 1);
    scsi_put_be32(&data[8], unit->block);
    if (physical > unit->block)
        data[13] = (uint8_t)__builtin_ctz(physical / unit->block);
    data[14] = 0x80; /* LBPME; LBPRZ: see page_provisioning */
    scsi_reply(command, data, sizeof(data), scsi_be32(&command->cdb[10]));
}
