/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Repair. What is mended, and why it is right:
 *
 *   a footer: from the other one, whose checksum is right.
 *   a block of which no sector is in use, by its bitmap and, in a dynamic disk, by its bytes: it goes out of the BAT,
 * and reads as before. gaps: given back, but only once no fault is left: the space may be the block that a wrong entry
 * meant.
 *
 * The order: footers, BAT, space, the file's end last. Each step is durable before the next begins; a footer and an
 * entry are one sector or less, so that a cut leaves the old or the new.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "disk/mutant.h"
#include "disk/repair.h"

#define LL(value) ((unsigned long long)(value))

struct space {
    uint64_t start, end;
    bool block; /* in the BAT, none of its sectors in use */
};

struct plan {
    struct disk_repair *repair;
    struct check check;
    unsigned refused;       /* faults that stay */
    const char *end, *copy; /* the footer's fault; NULL: there is none */
    struct space *space;    /* to give back */
    unsigned count, room;
    uint64_t cut; /* the file ends here then; 0: it stays as long */
};

static const struct disk_advice advice[] = {
    {"bat-duplicate", "not mended: which of the two blocks the space is cannot be known; copy out what can be read "
                      "(vdisk convert) and compare both blocks with a backup"},
    {"bat-overlap", "not mended: which of the two blocks the space is cannot be known; copy out what can be read "
                    "(vdisk convert) and compare both blocks with a backup"},
    {"bat-past-end", "not mended: what the block held is not in the file any more; copy out what can be read (vdisk "
                     "convert) and take the block from a backup"},
    {"bat-over-header", "not mended: what the block held is not in the file any more; copy out what can be read (vdisk "
                        "convert) and take the block from a backup"},
    {"bat-over-bat", "not mended: what the block held is not in the file any more; copy out what can be read (vdisk "
                     "convert) and take the block from a backup"},
    {"bat-over-locator",
     "not mended: what the block held is not in the file any more; copy out what can be read (vdisk "
     "convert) and take the block from a backup"},
    {"bitmap-disagrees", "not mended: readers that ignore the bitmap show these bytes, and which is right cannot be "
                         "known; copy the disk (vdisk convert) to have what the bitmap says"},
    {"footer-mismatch",
     "not mended: both are whole, and which is right cannot be known; the one at the end is believed "
     "(vdisk info shows it)"},
    {"footer-missing", "not mended while other faults are there: where the file must end cannot be known"},
    {"footer-copy-missing", "not mended before the rest can be read"},
    {"footer-copy-checksum", "not mended before the rest can be read"},
    {"saved-state",
     "not mended: the virtual machine goes on with the file as it is; resume it or discard its state first"},
    {"trailing-data",
     "not cut off: if the footer's size is wrong, it is the disk's; copy the disk (vdisk convert) to be "
     "rid of it"},
    {"gap",
     "not given back: it may hold what a fault that stays has lost; copy the disk (vdisk convert) to be rid of it"},
    {"block-empty",
     "not given back: readers that do not go by the bitmap may show it; copy the disk (vdisk convert) to "
     "be rid of it"},
    {"hole", "not given back: the storage knows no holes; copy the disk (vdisk convert) to be rid of it"},
    {NULL, "not mended: nothing in the file proves what is right; copy out what can be read (vdisk convert) or take it "
           "from a backup"},
};

static void refuse(struct plan *p, const struct vdisk_fault *fault)
{
    if (fault->severity == VDISK_FAULT)
        p->refused++;
    disk_repair_refuse(p->repair, fault, disk_repair_advice(advice, fault->code));
}

/* ---- Looking ---- */

/* What there is no memory for is not given back. */
static void add_space(struct plan *p, const struct vdisk_fault *fault)
{
    if (p->count == p->room) {
        unsigned room = p->room ? 2 * p->room : 16;
        struct space *more = realloc(p->space, room * sizeof(*more));

        if (!more)
            return;
        p->space = more;
        p->room = room;
    }
    p->space[p->count++] =
        (struct space){fault->offset, fault->offset + fault->length, strcmp(fault->code, "block-empty") == 0};
}

/* The footer's fault, if the other footer is one to take it from. */
static bool note_footer(struct plan *p, const struct vdisk_fault *fault)
{
    const struct vhd_footers *f = &p->check.footers;
    bool copy = strncmp(fault->code, "footer-copy-", 12) == 0;

    if (copy && f->end_valid)
        p->copy = fault->code;
    else if (!copy && !f->end_valid && f->copy_valid && be32_get(f->copy.type) != VHD_FIXED &&
             (strcmp(fault->code, "footer-missing") == 0 || strcmp(fault->code, "footer-checksum") == 0))
        p->end = fault->code;
    else
        return false;
    return true;
}

