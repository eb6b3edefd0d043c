/* SPDX-License-Identifier: BSD-2-Clause */
/* CDBs, parameter lists and buffers of any length, several commands in flight: each is answered, once. */
#include "scsi/scsi.h"
#include "tests/fuzz/common/disk.h"

#define COMMANDS 16u
#define BUFFER 8192u

struct record {
    uint8_t cdb[SCSI_CDB];
    uint8_t lun, list; /* list: how much of the parameter list comes from the input */
    uint16_t in, out;  /* lengths of the buffers, below BUFFER */
};

static struct asked {
    struct scsi_command command; /* first */
    struct iovec in[2], out[2];
    uint8_t bytes[BUFFER];
    unsigned done;
} asked[COMMANDS];

static struct vdisk_ring *ring;

static void done(struct scsi_command *command)
{
    struct asked *mine = (struct asked *)command;

    test_equal(++mine->done, 1);
    test_true(command->moved <= command->in_length + command->out_length);
    test_true(command->sense_length <= SCSI_SENSE);
}

/* Two pieces, of which the first ends at an odd place. */
static void buffer(struct iovec iov[2], uint8_t *bytes, size_t length)
{
    iov[0] = (struct iovec){bytes, length / 3};
    iov[1] = (struct iovec){bytes + length / 3, length - length / 3};
}

static void submit(struct scsi_lane *lane, struct scsi_nexus *nexus, struct asked *mine, struct fuzz_bytes *bytes)
{
    struct record record;

    fuzz_take(bytes, &record, sizeof(record));
    fuzz_take(bytes, mine->bytes, record.list);
    buffer(mine->in, mine->bytes, record.in % BUFFER);
    buffer(mine->out, mine->bytes, record.out % BUFFER);
    mine->done = 0;
    mine->command = (struct scsi_command){
        .nexus = nexus,
        .lun = record.lun & 1,
        .cdb_length = SCSI_CDB,
        .in = mine->in,
        .in_count = 2,
        .in_length = record.in % BUFFER,
        .out = mine->out,
        .out_count = 2,
        .out_length = record.out % BUFFER,
        .done = done,
    };
    memcpy(mine->command.cdb, record.cdb, SCSI_CDB);
    scsi_submit(lane, &mine->command);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct record seed = {.cdb = {0x12, 0, 0, 0, 96}, .in = 96};

    (void)argc, (void)argv;
    fuzz_disk_seed("inquiry", &seed, sizeof(seed));
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_THREADS, &ring));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct scsi_unit_options options = {.serial = "1"};
    struct fuzz_bytes bytes = {input, size};
    struct scsi_target target;
    struct scsi_nexus nexus;
    struct scsi_unit *unit;
    struct scsi_lane lane;
    struct fuzz_disk disk;

    fuzz_disk_open(&disk);
    test_ok(scsi_unit_open(disk.port, &options, &unit));
    scsi_target_open(&target);
    test_ok(scsi_target_add(&target, 0, unit));
    scsi_nexus_open(&nexus, &target);
    atomic_store(&nexus.attention[0], 0);
    test_ok(scsi_lane_open(&lane, ring));
    for (unsigned count = 0; bytes.left > 0 && count < COMMANDS; count++)
        submit(&lane, &nexus, &asked[count], &bytes);
    for (unsigned i = 0; i < COMMANDS; i++)
        while (asked[i].command.nexus && !asked[i].done)
            vdisk_ring_poll(ring, true);
    scsi_lane_close(&lane);
    scsi_nexus_close(&nexus);
    scsi_target_close(&target);
    scsi_unit_close(unit);
    fuzz_disk_close(&disk);
    return 0;
}
