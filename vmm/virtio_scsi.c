/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-scsi ([VIRTIO] 5.6): one controller, one target, a LUN for each disk; the commands are scsi/'s.
 *
 * Each request queue has an I/O thread with a ring and a lane. The control and event queues are on the first of them. A
 * task management function answers when nothing is in flight any more: what it was to abort has completed, or never began.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_scsi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "io_queue.h"
#include "scsi/scsi.h"

#define CONTROL 0u
#define EVENT 1u
#define FIRST 2u /* request queue */
#define CHANGE (UINT64_C(1) << VIRTIO_SCSI_F_CHANGE)
#define HOTPLUG (UINT64_C(1) << VIRTIO_SCSI_F_HOTPLUG) /* not used, but Linux gives no buffer for events without it */
#define CDB_ROOM VIRTIO_SCSI_CDB_DEFAULT_SIZE
#define SENSE_ROOM VIRTIO_SCSI_SENSE_DEFAULT_SIZE
#define HEAD offsetof(struct virtio_scsi_cmd_req, cdb)               /* of a command, before the CDB */
#define ANSWER offsetof(struct virtio_scsi_cmd_resp, sense)          /* before the sense data */
#define SIZES_OFFSET offsetof(struct virtio_scsi_config, sense_size) /* and cdb_size: the driver's to choose */

struct request {
    struct io_slot slot; /* first */
    struct scsi_command command;
    struct hba *hba;
    struct iovec response[IO_SEGMENTS + 2]; /* where it goes: the head of the writable list, before that is cut */
    unsigned response_count;
};

struct hba_queue {
    struct io_queue io; /* first */
    struct scsi_lane lane;
    bool lane_open;
};

struct hba {
    struct virtio_device device; /* first */
    struct virtio_scsi_config config;
    uint32_t sense_size, cdb_size; /* of the driver, from activation on */
    struct scsi_target target;
    struct scsi_nexus nexus;
    struct hba_disk {
        const struct machine_disk *disk;
        struct scsi_unit *unit;
        struct throttle throttle;
    } disk[MACHINE_DISKS_MAX];
    unsigned disk_count, queue_count;
    struct hba_queue queue[VIRTIO_QUEUES_MAX - FIRST];
    unsigned event_lun;        /* of what event_send sends */
    bool event_missed;         /* there was no buffer for one: it is sent, and says so, when there is */
};

/* ---- Commands ---- */

/* moved bytes behind the answer: push marks what it is told of the list that is left, which is no less than these. */
static void respond(struct request *request, const struct virtio_scsi_cmd_resp *response, size_t moved)
{
    struct hba *hba = request->hba;
    size_t room = ANSWER + hba->sense_size;

    iov_write(request->response, request->response_count, 0, response, room);
    for (unsigned i = 0; i < request->response_count; i++)
        memory_mark(hba->device.memory, request->response[i].iov_base, request->response[i].iov_len);
    io_slot_push(&request->slot, room + moved);
}

static void command_done(struct scsi_command *command)
{
    struct request *request = (struct request *)((char *)command - offsetof(struct request, command));
    struct virtio_scsi_cmd_resp response = {.status = command->status};
    size_t buffer = command->in_length + command->out_length;

    response.sense_len = command->sense_length;
    memcpy(response.sense, command->sense, command->sense_length);
    response.resid = (uint32_t)(buffer - command->moved);
    if (command->status == SCSI_GOOD && command->wanted > buffer)
        response.response = VIRTIO_SCSI_S_OVERRUN;
    respond(request, &response, command->in_length > 0 ? command->moved : 0);
}

static void submit(struct io_slot *slot)
{
    scsi_submit(&((struct hba_queue *)slot->queue)->lane, &((struct request *)slot)->command);
}

/* A task management function came before its turn did. */
static void give_up(struct io_slot *slot)
{
    respond((struct request *)slot, &(struct virtio_scsi_cmd_resp){.response = VIRTIO_SCSI_S_ABORTED}, 0);
}

/* [VIRTIO] 5.6.6.1: 1, the target, and a LUN as SAM has it. False: not our target. */
static bool lun_decode(const uint8_t lun[8], unsigned *number)
{
    const uint8_t inner[8] = {lun[2], lun[3], lun[4], lun[5], lun[6], lun[7]};

    *number = scsi_lun_decode(inner);
    return lun[0] == 1 && lun[1] == 0;
}

