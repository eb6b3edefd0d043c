/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mode pages (SPC-4 7.5, SBC-3 6.4): caching, where WCE can be changed, and control, where SWP can. And START STOP
 * UNIT.
 */
#include <stddef.h>

#include "unit.h"

#define CACHING 0x08
#define CONTROL 0x0a
#define ALL_PAGES 0x3f
#define WCE 0x04 /* byte 2 of caching */
#define SWP 0x08 /* byte 4 of control */
#define PARAMETERS_MAX 256u

enum page_values { CURRENT, CHANGEABLE, DEFAULT, SAVED };

static size_t put_caching(const struct scsi_unit *unit, enum page_values values, uint8_t *page)
{
    page[0] = CACHING;
    page[1] = 0x12;
    page[2] = values != CURRENT || atomic_load(&unit->write_cache) ? WCE : 0;
    return 2 + page[1];
}

static size_t put_control(const struct scsi_unit *unit, enum page_values values, uint8_t *page)
{
    page[0] = CONTROL;
    page[1] = 0x0a;
    if (values != CHANGEABLE)
        page[3] = 0x10; /* commands are reordered without restriction */
    if (values == CHANGEABLE || (values == CURRENT && atomic_load(&unit->write_protect)))
        page[4] = SWP;
    return 2 + page[1];
}

static size_t put_descriptor(const struct scsi_unit *unit, bool is_long, uint8_t *bytes)
{
    uint64_t blocks = atomic_load(&unit->blocks);

    if (is_long) {
        scsi_put_be64(&bytes[0], blocks);
        scsi_put_be32(&bytes[12], unit->block);
        return 16;
    }
    scsi_put_be32(&bytes[0], blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX);
    scsi_put_be32(&bytes[4], unit->block); /* three bytes: below 16 MiB */
    return 8;
}

void scsi_mode_sense(struct scsi_command *command)
{
    const struct scsi_unit *unit = command->run.unit;
    const uint8_t *cdb = command->cdb;
    bool ten = cdb[0] == SCSI_MODE_SENSE_10, long_lba = ten && cdb[1] & 0x10;
    enum page_values values = cdb[2] >> 6;
    uint8_t code = cdb[2] & 0x3f, subpage = cdb[3], data[128] = {0};
    size_t header = ten ? 8 : 4, descriptor = 0, length;

    if (values == SAVED) {
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_SAVING_NOT_SUPPORTED);
        return;
    }
    if (code != CACHING && code != CONTROL && code != ALL_PAGES) {
        scsi_fail_cdb(command, 2, 5);
        return;
    }
    if (subpage != 0 && !(code == ALL_PAGES && subpage == 0xff)) {
        scsi_fail_cdb(command, 3, 7);
        return;
    }
    if (!(cdb[1] & 0x08))
        descriptor = put_descriptor(unit, long_lba, data + header);
    length = header + descriptor;
    if (code != CONTROL)
        length += put_caching(unit, values, data + length);
    if (code != CACHING)
        length += put_control(unit, values, data + length);
    data[ten ? 3 : 2] = (uint8_t)((scsi_unit_protected(unit) ? 0x80 : 0) | 0x10); /* WP, DPOFUA */
    if (ten) {
        scsi_put_be16(&data[0], (uint16_t)(length - 2));
        data[4] = long_lba && descriptor ? 1 : 0;
        scsi_put_be16(&data[6], (uint16_t)descriptor);
    } else {
        data[0] = (uint8_t)(length - 1);
        data[3] = (uint8_t)descriptor;
    }
    scsi_reply(command, data, length, ten ? scsi_be16(&cdb[7]) : cdb[4]);
}

/* ---- MODE SELECT ---- */

struct change {
    bool has_caching, has_control;
    bool write_cache, write_protect;
};

/* A page of the list may differ from ours in what is changeable only. Its length, or 0: refused, and said. */
static size_t take_page(struct scsi_command *command, const uint8_t *list, size_t at, size_t length,
                        struct change *change)
{
    const uint8_t *page = list + at;
    uint8_t mine[32] = {0}, may[32] = {0};
    size_t size;

