/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How commands go on: their io, their turns at the lane's scratch, and the moments in which a lane may block.
 *
 * A command that has to block on the disk (for its map) does so only while no io of the lane is in flight: a thread
 * with io in flight must keep polling, since a worker that holds what the map needs may wait for that io. Meanwhile
 * what other commands start is held.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/iov.h"
#include "unit.h"

int scsi_lane_open(struct scsi_lane *lane, struct vdisk_ring *ring)
{
    memset(lane, 0, sizeof(*lane));
    lane->ring = ring;
    lane->scratch = aligned_alloc(4096, SCSI_SCRATCH);
    if (!lane->scratch)
        return -ENOMEM;
    for (unsigned i = 0; i < SCSI_SCRATCH_REPEAT; i++)
        lane->repeat[i] = (struct iovec){lane->scratch, SCSI_SCRATCH};
    return 0;
}

void scsi_lane_close(struct scsi_lane *lane)
{
    assert(lane->flying == 0 && !lane->scratch_used && !lane->held.head && !lane->quiet.head);
    free(lane->scratch);
}

static void queue_add(struct scsi_queue *queue, struct scsi_command *command)
{
    command->run.next = NULL;
    if (queue->head)
        queue->tail->run.next = command;
    else
        queue->head = command;
    queue->tail = command;
}

static struct scsi_command *queue_take(struct scsi_queue *queue)
{
    struct scsi_command *command = queue->head;

    if (command)
        queue->head = command->run.next;
    return command;
}

/* ---- io ---- */

static void lend(struct scsi_command *command)
{
    command->run.lane->flying++;
    vdisk_port_submit(command->run.unit->port, command->run.lane->ring, &command->run.io);
}

static void quiet_serve(struct scsi_lane *lane)
{
    struct scsi_command *command;

    while (lane->flying == 0 && (command = queue_take(&lane->quiet)))
        command->run.step(command, 0);
    while (!lane->quiet.head && (command = queue_take(&lane->held)))
        lend(command);
}

static void io_done(struct vdisk_io *io, int error)
{
    struct scsi_command *command = (struct scsi_command *)((char *)io - offsetof(struct scsi_command, run.io));
    struct scsi_lane *lane = command->run.lane;

    lane->flying--;
    command->run.step(command, error);
    if (lane->quiet.head)
        quiet_serve(lane);
}

void scsi_start(struct scsi_command *command, enum vdisk_op op, uint64_t offset, uint64_t length,
                const struct iovec *iov, unsigned iovcnt, void (*step)(struct scsi_command *command, int error))
{
    struct scsi_lane *lane = command->run.lane;
    /* FUA and no cache are the same to the disk: SBC-3 4.15 */
    bool durable = op == VDISK_WRITE && (command->run.durable || !atomic_load(&command->run.unit->write_cache));

    command->run.step = step;
    command->run.io = (struct vdisk_io){.op = op,
                                        .flags = durable ? VDISK_FUA : 0,
                                        .offset = offset,
                                        .length = length,
                                        .iov = iov,
                                        .iovcnt = (int)iovcnt,
                                        .done = io_done};
    if (lane->quiet.head)
        queue_add(&lane->held, command);
    else
        lend(command);
}

void scsi_want_quiet(struct scsi_command *command, void (*step)(struct scsi_command *command, int error))
{
    struct scsi_lane *lane = command->run.lane;

    command->run.step = step;
    queue_add(&lane->quiet, command);
    quiet_serve(lane);
}

/* ---- Scratch ---- */

static void scratch_give(struct scsi_lane *lane)
{
    struct scsi_command *command;

    lane->scratch_used = false;
    if (lane->scratch_giving)
        return; /* the loop below goes on: what fails at once does not nest */
    lane->scratch_giving = true;
    while (!lane->scratch_used && (command = queue_take(&lane->scratch_wanted))) {
        lane->scratch_used = command->run.scratch = true;
        command->run.step(command, 0);
    }
    lane->scratch_giving = false;
}

void scsi_want_scratch(struct scsi_command *command, void (*step)(struct scsi_command *command, int error))
{
    struct scsi_lane *lane = command->run.lane;

    command->run.step = step;
    if (command->run.scratch) {
        step(command, 0);
        return;
    }
    queue_add(&lane->scratch_wanted, command);
    if (!lane->scratch_used)
        scratch_give(lane);
}

/* ---- The end ---- */

void scsi_finish(struct scsi_command *command, uint8_t status)
{
    struct scsi_lane *lane = command->run.lane;
    bool scratch = command->run.scratch;

    if (command->run.comparing)
        atomic_store(&command->run.unit->comparing, false);
    command->status = status;
    command->done(command);
    if (scratch)
        scratch_give(lane);
}

static void written(struct scsi_command *command, int error)
{
    if (error)
        scsi_fail_errno(command, error);
    else
        scsi_finish(command, SCSI_GOOD);
}

void scsi_finish_written(struct scsi_command *command)
{
    if (atomic_load(&command->run.unit->write_cache))
        scsi_finish(command, SCSI_GOOD);
    else
        scsi_start(command, VDISK_FLUSH, 0, 0, NULL, 0, written);
}

/* ---- Buffers ---- */

void scsi_reply(struct scsi_command *command, const void *data, size_t length, uint64_t allocation)
{
    if (length > allocation)
        length = (size_t)allocation;
    command->wanted = length;
    if (length > command->in_length)
        length = command->in_length;
    scsi_scatter(command, 0, data, length);
    command->moved = length;
    scsi_finish(command, SCSI_GOOD);
}

size_t scsi_gather(const struct scsi_command *command, size_t offset, void *buffer, size_t length)
{
    return iov_read(command->out, command->out_count, offset, buffer, length);
}

void scsi_scatter(const struct scsi_command *command, size_t offset, const void *buffer, size_t length)
{
    iov_write(command->in, command->in_count, offset, buffer, length);
}

size_t scsi_differ(const struct scsi_command *command, size_t offset, const uint8_t *data, size_t length)
{
    for (size_t done = 0; done < length;) {
        uint8_t part[512];
        size_t got = scsi_gather(command, offset + done, part, length - done < sizeof(part) ? length - done : sizeof(part));

        for (size_t i = 0; i < got; i++)
            if (part[i] != data[done + i])
                return done + i;
        if (got == 0)
            return done;
        done += got;
    }
    return length;
}
