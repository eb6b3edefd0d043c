/* SPDX-License-Identifier: BSD-2-Clause */
/* How a command fails: sense data in fixed format (SPC-4 4.5.3), with the field that was wrong. */
#include <errno.h>

#include "unit.h"

#define RESPONSE_CURRENT 0x70
#define INFORMATION_VALID 0x80
#define FIELD_VALID 0x80 /* SKSV */
#define FIELD_IN_CDB 0x40
#define BIT_VALID 0x08

void scsi_sense_fill(uint8_t sense[SCSI_SENSE], uint8_t key, uint16_t code)
{
    memset(sense, 0, SCSI_SENSE);
    sense[0] = RESPONSE_CURRENT;
    sense[2] = key;
    sense[7] = SCSI_SENSE - 8;
    scsi_put_be16(&sense[12], code);
}

static void fill(struct scsi_command *command, uint8_t key, uint16_t code)
{
    scsi_sense_fill(command->sense, key, code);
    command->sense_length = SCSI_SENSE;
}

void scsi_fail(struct scsi_command *command, uint8_t key, uint16_t code)
{
    fill(command, key, code);
    scsi_finish(command, SCSI_CHECK_CONDITION);
}

void scsi_fail_cdb(struct scsi_command *command, unsigned byte, unsigned bit)
{
    fill(command, SCSI_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
    command->sense[15] = (uint8_t)(FIELD_VALID | FIELD_IN_CDB | BIT_VALID | bit);
    scsi_put_be16(&command->sense[16], (uint16_t)byte);
    scsi_finish(command, SCSI_CHECK_CONDITION);
}

void scsi_fail_list(struct scsi_command *command, unsigned byte)
{
    fill(command, SCSI_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_PARAMETER_LIST);
    command->sense[15] = FIELD_VALID;
    scsi_put_be16(&command->sense[16], (uint16_t)byte);
    scsi_finish(command, SCSI_CHECK_CONDITION);
}

/* INFORMATION is the place of the first byte that differs (SBC-3 5.2, 5.29). */
void scsi_fail_miscompare(struct scsi_command *command, uint64_t offset)
{
    fill(command, SCSI_MISCOMPARE, SCSI_MISCOMPARE_DURING_VERIFY);
    if (offset <= UINT32_MAX) {
        command->sense[0] |= INFORMATION_VALID;
        scsi_put_be32(&command->sense[3], (uint32_t)offset);
    }
    scsi_finish(command, SCSI_CHECK_CONDITION);
}

void scsi_fail_errno(struct scsi_command *command, int error)
{
    bool read = command->run.io.op == VDISK_READ;

    switch (-error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        scsi_fail(command, SCSI_DATA_PROTECT, SCSI_SPACE_ALLOCATION_FAILED);
        return;
    case EROFS:
    case EACCES:
    case EPERM:
        scsi_fail(command, SCSI_DATA_PROTECT, SCSI_WRITE_PROTECTED);
        return;
    case ERANGE: /* the disk has shrunk since the command was checked */
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
        return;
    case EIO:
    case ENODATA:
    case EILSEQ:
        scsi_fail(command, SCSI_MEDIUM_ERROR, read ? SCSI_UNRECOVERED_READ_ERROR : SCSI_WRITE_ERROR);
        return;
    case ENOMEM:
    case EAGAIN:
        scsi_finish(command, SCSI_BUSY);
        return;
    default:
        scsi_fail(command, SCSI_HARDWARE_ERROR, SCSI_INTERNAL_TARGET_FAILURE);
    }
}

void scsi_request_sense(struct scsi_command *command)
{
    uint8_t sense[SCSI_SENSE];
    uint16_t attention = command->run.unit ? scsi_attention_take(command->nexus, command->lun) : 0;

    if (!command->run.unit)
        scsi_sense_fill(sense, SCSI_ILLEGAL_REQUEST, SCSI_LOGICAL_UNIT_NOT_SUPPORTED);
    else if (attention)
        scsi_sense_fill(sense, SCSI_UNIT_ATTENTION, attention);
    else if (atomic_load(&command->run.unit->stopped))
        scsi_sense_fill(sense, SCSI_NOT_READY, SCSI_INITIALIZING_COMMAND_REQUIRED);
    else
        scsi_sense_fill(sense, SCSI_NO_SENSE, SCSI_NO_ADDITIONAL_SENSE);
    scsi_reply(command, sense, sizeof(sense), command->cdb[4]);
}
