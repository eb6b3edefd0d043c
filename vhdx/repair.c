/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Repair. What is mended, and why it is right:
 *
 *   a header, a region table: from the other one, which is valid. [MS-VHDX] 2.2.2, 2.2.3
 *   a log that holds something: replayed, as any open for writing does. 2.3.3
 *   a lost page of the BAT: a page of zeros or of impossible entries, of which the log, no longer in use, still holds
 * the last change. Everything in the log is whole and of one log GUID, so nothing came after it; all else that it wrote
 *     is in its place; and with the page in its own the whole file has no fault. The headers name the log again, and it
 * is replayed. reserved bits: where each MiB of the file has exactly one owner, the entry's position is right; and in a
 * disk without a parent all states without a position read as zeros. leaks: given back, but only once no fault is left:
 * the space may be the block that a wrong entry meant.
 *
 * The order: the headers (FileWriteGuid first), the log, the region tables, the BAT through the log, and space last.
 * Each step is durable before the next begins, and a cut in any of them leaves what the next run plans from.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "disk/mutant.h"
#include "disk/repair.h"

struct plan {
    struct disk_repair *repair;
    struct file *file;
    struct vhdx_check check;
    bool telling;     /* the walk under way is the one that tells */
    unsigned refused; /* faults that stay */

    const char *header[2], *region[2]; /* the fault's code; NULL: valid */
    bool newer;                        /* the header that is not valid seems to be the current one */
    struct vhdx_runs leaks;
    uint64_t page[VHDX_BATCH_PAGES]; /* of the BAT, in the file: their reserved bits are to be cleared */
    unsigned pages;

    struct vhdx_recall recall;
    struct vhdx_replay lost; /* with a view: the file as it is with its lost pages */
    bool disagree;           /* log and BAT, and which one is right is not known */
};

static const struct disk_advice advice[] = {
    {"bat-duplicate", "not mended: which of the two blocks the space is cannot be known; copy out what can be read "
                      "(vdisk convert) and compare both blocks with a backup"},
    {"bat-overlap", "not mended: what the block held is not in the file any more; copy out what can be read (vdisk "
                    "convert) and take the block from a backup"},
    {"bat-range", "not mended: what the block held is not in the file any more; copy out what can be read (vdisk "
                  "convert) and take the block from a backup"},
    {"bat-no-bitmap",
     "not mended: which sectors are this file's and which the parent's cannot be known; take the chunk "
     "from a backup"},
    {"bat-reserved", "not mended: that the rest of the entry is right cannot be proved; copy out what can be read "
                     "(vdisk convert)"},
    {"region-copies", "not mended: both are whole, and which is right cannot be known; keep the file as it is and take "
                      "the disk from a backup"},
    {"header-sequence",
     "not mended: both are whole, and which is right cannot be known; keep the file as it is and take "
     "the disk from a backup"},
    {"header-signature", "not mended before the rest can be read"},
    {"header-checksum", "not mended before the rest can be read"},
    {"region-signature", "not mended before the rest can be read"},
    {"region-checksum", "not mended before the rest can be read"},
    {"header-newer",
     "not mended: which of the two is current cannot be known; copy out what can be read (vdisk convert), "
     "and compare it with a backup"},
    {"log-dirty", "not mended: without its log the metadata is of different times; take the disk from a backup"},
    {"leak",
     "not given back: it may hold what a fault that stays has lost; copy the disk (vdisk convert) to be rid of it"},
    {"hole", "not given back: the storage knows no holes; copy the disk (vdisk convert) to be rid of it"},
    {NULL, "not mended: nothing in the file proves what is right; copy out what can be read (vdisk convert) or take it "
           "from a backup"},
};

static bool is_zero(const uint8_t page[VHDX_PAGE])
{
    return page[0] == 0 && memcmp(page, page + 1, VHDX_PAGE - 1) == 0;
}

static void refuse(struct plan *p, const struct vdisk_fault *fault)
{
    p->refused++;
    if (p->telling)
        disk_repair_refuse(p->repair, fault, disk_repair_advice(advice, fault->code));
}

/* ---- Looking ---- */