/* The answer's room is taken from the head of the writable list. False: there is none. */
static bool response_take(struct request *request, size_t room)
{
    struct virtio_chain *chain = &request->slot.chain;

    if (chain->writable_length < room)
        return false;
    memcpy(request->response, chain->writable, chain->writable_count * sizeof(struct iovec));
    request->response_count = iov_cut(request->response, chain->writable_count, 0, room);
    chain->writable_length -= room;
    chain->writable_count = iov_cut(chain->writable, chain->writable_count, room, chain->writable_length);
    return true;
}

/* Nothing but the CDB, the LUN and the buffers is made use of. */
static const char *take(struct io_slot *slot)
{
    struct request *request = (struct request *)slot;
    struct hba *hba = (struct hba *)slot->queue->virtio->device;
    struct virtio_chain *chain = &slot->chain;
    struct scsi_command *command = &request->command;
    struct virtio_scsi_cmd_req header;
    struct virtio_scsi_cmd_resp response = {.response = VIRTIO_SCSI_S_BAD_TARGET};
    size_t head = HEAD + hba->cdb_size;

    request->hba = hba;
    if (!response_take(request, ANSWER + hba->sense_size) || chain->readable_length < head)
        return "a request that is too short";
    iov_read(chain->readable, chain->readable_count, 0, &header, HEAD);
    memset(command, 0, offsetof(struct scsi_command, run));
    iov_read(chain->readable, chain->readable_count, HEAD, command->cdb,
             hba->cdb_size < SCSI_CDB ? hba->cdb_size : SCSI_CDB);
    command->cdb_length = hba->cdb_size;
    chain->readable_length -= head;
    chain->readable_count = iov_cut(chain->readable, chain->readable_count, head, chain->readable_length);
    command->nexus = &hba->nexus;
    command->out = chain->readable;
    command->out_count = chain->readable_count;
    command->out_length = chain->readable_length;
    command->in = chain->writable;
    command->in_count = chain->writable_count;
    command->in_length = chain->writable_length;
    command->done = command_done;
    if (!lun_decode(header.lun, &command->lun)) {
        respond(request, &response, 0);
    } else if (command->in_length > 0 && command->out_length > 0) { /* [VIRTIO] 5.6.3: not without F_INOUT */
        response.response = VIRTIO_SCSI_S_FAILURE;
        respond(request, &response, 0);
    } else {
        io_slot_begin(slot, &hba->disk[command->lun < hba->disk_count ? command->lun : 0].throttle, scsi_cost(command));
    }
    return NULL;
}

/* ---- Control ---- */

/* On the first thread, which drains itself before it waits for the others. */
static void drain_all(struct hba *hba)
{
    io_queue_drain(&hba->queue[0]);
    for (unsigned i = 1; i < hba->queue_count; i++)
        loop_call(&hba->queue[i].io.thread.loop, io_queue_drain, &hba->queue[i]);
}

static uint8_t manage(struct hba *hba, const struct virtio_scsi_ctrl_tmf_req *control)
{
    unsigned lun;

    if (!lun_decode(control->lun, &lun))
        return VIRTIO_SCSI_S_BAD_TARGET;
    if (control->subtype != VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET && lun >= hba->disk_count)
        return VIRTIO_SCSI_S_INCORRECT_LUN;
    switch (control->subtype) {
    case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
    case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
        drain_all(hba);
        scsi_target_reset(&hba->target, control->subtype == VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET ? SCSI_LUNS : lun);
        return VIRTIO_SCSI_S_OK;
    case VIRTIO_SCSI_T_TMF_ABORT_TASK:
    case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
    case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET:
        drain_all(hba);
        return VIRTIO_SCSI_S_OK;
    default:
        return VIRTIO_SCSI_S_FUNCTION_REJECTED;
    }
}

