/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside scsi/: how a command goes on and ends.
 *
 * A handler is called by scsi_submit when the CDB has passed what command.c says of it. It ends with exactly one
 * scsi_finish or scsi_fail*, now or in a later step.
 */
#ifndef SCSI_UNIT_H
#define SCSI_UNIT_H

#include "disk/endian.h"
#include "protocol.h"
#include "scsi.h"

/* MAXIMUM WRITE SAME LENGTH, in bytes, and how many descriptors of an UNMAP are taken. */
#define SCSI_SAME_MAX (64u << 20)
#define SCSI_UNMAP_DESCRIPTORS 256u

struct scsi_unit {
    struct vdisk_port *port;
    struct scsi_unit_options options;
    uint32_t block, physical_block; /* bytes */
    uint32_t granularity;           /* of space, bytes */
    bool thin;
    _Atomic uint64_t blocks;
    _Atomic bool write_cache;   /* WCE: off, every write is durable when it is done */
    _Atomic bool write_protect; /* SWP */
    _Atomic bool stopped;
    _Atomic bool comparing; /* one COMPARE AND WRITE at a time */
};

enum scsi_attention {
    SCSI_ATTENTION_POWER_ON = 0x01,
    SCSI_ATTENTION_RESET = 0x02,
    SCSI_ATTENTION_LUNS = 0x04,
    SCSI_ATTENTION_CAPACITY = 0x08,
    SCSI_ATTENTION_MODE = 0x10,
};

/* To every nexus of the target but one (may be NULL). */
void scsi_attention_tell(struct scsi_target *target, unsigned lun, uint8_t attention, const struct scsi_nexus *except);
/* The first that is pending, and takes it away; 0: none. */
uint16_t scsi_attention_take(struct scsi_nexus *nexus, unsigned lun);

void scsi_unit_reset(struct scsi_unit *unit);
static inline bool scsi_unit_protected(const struct scsi_unit *unit)
{
    return unit->options.readonly || atomic_load_explicit(&unit->write_protect, memory_order_relaxed);
}

/* ---- What a unit knows (command.c) ---- */

enum scsi_command_flags {
    SCSI_ANY_LUN = 0x01,    /* also for a LUN without a unit, and whatever attention is pending */
    SCSI_MEDIUM = 0x02,     /* not while stopped */
    SCSI_WRITES = 0x04,     /* not where it is protected */
    SCSI_HAS_ACTION = 0x08, /* one of several with this opcode */
    SCSI_MOVES = 0x10,      /* the bytes of the range that it names */
};

struct scsi_known {
    uint8_t opcode, action, length, flags;
    void (*run)(struct scsi_command *command);
    uint8_t usage[SCSI_CDB]; /* the bits that may be set; SPC-4 6.35.3 */
};

extern const struct scsi_known scsi_known[];
extern const unsigned scsi_known_count;

/* ---- Steps ---- */

/* Lends the command's io to the disk; step is called when it is done. The one place where that is done. */
void scsi_start(struct scsi_command *command, enum vdisk_op op, uint64_t offset, uint64_t length,
                const struct iovec *iov, unsigned iovcnt, void (*step)(struct scsi_command *command, int error));

/* Calls step when the lane's scratch is the command's, until it finishes. */
void scsi_want_scratch(struct scsi_command *command, void (*step)(struct scsi_command *command, int error));

/* Calls step when the lane has no io in flight: it may block on the disk. */
void scsi_want_quiet(struct scsi_command *command, void (*step)(struct scsi_command *command, int error));

void scsi_finish(struct scsi_command *command, uint8_t status);
/* The same with a FLUSH before it, if the unit has no cache for the initiator to flush. */
void scsi_finish_written(struct scsi_command *command);
/* As much of a built answer as the CDB and the buffer have room for. */
void scsi_reply(struct scsi_command *command, const void *data, size_t length, uint64_t allocation);

/* ---- Sense ---- */

void scsi_sense_fill(uint8_t sense[SCSI_SENSE], uint8_t key, uint16_t code);
void scsi_fail(struct scsi_command *command, uint8_t key, uint16_t code);
void scsi_fail_cdb(struct scsi_command *command, unsigned byte, unsigned bit);
void scsi_fail_list(struct scsi_command *command, unsigned byte); /* a field of the parameter list */
void scsi_fail_miscompare(struct scsi_command *command, uint64_t offset);
void scsi_fail_errno(struct scsi_command *command, int error); /* of the command's io */

/* ---- CDBs and buffers ---- */

/* LBA and number of blocks by the CDB's group; false: out of range, said. */
bool scsi_range(struct scsi_command *command, uint64_t *lba, uint64_t *count);

/* Bytes from the data-out buffer, from offset on; how many there were. */
size_t scsi_gather(const struct scsi_command *command, size_t offset, void *buffer, size_t length);
void scsi_scatter(const struct scsi_command *command, size_t offset, const void *buffer, size_t length);

/* The first byte in which data-out, from offset on, differs; length: none. */
size_t scsi_differ(const struct scsi_command *command, size_t offset, const uint8_t *data, size_t length);

#define SCSI_READ_BE(bits)                                                                                             \
    static inline uint##bits##_t scsi_be##bits(const uint8_t *bytes)                                                   \
    {                                                                                                                  \
        struct be##bits field;                                                                                         \
        memcpy(&field, bytes, sizeof(field));                                                                          \
        return be##bits##_get(field);                                                                                  \
    }                                                                                                                  \
    static inline void scsi_put_be##bits(uint8_t *bytes, uint##bits##_t value)                                         \
    {                                                                                                                  \
        struct be##bits field = be##bits##_of(value);                                                                  \
        memcpy(bytes, &field, sizeof(field));                                                                          \
    }

SCSI_READ_BE(16)
SCSI_READ_BE(32)
SCSI_READ_BE(64)

/* ---- Handlers ---- */

void scsi_ready(struct scsi_command *command); /* nothing to do but to be asked */
void scsi_request_sense(struct scsi_command *command);
void scsi_report_luns(struct scsi_command *command);
void scsi_report_operation_codes(struct scsi_command *command);
void scsi_inquiry(struct scsi_command *command);
void scsi_mode_sense(struct scsi_command *command);
void scsi_mode_select(struct scsi_command *command);
void scsi_start_stop(struct scsi_command *command);
void scsi_read_capacity_10(struct scsi_command *command);
void scsi_read_capacity_16(struct scsi_command *command);
void scsi_read(struct scsi_command *command);
void scsi_write(struct scsi_command *command);
void scsi_verify(struct scsi_command *command);
void scsi_write_and_verify(struct scsi_command *command);
void scsi_compare_and_write(struct scsi_command *command);
void scsi_synchronize_cache(struct scsi_command *command);
void scsi_unmap(struct scsi_command *command);
void scsi_write_same(struct scsi_command *command);
void scsi_get_lba_status(struct scsi_command *command);

#endif
