/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading the log: the newest valid sequence of entries is found, and every page that its descriptors write is
 * collected. [MS-VHDX] 2.3.3
 *
 * An entry is read sector by sector and the pages collected are bounded: the lengths in the log are the file's words.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "log.h"

#define DATA_PAGES_MAX (UINT64_C(1) << 16)  /* 256 MiB */
#define ZERO_PAGES_MAX (UINT64_C(1) << 20)  /* 4 GiB, of which only the positions are held */
#define FILE_SIZE_MAX (UINT64_C(256) << 40) /* four times the largest disk */
#define SUMS_MAX 8 /* lengths of the log: entries that do not overlap are summed three times at most */
#define FIRST_TARGET VHDX_REGION_TABLE_AT(0) /* headers and the identifier are never logged */

struct scan {
    struct vhdx_report *report;
    struct file *file;
    uint64_t position, length; /* of the log */
    struct vhdx_guid guid;
    uint64_t limit; /* behind which no descriptor writes */
    uint64_t summed;

    struct file_overlay_page *pages; /* as the descriptors come, then sorted */
    size_t count, room, zeros, datas;
};

/* A sequence: entries follow each other from tail to head. */
struct sequence {
    uint64_t tail, head;
    struct vhdx_log_header last; /* of the head */
};

/* ---- Entries ---- */

static int read_ring(struct scan *s, void *buffer, size_t length, uint64_t offset)
{
    uint64_t at = offset % s->length, room = s->length - at;
    size_t first = length < room ? length : (size_t)room;
    int err = vhdx_read(s->report, s->file, buffer, first, s->position + at, "log");

    if (!err && first < length)
        err = vhdx_read(s->report, s->file, (char *)buffer + first, length - first, s->position, "log");
    return err;
}

/* 1: the checksum is right; 0: it is not. */
static int sum_entry(struct scan *s, uint64_t offset, const struct vhdx_log_header *h)
{
    uint64_t length = le32_get(h->entry_length);
    uint32_t crc = 0;
    struct vhdx_log_header first = *h;
    uint8_t sector[VHDX_PAGE];

    s->summed += length;
    if (s->summed / SUMS_MAX > s->length)
        return vhdx_fault(s->report, "log-overlap", s->position + offset,
                          "log at 0x%" PRIx64 ": the entry at 0x%" PRIx64 " and too many others overlap", s->position,
                          offset);
    first.checksum = le32_of(0);
    for (uint64_t at = 0; at < length; at += sizeof(sector)) {
        int err = read_ring(s, sector, sizeof(sector), offset + at);

        if (err)
            return err;
        if (at == 0)
            memcpy(sector, &first, sizeof(first));
        crc = vhdx_crc(crc, sector, sizeof(sector));
    }
    return crc == le32_get(h->checksum) || MUTANT("vhdx-log-checksum");
}

/* 1: this descriptor and its data are of the entry; 0: not. */
static bool descriptor_is_valid(const struct vhdx_log_descriptor *d, const struct vhdx_log_data *data,
                                uint64_t sequence)
{
    if ((le64_get(d->sequence) != sequence && !MUTANT("vhdx-log-descriptor")) || le64_get(d->file_offset) % VHDX_PAGE)
        return false;
    if (!data)
        return le64_get(d->zero_length) % VHDX_PAGE == 0;
    return memcmp(data->signature, "data", 4) == 0 &&
           (((uint64_t)le32_get(data->sequence_high) << 32 | le32_get(data->sequence_low)) == sequence ||
            MUTANT("vhdx-log-data"));
}

typedef int take_fn(struct scan *s, const struct vhdx_log_descriptor *descriptor, struct vhdx_log_data *data);

/* Goes over an entry's descriptors; data is NULL for a zero descriptor. 1: all are valid and were taken; 0: the entry
 * is not valid. */
