/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The region table, of which there are two copies: where the BAT and the metadata stand. [MS-VHDX] 2.2.3
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"

const struct vhdx_guid vhdx_guid_bat =
    VHDX_GUID(0x2DC27766u, 0xF623u, 0x4200u, 0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08);
const struct vhdx_guid vhdx_guid_metadata =
    VHDX_GUID(0x8B7CA206u, 0x4790u, 0x4B9Au, 0xB8, 0xFE, 0x57, 0x5F, 0x05, 0x0F, 0x88, 0x6E);

struct table {
    struct vhdx_region_header header;
    struct vhdx_region_entry
        entry[(VHDX_TABLE_SIZE - sizeof(struct vhdx_region_header)) / sizeof(struct vhdx_region_entry)];
    uint8_t rest[16];
};
_Static_assert(sizeof(struct table) == VHDX_TABLE_SIZE, "[MS-VHDX] 2.2.3");

static bool read_copy(struct vhdx_report *report, struct file *file, unsigned slot, struct table *table)
{
    uint64_t position = VHDX_REGION_TABLE_AT(slot);
    uint32_t checksum;

    if (vhdx_read(report, file, table, sizeof(*table), position, "region table"))
        return false;
    if (memcmp(table->header.signature, "regi", 4) != 0) {
        vhdx_fault(report, "region-signature", position, "region table at 0x%" PRIx64 ": the signature is not 'regi'",
                   position);
        return false;
    }
    checksum = vhdx_checksum(table, sizeof(*table));
    if (checksum != le32_get(table->header.checksum)) {
        vhdx_fault(report, "region-checksum", position,
                   "region table at 0x%" PRIx64 ": the checksum is 0x%08x, expected 0x%08x", position,
                   le32_get(table->header.checksum), checksum);
        return false;
    }
    if (le32_get(table->header.entry_count) > VHDX_TABLE_ENTRIES_MAX) {
        vhdx_fault(report, "region-count", position,
                   "region table at 0x%" PRIx64 ": it has %u entries, expected at most %u", position,
                   le32_get(table->header.entry_count), VHDX_TABLE_ENTRIES_MAX);
        return false;
    }
    return true;
}

/* One entry: verified alone, then added to the list. */
static int add_entry(struct vhdx_report *report, const struct file *file, const struct vhdx_region_entry *e,
                     uint64_t at, struct vhdx_regions *regions)
{
    struct vhdx_region region = {le64_get(e->file_offset), le32_get(e->length), "an unknown region"};
    struct vhdx_region *known = vhdx_guid_is(&e->guid, &vhdx_guid_bat)        ? &regions->bat
                                : vhdx_guid_is(&e->guid, &vhdx_guid_metadata) ? &regions->metadata
                                                                              : NULL;
    char guid[VHDX_GUID_TEXT];

    vhdx_guid_text(&e->guid, guid);
    if (!known && le32_get(e->required) & 1) {
        vhdx_fault(report, "region-unknown", at,
                   "region table entry at 0x%" PRIx64 ": region %s is required but unknown", at, guid);
        return -EOPNOTSUPP;
    }
    if (region.position < VHDX_MIB || region.position % VHDX_MIB || region.length == 0 || region.length % VHDX_MIB)
        return vhdx_fault(report, "region-alignment", at,
                          "region table entry at 0x%" PRIx64 ": region %s is at 0x%" PRIx64 " with %" PRIu64
                          " bytes, expected multiples of 1 MiB from 1 MiB on",
                          at, guid, region.position, region.length);
    if (region.position > file->size || region.length > file->size - region.position)
        return vhdx_fault(report, "region-range", at,
                          "region table entry at 0x%" PRIx64 ": region %s at 0x%" PRIx64 " of %" PRIu64
                          " bytes ends behind the file, which has %" PRIu64,
                          at, guid, region.position, region.length, (uint64_t)file->size);
    if (known) {
        region.name = known == &regions->bat ? "the BAT" : "the metadata region";
        *known = region;
    }
    regions->list[regions->count++] = region;
    return 0;
}

static int by_position(const void *a, const void *b)
{
    uint64_t x = ((const struct vhdx_region *)a)->position, y = ((const struct vhdx_region *)b)->position;

    return x < y ? -1 : x > y;
}

