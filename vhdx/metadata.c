/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The metadata region: a table of items, of which six are known. [MS-VHDX] 2.6
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"

#define ITEM_MAX VHDX_MIB
#define USER_ITEMS_MAX 1024u

const struct vhdx_guid vhdx_item_file_parameters =
    VHDX_GUID(0xCAA16737u, 0xFA36u, 0x4D43u, 0xB3, 0xB6, 0x33, 0xF0, 0xAA, 0x44, 0xE7, 0x6B);
const struct vhdx_guid vhdx_item_size =
    VHDX_GUID(0x2FA54224u, 0xCD1Bu, 0x4876u, 0xB2, 0x11, 0x5D, 0xBE, 0xD8, 0x3B, 0xF4, 0xB8);
const struct vhdx_guid vhdx_item_disk_id =
    VHDX_GUID(0xBECA12ABu, 0xB2E6u, 0x4523u, 0x93, 0xEF, 0xC3, 0x09, 0xE0, 0x00, 0xC7, 0x46);
const struct vhdx_guid vhdx_item_logical_sector =
    VHDX_GUID(0x8141BF1Du, 0xA96Fu, 0x4709u, 0xBA, 0x47, 0xF2, 0x33, 0xA8, 0xFA, 0xAB, 0x5F);
const struct vhdx_guid vhdx_item_physical_sector =
    VHDX_GUID(0xCDA348C7u, 0x445Du, 0x4471u, 0x9C, 0xC9, 0xE9, 0x88, 0x52, 0x51, 0xC5, 0x56);
const struct vhdx_guid vhdx_item_locator =
    VHDX_GUID(0xA8D35F2Du, 0xB30Bu, 0x454Du, 0xAB, 0xF7, 0xD3, 0xD8, 0x48, 0x34, 0xAB, 0x0C);

enum item { FILE_PARAMETERS, DISK_SIZE, DISK_ID, LOGICAL_SECTOR, PHYSICAL_SECTOR, LOCATOR, ITEMS };

static const struct {
    const struct vhdx_guid *guid;
    const char *name;
    uint32_t length; /* 0: any */
} known[ITEMS] = {
    {&vhdx_item_file_parameters, "file parameters", 8},
    {&vhdx_item_size, "virtual disk size", 8},
    {&vhdx_item_disk_id, "virtual disk ID", 16},
    {&vhdx_item_logical_sector, "logical sector size", 4},
    {&vhdx_item_physical_sector, "physical sector size", 4},
    {&vhdx_item_locator, "parent locator", 0},
};

struct table {
    struct vhdx_metadata_header header;
    struct vhdx_metadata_entry entry[VHDX_TABLE_ENTRIES_MAX];
};
_Static_assert(sizeof(struct table) == VHDX_TABLE_SIZE, "[MS-VHDX] 2.6.1");

/* One walk over the table. */
struct walk {
    struct vhdx_report *report;
    struct file *file;
    const struct vhdx_region *region;
    const struct table *table;
    uint64_t at; /* of the entry */
    struct {
        uint64_t position;
        uint32_t length;
    } found[ITEMS]; /* position 0: absent */
};

/* Where an item lies, alone. */
static int check_range(struct walk *w, const struct vhdx_metadata_entry *e, const char *guid)
{
    uint64_t offset = le32_get(e->offset), length = le32_get(e->length);

    if (length == 0 && offset == 0)
        return 0;
    if (offset < VHDX_TABLE_SIZE || length == 0 || length > ITEM_MAX || offset + length > w->region->length)
        return vhdx_fault(w->report, "metadata-range", w->at,
                          "metadata entry at 0x%" PRIx64 ": item %s is at offset %" PRIu64 " with %" PRIu64
                          " bytes, expected between %u and the region's end at %" PRIu64 " with at most %" PRIu64,
                          w->at, guid, offset, length, VHDX_TABLE_SIZE, w->region->length, (uint64_t)ITEM_MAX);
    return 0;
}

/* Against the entries before it. */
static int check_others(struct walk *w, unsigned index, const char *guid)
{
    const struct vhdx_metadata_entry *e = &w->table->entry[index];
    uint64_t offset = le32_get(e->offset), length = le32_get(e->length);

    for (unsigned i = 0; i < index; i++) {
        const struct vhdx_metadata_entry *o = &w->table->entry[i];
        uint64_t other = le32_get(o->offset), other_length = le32_get(o->length);

        if (vhdx_guid_is(&e->item, &o->item) && !((le32_get(e->flags) ^ le32_get(o->flags)) & VHDX_ITEM_USER))
            return vhdx_fault(w->report, "metadata-duplicate", w->at,
                              "metadata entry at 0x%" PRIx64 ": item %s is there twice", w->at, guid);
        if (length && other_length && offset < other + other_length && other < offset + length)
            return vhdx_fault(w->report, "metadata-overlap", w->at,
                              "metadata entry at 0x%" PRIx64 ": item %s at offset %" PRIu64
                              " overlaps the one at %" PRIu64,
                              w->at, guid, offset, other);
    }
    return 0;
}