/* The page of the BAT that holds an entry with reserved bits. False: there are too many. */
static bool note_page(struct plan *p, uint64_t at)
{
    uint64_t base = p->check.regions.bat.position, position = base + (at - base) / VHDX_PAGE * VHDX_PAGE;

    if (p->pages > 0 && p->page[p->pages - 1] == position)
        return true;
    if (p->pages == VHDX_BATCH_PAGES)
        return false;
    p->page[p->pages++] = position;
    return true;
}

static void take_fault(void *arg, const struct vdisk_fault *fault)
{
    struct plan *p = arg;

    if (fault->severity == VDISK_LEAK) {
        vhdx_runs_add(&p->leaks, fault->offset, fault->length);
        return;
    }
    for (unsigned slot = 0; slot < 2; slot++) {
        if (fault->offset == VHDX_HEADER_AT(slot) &&
            (strcmp(fault->code, "header-signature") == 0 || strcmp(fault->code, "header-checksum") == 0)) {
            p->header[slot] = fault->code;
            return;
        }
        if (fault->offset == VHDX_REGION_TABLE_AT(slot) &&
            (strcmp(fault->code, "region-signature") == 0 || strcmp(fault->code, "region-checksum") == 0 ||
             strcmp(fault->code, "region-count") == 0)) {
            p->region[slot] = fault->code;
            return;
        }
    }
    if (strcmp(fault->code, "bat-reserved") != 0 || !note_page(p, fault->offset))
        refuse(p, fault);
}

/* Looks through the file, with the lost pages in their places where they are known. */
static int walk(struct plan *p, bool telling)
{
    int result;

    vhdx_check_free(&p->check);
    p->check = (struct vhdx_check){.report = {.file = p->file, .fault = take_fault, .arg = p},
                                   .progress = p->repair->progress,
                                   .view = p->lost.view};
    p->telling = telling;
    p->refused = p->pages = 0;
    p->leaks.count = 0;
    result = vhdx_check_walk(&p->check);
    return result < 0 ? result : 0;
}

/* A header that is damaged, but by its numbers the current one and of a log that is whole and not yet in its place:
 * what it says may be the truth. */
static int look_at_header(struct plan *p, unsigned slot)
{
    struct vhdx_report silent = {.file = p->file, .faults = 1};
    struct vhdx_header damaged, header = p->check.header;
    struct file_overlay_page *pages;
    uint8_t page[VHDX_PAGE];
    uint64_t size;
    size_t count;
    int err = file_read(p->file, &damaged, sizeof(damaged), VHDX_HEADER_AT(slot));

    if (err)
        return err;
    if (le64_get(damaged.sequence) <= le64_get(header.sequence) || vhdx_guid_is_zero(&damaged.log_guid) ||
        vhdx_guid_is(&damaged.log_guid, &header.log_guid))
        return 0;
    header.log_guid = damaged.log_guid;
    err = vhdx_replay_collect(&silent, p->file, &header, &pages, &count, &size);
    if (err)
        return silent.error ? silent.error : err == -ENOMEM ? err : 0;
    for (size_t i = 0; i < count && !p->newer; i++) {
        bool there = file_read(p->check.view, page, VHDX_PAGE, pages[i].position) == 0;

        p->newer = !there || (pages[i].data ? memcmp(page, pages[i].data, VHDX_PAGE) != 0 : !is_zero(page));
    }
    vhdx_replay_free(pages, count);
    return 0;
}

/* ---- Lost pages ---- */

/* As it stands in the file: nothing, or nonsense. */
static bool is_lost(struct plan *p, uint64_t position, const uint8_t page[VHDX_PAGE])
{
    const struct vhdx_check *c = &p->check;
    uint64_t index = (position - c->regions.bat.position) / sizeof(uint64_t);
    const struct le64 *entry = (const struct le64 *)page;
    char text[VHDX_ENTRY_TEXT];

    if (is_zero(page))
        return true;
    for (unsigned i = 0; i < VHDX_ENTRIES_PER_PAGE && index + i < c->shape.entries; i++)
        if (vhdx_entry_fault(&c->shape, &c->regions, p->file->size, index + i, le64_get(entry[i]), text))
            return true;
    return false;
}

