/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Space in the file: taken at its end or from what drop gave back. Space beyond end is the file's growth and so reads
 * as zeros; available space was made to.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhdx.h"

#define GROWTH_MAX (64 * VHDX_MIB)

static uint64_t round_up(uint64_t value)
{
    return (value + VHDX_MIB - 1) & ~(VHDX_MIB - 1);
}

/* A last block that the disk does not fill may end behind the file: its space is its own all the same. */
static int find_end(struct vhdx *v, uint64_t *end)
{
    uint64_t index = vhdx_shape_index(&v->shape, v->shape.blocks - 1), entry = 0;
    int err = vhdx_entry_load(v, index, false);

    if (err)
        return err;
    *end = round_up(v->disk.file->size);
    vhdx_entry_get(v, index, &entry);
    if (vhdx_entry_owns(entry) && (entry & VHDX_ENTRY_POSITION) + v->shape.block_size > *end)
        *end = (entry & VHDX_ENTRY_POSITION) + v->shape.block_size;
    return 0;
}

/* Storage for what sync writes whatever it is about: the headers and the log's entries; and memory for one of these. */
static int prepare_sync(struct vhdx *v)
{
    uint64_t length = sizeof(v->batch->entry);
    int err;

    if (!v->batch)
        v->batch = malloc(sizeof(*v->batch));
    if (!v->batch)
        return -ENOMEM;
    err = file_allocate(v->disk.file, VHDX_HEADER_AT(0), VHDX_HEADER_AT(1) + VHDX_PAGE - VHDX_HEADER_AT(0));
    if (!err && !MUTANT("vhdx-log-no-space"))
        err = file_allocate(v->disk.file, v->log.position, length);
    if (!err && !MUTANT("vhdx-log-no-space"))
        err = file_allocate(v->disk.file, v->log.position + v->log.length / 2, length);
    return err;
}

/* [MS-VHDX] 2.2.2.1: DataWriteGuid */
bool vhdx_mark(struct vdisk *disk, uint8_t mark[16])
{
    memcpy(mark, &vhdx_of(disk)->header.data_write_guid, 16);
    return true;
}

/* A new FileWriteGuid before the first modification of any kind, a new DataWriteGuid before the first that a guest can
 * see: for us both are the same moment. [MS-VHDX] 2.2.2.1 */
static int begin(struct vhdx *v, bool data)
{
    struct vhdx_guid data_write_guid;
    uint64_t end = 0;
    int err;

    if (v->begun)
        return 0;
    if (v->disk.failed)
        return v->disk.failed;
    err = find_end(v, &end);
    if (err)
        return err;
    err = prepare_sync(v);
    if (err)
        return disk_error(&v->disk, err, "cannot be made ready for writing: %s", strerror(-err));
    data_write_guid = vhdx_guid_is_zero(&v->next_guid) ? vhdx_guid_random() : v->next_guid;
    err = data ? disk_mark_changes(&v->disk, (const uint8_t *)&data_write_guid) : 0;
    if (err)
        return err;
    if (!MUTANT("vhdx-file-guid-kept"))
        v->header.file_write_guid = vhdx_guid_random();
    if (data && !MUTANT("vhdx-data-guid-kept"))
        v->header.data_write_guid = data_write_guid;
    err = vhdx_header_write(v->disk.file, &v->header, &v->slot);
    if (err) {
        disk_error(&v->disk, err, "headers: cannot be written: %s", strerror(-err));
        disk_fail(&v->disk, err);
        return err;
    }
    if (end > v->disk.file->size)
        err = file_resize(v->disk.file, end);
    if (err)
        return disk_error(&v->disk, err, "cannot grow to %" PRIu64 " bytes: %s", end, strerror(-err));
    v->end = end;
    if (data)
        v->next_guid = (struct vhdx_guid){{0}};
    atomic_store_explicit(&v->begun, true, memory_order_release);
    return 0;
}

int vhdx_space_begin(struct vhdx *v)
{
    return begin(v, true);
}

int vhdx_space_begin_file(struct vhdx *v)
{
    return begin(v, false);
}

static bool runs_take(struct vhdx_runs *runs, uint64_t length, uint64_t *position)
{
    struct vhdx_run *last = runs->count > 0 ? &runs->run[runs->count - 1] : NULL;

    if (!last || last->length < length)
        return false;
    last->length -= length;
    *position = last->position + last->length;
    if (last->length == 0)
        runs->count--;
    return true;
}

/* Steps of an eighth of the file: few growths for a file that grows, little for one that does not. */
static int grow(struct vhdx *v, uint64_t end)
{
    uint64_t step = round_up(end / 8);
    int err;

    if (step > GROWTH_MAX)
        step = GROWTH_MAX;
    err = file_resize(v->disk.file, end + step);
    if (err) /* a quota, a limit: no more than needed, then */
        err = file_resize(v->disk.file, end);
    return err ? disk_error(&v->disk, err, "cannot grow to %" PRIu64 " bytes: %s", end, strerror(-err)) : 0;
}

int vhdx_space_take(struct vhdx *v, uint64_t length, uint64_t *position)
{
    int err;

    if (length == v->shape.block_size && runs_take(&v->available, length, position))
        return 0;
    if (v->end + length > v->disk.file->size) {
        err = grow(v, v->end + length);
        if (err)
            return err;
    }
    *position = v->end;
    v->end += length;
    return 0;
}

/* What cannot be remembered is lost space, not an error. */
void vhdx_runs_add(struct vhdx_runs *runs, uint64_t position, uint64_t length)
{
    struct vhdx_run *last = runs->count > 0 ? &runs->run[runs->count - 1] : NULL;

    if (last && last->position + last->length == position) {
        last->length += length;
        return;
    }
    if (runs->count == runs->room) {
        size_t room = runs->room ? 2 * runs->room : 16;
        struct vhdx_run *run = realloc(runs->run, room * sizeof(*run));

        if (!run)
            return;
        runs->run = run;
        runs->room = room;
    }
    runs->run[runs->count++] = (struct vhdx_run){position, length};
}

void vhdx_space_recycle(struct vhdx *v, struct vhdx_runs *runs)
{
    for (size_t i = 0; i < runs->count; i++) {
        const struct vhdx_run *run = &runs->run[i];
        int err = MUTANT("vhdx-freed-unclean") ? 0 : file_zero(v->disk.file, run->position, run->length, false);

        if (err) {
            file_say(v->disk.file, VDISK_WARNING, "vhdx", "cannot give back %" PRIu64 " bytes at 0x%" PRIx64 ": %s",
                     run->length, run->position, strerror(-err));
            continue;
        }
        pthread_mutex_lock(&v->lock);
        vhdx_runs_add(&v->available, run->position, run->length);
        pthread_mutex_unlock(&v->lock);
    }
    runs->count = 0;
}

static int by_position(const void *a, const void *b)
{
    uint64_t x = ((const struct vhdx_run *)a)->position, y = ((const struct vhdx_run *)b)->position;

    return x < y ? -1 : x > y;
}

void vhdx_space_trim(struct vhdx *v)
{
    struct vhdx_runs *runs = &v->available;

    if (runs->count > 0)
        qsort(runs->run, runs->count, sizeof(*runs->run), by_position);
    while (runs->count > 0 && runs->run[runs->count - 1].position + runs->run[runs->count - 1].length == v->end)
        v->end = runs->run[--runs->count].position;
}
