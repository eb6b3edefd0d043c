/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Space: UNMAP, WRITE SAME, GET LBA STATUS.
 *
 * UNMAP is a DISCARD, which promises no zeros. WRITE SAME of zeros is a ZERO, which does, and gives back what it can,
 * with its UNMAP bit and without.
 */
#include "unit.h"

/* ---- UNMAP, SBC-3 5.28 ---- */

#define UNMAP_HEADER 8u
#define UNMAP_DESCRIPTOR 16u

static void unmap_next(struct scsi_command *command, int error);

/* The list is in the scratch: each of its ranges is checked before the first is unmapped. run.end: how long it is. */
static bool check_list(struct scsi_command *command)
{
    const uint8_t *list = command->run.lane->scratch;
    uint64_t blocks = atomic_load(&command->run.unit->blocks);

    for (uint64_t at = UNMAP_HEADER; at < command->run.end; at += UNMAP_DESCRIPTOR) {
        uint64_t lba = scsi_be64(list + at), count = scsi_be32(list + at + 8);

        if (lba > blocks || count > blocks - lba) {
            scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
            return false;
        }
    }
    return true;
}

static void unmap_begin(struct scsi_command *command, int error)
{
    uint8_t *list = command->run.lane->scratch;
    size_t length = scsi_gather(command, 0, list, command->wanted);
    size_t descriptors = scsi_be16(list + 2);

    (void)error;
    command->moved = length;
    if (descriptors > length - UNMAP_HEADER)
        descriptors = length - UNMAP_HEADER;
    descriptors -= descriptors % UNMAP_DESCRIPTOR; /* an incomplete one is ignored */
    if (descriptors > SCSI_UNMAP_DESCRIPTORS * UNMAP_DESCRIPTOR) {
        scsi_fail_list(command, 2);
        return;
    }
    command->run.at = UNMAP_HEADER;
    command->run.end = UNMAP_HEADER + descriptors;
    if (check_list(command))
        unmap_next(command, 0);
}

static void unmap_next(struct scsi_command *command, int error)
{
    const uint8_t *list = command->run.lane->scratch;
    uint64_t block = command->run.unit->block;

    while (!error && command->run.at < command->run.end) {
        const uint8_t *descriptor = list + command->run.at;
        uint64_t lba = scsi_be64(descriptor), count = scsi_be32(descriptor + 8);

        command->run.at += UNMAP_DESCRIPTOR;
        if (count > 0) {
            scsi_start(command, VDISK_DISCARD, lba * block, count * block, NULL, 0, unmap_next);
            return;
        }
    }
    if (error)
        scsi_fail_errno(command, error);
    else
        scsi_finish_written(command);
}

void scsi_unmap(struct scsi_command *command)
{
    command->wanted = scsi_be16(&command->cdb[7]);
    if (command->wanted == 0)
        scsi_finish(command, SCSI_GOOD);
    else if (command->wanted < UNMAP_HEADER || command->wanted > command->out_length)
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
    else
        scsi_want_scratch(command, unmap_begin);
}

/* ---- WRITE SAME, SBC-3 5.43 ---- */

static void same_zeroed(struct scsi_command *command, int error)
{
    if (error)
        scsi_fail_errno(command, error);
    else
        scsi_finish_written(command);
}

static void same_zero(struct scsi_command *command)
{
    scsi_start(command, VDISK_ZERO, command->run.at, command->run.end - command->run.at, NULL, 0, same_zeroed);
}

static void same_next(struct scsi_command *command, int error)
{
    uint64_t length = command->run.end - command->run.at, at = command->run.at;

    if (error) {
        scsi_fail_errno(command, error);
        return;
    }
    if (length == 0) {
        scsi_finish(command, SCSI_GOOD);
        return;
    }
    if (length > SCSI_SCRATCH * SCSI_SCRATCH_REPEAT)
        length = SCSI_SCRATCH * SCSI_SCRATCH_REPEAT;
    command->run.at += length;
    scsi_start(command, VDISK_WRITE, at, length, command->run.lane->repeat, SCSI_SCRATCH_REPEAT, same_next);
}

/* The one block is copied before it is looked at, and the copy written. */
static void same_begin(struct scsi_command *command, int error)
{
    uint8_t *scratch = command->run.lane->scratch;
    uint32_t block = command->run.unit->block;

    (void)error;
    command->moved = scsi_gather(command, 0, scratch, block);
    if (scratch[0] == 0 && memcmp(scratch, scratch + 1, block - 1) == 0) {
        same_zero(command);
        return;
    }
    for (uint32_t at = block; at < SCSI_SCRATCH; at += block)
        memcpy(scratch + at, scratch, block);
    same_next(command, 0);
}