static int take_entry(struct walk *w, unsigned index)
{
    const struct vhdx_metadata_entry *e = &w->table->entry[index];
    uint32_t flags = le32_get(e->flags), length = le32_get(e->length);
    char guid[VHDX_GUID_TEXT];
    int err, item;

    w->at = w->region->position + offsetof(struct table, entry) + index * sizeof(*e);
    vhdx_guid_text(&e->item, guid);
    err = check_range(w, e, guid);
    if (!err)
        err = check_others(w, index, guid);
    if (err)
        return err;
    for (item = 0; item < ITEMS; item++)
        if (vhdx_guid_is(&e->item, known[item].guid) && !(flags & VHDX_ITEM_USER))
            break;
    if (item == ITEMS) {
        if (!(flags & VHDX_ITEM_REQUIRED))
            return 0;
        vhdx_fault(w->report, "metadata-unknown", w->at,
                   "metadata entry at 0x%" PRIx64 ": item %s is required but unknown", w->at, guid);
        return -EOPNOTSUPP;
    }
    if (known[item].length ? length != known[item].length : length < sizeof(struct vhdx_locator_header))
        return vhdx_fault(w->report, "metadata-length", w->at,
                          "metadata entry at 0x%" PRIx64 ": the %s has %u bytes, expected %u", w->at, known[item].name,
                          length,
                          known[item].length ? known[item].length : (unsigned)sizeof(struct vhdx_locator_header));
    w->found[item].position = w->region->position + le32_get(e->offset);
    w->found[item].length = length;
    return 0;
}

static int take_table(struct walk *w)
{
    unsigned count = le16_get(w->table->header.entry_count), user = 0;
    int err = 0;

    if (memcmp(w->table->header.signature, "metadata", 8) != 0)
        return vhdx_fault(w->report, "metadata-signature", w->region->position,
                          "metadata table at 0x%" PRIx64 ": the signature is not 'metadata'", w->region->position);
    if (count > VHDX_TABLE_ENTRIES_MAX)
        return vhdx_fault(w->report, "metadata-count", w->region->position,
                          "metadata table at 0x%" PRIx64 ": it has %u entries, expected at most %u",
                          w->region->position, count, VHDX_TABLE_ENTRIES_MAX);
    for (unsigned i = 0; i < count; i++) {
        int bad = take_entry(w, i);

        err = err ? err : bad;
        user += le32_get(w->table->entry[i].flags) & VHDX_ITEM_USER;
    }
    if (user > USER_ITEMS_MAX)
        err = vhdx_fault(w->report, "metadata-count", w->region->position,
                         "metadata table at 0x%" PRIx64 ": it has %u user items, expected at most %u",
                         w->region->position, user, USER_ITEMS_MAX);
    for (int i = 0; i < LOCATOR && !err; i++)
        if (!w->found[i].position)
            err = vhdx_fault(w->report, "metadata-missing", w->region->position,
                             "metadata table at 0x%" PRIx64 ": there is no %s", w->region->position, known[i].name);
    return err;
}

static bool is_sector(uint32_t size)
{
    return size == 512 || size == 4096;
}

static int wrong(struct walk *w, enum item item, uint64_t value, const char *expected)
{
    static const char *const codes[ITEMS] = {"block-size",     "disk-size",       "disk-id",
                                             "logical-sector", "physical-sector", "locator"};

    return vhdx_fault(w->report, codes[item], w->found[item].position,
                      "%s at 0x%" PRIx64 ": it is %" PRIu64 ", expected %s", known[item].name, w->found[item].position,
                      value, expected);
}

/* 2.6.2: the values. */
static int check_values(struct walk *w, const struct vhdx_metadata *m, uint32_t flags)
{
    int err = 0;

    if (m->block_size < VHDX_MIB || m->block_size > 256 * VHDX_MIB || m->block_size & (m->block_size - 1))
        err = wrong(w, FILE_PARAMETERS, m->block_size, "a power of two from 1 MiB to 256 MiB");
    if (flags & ~(VHDX_LEAVE_BLOCKS_ALLOCATED | VHDX_HAS_PARENT))
        err = vhdx_fault(w->report, "file-parameters-reserved", w->found[FILE_PARAMETERS].position + 4,
                         "file parameters at 0x%" PRIx64 ": the flags are 0x%x, expected nothing above 0x3",
                         w->found[FILE_PARAMETERS].position, flags);
    if (!is_sector(m->logical_sector))
        return wrong(w, LOGICAL_SECTOR, m->logical_sector, "512 or 4096");
    if (!is_sector(m->physical_sector))
        err = wrong(w, PHYSICAL_SECTOR, m->physical_sector, "512 or 4096");
    if (m->size == 0 || m->size > VHDX_SIZE_MAX || m->size % m->logical_sector)
        err = wrong(w, DISK_SIZE, m->size, "a multiple of the logical sector size, at least one and at most 64 TiB");
    if (m->has_parent && !m->locator_position)
        err = vhdx_fault(w->report, "locator-missing", w->region->position,
                         "metadata table at 0x%" PRIx64 ": the disk has a parent but there is no parent locator",
                         w->region->position);
    return err;
}

