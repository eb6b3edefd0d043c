/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SCSI logical units over the ports of disks: SPC-4 and SBC-3, for every transport that carries commands (virtio-scsi,
 * iSCSI).
 *
 * A unit is a disk with what the initiators have set (mode pages, stopped). A target numbers units. A nexus is an
 * initiator that sees a target, with the unit attentions it has not yet been told. A lane is a thread's way in: its
 * ring, and room for what must be looked at on its way. A command is lent, like an io, from scsi_submit until its done.
 *
 * The initiator is hostile: a CDB, a parameter list, a length are checked before use; a list is copied once and the
 * copy is checked. Whatever an initiator sends is answered with a status, and with sense data that name what was wrong.
 *
 * Threads: a lane and its commands belong to one thread. Units, targets and nexuses are shared by all lanes; adding,
 * removing, opening and closing them is for one thread at a time, with no command in flight on what is taken away.
 */
#ifndef SCSI_SCSI_H
#define SCSI_SCSI_H

#include <pthread.h>
#include <stdatomic.h>

#include "disk/vdisk.h"

#define SCSI_CDB 16u   /* the longest CDB that a unit takes */
#define SCSI_SENSE 18u /* fixed format */
#define SCSI_LUNS 256u
#define SCSI_TRANSFER_MAX (16u << 20) /* bytes that one command may move, or verify: MAXIMUM TRANSFER LENGTH */

enum scsi_status { SCSI_GOOD = 0x00, SCSI_CHECK_CONDITION = 0x02, SCSI_BUSY = 0x08 };

/* ---- Units, targets, nexuses ---- */

struct scsi_unit;

struct scsi_unit_options {
    bool readonly;                            /* write-protected, whatever the disk allows */
    char serial[33];                          /* identifies the unit to everyone who sees it; ASCII, not empty */
    char vendor[9], product[17], revision[5]; /* "": ours */
};

/* The port stays the caller's, and lives longer; nobody replaces its disk during this call. */
int scsi_unit_open(struct vdisk_port *port, const struct scsi_unit_options *options, struct scsi_unit **unit);
void scsi_unit_close(struct scsi_unit *unit);

struct scsi_nexus;

struct scsi_target {
    struct scsi_unit *_Atomic unit[SCSI_LUNS]; /* by LUN */
    pthread_mutex_t lock;
    struct scsi_nexus *nexuses; /* under lock */
};

struct scsi_nexus {
    struct scsi_target *target;
    struct scsi_nexus *next;
    _Atomic uint8_t attention[SCSI_LUNS]; /* enum scsi_attention, a bit each */
};

void scsi_target_open(struct scsi_target *target);
void scsi_target_close(struct scsi_target *target); /* units stay; no nexus is open */

/* Every nexus is told that the list of LUNs has changed. -EEXIST, -ERANGE. */
int scsi_target_add(struct scsi_target *target, unsigned lun, struct scsi_unit *unit);
void scsi_target_remove(struct scsi_target *target, unsigned lun);

/* A logical unit reset (a LUN) or a target reset (SCSI_LUNS): what was set is forgotten, every nexus is told. Commands
 * in flight are not touched: who resets waits for them. */
void scsi_target_reset(struct scsi_target *target, unsigned lun);

/* The disk of this LUN has another size than before. */
void scsi_target_resized(struct scsi_target *target, unsigned lun);

/* Begins with "power on" pending for every unit. */
void scsi_nexus_open(struct scsi_nexus *nexus, struct scsi_target *target);
void scsi_nexus_close(struct scsi_nexus *nexus);

/* The number in a LUN of eight bytes (peripheral or flat addressing, SAM-5 4.7), or SCSI_LUNS where it can be none. */
unsigned scsi_lun_decode(const uint8_t lun[8]);

/* ---- Commands ---- */

struct scsi_command {
    /* The caller's, unchanged until done. Buffers may be longer or shorter than what the CDB asks for. */
    struct scsi_nexus *nexus;
    unsigned lun;
    uint8_t cdb[SCSI_CDB];
    unsigned cdb_length;
    const struct iovec *out, *in; /* from the initiator, to the initiator */
    unsigned out_count, in_count;
    size_t out_length, in_length;
    void (*done)(struct scsi_command *command); /* on the lane's thread, also from inside scsi_submit */

    /* The answer. The residual is the buffer's length less moved; there was more to move where wanted > moved. */
    uint8_t status;
    uint8_t sense_length; /* 0 but for SCSI_CHECK_CONDITION */
    uint8_t sense[SCSI_SENSE];
    size_t moved;    /* bytes of the buffer used, from its start */
    uint64_t wanted; /* bytes that the CDB asks to be moved */

    /* The unit's, while it is lent. */
    struct {
        struct vdisk_io io;
        struct scsi_lane *lane;
        struct scsi_unit *unit;
        struct scsi_command *next;                             /* in one of the lane's queues */
        void (*step)(struct scsi_command *command, int error); /* what comes when io is done, or its turn */
        struct iovec iov[2];
        uint64_t at, end; /* bytes of the disk */
        uint64_t offset;  /* of the buffer */
        bool durable, scratch, comparing;
    } run;
};

struct scsi_queue {
    struct scsi_command *head, *tail;
};

#define SCSI_SCRATCH (64u << 10)
#define SCSI_SCRATCH_REPEAT 16

struct scsi_lane {
    struct vdisk_ring *ring; /* the lane is the only one that uses it */
    unsigned flying;         /* io in it */
    struct scsi_queue held;  /* commands whose io waits, because another waits for flying to be 0 */
    struct scsi_queue quiet; /* commands that wait for that */
    uint8_t *scratch;        /* SCSI_SCRATCH bytes, for one command at a time */
    bool scratch_used, scratch_giving;
    struct scsi_queue scratch_wanted;
    struct iovec repeat[SCSI_SCRATCH_REPEAT]; /* the scratch several times over */
};

int scsi_lane_open(struct scsi_lane *lane, struct vdisk_ring *ring);
void scsi_lane_close(struct scsi_lane *lane); /* nothing in flight */

/* Takes the command. done is called by the ring's poll, or at once where no io is needed. */
void scsi_submit(struct scsi_lane *lane, struct scsi_command *command);

/* How many bytes of its disk a command that is not submitted yet will read or write, whatever its buffers have; 0 where it
 * moves none, or cannot run. Zeroing counts as writing, unmapping does not. */
uint64_t scsi_cost(const struct scsi_command *command);

#endif