void scsi_write_same(struct scsi_command *command)
{
    bool sixteen = command->cdb[0] == SCSI_WRITE_SAME_16, no_data = sixteen && command->cdb[1] & 0x01;
    uint64_t lba, count, block = command->run.unit->block;

    if (!scsi_range(command, &lba, &count))
        return;
    command->run.at = lba * block;
    command->run.end = (lba + count) * block;
    command->wanted = no_data ? 0 : block;
    if (count == 0 || count * block > SCSI_SAME_MAX) /* WSNZ, MAXIMUM WRITE SAME LENGTH */
        scsi_fail_cdb(command, sixteen ? 10 : 7, 7);
    else if (no_data)
        same_zero(command);
    else if (command->out_length < block)
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
    else
        scsi_want_scratch(command, same_begin);
}

/* ---- GET LBA STATUS, SBC-3 5.5 ---- */

#define STATUS_HEADER 8u
#define STATUS_DESCRIPTOR 16u
#define STATUS_RUNS 32u      /* descriptors of one answer; the initiator asks again */
#define STATUS_EXTENTS 1024u /* of the disk's map, for one answer */

enum lba_status { STATUS_MAPPED = 0, STATUS_DEALLOCATED = 1 };

struct status_run {
    uint64_t at, length; /* bytes */
    enum lba_status status;
};

/* The runs from at on: neighbours of one status are one, as long as a descriptor can say. */
static int status_collect(const struct scsi_unit *unit, uint64_t at, struct status_run *runs, unsigned max,
                          unsigned *count)
{
    uint64_t end = atomic_load(&unit->blocks) * unit->block, longest = (uint64_t)UINT32_MAX * unit->block;

    *count = 0;
    for (unsigned i = 0; i < STATUS_EXTENTS && at < end; i++) {
        struct status_run *last = *count > 0 ? &runs[*count - 1] : NULL;
        struct vdisk_extent extent;
        enum lba_status status;
        int err = vdisk_port_map(unit->port, at, end - at < longest ? end - at : longest, 0, &extent);

        if (err)
            return err;
        status = extent.kind == VDISK_EXTENT_ZERO ? STATUS_DEALLOCATED : STATUS_MAPPED;
        if (last && last->status == status && last->length + extent.length <= longest)
            last->length += extent.length;
        else if (*count < max)
            runs[(*count)++] = (struct status_run){at, extent.length, status};
        else
            break;
        at += extent.length;
    }
    return 0;
}

static void status_map(struct scsi_command *command, int error)
{
    uint32_t allocation = scsi_be32(&command->cdb[10]), block = command->run.unit->block;
    uint8_t data[STATUS_HEADER + STATUS_DESCRIPTOR * STATUS_RUNS] = {0};
    struct status_run runs[STATUS_RUNS];
    unsigned count, max = (allocation - STATUS_HEADER) / STATUS_DESCRIPTOR;

    if (!error)
        error = status_collect(command->run.unit, command->run.at, runs, max < STATUS_RUNS ? max : STATUS_RUNS, &count);
    if (error) {
        scsi_fail_errno(command, error);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        uint8_t *descriptor = data + STATUS_HEADER + STATUS_DESCRIPTOR * i;

        scsi_put_be64(descriptor, runs[i].at / block);
        scsi_put_be32(descriptor + 8, (uint32_t)(runs[i].length / block));
        descriptor[12] = (uint8_t)runs[i].status;
    }
    scsi_put_be32(data, (uint32_t)(STATUS_HEADER - 4 + STATUS_DESCRIPTOR * count));
    scsi_reply(command, data, STATUS_HEADER + STATUS_DESCRIPTOR * count, allocation);
}

void scsi_get_lba_status(struct scsi_command *command)
{
    uint64_t lba = scsi_be64(&command->cdb[2]);

    if (lba >= atomic_load(&command->run.unit->blocks)) {
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
        return;
    }
    if (scsi_be32(&command->cdb[10]) < STATUS_HEADER + STATUS_DESCRIPTOR) {
        scsi_fail_cdb(command, 10, 7);
        return;
    }
    command->run.at = lba * command->run.unit->block;
    command->run.io.op = VDISK_READ;
    scsi_want_quiet(command, status_map);
}
