/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Check: reads all metadata and tells every fault, not the first alone. Footers, header and locators are here, the BAT
 * and the bitmaps in check_bat.c. Where one structure is so wrong that the next cannot be found, check ends there.
 */
#include "check.h"
#include "disk/mutant.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#define LL(value) ((unsigned long long)(value))

static void tell(struct check *c, struct vdisk_fault fault, const char *format, va_list args)
{
    char text[512];

    if (c->told++ > CHECK_TOLD_MAX && !c->all)
        return;
    vsnprintf(text, sizeof(text), format, args);
    if (c->told > CHECK_TOLD_MAX && !c->all) {
        fault.code = "too-many";
        snprintf(text, sizeof(text), "%u faults were told; the rest is not", CHECK_TOLD_MAX);
    }
    fault.text = text;
    c->fault(c->arg, &fault);
}

void check_tell(struct check *c, enum vdisk_severity severity, const char *code, uint64_t offset, const char *format,
                ...)
{
    va_list args;

    if (MUTANT_CODE("vhd-check", code))
        return;
    if (severity == VDISK_FAULT)
        c->faults++;
    va_start(args, format);
    tell(c, (struct vdisk_fault){.severity = severity, .code = code, .offset = offset}, format, args);
    va_end(args);
}

void check_leak(struct check *c, const char *code, uint64_t offset, uint64_t length, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(c, (struct vdisk_fault){.severity = VDISK_LEAK, .code = code, .offset = offset, .length = length}, format,
         args);
    va_end(args);
}

void check_reason(struct check *c, const struct vhd_reason *reason)
{
    check_tell(c, VDISK_FAULT, reason->code, reason->offset, "%s", reason->text);
}

int check_step(const struct check *c, uint64_t done, uint64_t total)
{
    const struct vdisk_progress *p = c->progress;

    if (!p)
        return 0;
    if (p->cancel && *p->cancel)
        return -ECANCELED;
    if (p->step)
        p->step(p->arg, done, total);
    return 0;
}

/* The two footers against each other; false: neither can be believed. */
static bool check_footers(struct check *c)
{
    const struct vhd_footers *f = &c->footers;
    struct vhd_reason reason;

    if (vhd_footer_choose(f, &c->footer, &reason) ||
        vhd_footer_check(&c->footer, f->end_valid ? f->end_at : 0, &reason)) {
        check_reason(c, &reason);
        return false;
    }
    if (!f->end_there)
        check_tell(c, VDISK_FAULT, "footer-missing", f->end_at, "end of the file at 0x%llx: there is no footer",
                   LL(f->end_at));
    else if (f->behind)
        check_tell(c, VDISK_FAULT, "footer-behind", f->end_at,
                   "footer at 0x%llx: %llu bytes are behind it, left by an interrupted resize", LL(f->end_at),
                   LL(c->file->size - f->end_at - VHD_SECTOR));
    else if (!f->end_valid)
        check_tell(c, VDISK_FAULT, "footer-checksum", f->end_at, "footer at 0x%llx: bad checksum 0x%08x", LL(f->end_at),
                   be32_get(f->end.checksum));
    if (be32_get(c->footer.type) == VHD_FIXED)
        return true;
    if (!f->copy_there)
        check_tell(c, VDISK_FAULT, "footer-copy-missing", 0, "start of the file: there is no copy of the footer");
    else if (!f->copy_valid)
        check_tell(c, VDISK_FAULT, "footer-copy-checksum", 0, "footer copy at 0x0: bad checksum 0x%08x",
                   be32_get(f->copy.checksum));
    else if (f->end_valid && memcmp(&f->copy, &f->end, sizeof(f->copy)) != 0)
        check_tell(c, VDISK_FAULT, "footer-mismatch", 0, "footer copy at 0x0: is not the same as the footer at 0x%llx",
                   LL(f->end_at));
    return true;
}

/* Readers that go by the geometry must not go beyond the disk. */
static void check_size(struct check *c)
{
    const struct vhd_footer *f = &c->footer;
    uint64_t geometry = (uint64_t)be16_get(f->cylinders) * f->heads * f->sectors_per_track * VHD_SECTOR;
    uint64_t size = be64_get(f->current_size);

    if (size % VHD_SECTOR)
        check_tell(c, VDISK_FAULT, "footer-size", c->footers.end_at, "footer: current size %llu is no multiple of 512",
                   LL(size));
    if (geometry == 0 && (memcmp(f->creator, "vpc ", 4) == 0 || memcmp(f->creator, "qemu", 4) == 0))
        check_tell(c, VDISK_FAULT, "footer-geometry", c->footers.end_at,
                   "footer: geometry %u/%u/%u is empty, and its creator goes by the geometry", be16_get(f->cylinders),
                   f->heads, f->sectors_per_track);
    if (geometry > size && geometry < VHD_GEOMETRY_MAX)
        check_tell(c, VDISK_FAULT, "footer-geometry", c->footers.end_at,
                   "footer: geometry %u/%u/%u holds %llu bytes, more than the current size %llu",
                   be16_get(f->cylinders), f->heads, f->sectors_per_track, LL(geometry), LL(size));
}