/* XenServer's programs have a map of their own of full blocks. */
static bool ignores_bitmaps(const struct vhd_footer *footer)
{
    return memcmp(footer->creator, "tap", 3) == 0 || memcmp(footer->creator, "CTXS", 4) == 0;
}

static void take_fault(void *arg, const struct vdisk_fault *fault)
{
    struct plan *p = arg;
    bool block = strcmp(fault->code, "block-empty") == 0;

    if (block && !disk_repair_punches(p->check.file))
        disk_repair_refuse(p->repair, fault, disk_repair_advice(advice, "hole"));
    else if (strcmp(fault->code, "gap") == 0 || (block && !ignores_bitmaps(&p->check.footer)))
        add_space(p, fault);
    else if (!note_footer(p, fault))
        refuse(p, fault);
}

/* ---- The plan ---- */

static int by_start(const void *a, const void *b)
{
    uint64_t x = ((const struct space *)a)->start, y = ((const struct space *)b)->start;

    return x < y ? -1 : x > y;
}

/* The spaces are in order. */
static bool is_given_back(const struct plan *p, uint64_t used)
{
    struct space key = {.start = check_start_of(used)};
    const struct space *found = p->count ? bsearch(&key, p->space, p->count, sizeof(key), by_start) : NULL;

    return found && found->block;
}

/* Where the blocks that stay end, the last of them whole; the first block's place if none stays: what is before it may
 * be other programs'. */
static uint64_t blocks_end(const struct plan *p)
{
    const struct check *c = &p->check;
    uint64_t last = c->layout.metadata_end;

    if (c->count > 0 && check_start_of(c->used[0]) > last)
        last = check_start_of(c->used[0]);
    for (uint32_t i = 0; i < c->count; i++) {
        uint64_t end = check_start_of(c->used[i]) + c->layout.bitmap_size + c->layout.block_size;

        if (end > last && !is_given_back(p, c->used[i]))
            last = end;
    }
    return last;
}

/* Over the one that is there, or behind all that is in the file. */
static bool has_place(const struct plan *p)
{
    return p->check.footers.end_there && p->check.footers.end_at + VHD_SECTOR == p->check.file->size;
}

static uint64_t footer_place(const struct plan *p)
{
    uint64_t end = vhd_align(p->check.file->size, VHD_ALIGN), last = p->check.layout.metadata_end;

    if (has_place(p))
        return p->check.footers.end_at;
    for (uint32_t i = 0; i < p->check.count; i++)
        if (check_end_of(&p->check, p->check.used[i]) > last)
            last = check_end_of(&p->check, p->check.used[i]);
    if (end < last + VHD_SECTOR)
        end = vhd_align(last + VHD_SECTOR, VHD_ALIGN);
    return end - VHD_SECTOR;
}

static void plan_footers(struct plan *p)
{
    struct vdisk_fault fault = {.code = "footer-missing", .offset = p->check.footers.end_at};

    if (p->end && !has_place(p) && (p->refused > 0 || !p->check.whole)) {
        fault.text = "there is no footer at the end of the file";
        refuse(p, &fault);
        p->end = NULL;
    }
    if (p->copy && !p->check.whole &&
        !MUTANT("repair-copy-blind")) { /* if it is a fixed disk in truth, the guest's data is there */
        fault = (struct vdisk_fault){.code = p->copy, .text = "footer copy at 0x0: it is not valid"};
        refuse(p, &fault);
        p->copy = NULL;
    }
    if (p->end)
        disk_repair_mend(p->repair, p->end, footer_place(p), "footer at 0x%llx: written anew from its copy at 0x0",
                         LL(footer_place(p)));
    if (p->copy)
        disk_repair_mend(p->repair, p->copy, 0, "footer copy at 0x0: written anew from the footer at 0x%llx",
                         LL(p->check.footers.end_at));
}

/* True: the space is given back. */
static bool plan_space(struct plan *p, const struct space *space)
{
    struct vdisk_fault fault = {
        .severity = VDISK_LEAK, .code = space->block ? "block-empty" : "gap", .offset = space->start};
    bool last = !space->block && space->end == p->check.footers.end_at, cut = p->cut && space->end > p->cut;
    const char *why = NULL;
    char text[128];

    snprintf(text, sizeof(text), "%s at 0x%llx: %llu bytes are not in use", space->block ? "block" : "space",
             LL(space->start), LL(space->end - space->start));
    fault.text = text;
    if (p->refused > 0 && !MUTANT("repair-gaps-early"))
        why = disk_repair_advice(advice, "gap");
    else if (last && !cut)
        why = "not cut off: it is the end of the last block";
    else if (!cut && !disk_repair_punches(p->check.file))
        why = disk_repair_advice(advice, "hole");
    if (why)
        disk_repair_refuse(p->repair, &fault, why);
    else
        disk_repair_mend(p->repair, fault.code, fault.offset, "%s, and are %s", text, cut ? "cut off" : "given back");
    return !why;
}

