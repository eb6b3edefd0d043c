/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The header of dynamic and differencing files, and the layout that follows from it: every offset and count is checked
 * here, once, for open and for check.
 */
#include <errno.h>
#include <string.h>

#include "vhd.h"

#define LL(value) ((unsigned long long)(value))

static void add_range(struct vhd_layout *layout, uint64_t start, uint64_t end, const char *what)
{
    layout->range[layout->ranges++] = (struct vhd_range){start, end, what};
    if (layout->metadata_end < end)
        layout->metadata_end = end;
}

/* The header's own fields. */
static int check_fields(const struct vhd_header *h, uint64_t at, struct vhd_reason *reason)
{
    uint32_t sum = vhd_checksum(h, sizeof(*h), offsetof(struct vhd_header, checksum));
    uint32_t version = be32_get(h->version), block = be32_get(h->block_size), entries = be32_get(h->max_entries);

    if (memcmp(h->cookie, VHD_HEADER_COOKIE, sizeof(h->cookie)) != 0)
        return vhd_refuse(reason, "header-cookie", at, "header at 0x%llx: does not begin with 'cxsparse'", LL(at));
    if (be32_get(h->checksum) != sum)
        return vhd_refuse(reason, "header-checksum", at, "header at 0x%llx: checksum is 0x%08x, its bytes give 0x%08x",
                          LL(at), be32_get(h->checksum), sum);
    if (version >> 16 != VHD_VERSION >> 16)
        return vhd_refuse(reason, "header-version", at, "header at 0x%llx: version is %u.%u, 1.0 is known", LL(at),
                          version >> 16, version & 0xFFFF);
    if (block < VHD_BLOCK_MIN || block > VHD_BLOCK_MAX || (block & (block - 1)))
        return vhd_refuse(reason, "header-block-size", at,
                          "header at 0x%llx: block size %u is not a power of two from 4 KiB to 256 MiB", LL(at), block);
    if (entries > VHD_ENTRIES_MAX)
        return vhd_refuse(reason, "header-entries", at, "header at 0x%llx: %u BAT entries, at most %u are accepted",
                          LL(at), entries, VHD_ENTRIES_MAX);
    return 0;
}

/* The BAT: long enough for the disk, inside the file, and not over the footer's copy or the header. */
static int place_bat(const struct vhd_header *h, uint64_t limit, struct vhd_layout *l, struct vhd_reason *reason)
{
    uint64_t needed = (l->size + l->block_size - 1) / l->block_size;
    uint64_t bytes = vhd_align((uint64_t)l->max_entries * 4, VHD_SECTOR);

    l->bat_at = be64_get(h->table_offset);
    if (l->max_entries < needed)
        return vhd_refuse(reason, "header-entries", l->header_at,
                          "header at 0x%llx: %u BAT entries, the disk of %llu bytes has %llu blocks", LL(l->header_at),
                          l->max_entries, LL(l->size), LL(needed));
    l->blocks = (uint32_t)needed;
    if (l->bat_at % VHD_SECTOR || l->bat_at < VHD_SECTOR)
        return vhd_refuse(reason, "header-bat", l->header_at,
                          "header at 0x%llx: BAT offset 0x%llx is not a sector behind the footer copy",
                          LL(l->header_at), LL(l->bat_at));
    if (l->bat_at > limit || bytes > limit - l->bat_at)
        return vhd_refuse(reason, "bat-past-end", l->bat_at,
                          "BAT at 0x%llx: its %llu bytes go beyond the end of the file's data at 0x%llx", LL(l->bat_at),
                          LL(bytes), LL(limit));
    if (l->bat_at < l->header_at + sizeof(*h) && l->header_at < l->bat_at + bytes)
        return vhd_refuse(reason, "bat-over-header", l->bat_at, "BAT at 0x%llx: lies over the header at 0x%llx",
                          LL(l->bat_at), LL(l->header_at));
    add_range(l, 0, VHD_SECTOR, "the footer copy");
    add_range(l, l->header_at, l->header_at + sizeof(*h), "the header");
    add_range(l, l->bat_at, l->bat_at + bytes, "the BAT");
    return 0;
}

/* Reads the header and lays the file out; blocks may go as far as limit. An error that is not -EINVAL is the storage's,
 * and reason is empty then. */
int vhd_header_read(struct file *file, const struct vhd_footer *footer, uint64_t limit, struct vhd_header *h,
                    struct vhd_layout *l, struct vhd_reason *reason)
{
    uint64_t at = be64_get(footer->data_offset);
    int err;

    memset(l, 0, sizeof(*l));
    reason->code = NULL;
    if (at % VHD_SECTOR || at < VHD_SECTOR || at > limit || sizeof(*h) > limit - at)
        return vhd_refuse(reason, "header-missing", 0,
                          "footer: header offset 0x%llx is not a place between 0x200 and the end of the data at 0x%llx",
                          LL(at), LL(limit));
    err = file_read(file, h, sizeof(*h), at);
    if (err)
        return err;
    err = check_fields(h, at, reason);
    if (err)
        return err;
    l->size = vhd_footer_size(footer);
    l->header_at = at;
    l->limit = limit;
    l->block_size = be32_get(h->block_size);
    l->bitmap_size = (uint32_t)vhd_align(l->block_size / VHD_SECTOR / 8, VHD_SECTOR);
    l->max_entries = be32_get(h->max_entries);
    err = place_bat(h, limit, l, reason);
    if (err || be32_get(footer->type) != VHD_DIFFERENCING)
        return err;
    for (int i = 0; i < VHD_LOCATORS; i++) {
        uint64_t start, end;

        vhd_locator_range(&h->locator[i], &start, &end);
        if (start < end && end <= limit)
            add_range(l, start, end, "a parent locator");
    }
    return 0;
}

/* The last block is as long as the rest of the disk. */
uint64_t vhd_block_bytes(const struct vhd_layout *l, uint32_t block)
{
    uint64_t rest = l->size - (uint64_t)block * l->block_size;

    return rest < l->block_size ? rest : l->block_size;
}

/* A used entry that came from the file: the block must lie inside the file and over nothing else. Whether two blocks
 * share their place takes all entries to tell: see begin.c and check.c. */
int vhd_entry_check(const struct vhd_layout *l, uint32_t block, uint32_t sector, struct vhd_reason *reason)
{
    uint64_t at = l->bat_at + (uint64_t)block * 4, start = (uint64_t)sector * VHD_SECTOR;
    uint64_t end = start + l->bitmap_size + vhd_block_bytes(l, block);

    if (end > l->limit)
        return vhd_refuse(reason, "bat-past-end", at,
                          "BAT entry %u at 0x%llx: the block at 0x%llx ends at 0x%llx, beyond the data's end at 0x%llx",
                          block, LL(at), LL(start), LL(end), LL(l->limit));
    for (unsigned i = 0; i < l->ranges; i++)
        if (start < l->range[i].end && l->range[i].start < end)
            return vhd_refuse(reason,
                              i < 2    ? "bat-over-header"
                              : i == 2 ? "bat-over-bat"
                                       : "bat-over-locator",
                              at, "BAT entry %u at 0x%llx: the block at 0x%llx lies over %s at 0x%llx", block, LL(at),
                              LL(start), l->range[i].what, LL(l->range[i].start));
    return 0;
}
