/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bytes: READ, WRITE, VERIFY and what is made of them, SYNCHRONIZE CACHE.
 *
 * Reads and writes go between the initiator's buffers and the disk. Only what has to be looked at on its way (the tail
 * of a buffer that ends inside a block, what is compared) goes by the lane's scratch.
 */
#include "disk/mutant.h"
#include "unit.h"

#define FUA 0x08 /* byte 1, but for 6-byte CDBs */

static bool has_fua(const struct scsi_command *command)
{
    return command->cdb[0] >> 5 != 0 && command->cdb[1] & FUA;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Where the number of blocks begins. */
static unsigned count_field(const struct scsi_command *command)
{
    static const uint8_t field[8] = {[0] = 4, [1] = 7, [2] = 7, [4] = 10, [5] = 6};

    return command->cdb[0] == SCSI_COMPARE_AND_WRITE ? 13 : field[command->cdb[0] >> 5];
}

/* Range, and where it is on the disk; false: there is nothing to do, or it was refused: the command has finished. */
static bool begin(struct scsi_command *command)
{
    uint64_t lba, count, block = command->run.unit->block;

    if (!scsi_range(command, &lba, &count))
        return false;
    if (count * block > SCSI_TRANSFER_MAX) {
        scsi_fail_cdb(command, count_field(command), 7);
        return false;
    }
    command->run.at = lba * block;
    command->run.end = (lba + count) * block;
    if (count == 0)
        scsi_finish(command, SCSI_GOOD);
    return count > 0;
}

static void ended(struct scsi_command *command, int error)
{
    if (error)
        scsi_fail_errno(command, error);
    else
        scsi_finish(command, SCSI_GOOD);
}

/* ---- READ ---- */

static void tail_read(struct scsi_command *command, int error)
{
    size_t rest = command->in_length - command->moved;

    if (error) {
        scsi_fail_errno(command, error);
        return;
    }
    scsi_scatter(command, command->moved, command->run.lane->scratch, rest);
    command->moved += rest;
    scsi_finish(command, SCSI_GOOD);
}

static void tail_begin(struct scsi_command *command, int error)
{
    (void)error;
    scsi_start(command, VDISK_READ, command->run.at + command->moved, command->run.unit->block,
               command->run.lane->repeat, 1, tail_read);
}

/* All whole blocks of the buffer are there; it may end inside one more. */
static void whole_read(struct scsi_command *command, int error)
{
    if (error) {
        command->moved = 0;
        scsi_fail_errno(command, error);
    } else if (command->moved < command->wanted && command->moved < command->in_length) {
        scsi_want_scratch(command, tail_begin);
    } else {
        scsi_finish(command, SCSI_GOOD);
    }
}

static void read_begin(struct scsi_command *command, int error)
{
    uint64_t length = smaller(command->wanted, command->in_length);

    length -= length % command->run.unit->block;
    command->moved = (size_t)length;
    if (error || length == 0)
        whole_read(command, error);
    else
        scsi_start(command, VDISK_READ, command->run.at, length, command->in, command->in_count, whole_read);
}

/* FUA: from the medium, so what is in the cache has to be on it first (SBC-3 5.8). */
void scsi_read(struct scsi_command *command)
{
    if (!begin(command))
        return;
    command->wanted = command->run.end - command->run.at;
    if (has_fua(command) && !scsi_unit_protected(command->run.unit))
        scsi_start(command, VDISK_FLUSH, 0, 0, NULL, 0, read_begin);
    else
        read_begin(command, 0);
}

/* ---- WRITE ---- */

static void written(struct scsi_command *command, int error)
{
    if (error)
        command->moved = 0;
    ended(command, error);
}

/* As many whole blocks as the buffer has. */
static void write_begin(struct scsi_command *command, bool durable,
                        void (*step)(struct scsi_command *command, int error))
{
    uint64_t length;

    command->wanted = command->run.end - command->run.at;
    length = smaller(command->wanted, command->out_length);
    length -= length % command->run.unit->block;
    command->moved = (size_t)length;
    command->run.durable = durable && !MUTANT("scsi-fua-ignored");
    if (length == 0)
        scsi_finish(command, SCSI_GOOD);
    else
        scsi_start(command, VDISK_WRITE, command->run.at, length, command->out, command->out_count, step);
}

void scsi_write(struct scsi_command *command)
{
    if (begin(command))
        write_begin(command, has_fua(command), written);
}

/* ---- VERIFY ---- */

enum bytchk { BYTCHK_NONE = 0, BYTCHK_ALL = 1, BYTCHK_RESERVED = 2, BYTCHK_ONE = 3 };

static enum bytchk bytchk_of(const struct scsi_command *command)
{
    return command->cdb[1] >> 1 & 3;
}

static void verify_next(struct scsi_command *command, int error);

/* What the chunk in the scratch is compared with: the next of the buffer, or its one block again and again. */
static uint64_t chunk_differs(const struct scsi_command *command, uint64_t length)
{
    uint64_t block = command->run.unit->block;

    if (bytchk_of(command) == BYTCHK_NONE)
        return length;
    if (bytchk_of(command) == BYTCHK_ALL)
        return scsi_differ(command, command->run.offset, command->run.lane->scratch, length);
    for (uint64_t at = 0; at < length; at += block) {
        size_t same = scsi_differ(command, 0, command->run.lane->scratch + at, block);

        if (same < block)
            return at + same;
    }
    return length;
}

static void chunk_read(struct scsi_command *command, int error)
{
    uint64_t length = command->run.io.length, same;

    if (error) {
        scsi_fail_errno(command, error);
        return;
    }
    same = chunk_differs(command, length);
    if (same < length) {
        scsi_fail_miscompare(command, command->run.offset + same);
        return;
    }
    command->run.at += length;
    command->run.offset += length;
    verify_next(command, 0);
}

static void verify_next(struct scsi_command *command, int error)
{
    if (error)
        scsi_fail_errno(command, error);
    else if (command->run.at == command->run.end)
        scsi_finish(command, SCSI_GOOD);
    else
        scsi_start(command, VDISK_READ, command->run.at, smaller(command->run.end - command->run.at, SCSI_SCRATCH),
                   command->run.lane->repeat, 1, chunk_read);
}

void scsi_verify(struct scsi_command *command)
{
    enum bytchk bytchk = bytchk_of(command);

    if (bytchk == BYTCHK_RESERVED) {
        scsi_fail_cdb(command, 1, 2);
        return;
    }
    if (!begin(command))
        return;
    if (bytchk != BYTCHK_NONE)
        command->wanted = bytchk == BYTCHK_ONE ? command->run.unit->block : command->run.end - command->run.at;
    if (command->wanted > command->out_length) { /* part of a comparison is none */
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
        return;
    }
    command->moved = (size_t)command->wanted;
    scsi_want_scratch(command, verify_next);
}

static void write_verify(struct scsi_command *command, int error)
{
    command->run.end = command->run.at + command->moved;
    if (error)
        written(command, error);
    else
        scsi_want_scratch(command, verify_next);
}

void scsi_write_and_verify(struct scsi_command *command)
{
    enum bytchk bytchk = bytchk_of(command);

    if (bytchk == BYTCHK_RESERVED || bytchk == BYTCHK_ONE)
        scsi_fail_cdb(command, 1, 2);
    else if (begin(command))
        write_begin(command, true, write_verify);
}

/* ---- COMPARE AND WRITE, SBC-3 5.2 ---- */

static void compare_read(struct scsi_command *command, int error)
{
    uint64_t length = command->run.end - command->run.at;
    size_t same;

    if (error) {
        scsi_fail_errno(command, error);
        return;
    }
    same = scsi_differ(command, 0, command->run.lane->scratch, length);
    if (same < length && !MUTANT("scsi-compare-ignored")) {
        scsi_fail_miscompare(command, same);
        return;
    }
    command->moved = command->wanted;
    command->run.durable = has_fua(command);
    scsi_gather(command, length, command->run.lane->scratch, length);
    scsi_start(command, VDISK_WRITE, command->run.at, length, command->run.lane->repeat, 1, written);
}

/* One at a time, so that of two who compare with the same bytes one wins. The other is told to come again, which is
 * what it does after a miscompare too. */
static void compare_begin(struct scsi_command *command, int error)
{
    (void)error;
    if (atomic_exchange(&command->run.unit->comparing, true) && !MUTANT("scsi-compare-together")) {
        scsi_finish(command, SCSI_BUSY);
        return;
    }
    command->run.comparing = true;
    scsi_start(command, VDISK_READ, command->run.at, command->run.end - command->run.at, command->run.lane->repeat, 1,
               compare_read);
}

void scsi_compare_and_write(struct scsi_command *command)
{
    if (!begin(command))
        return;
    command->wanted = 2 * (command->run.end - command->run.at);
    if (command->run.end - command->run.at > SCSI_SCRATCH)
        scsi_fail_cdb(command, 13, 7);
    else if (command->wanted > command->out_length)
        scsi_fail(command, SCSI_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH_ERROR);
    else
        scsi_want_scratch(command, compare_begin);
}

/* ---- SYNCHRONIZE CACHE ---- */

/* The whole cache, whatever the range; IMMED is not made use of. No blocks: all up to the end. */
void scsi_synchronize_cache(struct scsi_command *command)
{
    uint64_t lba, count;

    if (!scsi_range(command, &lba, &count))
        return;
    if (MUTANT("scsi-flush-ignored"))
        scsi_finish(command, SCSI_GOOD);
    else
        scsi_start(command, VDISK_FLUSH, 0, 0, NULL, 0, ended);
}