/* Of the recalled pages those that are lost in the file, into lost (its count is in *count). */
static int find_lost(struct plan *p, struct file_overlay_page *lost, size_t *count)
{
    uint64_t bat = p->check.regions.bat.position, end = bat + p->check.shape.entries * sizeof(uint64_t);
    uint8_t page[VHDX_PAGE];

    for (size_t i = 0; i < p->recall.count && !p->disagree; i++) {
        struct file_overlay_page *recalled = &p->recall.pages[i];
        int err = file_read(p->file, page, VHDX_PAGE, recalled->position);

        if (err && err != -ENODATA)
            return file_error(p->file, "vhdx", err, "metadata at 0x%" PRIx64 ": cannot read: %s", recalled->position,
                              strerror(-err));
        if (!err && (recalled->data ? memcmp(page, recalled->data, VHDX_PAGE) == 0 : is_zero(page)))
            continue;
        p->disagree =
            err || recalled->position < bat || recalled->position >= end || !is_lost(p, recalled->position, page);
        if (p->disagree)
            continue;
        lost[(*count)++] = *recalled;
        recalled->data = NULL;
    }
    return 0;
}

/* Where something is missing and the log is not in use: does it still know? The proof is a file without a fault. */
static int look_into_log(struct plan *p)
{
    struct file_overlay_page *lost;
    size_t count = 0;
    int err = vhdx_replay_recall(p->file, &p->check.header, &p->recall);

    if (err != 1)
        return err;
    lost = calloc(p->recall.count + 1, sizeof(*lost));
    err = lost ? find_lost(p, lost, &count) : -ENOMEM;
    if (err || p->disagree || count == 0) {
        vhdx_replay_free(lost, lost ? count : 0);
        return err;
    }
    err = vhdx_replay_view(p->file, lost, count, p->file->size, &p->lost);
    if (!err)
        err = walk(p, false);
    if (!err && (p->refused > 0 || p->pages > 0)) {
        p->disagree = true;
        p->check.view = NULL;
        vhdx_replay_close(&p->lost);
    }
    return err;
}

/* ---- The plan ---- */

/* One of two copies is not valid. */
static void plan_copy(struct plan *p, const char *code, const char *what, uint32_t at, uint32_t from)
{
    struct vdisk_fault fault = {.code = code, .offset = at};
    char text[64];

    snprintf(text, sizeof(text), "%s at 0x%x: it is not valid", what, at);
    fault.text = text;
    if (p->check.whole)
        disk_repair_mend(p->repair, code, at, "%s, and written anew from the one at 0x%x", text, from);
    else
        refuse(p, &fault);
}

static void plan_copies(struct plan *p)
{
    uint64_t log = le64_get(p->check.header.log_offset);

    for (unsigned slot = 0; slot < 2; slot++)
        if (p->header[slot] && !p->header[1 - slot])
            plan_copy(p, p->header[slot], "header", VHDX_HEADER_AT(slot), VHDX_HEADER_AT(1 - slot));
    if (p->check.replay.view && p->check.whole)
        disk_repair_mend(p->repair, "log-dirty", log,
                         "log at 0x%" PRIx64 ": it is in use, and replayed: %zu pages of metadata", log,
                         p->check.replay.count);
    for (unsigned slot = 0; slot < 2; slot++)
        if (p->region[slot] && !p->region[1 - slot])
            plan_copy(p, p->region[slot], "region table", VHDX_REGION_TABLE_AT(slot), VHDX_REGION_TABLE_AT(1 - slot));
}

static void plan_pages(struct plan *p)
{
    bool proved = (p->refused == 0 && p->leaks.count == 0 && !p->check.shape.differencing) || MUTANT("repair-unproved");

    for (size_t i = 0; p->lost.view && i < p->lost.count; i++)
        disk_repair_mend(p->repair, "bat-lost", p->lost.pages[i].position,
                         "BAT page at 0x%" PRIx64 ": it is lost, and restored from the log", p->lost.pages[i].position);
    for (unsigned i = 0; i < p->pages; i++) {
        struct vdisk_fault fault = {.code = "bat-reserved", .offset = p->page[i]};
        char text[128];

        snprintf(text, sizeof(text), "BAT page at 0x%" PRIx64 ": an entry has reserved bits", p->page[i]);
        fault.text = text;
        if (proved)
            disk_repair_mend(p->repair, fault.code, fault.offset, "%s, and they are cleared", text);
        else
            refuse(p, &fault);
    }
    if (!proved)
        p->pages = 0;
}