/* How much of an answer there is; 0: no room for it, or nothing that could be answered. */
static size_t control_answer(struct virtio_device *device, const struct virtio_chain *chain)
{
    struct virtio_scsi_ctrl_tmf_req control = {.type = UINT32_MAX};
    struct virtio_scsi_ctrl_an_resp none = {.response = VIRTIO_SCSI_S_OK};
    size_t got = iov_read(chain->readable, chain->readable_count, 0, &control, sizeof(control));
    uint8_t response;

    switch (got >= sizeof(control.type) ? control.type : UINT32_MAX) {
    case VIRTIO_SCSI_T_TMF:
        if (got < sizeof(control) || chain->writable_length < 1)
            return 0;
        response = manage((struct hba *)device, &control);
        return iov_write(chain->writable, chain->writable_count, 0, &response, 1);
    case VIRTIO_SCSI_T_AN_QUERY:
    case VIRTIO_SCSI_T_AN_SUBSCRIBE: /* no event of these is ever sent */
        if (got < 20 || chain->writable_length < sizeof(none))
            return 0;
        return iov_write(chain->writable, chain->writable_count, 0, &none, sizeof(none));
    default:
        return 0;
    }
}

/* [VIRTIO] 5.6.6.3, on the event queue's thread: the parameters have changed, with the sense code for the capacity. */
static void event_send(void *owner)
{
    struct hba *hba = owner;
    struct virtio_queue *queue = &hba->device.queue[EVENT];
    struct iovec iov[VIRTIO_QUEUE_SIZE];
    struct virtio_chain chain = {.iov = iov, .iov_max = VIRTIO_QUEUE_SIZE};
    const struct virtio_scsi_event event = {
        .event = VIRTIO_SCSI_T_PARAM_CHANGE | (hba->event_missed ? VIRTIO_SCSI_T_EVENTS_MISSED : 0),
        .lun = {1, 0, 0, (uint8_t)hba->event_lun}, /* as REPORT LUNS has it */
        .reason = 0x2a | 0x09 << 8,
    };

    if (!virtio_has(&hba->device, CHANGE))
        return;
    hba->event_missed = virtio_queue_pop(queue, &chain) != 1;
    if (hba->event_missed)
        return;
    virtio_queue_push(queue, &chain, iov_write(chain.writable, chain.writable_count, 0, &event, sizeof(event)));
    virtio_queue_signal(queue);
}

/* A unit attention for the next command, and an event for a driver that sends none. */
static void resized(void *owner, const struct machine_disk *disk)
{
    struct hba *hba = owner;

    for (unsigned lun = 0; lun < hba->disk_count; lun++) {
        if (hba->disk[lun].disk != disk)
            continue;
        scsi_target_resized(&hba->target, lun);
        hba->event_lun = lun;
        if (hba->device.active)
            loop_call(hba->device.queue[EVENT].loop, event_send, hba);
    }
}

/* The buffers of the event queue stay where they are until there is an event, or was one. */
static void kick(struct virtio_queue *virtio)
{
    struct hba *hba = (struct hba *)virtio->device;

    if (virtio->index == CONTROL)
        virtio_queue_serve(virtio, control_answer);
    else if (virtio->index == EVENT && hba->event_missed)
        event_send(hba);
    else if (virtio->index >= FIRST)
        io_queue_kick(&hba->queue[virtio->index - FIRST].io);
}

/* ---- The device ---- */

static void sizes_check(struct virtio_device *device)
{
    struct hba *hba = (struct hba *)device;

    if (hba->config.sense_size > SENSE_ROOM)
        hba->config.sense_size = SENSE_ROOM;
    if (hba->config.cdb_size > CDB_ROOM)
        hba->config.cdb_size = CDB_ROOM;
}

static void activate(struct virtio_device *device)
{
    struct hba *hba = (struct hba *)device;

    hba->sense_size = hba->config.sense_size;
    hba->cdb_size = hba->config.cdb_size;
}

static void reset(struct virtio_device *device)
{
    struct hba *hba = (struct hba *)device;

    for (unsigned i = 0; i < hba->queue_count; i++)
        io_queue_reset(&hba->queue[i].io);
    scsi_target_reset(&hba->target, SCSI_LUNS);
    hba->config.sense_size = SENSE_ROOM;
    hba->config.cdb_size = CDB_ROOM;
    hba->event_missed = false;
}

static int queue_open(struct hba *hba, unsigned index)
{
    static const struct io_queue_ops queue_ops = {sizeof(struct request), take, submit, give_up};
    struct hba_queue *queue = &hba->queue[index];
    char name[16];
    int err;

    snprintf(name, sizeof(name), "scsi.%u", index % 100);
    err = io_queue_open(&queue->io, &hba->device, FIRST + index, name, &queue_ops);
    if (err < 0)
        return err;
    err = scsi_lane_open(&queue->lane, queue->io.ring);
    queue->lane_open = err == 0;
    return err;
}