static int walk_entry(struct scan *s, uint64_t offset, const struct vhdx_log_header *h, take_fn *take)
{
    uint64_t count = le32_get(h->descriptor_count), length = le32_get(h->entry_length);
    uint64_t data_at =
        (sizeof(*h) + count * sizeof(struct vhdx_log_descriptor) + VHDX_PAGE - 1) / VHDX_PAGE * VHDX_PAGE;
    union {
        uint8_t bytes[VHDX_PAGE];
        struct vhdx_log_descriptor descriptor[VHDX_PAGE / sizeof(struct vhdx_log_descriptor)];
    } sector;
    struct vhdx_log_data data;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = sizeof(*h) + i * sizeof(struct vhdx_log_descriptor);
        const struct vhdx_log_descriptor *d = &sector.descriptor[at % VHDX_PAGE / sizeof(*d)];
        bool has_data;
        int err = 0;

        if (i == 0 || at % VHDX_PAGE == 0)
            err = read_ring(s, sector.bytes, sizeof(sector), offset + at / VHDX_PAGE * VHDX_PAGE);
        if (err)
            return err;
        has_data = memcmp(d->signature, "desc", 4) == 0;
        if ((!has_data && memcmp(d->signature, "zero", 4) != 0) || (has_data && data_at >= length))
            return 0;
        if (has_data) {
            err = read_ring(s, &data, sizeof(data), offset + data_at);
            data_at += VHDX_PAGE;
        }
        if (!err && !descriptor_is_valid(d, has_data ? &data : NULL, le64_get(h->sequence)))
            return 0;
        if (!err && take)
            err = take(s, d, has_data ? &data : NULL);
        if (err)
            return err;
    }
    return 1;
}

/* 1: there is a valid entry at offset; 0: there is none. */
static int look_entry(struct scan *s, uint64_t offset, struct vhdx_log_header *h)
{
    uint64_t length, count;
    int valid = read_ring(s, h, sizeof(*h), offset);

    if (valid)
        return valid;
    length = le32_get(h->entry_length);
    count = le32_get(h->descriptor_count);
    if (memcmp(h->signature, "loge", 4) != 0 || !(vhdx_guid_is(&h->log_guid, &s->guid) || MUTANT("vhdx-log-foreign")) ||
        le64_get(h->sequence) == 0)
        return 0;
    if (length == 0 || length % VHDX_PAGE || length > s->length ||
        count > (length - sizeof(*h)) / sizeof(struct vhdx_log_descriptor))
        return 0;
    if (le32_get(h->tail) % VHDX_PAGE || le32_get(h->tail) >= s->length)
        return 0;
    valid = sum_entry(s, offset, h);
    return valid == 1 ? walk_entry(s, offset, h, NULL) : valid;
}

/* ---- Sequences ---- */

/* Is the offset one of the entries that start at tail and fill length bytes? */
static int contains(struct scan *s, uint64_t tail, uint64_t length, uint64_t offset)
{
    for (uint64_t at = 0; at < length;) {
        struct vhdx_log_header h;
        int err;

        if ((tail + at) % s->length == offset)
            return 1;
        err = read_ring(s, &h, sizeof(h), tail + at);
        if (err)
            return err;
        if (le32_get(h.entry_length) == 0)
            return 0; /* changed under our hands */
        at += le32_get(h.entry_length);
    }
    return 0;
}

/* Follows valid entries from tail on: how many bytes they fill. */
static int follow(struct scan *s, uint64_t tail, struct sequence *sequence, uint64_t *length)
{
    *length = 0;
    while (*length < s->length) {
        struct vhdx_log_header h;
        uint64_t at = (tail + *length) % s->length;
        int valid = look_entry(s, at, &h);

        if (valid < 0)
            return valid;
        if (!valid || le32_get(h.entry_length) > s->length - *length ||
            (*length > 0 && le64_get(h.sequence) != le64_get(sequence->last.sequence) + 1 && !MUTANT("vhdx-log-gap")))
            return 0;
        sequence->head = at;
        sequence->last = h;
        *length += le32_get(h.entry_length);
    }
    return 0;
}

/* Entries in front of the head's tail are durable in place and are not replayed: what they describe may be something
 * else by now. A run of entries whose head's tail lies outside is stepped over whole: no part of it has another head.
 */
static int find_active(struct scan *s, struct sequence *active)
{
    bool found = false;

    for (uint64_t tail = 0, length; tail < s->length; tail += length ? length : VHDX_PAGE) {
        struct sequence now = {0};
        int inside, err = follow(s, tail, &now, &length);

        if (err)
            return err;
        if (length == 0)
            continue;
        inside = contains(s, tail, length, le32_get(now.last.tail));
        if (inside < 0)
            return inside;
        if (!inside ||
            (found && le64_get(now.last.sequence) <= le64_get(active->last.sequence) && !MUTANT("vhdx-log-older")))
            continue;
        now.tail = le32_get(now.last.tail);
        *active = now;
        found = true;
    }
    return found ? 0
                 : vhdx_fault(s->report, "log-dirty", s->position,
                              "log at 0x%" PRIx64 ": it is in use but holds no valid sequence: the file is corrupt",
                              s->position);
}

