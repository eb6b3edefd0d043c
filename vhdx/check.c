/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checking a file: every structure is read with a report that hears of each fault, the BAT piece by piece; a bit for
 * each MiB of the file tells what is used, twice or by nobody. A log that can be replayed is no fault: what is checked
 * is the file as it will be.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define PIECE 65536u
#define FILE_SIZE_MAX (UINT64_C(256) << 40) /* the bits are 32 MiB */

/* Marks a range, as much of it as is in the file. True: a part of it was marked already. */
static bool claim(struct vhdx_check *c, uint64_t position, uint64_t length)
{
    uint64_t first = position / VHDX_MIB, count = length / VHDX_MIB;
    bool twice = false;

    for (uint64_t mib = first; mib < c->mibs && mib - first < count; mib++) {
        uint8_t bit = (uint8_t)(1u << mib % 8);

        twice = twice || c->used[mib / 8] & bit;
        c->used[mib / 8] |= bit;
    }
    return twice;
}

/* ---- The BAT ---- */

static void entry_fault(struct vhdx_check *c, const char *code, uint64_t index, const char *text)
{
    bool bitmap = vhdx_shape_is_bitmap(&c->shape, index);
    uint64_t at = c->regions.bat.position + index * sizeof(uint64_t);

    vhdx_fault(&c->report, code, at, "BAT entry %" PRIu64 " at 0x%" PRIx64 " (%s %" PRIu64 "): %s", index, at,
               bitmap ? "sector bitmap" : "block",
               bitmap ? index / ((UINT64_C(1) << c->shape.ratio_shift) + 1) : vhdx_shape_block(&c->shape, index), text);
}

static void check_bitmap_entry(struct vhdx_check *c, uint64_t index, uint64_t entry)
{
    char text[VHDX_ENTRY_TEXT];

    if (c->partial && !vhdx_entry_owns(entry)) {
        snprintf(text, sizeof(text), "there is no sector bitmap, but block %" PRIu64 " is partially-present",
                 c->partial_block);
        entry_fault(c, "bat-no-bitmap", index, text);
    }
    c->partial = false;
}

static void check_entry(struct vhdx_check *c, uint64_t index, uint64_t entry)
{
    bool bitmap = vhdx_shape_is_bitmap(&c->shape, index);
    uint64_t block = vhdx_shape_block(&c->shape, index), position = entry & VHDX_ENTRY_POSITION;
    uint64_t length = bitmap ? VHDX_BITMAP_SIZE : c->shape.block_size;
    enum vhdx_state state = vhdx_entry_state(entry);
    char text[VHDX_ENTRY_TEXT];
    const char *code;

    if (bitmap)
        check_bitmap_entry(c, index, entry);
    if (entry != 0 && !bitmap && block >= c->shape.blocks) {
        vhdx_leak(&c->report, "bat-beyond-disk", c->regions.bat.position + index * sizeof(entry),
                  0, "BAT entry %" PRIu64 ": it is not empty, but the disk ends before its block", index);
        return;
    }
    if (entry & VHDX_ENTRY_RESERVED_BITS) { /* and what else is wrong with it */
        entry_fault(c, vhdx_entry_fault(&c->shape, &c->regions, c->view->size, index, entry, text), index, text);
        entry &= ~VHDX_ENTRY_RESERVED_BITS;
    }
    if (entry == 0)
        return;
    if (!bitmap && state == VHDX_PARTIALLY_PRESENT && c->shape.differencing && !c->partial) {
        c->partial = true;
        c->partial_block = block;
    }
    code = vhdx_entry_fault(&c->shape, &c->regions, c->view->size, index, entry, text);
    if (code)
        entry_fault(c, code, index, text);
    /* An undefined or unmapped block may keep the place where its old bytes are. */
    if (!vhdx_entry_owns(entry) && (bitmap || position == 0 || (state != VHDX_UNDEFINED && state != VHDX_UNMAPPED)))
        return;
    if (claim(c, position, length) && !code) {
        snprintf(text, sizeof(text), "it is at 0x%" PRIx64 ", where another block or structure is already", position);
        entry_fault(c, "bat-duplicate", index, text);
    }
}

/* Entries that stand in a hole of the file are zeros. Not where the chunk's bitmap is still to be seen. */
static uint64_t skip_hole(struct vhdx_check *c, uint64_t index)
{
    uint64_t position = c->regions.bat.position + index * sizeof(uint64_t), data;

    if (c->partial || file_seek_data(c->view, position, &data, NULL))
        return index;
    return data < position + PIECE ? index : index + (data - position) / PIECE * (PIECE / sizeof(uint64_t));
}

