/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing the log. The order, kept by sync.c: data durable; entry written; entry durable; pages written in place; all
 * that durable before the next entry is written. So at any time at most one entry is not durable in place, each entry's
 * tail is itself, and a torn entry leaves the one before it the newest valid sequence, whose replay changes nothing.
 * [MS-VHDX] 2.3
 */
#include <assert.h>
#include <string.h>

#include "log.h"

_Static_assert((1 + VHDX_BATCH_PAGES) * VHDX_PAGE <= VHDX_MIB / 2, "an entry fits in half of the smallest log");

/* Takes the ends of a page out of it, for what marks it as the entry's. */
static void page_to_data(struct vhdx_batch *batch, unsigned i, uint64_t sequence)
{
    struct vhdx_log_descriptor *d = &batch->entry.descriptor[i];
    uint8_t *page = batch->entry.page[i];
    struct vhdx_log_data *data = (struct vhdx_log_data *)page;

    memcpy(d->signature, "desc", 4);
    memcpy(d->leading, page, 8);
    memcpy(d->trailing, page + VHDX_PAGE - 4, 4);
    d->sequence = le64_of(sequence);
    memcpy(data->signature, "data", 4);
    data->sequence_high = le32_of((uint32_t)(sequence >> 32));
    data->sequence_low = le32_of((uint32_t)sequence);
}

static void data_to_page(struct vhdx_batch *batch, unsigned i)
{
    const struct vhdx_log_descriptor *d = &batch->entry.descriptor[i];
    uint8_t *page = batch->entry.page[i];

    memcpy(page, d->leading, 8);
    memcpy(page + VHDX_PAGE - 4, d->trailing, 4);
}

int vhdx_log_write(struct file *file, struct vhdx_log *log, struct vhdx_batch *batch, uint64_t flushed_file_offset,
                   uint64_t last_file_offset)
{
    uint64_t sequence = log->sequence + 1, offset = sequence % 2 ? 0 : log->length / 2;
    struct vhdx_log_header *h = &batch->entry.header;
    size_t length = (1 + batch->count) * VHDX_PAGE;
    int err;

    assert(batch->count > 0 && batch->count <= VHDX_BATCH_PAGES);
    for (unsigned i = 0; i < batch->count; i++)
        page_to_data(batch, i, sequence);
    memset(&batch->entry.descriptor[batch->count], 0,
           (VHDX_BATCH_PAGES - batch->count) * sizeof(batch->entry.descriptor[0]));
    *h = (struct vhdx_log_header){.signature = {'l', 'o', 'g', 'e'},
                                  .entry_length = le32_of((uint32_t)length),
                                  .tail = le32_of((uint32_t)offset),
                                  .sequence = le64_of(sequence),
                                  .descriptor_count = le32_of(batch->count),
                                  .log_guid = log->guid,
                                  .flushed_file_offset = le64_of(flushed_file_offset),
                                  .last_file_offset = le64_of(last_file_offset)};
    h->checksum = le32_of(vhdx_checksum(&batch->entry, length));
    err = file_write(file, &batch->entry, length, log->position + offset);
    if (!err)
        log->sequence = sequence;
    return err;
}

int vhdx_log_apply(struct file *file, struct vhdx_batch *batch)
{
    const struct vhdx_log_descriptor *d = batch->entry.descriptor;
    int err = 0;

    for (unsigned i = 0; i < batch->count; i++)
        data_to_page(batch, i);
    for (unsigned i = 0, next; i < batch->count && !err; i = next) {
        uint64_t position = le64_get(d[i].file_offset);

        for (next = i + 1; next < batch->count; next++)
            if (le64_get(d[next].file_offset) != position + (next - i) * VHDX_PAGE)
                break;
        err = file_write(file, batch->entry.page[i], (next - i) * VHDX_PAGE, position);
    }
    return err;
}