/* ---- Pages ---- */

static int add_page(struct scan *s, uint64_t position, uint8_t *data)
{
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        struct file_overlay_page *pages = realloc(s->pages, room * sizeof(*pages));

        if (!pages)
            return -ENOMEM;
        s->pages = pages;
        s->room = room;
    }
    s->pages[s->count++] = (struct file_overlay_page){position, data};
    return 0;
}

static int take_zeros(struct scan *s, uint64_t position, uint64_t length)
{
    int err = 0;

    s->zeros += length / VHDX_PAGE;
    if (s->zeros > ZERO_PAGES_MAX)
        return vhdx_fault(s->report, "log-size", s->position,
                          "log at 0x%" PRIx64 ": it zeroes more than %" PRIu64 " bytes", s->position,
                          ZERO_PAGES_MAX * VHDX_PAGE);
    for (uint64_t at = 0; at < length && !err; at += VHDX_PAGE)
        err = add_page(s, position + at, NULL);
    return err;
}

static int take_data(struct scan *s, const struct vhdx_log_descriptor *d, const struct vhdx_log_data *data)
{
    uint8_t *page;
    int err;

    if (++s->datas > DATA_PAGES_MAX)
        return vhdx_fault(s->report, "log-size", s->position,
                          "log at 0x%" PRIx64 ": it writes more than %" PRIu64 " bytes", s->position,
                          DATA_PAGES_MAX * VHDX_PAGE);
    page = malloc(VHDX_PAGE);
    if (!page)
        return -ENOMEM;
    memcpy(page, d->leading, 8);
    memcpy(page + 8, data->bytes, sizeof(data->bytes));
    memcpy(page + VHDX_PAGE - 4, d->trailing, 4);
    err = add_page(s, le64_get(d->file_offset), page);
    if (err)
        free(page);
    return err;
}

static int take(struct scan *s, const struct vhdx_log_descriptor *d, struct vhdx_log_data *data)
{
    uint64_t position = le64_get(d->file_offset), length = data ? VHDX_PAGE : le64_get(d->zero_length);

    if (position < FIRST_TARGET || position > s->limit || length > s->limit - position ||
        (position < s->position + s->length && s->position < position + length))
        return vhdx_fault(s->report, "log-target", s->position,
                          "log at 0x%" PRIx64 ": a descriptor writes %" PRIu64 " bytes to 0x%" PRIx64
                          ", which is no place for metadata",
                          s->position, length, position);
    return data ? take_data(s, d, data) : take_zeros(s, position, length);
}

struct numbered {
    struct file_overlay_page page;
    size_t number;
};

