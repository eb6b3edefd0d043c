/* SPDX-License-Identifier: BSD-2-Clause */
/* Any sequence of accesses to the registers of an IDE channel and its bus master, with a table from the input. */
#include "vmm/ide.h"
#include "tests/fuzz/common/disk.h"

#define MEMORY (1u << 20)
#define TABLE 0x1000u
#define TABLE_BYTES 64u
#define ACCESSES 512u

struct record {
    uint8_t where; /* which ports, and whether it is written */
    uint8_t offset, size;
    uint8_t value[4];
};

static struct memory memory;
static struct loop loop;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t seed[TABLE_BYTES + sizeof(struct record)] = {
        [TABLE_BYTES] = 0x80, [TABLE_BYTES + 1] = 7, [TABLE_BYTES + 3] = 0xec};

    (void)argc, (void)argv;
    fuzz_disk_seed("identify", seed, sizeof(seed));
    test_ok(memory_open(&memory, MEMORY));
    return 0;
}

static void access_ports(struct ide *ide, const struct record *record)
{
    const struct bus_range *ranges[] = {&ide->channel[0].command_ports, &ide->channel[0].command_ports,
                                        &ide->channel[0].control_ports, &ide->pci.bar[4].range};
    const struct bus_range *range = ranges[record->where & 3];
    uint64_t offset = record->offset % range->size, value = 0;
    unsigned size = 1u << record->size % 3;

    if (offset + size > range->size)
        size = 1;
    memcpy(&value, record->value, size);
    /* The data port is where most accesses go: a byte says how many. */
    for (unsigned i = 0; i <= (offset == 0 && range == ranges[0] ? record->value[3] * 2u : 0); i++) {
        if (record->where & 0x80)
            range->write(range->owner, offset, size, value);
        else
            range->read(range->owner, offset, size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct fuzz_bytes bytes = {input, size};
    struct machine_disk drives[2] = {{.readonly = false}, {.readonly = true}};
    const struct machine_disk *disks[4] = {&drives[0], &drives[1]};
    struct fuzz_disk disk;
    struct ide *ide;

    fuzz_disk_open(&disk);
    drives[0].port = drives[1].port = disk.port;
    test_ok(loop_open(&loop, NULL));
    test_ok(ide_make(NULL, &memory, &loop, disks, &ide));
    pci_set(&ide->pci, 4, 2, 4); /* bus master */
    fuzz_take(&bytes, memory.base + TABLE, TABLE_BYTES);
    ide->channel[0].registers.master_table = TABLE;
    for (unsigned i = 0; bytes.left > 0 && i < ACCESSES; i++) {
        struct record record;

        fuzz_take(&bytes, &record, sizeof(record));
        access_ports(ide, &record);
        if (record.where & 0x40) /* the loop comes round */
            continue;
        ide->go.ready(&ide->go);
        while (ide->channel[0].flying)
            vdisk_ring_poll(ide->ring, true);
    }
    ide_free(ide);
    loop_close(&loop);
    fuzz_disk_close(&disk);
    return 0;
}