static int unit_open(struct hba *hba, const struct machine_disk *disk, unsigned lun)
{
    struct hba_disk *mine = &hba->disk[lun];
    struct scsi_unit_options options = {.readonly = disk->readonly};
    int err;

    machine_disk_serial(disk, "scsi", lun, options.serial);
    mine->disk = disk;
    mine->throttle = (struct throttle){.iops = disk->iops, .bytes_per_second = disk->bytes_per_second};
    err = scsi_unit_open(disk->port, &options, &mine->unit);
    if (err == 0) {
        hba->disk_count++;
        scsi_target_add(&hba->target, lun, mine->unit);
    }
    return err;
}

/* Whatever was opened of it. */
static void hba_free(struct virtio_device *device)
{
    struct hba *hba = (struct hba *)device;

    for (unsigned i = 0; i < hba->queue_count; i++) {
        io_queue_close(&hba->queue[i].io);
        if (hba->queue[i].lane_open)
            scsi_lane_close(&hba->queue[i].lane);
    }
    scsi_nexus_close(&hba->nexus);
    scsi_target_close(&hba->target);
    for (unsigned i = 0; i < hba->disk_count; i++)
        scsi_unit_close(hba->disk[i].unit);
    free(hba);
}

static const struct virtio_ops ops = {
    .kick = kick,
    .activate = activate,
    .reset = reset,
    .config_written = sizes_check,
    .free = hba_free,
};

static int hba_plug(struct hba *hba, struct machine *machine)
{
    struct virtio_description description = {
        .name = "virtio-scsi",
        .id = VIRTIO_ID_SCSI,
        .class = 0x010000, /* mass storage, SCSI */
        .features = CHANGE | HOTPLUG,
        .queue_count = FIRST + hba->queue_count,
        .config = &hba->config,
        .config_size = sizeof(hba->config),
        .config_writable = UINT64_C(0xff) << SIZES_OFFSET,
        .ops = &ops,
    };

    hba->config = (struct virtio_scsi_config){
        .num_queues = hba->queue_count,
        .seg_max = IO_SEGMENTS - 2,
        .max_sectors = SCSI_TRANSFER_MAX / 512,
        .cmd_per_lun = 128,
        .event_info_size = sizeof(struct virtio_scsi_event),
        .sense_size = SENSE_ROOM,
        .cdb_size = CDB_ROOM,
        .max_lun = SCSI_LUNS - 1,
    };
    for (unsigned i = 0; i < FIRST; i++)
        hba->device.queue[i].loop = &hba->queue[0].io.thread.loop;
    return virtio_open(&hba->device, machine, &description);
}

int virtio_scsi_make(struct machine *machine, struct memory *memory, const struct machine_disk *const *disks,
                     unsigned count, unsigned queues, struct virtio_device **device)
{
    struct hba *hba = calloc(1, sizeof(*hba));
    int err = 0;

    if (!hba)
        return -ENOMEM;
    scsi_target_open(&hba->target);
    for (unsigned i = 0; i < count && err == 0; i++)
        err = unit_open(hba, disks[i], i);
    scsi_nexus_open(&hba->nexus, &hba->target);
    hba->queue_count = queues;
    hba->device.machine = machine;
    hba->device.memory = memory;
    for (unsigned i = 0; i < queues && err == 0; i++)
        err = queue_open(hba, i);
    if (err == 0)
        err = hba_plug(hba, machine);
    if (err < 0) {
        hba_free(&hba->device);
        return err;
    }
    hba->device.part.resized = resized;
    *device = &hba->device;
    return 0;
}

int virtio_scsi_open(struct machine *machine)
{
    const struct machine_options *options = machine->options;
    const struct machine_disk *disks[MACHINE_DISKS_MAX];
    unsigned count = 0, asked = 0;
    struct virtio_device *device;
    int err;

    for (unsigned i = 0; i < options->disk_count; i++) {
        if (options->disk[i].bus != MACHINE_SCSI)
            continue;
        disks[count++] = &options->disk[i];
        if (options->disk[i].queues > asked)
            asked = options->disk[i].queues;
    }
    if (count == 0)
        return 0;
    err = virtio_scsi_make(machine, &machine->memory, disks, count,
                           io_queues_wanted(machine, asked, VIRTIO_QUEUES_MAX - FIRST), &device);
    return err < 0 ? machine_error(machine, err, "virtio-scsi: %s", strerror(-err)) : 0;
}