static void check_fixed(struct check *c)
{
    uint64_t size = vhd_footer_size(&c->footer), stored = be64_get(c->footer.current_size);

    if (size > c->footers.end_at)
        check_tell(c, VDISK_FAULT, "file-truncated", c->footers.end_at,
                   "footer at 0x%llx: the disk has %llu bytes, the file only %llu before the footer",
                   LL(c->footers.end_at), LL(size), LL(c->footers.end_at));
    if (stored < size)
        stored = size;
    c->whole = true;
    if (stored < c->footers.end_at)
        check_leak(c, "trailing-data", stored, c->footers.end_at - stored, "%llu bytes at 0x%llx belong to nothing",
                   LL(c->footers.end_at - stored), LL(stored));
}

/* *range: which of the layout's ranges is the locator's. */
static void check_locator(struct check *c, int index, unsigned *range)
{
    const struct vhd_locator *locator = &c->header.locator[index];
    const struct vhd_layout *l = &c->layout;
    uint64_t start, end, at = l->header_at + offsetof(struct vhd_header, locator) + 24ull * (unsigned)index;
    char *text;
    int err;

    vhd_locator_range(locator, &start, &end);
    if (memcmp(locator->code, "\0\0\0\0", 4) == 0)
        return;
    if (start > l->limit || end > l->limit || start == end) {
        check_tell(c, VDISK_FAULT, "locator-past-end", at,
                   "parent locator %d: its data at 0x%llx goes beyond the data's end at 0x%llx", index, LL(start),
                   LL(l->limit));
        return;
    }
    for (unsigned i = 0; i < l->ranges; i++)
        if (start < l->range[i].end && l->range[i].start < end && i != *range)
            check_tell(c, VDISK_FAULT, "locator-overlap", at, "parent locator %d: its data at 0x%llx lies over %s",
                       index, LL(start), l->range[i].what);
    ++*range;
    err = vhd_locator_read(c->file, locator, &text);
    if (err)
        check_tell(c, VDISK_FAULT, "locator-text", at,
                   "parent locator %d: %u bytes at 0x%llx are not the text of a path", index, be32_get(locator->length),
                   LL(start));
    free(text);
}

static void check_parent(struct check *c)
{
    unsigned long long at = c->layout.header_at;
    bool has_id = !uuid_is_null(c->header.parent_id);
    unsigned range = 3, named = 0;
    char *name = vhd_parent_name(&c->header), *text;

    if (be32_get(c->footer.type) != VHD_DIFFERENCING) {
        if (has_id)
            check_tell(c, VDISK_FAULT, "parent-id", at, "header at 0x%llx: has a parent, the footer says dynamic", at);
        free(name);
        return;
    }
    if (!has_id)
        check_tell(c, VDISK_FAULT, "parent-id", at, "header at 0x%llx: the parent has no identity", at);
    if (!name && (c->header.parent_name[0] || c->header.parent_name[1]))
        check_tell(c, VDISK_FAULT, "parent-name", at + offsetof(struct vhd_header, parent_name),
                   "header at 0x%llx: the parent's name is not text", at);
    named += name != NULL;
    free(name);
    for (int i = 0; i < VHD_LOCATORS; i++) {
        check_locator(c, i, &range);
        if (vhd_locator_read(c->file, &c->header.locator[i], &text) == 0 && text)
            named++;
        free(text);
    }
    if (!named)
        check_tell(c, VDISK_FAULT, "parent-name", at, "header at 0x%llx: nothing says where the parent is", at);
}

static int check_blocks(struct check *c)
{
    struct vhd_reason reason;
    int err = vhd_header_read(c->file, &c->footer, c->footers.end_at, &c->header, &c->layout, &reason);

    if (err && !reason.code)
        return file_error(c->file, "vhd", err, "header: cannot be read: %s", strerror(-err));
    if (err) {
        check_reason(c, &reason);
        return 0;
    }
    check_parent(c);
    err = check_bat(c);
    if (!err)
        err = check_bitmaps(c);
    if (!err)
        check_gaps(c);
    c->whole = !err;
    return err;
}

int vhd_check_walk(struct check *c)
{
    int err = vhd_footers_read(c->file, &c->footers);

    if (err)
        return file_error(c->file, "vhd", err, "footers: cannot be read: %s", strerror(-err));
    if (!check_footers(c))
        return 1;
    check_size(c);
    if (be32_get(c->footer.type) != VHD_FIXED)
        err = check_blocks(c);
    else
        check_fixed(c);
    return err ? err : c->faults > 0;
}

void vhd_check_free(struct check *c)
{
    free(c->used);
}

int vhd_check(struct file *file, const struct vdisk_progress *progress, vdisk_fault_fn *fault, void *arg)
{
    struct check c = {.file = file, .progress = progress, .fault = fault, .arg = arg};
    int result = vhd_check_walk(&c);

    vhd_check_free(&c);
    return result;
}