    if (page[0] == CACHING) {
        size = put_caching(command->run.unit, CURRENT, mine);
        put_caching(command->run.unit, CHANGEABLE, may);
    } else if (page[0] == CONTROL) {
        size = put_control(command->run.unit, CURRENT, mine);
        put_control(command->run.unit, CHANGEABLE, may);
    } else {
        scsi_fail_list(command, (unsigned)at);
        return 0;
    }
    if (length - at < 2 || page[1] != mine[1]) {
        scsi_fail_list(command, (unsigned)at + 1);
        return 0;
    }
    if (length - at < size) {
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((page[i] ^ mine[i]) & ~may[i]) {
            scsi_fail_list(command, (unsigned)(at + i));
            return 0;
        }
    }
    if (page[0] == CACHING) {
        change->has_caching = true;
        change->write_cache = page[2] & WCE;
    } else {
        change->has_control = true;
        change->write_protect = page[4] & SWP;
    }
    return size;
}

static void cache_flushed(struct scsi_command *command, int error)
{
    if (error)
        scsi_fail_errno(command, error);
    else
        scsi_finish(command, SCSI_GOOD);
}

/* What was written into the cache while there was one is durable before it is said that there is none. */
static void apply(struct scsi_command *command, const struct change *change)
{
    struct scsi_unit *unit = command->run.unit;
    bool off = false;

    if (change->has_caching)
        off = atomic_exchange(&unit->write_cache, change->write_cache) && !change->write_cache;
    if (change->has_control)
        atomic_store(&unit->write_protect, change->write_protect);
    if (change->has_caching || change->has_control)
        scsi_attention_tell(command->nexus->target, command->lun, SCSI_ATTENTION_MODE, command->nexus);
    if (off)
        scsi_start(command, VDISK_FLUSH, 0, 0, NULL, 0, cache_flushed);
    else
        scsi_finish(command, SCSI_GOOD);
}

/* The header and block descriptors: where the pages begin, or 0: refused, and said. A descriptor has to be ours. */
static size_t take_header(struct scsi_command *command, const uint8_t *list, size_t length)
{
    bool ten = command->cdb[0] == SCSI_MODE_SELECT_10, is_long = ten && list[4] & 1;
    size_t header = ten ? 8 : 4, descriptor;
    uint8_t mine[16] = {0};

    if (length < header) {
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
        return 0;
    }
    descriptor = ten ? scsi_be16(&list[6]) : list[3];
    if (descriptor != 0 && descriptor != (is_long ? 16 : 8)) {
        scsi_fail_list(command, ten ? 6 : 3);
        return 0;
    }
    if (length < header + descriptor) {
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
        return 0;
    }
    put_descriptor(command->run.unit, is_long, mine);
    for (size_t i = 0; i < descriptor; i++) {
        bool count = i < (is_long ? 8 : 4);

        if (list[header + i] != mine[i] && !(count && list[header + i] == 0)) {
            scsi_fail_list(command, (unsigned)(header + i));
            return 0;
        }
    }
    return header + descriptor;
}

void scsi_mode_select(struct scsi_command *command)
{
    const uint8_t *cdb = command->cdb;
    size_t length = cdb[0] == SCSI_MODE_SELECT_10 ? scsi_be16(&cdb[7]) : cdb[4], at;
    uint8_t list[PARAMETERS_MAX] = {0};
    struct change change = {.has_caching = false};

    command->wanted = length;
    if (!(cdb[1] & 0x10) || cdb[1] & 0x01) { /* PF, and SP: pages cannot be saved */
        scsi_fail_cdb(command, 1, cdb[1] & 0x01 ? 0 : 4);
        return;
    }
    if (length == 0) {
        scsi_finish(command, SCSI_GOOD);
        return;
    }
    if (length > sizeof(list) || length > command->out_length) {
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
        return;
    }
    command->moved = scsi_gather(command, 0, list, length);
    at = take_header(command, list, length);
    if (at == 0)
        return;
    while (at < length) {
        size_t size = take_page(command, list, at, length, &change);

        if (size == 0)
            return;
        at += size;
    }
    apply(command, &change);
}

/* ---- START STOP UNIT, SBC-3 5.25 ---- */

static void stop_flushed(struct scsi_command *command, int error)
{
    if (error) {
        scsi_fail_errno(command, error);
        return;
    }
    atomic_store(&command->run.unit->stopped, true);
    scsi_finish(command, SCSI_GOOD);
}

void scsi_start_stop(struct scsi_command *command)
{
    if (command->cdb[4] & 0x01) {
        atomic_store(&command->run.unit->stopped, false);
        scsi_finish(command, SCSI_GOOD);
    } else if (command->cdb[4] & 0x04) { /* NO_FLUSH */
        stop_flushed(command, 0);
    } else {
        scsi_start(command, VDISK_FLUSH, 0, 0, NULL, 0, stop_flushed);
    }
}