static int read_entries(struct vhdx_report *report, const struct file *file, const struct table *table,
                        uint64_t table_at, struct vhdx_regions *regions)
{
    unsigned count = le32_get(table->header.entry_count);
    int err = 0;

    for (unsigned i = 0; i < count; i++) {
        uint64_t at = table_at + offsetof(struct table, entry) + i * sizeof(table->entry[0]);
        int bad = add_entry(report, file, &table->entry[i], at, regions);

        for (unsigned j = 0; j < i && !bad; j++)
            if (vhdx_guid_is(&table->entry[i].guid, &table->entry[j].guid))
                bad = vhdx_fault(report, "region-duplicate", at,
                                 "region table entry at 0x%" PRIx64 ": the same GUID as entry %u", at, j);
        err = err ? err : bad;
    }
    qsort(regions->list, regions->count, sizeof(regions->list[0]), by_position);
    for (unsigned i = 1; i < regions->count; i++) {
        const struct vhdx_region *a = &regions->list[i - 1], *b = &regions->list[i];

        if (b->position - a->position < a->length)
            err = vhdx_fault(report, "region-overlap", table_at,
                             "region table at 0x%" PRIx64 ": %s at 0x%" PRIx64 " of %" PRIu64
                             " bytes and %s at 0x%" PRIx64 " overlap",
                             table_at, a->name, a->position, a->length, b->name, b->position);
    }
    if (!regions->bat.length || !regions->metadata.length)
        err =
            err ? err
                : vhdx_fault(report, "region-missing", table_at, "region table at 0x%" PRIx64 ": there is no %s region",
                             table_at, regions->bat.length ? "metadata" : "BAT");
    return err;
}

static int choose_copy(struct vhdx_report *report, struct file *file, struct table copy[2], unsigned *slot)
{
    struct vhdx_report silent = {.file = report->file, .faults = 1};
    struct vhdx_report *each = report->fault ? report : &silent;
    bool valid[2] = {read_copy(each, file, 0, &copy[0]), read_copy(each, file, 1, &copy[1])};

    report->error = each->error;
    if (report->error)
        return report->error;
    if (!valid[0] && !valid[1])
        return vhdx_fault(report, "region-none", VHDX_REGION_TABLE_AT(0),
                          "region tables at 0x%x and 0x%x: neither has a valid signature, checksum and entry count",
                          VHDX_REGION_TABLE_AT(0), VHDX_REGION_TABLE_AT(1));
    if (valid[0] && valid[1] &&
        memcmp(&copy[0], &copy[1],
               offsetof(struct table, entry) + le32_get(copy[0].header.entry_count) * sizeof(copy[0].entry[0])) != 0)
        return vhdx_fault(report, "region-copies", VHDX_REGION_TABLE_AT(0),
                          "region tables at 0x%x and 0x%x: both are valid but they differ", VHDX_REGION_TABLE_AT(0),
                          VHDX_REGION_TABLE_AT(1));
    *slot = valid[0] ? 0 : 1;
    return 0;
}

int vhdx_regions_read(struct vhdx_report *report, struct file *file, const struct vhdx_header *header,
                      struct vhdx_regions *regions)
{
    struct table *copy = malloc(2 * sizeof(*copy));
    unsigned slot = 0;
    int err = -ENOMEM;

    *regions = (struct vhdx_regions){.list = calloc(VHDX_TABLE_ENTRIES_MAX + 2, sizeof(*regions->list))};
    if (!copy || !regions->list)
        goto free_copy;
    regions->list[0] = (struct vhdx_region){0, VHDX_MIB, "the header section"};
    regions->list[1] = (struct vhdx_region){le64_get(header->log_offset), le32_get(header->log_length), "the log"};
    regions->count = 2;
    err = choose_copy(report, file, copy, &slot);
    if (!err)
        err = read_entries(report, file, &copy[slot], VHDX_REGION_TABLE_AT(slot), regions);

free_copy:
    free(copy);
    if (err)
        vhdx_regions_free(regions);
    return err;
}

void vhdx_regions_free(struct vhdx_regions *regions)
{
    free(regions->list);
    regions->list = NULL;
    regions->count = 0;
}

const struct vhdx_region *vhdx_regions_find(const struct vhdx_regions *regions, uint64_t position, uint64_t length)
{
    unsigned low = 0, high = regions->count;

    while (low < high) { /* the first that ends behind position */
        unsigned middle = low + (high - low) / 2;

        if (regions->list[middle].position + regions->list[middle].length <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low < regions->count && regions->list[low].position < position + length ? &regions->list[low] : NULL;
}

int vhdx_regions_copy(struct file *file, unsigned slot)
{
    struct table *table = malloc(sizeof(*table));
    int err = table ? file_read(file, table, sizeof(*table), VHDX_REGION_TABLE_AT(1 - slot)) : -ENOMEM;

    if (!err)
        err = file_write(file, table, sizeof(*table), VHDX_REGION_TABLE_AT(slot));
    free(table);
    return err;
}

int vhdx_regions_load(struct file *file, void *table)
{
    struct vhdx_report silent = {.file = file, .faults = 1};

    for (unsigned slot = 0; slot < 2; slot++)
        if (read_copy(&silent, file, slot, table))
            return 0;
    return silent.error ? silent.error : -EIO;
}

int vhdx_regions_set_bat(void *bytes, uint64_t position, uint64_t length)
{
    struct table *table = bytes;

    for (unsigned i = 0; i < le32_get(table->header.entry_count); i++) {
        if (!vhdx_guid_is(&table->entry[i].guid, &vhdx_guid_bat))
            continue;
        table->entry[i].file_offset = le64_of(position);
        table->entry[i].length = le32_of((uint32_t)length);
        table->header.checksum = le32_of(vhdx_checksum(table, sizeof(*table)));
        return 0;
    }
    return -EIO;
}