static int read_values(struct walk *w, struct vhdx_metadata *m)
{
    struct le32 parameters[2], logical, physical;
    struct le64 size;
    struct {
        enum item item;
        void *to;
    } fixed[] = {{FILE_PARAMETERS, parameters},
                 {DISK_SIZE, &size},
                 {DISK_ID, &m->disk_id},
                 {LOGICAL_SECTOR, &logical},
                 {PHYSICAL_SECTOR, &physical}};
    uint32_t flags;

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        enum item item = fixed[i].item;
        int err =
            vhdx_read(w->report, w->file, fixed[i].to, known[item].length, w->found[item].position, known[item].name);

        if (err)
            return err;
    }
    flags = le32_get(parameters[1]);
    m->block_size = le32_get(parameters[0]);
    m->leave_blocks_allocated = flags & VHDX_LEAVE_BLOCKS_ALLOCATED;
    m->has_parent = flags & VHDX_HAS_PARENT;
    m->size = le64_get(size);
    m->size_position = w->found[DISK_SIZE].position;
    m->logical_sector = le32_get(logical);
    m->physical_sector = le32_get(physical);
    m->locator_position = w->found[LOCATOR].position;
    m->locator_length = w->found[LOCATOR].length;
    return check_values(w, m, flags);
}

int vhdx_metadata_read(struct vhdx_report *report, struct file *file, const struct vhdx_region *region,
                       struct vhdx_metadata *metadata)
{
    struct table *table = malloc(sizeof(*table));
    struct walk walk = {.report = report, .file = file, .region = region, .table = table};
    int err;

    if (!table)
        return -ENOMEM;
    *metadata = (struct vhdx_metadata){0};
    err = vhdx_read(report, file, table, sizeof(*table), region->position, "metadata table");
    if (!err)
        err = take_table(&walk);
    if (!err)
        err = read_values(&walk, metadata);
    free(table);
    return err;
}

/* Is the range free of all items but the locator? */
static bool is_free(const struct table *table, uint64_t offset, uint64_t length)
{
    for (unsigned i = 0; i < le16_get(table->header.entry_count); i++) {
        const struct vhdx_metadata_entry *e = &table->entry[i];
        uint64_t other = le32_get(e->offset), other_length = le32_get(e->length);

        if (other_length && !vhdx_guid_is(&e->item, &vhdx_item_locator) && offset < other + other_length &&
            other < offset + length)
            return false;
    }
    return true;
}

/* The first place behind an item, or behind the table. 0: there is none. */
static uint64_t find_place(const struct table *table, uint64_t end, uint64_t length)
{
    uint64_t best = VHDX_TABLE_SIZE + length <= end && is_free(table, VHDX_TABLE_SIZE, length) ? VHDX_TABLE_SIZE : 0;

    for (unsigned i = 0; i < le16_get(table->header.entry_count); i++) {
        uint64_t at = (uint64_t)le32_get(table->entry[i].offset) + le32_get(table->entry[i].length);

        if (at >= VHDX_TABLE_SIZE && at + length <= end && (!best || at < best) && is_free(table, at, length))
            best = at;
    }
    return best;
}

int vhdx_metadata_move_locator(struct file *file, const struct vhdx_region *region, size_t length, uint64_t *position,
                               uint8_t page[VHDX_PAGE], uint64_t *entry)
{
    struct table *table = malloc(sizeof(*table));
    int err = table ? file_read(file, table, sizeof(*table), region->position) : -ENOMEM;
    unsigned index = 0;
    uint64_t place, at;

    if (err)
        goto free_table;
    while (index < le16_get(table->header.entry_count) &&
           !(vhdx_guid_is(&table->entry[index].item, &vhdx_item_locator) &&
             !(le32_get(table->entry[index].flags) & VHDX_ITEM_USER)))
        index++;
    place = find_place(table, region->length, length);
    err = index == le16_get(table->header.entry_count) ? -EIO : place == 0 || length > ITEM_MAX ? -ENAMETOOLONG : 0;
    if (err)
        goto free_table;
    table->entry[index].offset = le32_of((uint32_t)place);
    table->entry[index].length = le32_of((uint32_t)length);
    at = (offsetof(struct table, entry) + index * sizeof(table->entry[0])) / VHDX_PAGE * VHDX_PAGE;
    memcpy(page, (uint8_t *)table + at, VHDX_PAGE);
    *entry = region->position + at;
    *position = region->position + place;

free_table:
    free(table);
    return err;
}