/* Keeps of the spaces those that are given back: all blocks, or none. */
static void plan_spaces(struct plan *p)
{
    unsigned kept = 0;
    uint64_t cut;

    if (p->count == 0)
        return;
    qsort(p->space, p->count, sizeof(*p->space), by_start);
    cut = vhd_align(blocks_end(p) + VHD_SECTOR, VHD_ALIGN);
    p->cut = p->refused == 0 && cut < p->check.file->size ? cut : 0;
    for (unsigned i = 0; i < p->count; i++)
        if (plan_space(p, &p->space[i]))
            p->space[kept++] = p->space[i];
    p->count = kept;
}

static int make_plan(struct plan *p)
{
    int result = vhd_check_walk(&p->check);

    if (result < 0)
        return result;
    if (p->check.footer.saved_state && (p->end || p->copy || p->count > 0)) {
        struct vdisk_fault fault = {.code = "saved-state", .text = "a virtual machine was suspended"};

        refuse(p, &fault);
        p->end = p->copy = NULL;
        p->count = 0;
        return 0;
    }
    plan_footers(p);
    plan_spaces(p);
    return 0;
}

/* ---- The work ---- */

static int put_footer(struct plan *p, uint64_t at)
{
    struct file *file = p->check.file;
    int err = at + VHD_SECTOR > file->size ? file_resize(file, at + VHD_SECTOR) : 0;

    if (!err)
        err = file_write(file, &p->check.footer, sizeof(p->check.footer), at);
    if (!err)
        err = file_sync(file);
    return err ? file_error(file, "vhd", err, "footer at 0x%llx: cannot be written: %s", LL(at), strerror(-err)) : 0;
}

static int mend_bat(struct plan *p)
{
    const struct be32 unused = be32_of(VHD_UNUSED);
    struct check *c = &p->check;
    unsigned written = 0;
    int err = 0;

    for (uint32_t i = 0; i < c->count && !err; i++)
        if (is_given_back(p, c->used[i])) {
            err = file_write(c->file, &unused, sizeof(unused), c->layout.bat_at + 4ull * (uint32_t)c->used[i]);
            written++;
        }
    if (!err && written > 0)
        err = file_sync(c->file);
    return err ? file_error(c->file, "vhd", err, "BAT: cannot be written: %s", strerror(-err)) : 0;
}

/* The footer first, so that one is there whatever the file's end is. */
static int mend_end(struct plan *p)
{
    struct file *file = p->check.file;
    int err = put_footer(p, p->cut - VHD_SECTOR);

    if (!err && file_resize(file, p->cut))
        file_say(file, VDISK_WARNING, "vhd", "cannot be cut to %llu bytes; it stays longer", LL(p->cut));
    return err ? err : file_sync(file);
}

static int mend_space(struct plan *p)
{
    struct file *file = p->check.file;
    int err = mend_bat(p);

    if (err)
        return err;
    for (unsigned i = 0; i < p->count && !err; i++) {
        uint64_t start = p->space[i].start, end = p->space[i].end, limit = p->check.footers.end_at;

        if (p->cut && end > p->cut - VHD_SECTOR)
            end = p->cut - VHD_SECTOR;
        if (end > limit)
            end = limit;
        if (start < end)
            err = file_zero(file, start, end - start, false);
    }
    if (!err)
        err = file_sync(file);
    if (err)
        return file_error(file, "vhd", err, "space cannot be given back: %s", strerror(-err));
    return p->cut ? mend_end(p) : 0;
}

int vhd_repair(struct file *file, struct disk_repair *repair)
{
    struct plan p = {.repair = repair};
    int err;

    p.check = (struct check){.file = file, .progress = repair->progress, .fault = take_fault, .arg = &p, .all = true};
    err = make_plan(&p);
    if (!err && !repair->dry && repair->mends > 0) {
        if (p.end)
            err = put_footer(&p, footer_place(&p));
        if (!err && p.copy)
            err = put_footer(&p, 0);
        if (!err && p.count > 0)
            err = mend_space(&p);
    }
    vhd_check_free(&p.check);
    free(p.space);
    return err;
}