static int check_bat(struct vhdx_check *c)
{
    const struct vdisk_progress *progress = c->progress;
    struct le64 *piece = malloc(PIECE);
    uint64_t per_piece = PIECE / sizeof(*piece), total = c->shape.entries;
    int err = piece ? 0 : -ENOMEM;

    for (uint64_t index = 0; index < total && !err; index += per_piece) {
        if (disk_cancelled(progress)) {
            err = -ECANCELED;
            break;
        }
        index = skip_hole(c, index);
        if (index >= total)
            break;
        err = vhdx_read(&c->report, c->view, piece, PIECE, c->regions.bat.position + index * sizeof(*piece), "BAT");
        for (uint64_t i = 0; i < per_piece && index + i < total && !err; i++)
            check_entry(c, index + i, le64_get(piece[i]));
        if (progress && progress->step)
            progress->step(progress->arg, index * sizeof(*piece), total * sizeof(*piece));
    }
    free(piece);
    return err;
}

/* Does the storage hold any of it? A log that is to be replayed has nothing there. */
static bool is_stored(struct vhdx_check *c, uint64_t start, uint64_t end)
{
    uint64_t data;

    return file_seek_data(c->report.file, start, &data, NULL) != 0 || data < end;
}

/* A hole in the middle costs nothing; at the end it makes the file longer than it must be. */
static void report_leaks(struct vhdx_check *c)
{
    for (uint64_t mib = 0, next; mib < c->mibs; mib = next) {
        uint64_t start = mib * VHDX_MIB, end;

        for (next = mib; next < c->mibs && !(c->used[next / 8] >> next % 8 & 1); next++)
            ;
        if (next == mib) {
            next++;
            continue;
        }
        end = next * VHDX_MIB < c->view->size ? next * VHDX_MIB : c->view->size;
        if (end == c->view->size || is_stored(c, start, end))
            vhdx_leak(&c->report, "leak", start, end - start,
                      "file space at 0x%" PRIx64 ": %" PRIu64 " bytes belong to nobody", start, end - start);
    }
}

static int check_blocks(struct vhdx_check *c)
{
    int err;

    c->shape = vhdx_shape_of(&c->metadata);
    c->mibs = (c->view->size + VHDX_MIB - 1) / VHDX_MIB;
    if (c->view->size > FILE_SIZE_MAX)
        return vhdx_fault(&c->report, "file-size", 0, "the file has %" PRIu64 " bytes, expected at most %" PRIu64,
                          (uint64_t)c->view->size, FILE_SIZE_MAX);
    c->used = calloc(c->mibs / 8 + 1, 1);
    if (!c->used)
        return -ENOMEM;
    for (unsigned i = 0; i < c->regions.count; i++)
        claim(c, c->regions.list[i].position, c->regions.list[i].length);
    err = check_bat(c);
    if (!err)
        report_leaks(c);
    c->whole = !err;
    return err;
}

/* ---- The rest ---- */

static int check_locator(struct vhdx_check *c)
{
    struct vhdx_locator locator;
    uint64_t at = c->metadata.locator_position;
    int err = vhdx_locator_read(&c->report, c->view, &c->metadata, &locator);

    if (err)
        return err;
    if (!locator.linkage)
        err = vhdx_fault(&c->report, "locator-linkage", at,
                         "parent locator at 0x%" PRIx64 ": there is no parent_linkage", at);
    if (!locator.relative && !locator.volume && !locator.absolute)
        err = vhdx_fault(&c->report, "locator-path", at, "parent locator at 0x%" PRIx64 ": there is no path", at);
    vhdx_locator_free(&locator);
    return err;
}

static int check_structures(struct vhdx_check *c)
{
    int err = vhdx_regions_read(&c->report, c->view, &c->header, &c->regions);

    if (err)
        return err;
    err = vhdx_metadata_read(&c->report, c->view, &c->regions.metadata, &c->metadata);
    if (!err && c->metadata.has_parent)
        check_locator(c);
    if (!err)
        err = vhdx_shape_verify(&c->report, &c->metadata, &c->regions);
    if (!err)
        err = check_blocks(c);
    return err;
}

int vhdx_check_walk(struct vhdx_check *c)
{
    struct file *file = c->report.file;
    int err;

    if (!c->view)
        c->view = file;
    err = vhdx_identifier_read(&c->report, file);
    if (!err)
        err = vhdx_header_read(&c->report, file, &c->header, &c->slot);
    if (!err && !vhdx_guid_is_zero(&c->header.log_guid)) {
        err = vhdx_replay_open(&c->report, file, &c->header, &c->replay);
        if (!err)
            c->view = c->replay.view;
    }
    if (!err)
        err = check_structures(c);
    if (c->report.error)
        return c->report.error;
    return err == -ENOMEM || err == -ECANCELED ? err : c->report.faults > 0;
}

void vhdx_check_free(struct vhdx_check *c)
{
    free(c->used);
    vhdx_regions_free(&c->regions);
    vhdx_replay_close(&c->replay);
}

int vhdx_check(struct file *file, const struct vdisk_progress *progress, vdisk_fault_fn *fault, void *arg)
{
    struct vhdx_check c = {.report = {.file = file, .fault = fault, .arg = arg}, .progress = progress};
    int result = vhdx_check_walk(&c);

    vhdx_check_free(&c);
    return result;
}