static void plan_leaks(struct plan *p)
{
    const char *why = NULL;
    bool punches = disk_repair_punches(p->file);
    size_t kept = 0;

    if ((p->refused > 0 && !MUTANT("repair-leaks-early")) || (p->disagree && !MUTANT("repair-log-ignored")))
        why = "leak";
    for (size_t i = 0; i < p->leaks.count; i++) {
        const struct vhdx_run run = p->leaks.run[i];
        bool last = run.position + run.length >= p->check.view->size;
        struct vdisk_fault fault = {.code = "leak", .offset = run.position};
        char text[128];

        snprintf(text, sizeof(text), "file space at 0x%" PRIx64 ": %" PRIu64 " bytes belong to nobody", run.position,
                 run.length);
        fault.text = text;
        if (why || (!last && !punches)) {
            disk_repair_refuse(p->repair, &fault, disk_repair_advice(advice, why ? why : "hole"));
            continue;
        }
        disk_repair_mend(p->repair, fault.code, fault.offset, "%s, and are %s", text, last ? "cut off" : "given back");
        p->leaks.run[kept++] = run;
    }
    p->leaks.count = kept;
}

static void plan_nothing(struct plan *p)
{
    struct vdisk_fault fault = {.code = "header-newer",
                                .offset = VHDX_HEADER_AT(p->header[0] ? 0 : 1),
                                .text = "the damaged header names a log that is whole and not in its place"};

    refuse(p, &fault);
    p->pages = 0;
    p->leaks.count = 0;
}

static int make_plan(struct plan *p)
{
    int err = walk(p, false);

    if (!err && p->check.whole && !p->check.replay.view && (p->leaks.count > 0 || p->refused > 0 || p->pages > 0))
        err = look_into_log(p);
    for (unsigned slot = 0; slot < 2 && !err; slot++)
        if (p->header[slot] && !p->header[1 - slot] && p->check.whole)
            err = look_at_header(p, slot);
    if (!err)
        err = walk(p, true);
    if (err)
        return err;
    if (p->newer) {
        plan_nothing(p);
        return 0;
    }
    plan_copies(p);
    plan_pages(p);
    plan_leaks(p);
    return 0;
}

/* ---- The work ---- */

static int write_headers(struct plan *p)
{
    int err = vhdx_header_write(p->file, &p->check.header, &p->check.slot);

    return err ? file_error(p->file, "vhdx", err, "cannot write the headers: %s", strerror(-err)) : 0;
}

/* The log is in use again, and then replayed as ever. The file may have been cut since. */
static int mend_lost(struct plan *p)
{
    struct vhdx_report report = {.file = p->file};
    struct vhdx_replay replay = {0};
    uint64_t size = p->file->size;
    int err = 0;

    if (p->recall.size > size) {
        err = file_resize(p->file, p->recall.size);
        if (!err)
            err = file_sync(p->file);
        if (err)
            return file_error(p->file, "vhdx", err, "cannot grow to %" PRIu64 " bytes: %s", p->recall.size,
                              strerror(-err));
    }
    p->check.header.log_guid = p->recall.guid;
    p->check.header.log_version = le16_of(0);
    err = vhdx_replay_open(&report, p->file, &p->check.header, &replay);
    if (!err)
        err = vhdx_replay_settle(&replay, p->file, &p->check.header, &p->check.slot);
    vhdx_replay_close(&replay);
    if (!err && file_resize(p->file, size))
        file_say(p->file, VDISK_WARNING, "vhdx", "cannot be cut to %" PRIu64 " bytes; it stays longer", size);
    return err;
}

static int mend_headers(struct plan *p)
{
    if (p->check.replay.view)
        return vhdx_replay_settle(&p->check.replay, p->file, &p->check.header, &p->check.slot);
    if (p->lost.view)
        return mend_lost(p);
    p->check.header.file_write_guid = vhdx_guid_random();
    return write_headers(p);
}