static int by_position(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;

    if (x->page.position != y->page.position)
        return x->page.position < y->page.position ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

/* Sorts the pages; of several for one place the last one stays. */
static int settle_pages(struct scan *s)
{
    struct numbered *all;
    size_t kept = 0;

    if (s->count == 0) /* a sequence of empty entries: the pages are an array all the same */
        return (s->pages = malloc(sizeof(*s->pages))) ? 0 : -ENOMEM;
    all = malloc(s->count * sizeof(*all));
    if (!all)
        return -ENOMEM;
    for (size_t i = 0; i < s->count; i++)
        all[i] = (struct numbered){s->pages[i], i};
    qsort(all, s->count, sizeof(*all), by_position);
    for (size_t i = 0; i < s->count; i++) {
        if (i + 1 < s->count && all[i + 1].page.position == all[i].page.position)
            free(all[i].page.data);
        else
            s->pages[kept++] = all[i].page;
    }
    s->count = kept;
    free(all);
    return 0;
}

/* The pages of all entries from tail to head. */
static int gather(struct scan *s, const struct sequence *active)
{
    for (uint64_t at = active->tail;;) {
        struct vhdx_log_header h;
        int valid = look_entry(s, at, &h);

        if (valid != 1)
            return valid ? valid : -EIO;
        valid = walk_entry(s, at, &h, take);
        if (valid != 1)
            return valid ? valid : -EIO;
        if (at == active->head)
            return settle_pages(s);
        at = (at + le32_get(h.entry_length)) % s->length;
    }
}

static int collect(struct scan *s, const struct sequence *active)
{
    uint64_t flushed = le64_get(active->last.flushed_file_offset), last = le64_get(active->last.last_file_offset);

    if (s->file->size < flushed)
        return vhdx_fault(s->report, "log-truncated", s->position,
                          "log at 0x%" PRIx64 ": the file had %" PRIu64 " bytes and has %" PRIu64 ": it is truncated",
                          s->position, flushed, (uint64_t)s->file->size);
    if (last > FILE_SIZE_MAX)
        return vhdx_fault(s->report, "log-size", s->position,
                          "log at 0x%" PRIx64 ": the file is to have %" PRIu64 " bytes, expected at most %" PRIu64,
                          s->position, last, FILE_SIZE_MAX);
    s->limit = last > s->file->size ? last : s->file->size;
    return gather(s, active);
}

void vhdx_replay_free(struct file_overlay_page *pages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(pages[i].data);
    free(pages);
}

int vhdx_replay_collect(struct vhdx_report *report, struct file *file, const struct vhdx_header *header,
                        struct file_overlay_page **pages, size_t *count, uint64_t *size)
{
    struct scan s = {.report = report,
                     .file = file,
                     .position = le64_get(header->log_offset),
                     .length = le32_get(header->log_length),
                     .guid = header->log_guid};
    struct sequence active = {0};
    int err;

    err = find_active(&s, &active);
    if (!err)
        err = collect(&s, &active);
    if (err) {
        vhdx_replay_free(s.pages, s.count);
        if (err == -ENOMEM)
            file_error(file, "vhdx", err, "log at 0x%" PRIx64 ": no memory to replay it", s.position);
        return err;
    }
    *pages = s.pages;
    *count = s.count;
    *size = s.limit;
    return 0;
}

/* ---- What a log that is not in use remembers ---- */

/* Is every entry in the log whole, and all of one log GUID? 1: so, and that is the scan's; *newest: the highest
 * sequence number in a data sector, of any entry that ever was there. An entry that was overwritten in part, or was
 * torn, makes it 0: what came after it nobody knows. */
static int is_of_one(struct scan *s, uint64_t *newest)
{
    uint64_t reached = 0;
    bool found = false;

    *newest = 0;
    for (uint64_t at = 0, next; at < s->length; at = next) {
        union {
            struct vhdx_log_header header;
            struct vhdx_log_data data;
        } sector;
        int valid = read_ring(s, &sector, sizeof(sector), at);

        if (valid)
            return valid;
        next = at + VHDX_PAGE;
        if (memcmp(sector.data.signature, "data", 4) == 0) {
            uint64_t sequence =
                (uint64_t)le32_get(sector.data.sequence_high) << 32 | le32_get(sector.data.sequence_low);

            *newest = sequence > *newest ? sequence : *newest;
        }
        if (memcmp(sector.header.signature, "loge", 4) != 0)
            continue;
        if (at < reached || (found && !vhdx_guid_is(&sector.header.log_guid, &s->guid)))
            return 0;
        found = true;
        s->guid = sector.header.log_guid;
        valid = look_entry(s, at, &sector.header);
        if (valid != 1)
            return valid;
        reached = at + le32_get(sector.header.entry_length);
    }
    return found;
}

static int recall(struct scan *s, struct vhdx_recall *recall)
{
    struct sequence active = {0};
    uint64_t newest;
    int err = is_of_one(s, &newest);

    if (err != 1)
        return err;
    err = find_active(s, &active);
    if (err || newest > le64_get(active.last.sequence) || le64_get(active.last.flushed_file_offset) > FILE_SIZE_MAX)
        return err;
    err = gather(s, &active);
    if (err)
        return err;
    recall->guid = s->guid;
    recall->size = le64_get(active.last.flushed_file_offset);
    return 1;
}

int vhdx_replay_recall(struct file *file, const struct vhdx_header *header, struct vhdx_recall *recalled)
{
    struct vhdx_report silent = {.file = file, .faults = 1};
    struct scan s = {.report = &silent,
                     .file = file,
                     .position = le64_get(header->log_offset),
                     .length = le32_get(header->log_length),
                     .limit = FILE_SIZE_MAX};
    int result = recall(&s, recalled);

    if (result == 1) {
        recalled->pages = s.pages;
        recalled->count = s.count;
        return 1;
    }
    vhdx_replay_free(s.pages, s.count);
    return silent.error ? silent.error : result == -ENOMEM ? result : 0;
}
