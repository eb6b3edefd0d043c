/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing the parent locator of a disk that is there. [MS-VHDX] 2.6.2.6
 *
 * Item and table entry go through the log as one entry: after a power cut the old locator stands, or the new one. The file
 * changes by it (FileWriteGuid), what a guest reads does not (DataWriteGuid): the disk's own children stay its children.
 *
 * A parent that is to be written gets a new DataWriteGuid. So the child records both before that: the one that the parent
 * has, as parent_linkage, and the one that it will begin with, as parent_linkage2. A parent with either is the right one.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhdx.h"

static char *keep(const char *text)
{
    return text ? strdup(text) : NULL;
}

/* What is to be recorded; next: the identity that the parent will have, or zero. */
static int make_locator(struct vhdx *v, const struct disk_link *link, struct vhdx_guid *next,
                        struct vhdx_locator *locator)
{
    const struct vhdx *parent = vhdx_of(link->parent);
    char guid[VHDX_GUID_TEXT];
    int err = vhdx_locator_make(&parent->header.data_write_guid, link->relative, link->absolute, locator);

    if (err)
        return err;
    if (!link->relative && !link->absolute) {
        locator->relative = keep(v->locator.relative);
        locator->volume = keep(v->locator.volume);
        locator->absolute = keep(v->locator.absolute);
        err = !locator->relative == !v->locator.relative && !locator->volume == !v->locator.volume &&
                      !locator->absolute == !v->locator.absolute
                  ? 0
                  : -ENOMEM;
    }
    if (link->to_be_written && !MUTANT("vhdx-merge-unannounced")) {
        *next = vhdx_guid_random();
        vhdx_guid_text(next, guid);
        locator->linkage2 = strdup(guid);
        err = err || !locator->linkage2 ? -ENOMEM : 0;
    }
    if (err)
        vhdx_locator_free(locator);
    return err;
}

/* Adds the page at position, as the file has it. */
static int add_page(struct vhdx *v, struct vhdx_batch *batch, uint64_t position)
{
    if (batch->count == VHDX_BATCH_PAGES)
        return -ENAMETOOLONG;
    batch->entry.descriptor[batch->count].file_offset = le64_of(position);
    return file_read(v->disk.file, batch->entry.page[batch->count++], VHDX_PAGE, position);
}

/* The table's page, then those of the item: their old bytes and the new. */
static int fill_batch(struct vhdx *v, struct vhdx_batch *batch, const uint8_t *item, size_t length, uint64_t *position)
{
    uint64_t entry, first, end;
    int err;

    batch->count = 1;
    err = vhdx_metadata_move_locator(v->disk.file, &v->regions.metadata, length, position, batch->entry.page[0], &entry);
    if (err)
        return err;
    batch->entry.descriptor[0].file_offset = le64_of(entry);
    first = *position / VHDX_PAGE * VHDX_PAGE;
    end = *position + length;
    for (uint64_t page = first; page < end && !err; page += VHDX_PAGE)
        err = add_page(v, batch, page);
    if (err)
        return err;
    memcpy(batch->entry.page[1] + (*position - first), item, length);
    return file_allocate(v->disk.file, first, (batch->count - 1) * (uint64_t)VHDX_PAGE);
}

static int write_locator(struct vhdx *v, const struct vhdx_locator *locator)
{
    struct vhdx_batch *batch = calloc(1, sizeof(*batch));
    uint8_t *item = NULL;
    uint64_t position;
    size_t length;
    int err = batch ? vhdx_locator_write(locator, &item, &length) : -ENOMEM;

    if (!err)
        err = fill_batch(v, batch, item, length, &position);
    if (err)
        disk_error(&v->disk, err, "cannot record its parent: %s",
                   err == -EILSEQ ? "the path is not UTF-8" : strerror(-err));
    else
        err = vhdx_sync_pages(v, batch);
    if (!err) {
        v->metadata.locator_position = position;
        v->metadata.locator_length = (uint32_t)length;
    }
    free(item);
    free(batch);
    return err;
}

int vhdx_relink(struct vdisk *disk, const struct disk_link *link)
{
    struct vhdx *v = vhdx_of(disk);
    bool begun = atomic_load(&v->begun);
    struct vhdx_guid next = {{0}};
    struct vhdx_locator locator;
    int err = make_locator(v, link, &next, &locator), settled;

    assert(!link->to_be_written || !vhdx_of(link->parent)->begun);
    if (err)
        return disk_error(disk, err, "cannot record its parent: %s", strerror(-err));
    pthread_mutex_lock(&v->lock);
    err = vhdx_space_begin_file(v);
    pthread_mutex_unlock(&v->lock);
    if (!err)
        err = write_locator(v, &locator);
    if (!begun && !MUTANT("vhdx-relink-begun")) { /* the guest's first write is yet to come, and with it a DataWriteGuid */
        settled = vhdx_settle(disk);
        err = err ? err : settled;
    }
    if (err) {
        vhdx_locator_free(&locator);
        return err;
    }
    vhdx_locator_free(&v->locator);
    v->locator = locator;
    vhdx_of(link->parent)->next_guid = next;
    return 0;
}