static int mend_regions(struct plan *p)
{
    int err = 0;

    for (unsigned slot = 0; slot < 2 && !err; slot++) {
        if (!p->region[slot])
            continue;
        err = vhdx_regions_copy(p->file, slot);
        if (!err)
            err = file_sync(p->file);
        if (err)
            file_error(p->file, "vhdx", err, "region table at 0x%x: cannot be written: %s", VHDX_REGION_TABLE_AT(slot),
                       strerror(-err));
    }
    return err;
}

/* The pages as they are to be. */
static int fill_batch(struct plan *p, struct vhdx_batch *batch)
{
    const struct vhdx_check *c = &p->check;

    batch->count = p->pages;
    for (unsigned i = 0; i < p->pages; i++) {
        struct le64 *entry = (struct le64 *)batch->entry.page[i];
        uint64_t index = (p->page[i] - c->regions.bat.position) / sizeof(*entry);
        int err = file_read(c->view, entry, VHDX_PAGE, p->page[i]);

        if (err)
            return err;
        for (unsigned n = 0; n < VHDX_ENTRIES_PER_PAGE && index + n < c->shape.entries; n++)
            entry[n] = le64_of(le64_get(entry[n]) & ~VHDX_ENTRY_RESERVED_BITS);
        batch->entry.descriptor[i].file_offset = le64_of(p->page[i]);
    }
    return 0;
}

static int write_pages(struct plan *p, struct vhdx_batch *batch)
{
    struct file *file = p->file;
    struct vhdx_header *header = &p->check.header;
    struct vhdx_log log = {
        .position = le64_get(header->log_offset), .length = le32_get(header->log_length), .guid = vhdx_guid_random()};
    int err = fill_batch(p, batch);

    if (!err)
        err = vhdx_log_write(file, &log, batch, file->size & ~(VHDX_MIB - 1),
                             (file->size + VHDX_MIB - 1) & ~(VHDX_MIB - 1));
    if (!err)
        err = file_sync(file);
    if (err)
        return file_error(file, "vhdx", err, "log: cannot be written: %s", strerror(-err));
    header->log_guid = log.guid;
    header->log_version = le16_of(0);
    err = write_headers(p);
    if (err)
        return err;
    err = vhdx_log_apply(file, batch);
    if (!err)
        err = file_sync(file);
    if (err)
        return file_error(file, "vhdx", err, "BAT: cannot be written: %s", strerror(-err));
    header->log_guid = (struct vhdx_guid){{0}};
    return write_headers(p);
}

static int mend_pages(struct plan *p)
{
    struct vhdx_batch *batch = calloc(1, sizeof(*batch));
    int err = batch ? write_pages(p, batch) : -ENOMEM;

    free(batch);
    return err;
}

static int mend_leaks(struct plan *p)
{
    int err = 0;

    for (size_t i = p->leaks.count; i-- > 0 && !err;) {
        const struct vhdx_run *run = &p->leaks.run[i];

        if (run->position + run->length < p->file->size)
            err = file_zero(p->file, run->position, run->length, false);
        else if (file_resize(p->file, run->position))
            file_say(p->file, VDISK_WARNING, "vhdx", "cannot be cut to %" PRIu64 " bytes; it stays longer",
                     run->position);
    }
    if (!err)
        err = file_sync(p->file);
    return err ? file_error(p->file, "vhdx", err, "space cannot be given back: %s", strerror(-err)) : 0;
}

int vhdx_repair(struct file *file, struct disk_repair *repair)
{
    struct plan p = {.repair = repair, .file = file};
    int err = make_plan(&p);

    if (!err && !repair->dry && repair->mends > 0) {
        err = mend_headers(&p);
        if (!err)
            err = mend_regions(&p);
        if (!err && p.pages > 0)
            err = mend_pages(&p);
        if (!err && p.leaks.count > 0)
            err = mend_leaks(&p);
    }
    vhdx_check_free(&p.check);
    vhdx_replay_close(&p.lost);
    vhdx_replay_free(p.recall.pages, p.recall.count);
    free(p.leaks.run);
    return err;
}
