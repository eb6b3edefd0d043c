/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands that a unit knows: what is refused of each before it runs, and how it tells of them itself. */
#include <stddef.h>

#include "unit.h"

#define READS (SCSI_MEDIUM | SCSI_MOVES)
#define WRITES (SCSI_MEDIUM | SCSI_WRITES | SCSI_MOVES)
#define ACTION SCSI_HAS_ACTION

/* opcode, action, length, flags, handler, usage. What is not in the usage (protection, groups, ANCHOR, NACA, ...) is
 * not supported, and refused by that. The commands of the data path are first. */
const struct scsi_known scsi_known[] = {
    {SCSI_READ_10, 0, 10, READS, scsi_read, {0x28, 0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff}},
    {SCSI_WRITE_10, 0, 10, WRITES, scsi_write, {0x2a, 0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff}},
    {SCSI_READ_16,
     0,
     16,
     READS,
     scsi_read,
     {0x88, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_WRITE_16,
     0,
     16,
     WRITES,
     scsi_write,
     {0x8a, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_TEST_UNIT_READY, 0, 6, SCSI_MEDIUM, scsi_ready, {0x00}},
    {SCSI_REQUEST_SENSE, 0, 6, SCSI_ANY_LUN, scsi_request_sense, {0x03, 0, 0, 0, 0xff}},
    {SCSI_READ_6, 0, 6, READS, scsi_read, {0x08, 0x1f, 0xff, 0xff, 0xff}},
    {SCSI_WRITE_6, 0, 6, WRITES, scsi_write, {0x0a, 0x1f, 0xff, 0xff, 0xff}},
    {SCSI_INQUIRY, 0, 6, SCSI_ANY_LUN, scsi_inquiry, {0x12, 0x01, 0xff, 0xff, 0xff}},
    {SCSI_MODE_SELECT_6, 0, 6, 0, scsi_mode_select, {0x15, 0x11, 0, 0, 0xff}},
    {SCSI_MODE_SENSE_6, 0, 6, 0, scsi_mode_sense, {0x1a, 0x08, 0xff, 0xff, 0xff}},
    {SCSI_START_STOP_UNIT, 0, 6, 0, scsi_start_stop, {0x1b, 0x01, 0, 0, 0x05}},
    {SCSI_PREVENT_ALLOW, 0, 6, 0, scsi_ready, {0x1e, 0, 0, 0, 0x03}}, /* the medium cannot be removed anyway */
    {SCSI_READ_CAPACITY_10, 0, 10, SCSI_MEDIUM, scsi_read_capacity_10, {0x25}},
    {SCSI_WRITE_AND_VERIFY_10,
     0,
     10,
     WRITES,
     scsi_write_and_verify,
     {0x2e, 0x16, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff}},
    {SCSI_VERIFY_10, 0, 10, READS, scsi_verify, {0x2f, 0x16, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff}},
    {SCSI_SYNCHRONIZE_CACHE_10,
     0,
     10,
     SCSI_MEDIUM,
     scsi_synchronize_cache,
     {0x35, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff}},
    {SCSI_WRITE_SAME_10, 0, 10, WRITES, scsi_write_same, {0x41, 0x08, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff}},
    {SCSI_UNMAP, 0, 10, SCSI_MEDIUM | SCSI_WRITES, scsi_unmap, {0x42, 0, 0, 0, 0, 0, 0, 0xff, 0xff}},
    {SCSI_MODE_SELECT_10, 0, 10, 0, scsi_mode_select, {0x55, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff}},
    {SCSI_MODE_SENSE_10, 0, 10, 0, scsi_mode_sense, {0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff}},
    {SCSI_COMPARE_AND_WRITE,
     0,
     16,
     WRITES,
     scsi_compare_and_write,
     {0x89, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff}},
    {SCSI_WRITE_AND_VERIFY_16,
     0,
     16,
     WRITES,
     scsi_write_and_verify,
     {0x8e, 0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_VERIFY_16,
     0,
     16,
     READS,
     scsi_verify,
     {0x8f, 0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_SYNCHRONIZE_CACHE_16,
     0,
     16,
     SCSI_MEDIUM,
     scsi_synchronize_cache,
     {0x91, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_WRITE_SAME_16,
     0,
     16,
     WRITES,
     scsi_write_same,
     {0x93, 0x09, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_SERVICE_ACTION_IN_16,
     SCSI_SA_READ_CAPACITY_16,
     16,
     SCSI_MEDIUM | ACTION,
     scsi_read_capacity_16,
     {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_SERVICE_ACTION_IN_16,
     SCSI_SA_GET_LBA_STATUS,
     16,
     SCSI_MEDIUM | ACTION,
     scsi_get_lba_status,
     {0x9e, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_REPORT_LUNS, 0, 12, SCSI_ANY_LUN, scsi_report_luns, {0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_MAINTENANCE_IN,
     SCSI_SA_REPORT_OPERATION_CODES,
     12,
     ACTION,
     scsi_report_operation_codes,
     {0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_READ_12, 0, 12, READS, scsi_read, {0xa8, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_WRITE_12, 0, 12, WRITES, scsi_write, {0xaa, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_WRITE_AND_VERIFY_12,
     0,
     12,
     WRITES,
     scsi_write_and_verify,
     {0xae, 0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    {SCSI_VERIFY_12, 0, 12, READS, scsi_verify, {0xaf, 0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
};

const unsigned scsi_known_count = sizeof(scsi_known) / sizeof(scsi_known[0]);

/* NULL: unknown; *opcode_known: but the opcode has other service actions. */
static const struct scsi_known *find(uint8_t opcode, uint8_t action, bool *opcode_known)
{
    *opcode_known = false;
    for (unsigned i = 0; i < scsi_known_count; i++) {
        if (scsi_known[i].opcode != opcode)
            continue;
        *opcode_known = true;
        if (!(scsi_known[i].flags & SCSI_HAS_ACTION) || scsi_known[i].action == action)
            return &scsi_known[i];
    }
    return NULL;
}

/* The first bit that is set and not in the usage; false, and said. */
static bool check_usage(struct scsi_command *command, const struct scsi_known *known)
{
    for (unsigned i = 1; i < known->length; i++) {
        uint8_t wrong = command->cdb[i] & (uint8_t)~known->usage[i];

        if (known->flags & SCSI_HAS_ACTION && i == 1)
            wrong &= 0xe0;
        if (wrong) {
            scsi_fail_cdb(command, i, 31u - (unsigned)__builtin_clz(wrong));
            return false;
        }
    }
    return true;
}

void scsi_submit(struct scsi_lane *lane, struct scsi_command *command)
{
    struct scsi_target *target = command->nexus->target;
    struct scsi_unit *unit = command->lun < SCSI_LUNS ? atomic_load(&target->unit[command->lun]) : NULL;
    bool opcode_known;
    const struct scsi_known *known = find(command->cdb[0], command->cdb[1] & 0x1f, &opcode_known);
    unsigned flags = known ? known->flags : 0;
    uint16_t attention;

    memset(&command->run, 0, sizeof(command->run));
    command->run.lane = lane;
    command->run.unit = unit;
    command->sense_length = 0;
    command->moved = 0;
    command->wanted = 0;
    if (!unit && !(flags & SCSI_ANY_LUN)) {
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_LOGICAL_UNIT_NOT_SUPPORTED);
        return;
    }
    attention = flags & SCSI_ANY_LUN ? 0 : scsi_attention_take(command->nexus, command->lun);
    if (attention)
        scsi_fail(command, SCSI_UNIT_ATTENTION, attention);
    else if (!known && opcode_known)
        scsi_fail_cdb(command, 1, 4);
    else if (!known || command->cdb_length < known->length)
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_INVALID_OPERATION_CODE);
    else if (!check_usage(command, known))
        return;
    else if (flags & SCSI_MEDIUM && atomic_load_explicit(&unit->stopped, memory_order_relaxed))
        scsi_fail(command, SCSI_NOT_READY, SCSI_INITIALIZING_COMMAND_REQUIRED);
    else if (flags & SCSI_WRITES && scsi_unit_protected(unit))
        scsi_fail(command, SCSI_DATA_PROTECT, SCSI_WRITE_PROTECTED);
    else
        known->run(command);
}

static void range_read(const uint8_t *cdb, uint64_t *lba, uint64_t *count)
{
    switch (cdb[0] >> 5) {
    case 0:
        *lba = scsi_be32(cdb) & 0x1fffff;
        *count = cdb[4] ? cdb[4] : 256;
        break;
    case 4:
        *lba = scsi_be64(&cdb[2]);
        *count = cdb[0] == SCSI_COMPARE_AND_WRITE ? cdb[13] : scsi_be32(&cdb[10]);
        break;
    case 5:
        *lba = scsi_be32(&cdb[2]);
        *count = scsi_be32(&cdb[6]);
        break;
    default:
        *lba = scsi_be32(&cdb[2]);
        *count = scsi_be16(&cdb[7]);
    }
}

static bool range_is_inside(const struct scsi_unit *unit, uint64_t lba, uint64_t count)
{
    uint64_t blocks = atomic_load(&unit->blocks);

    return lba < blocks && count <= blocks - lba;
}

bool scsi_range(struct scsi_command *command, uint64_t *lba, uint64_t *count)
{
    range_read(command->cdb, lba, count);
    if (range_is_inside(command->run.unit, *lba, *count))
        return true;
    scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
    return false;
}

uint64_t scsi_cost(const struct scsi_command *command)
{
    const struct scsi_target *target = command->nexus->target;
    const struct scsi_unit *unit = command->lun < SCSI_LUNS ? atomic_load(&target->unit[command->lun]) : NULL;
    bool same = command->cdb[0] == SCSI_WRITE_SAME_10 || command->cdb[0] == SCSI_WRITE_SAME_16, opcode_known;
    const struct scsi_known *known = find(command->cdb[0], command->cdb[1] & 0x1f, &opcode_known);
    uint64_t lba, count;

    if (!unit || !known || !(known->flags & SCSI_MOVES) || command->cdb_length < known->length)
        return 0;
    range_read(command->cdb, &lba, &count);
    count *= range_is_inside(unit, lba, count) ? unit->block : 0;
    return count <= (same ? SCSI_SAME_MAX : SCSI_TRANSFER_MAX) ? count : 0;
}

void scsi_ready(struct scsi_command *command)
{
    scsi_finish(command, SCSI_GOOD);
}

/* SPC-4 6.33. The one well-known LUN that there could be, REPORT LUNS, is answered on every LUN instead. */
void scsi_report_luns(struct scsi_command *command)
{
    static const struct be64 well_known_only[1];
    struct scsi_target *target = command->nexus->target;
    struct be64 list[1 + SCSI_LUNS];
    uint32_t allocation = scsi_be32(&command->cdb[6]);
    unsigned count = 0;

    if (command->cdb[2] > 2) {
        scsi_fail_cdb(command, 2, 7);
        return;
    }
    if (allocation < 16) {
        scsi_fail_cdb(command, 6, 7);
        return;
    }
    if (command->run.unit)
        atomic_fetch_and(&command->nexus->attention[command->lun], (uint8_t)~SCSI_ATTENTION_LUNS);
    if (command->cdb[2] == 1) {
        scsi_reply(command, well_known_only, sizeof(well_known_only), allocation);
        return;
    }
    for (unsigned lun = 0; lun < SCSI_LUNS; lun++)
        if (atomic_load(&target->unit[lun]))
            list[1 + count++] = be64_of((uint64_t)lun << 48);
    list[0] = be64_of((uint64_t)count * 8 << 32);
    scsi_reply(command, list, (1 + count) * sizeof(list[0]), allocation);
}

/* ---- REPORT SUPPORTED OPERATION CODES, SPC-4 6.35 ---- */

#define TIMEOUTS 12u /* a descriptor that says nothing of them */
#define DESCRIPTOR_TIMEOUTS 0x02
#define DESCRIPTOR_ACTION 0x01

static void report_all(struct scsi_command *command, bool timeouts, uint32_t allocation)
{
    uint8_t list[2048];
    size_t length = 4;

    _Static_assert(4 + sizeof(scsi_known) / sizeof(scsi_known[0]) * (8 + TIMEOUTS) <= sizeof(list), "every command");
    memset(list, 0, sizeof(list));
    for (unsigned i = 0; i < scsi_known_count; i++) {
        const struct scsi_known *known = &scsi_known[i];

        list[length] = known->opcode;
        scsi_put_be16(&list[length + 2], known->action);
        list[length + 5] =
            (uint8_t)((known->flags & SCSI_HAS_ACTION ? DESCRIPTOR_ACTION : 0) | (timeouts ? DESCRIPTOR_TIMEOUTS : 0));
        scsi_put_be16(&list[length + 6], known->length);
        length += 8;
        if (timeouts) {
            scsi_put_be16(&list[length], TIMEOUTS - 2);
            length += TIMEOUTS;
        }
    }
    scsi_put_be32(list, (uint32_t)(length - 4));
    scsi_reply(command, list, length, allocation);
}

static void report_one(struct scsi_command *command, const struct scsi_known *known, bool timeouts, uint32_t allocation)
{
    uint8_t answer[4 + SCSI_CDB + TIMEOUTS] = {0, 1}; /* SUPPORT: not supported */
    size_t length = 4;

    if (known) {
        answer[1] = (uint8_t)(3 | (timeouts ? 0x80 : 0)); /* as the standard has it */
        scsi_put_be16(&answer[2], known->length);
        memcpy(&answer[4], known->usage, known->length);
        length += known->length;
        if (timeouts) {
            scsi_put_be16(&answer[length], TIMEOUTS - 2);
            length += TIMEOUTS;
        }
    }
    scsi_reply(command, answer, length, allocation);
}

void scsi_report_operation_codes(struct scsi_command *command)
{
    uint8_t options = command->cdb[2] & 0x07, opcode = command->cdb[3];
    uint16_t action = scsi_be16(&command->cdb[4]);
    bool timeouts = command->cdb[2] & 0x80, opcode_known, has_action;
    uint32_t allocation = scsi_be32(&command->cdb[6]);
    const struct scsi_known *known = find(opcode, action > 0x1f ? 0xff : (uint8_t)action, &opcode_known);

    has_action = opcode_known && (!known || known->flags & SCSI_HAS_ACTION);
    if (options == 0)
        report_all(command, timeouts, allocation);
    else if (options > 3 || (options == 1 && has_action))
        scsi_fail_cdb(command, 2, 2);
    else if (options == 2 && opcode_known && !has_action)
        scsi_fail_cdb(command, 2, 2);
    else if (options == 3 && known && !has_action && action)
        report_one(command, NULL, timeouts, allocation);
    else
        report_one(command, known, timeouts, allocation);
}
