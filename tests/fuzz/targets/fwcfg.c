/* SPDX-License-Identifier: BSD-2-Clause */
/* Any sequence of accesses to fw_cfg's ports, DMA with a descriptor from the input, in a small memory. What it gives out
 * stays as it is. */
#include <string.h>

#include "tests/fuzz/common/disk.h"
#include "vmm/fwcfg.h"
#include "vmm/machine.h"

#define MEMORY (1u << 20)
#define AREA 4096u /* where descriptors and targets lie, mostly */
#define ACCESSES 256u

struct record {
    uint8_t kind, offset, size, what;
    uint64_t value;
};

static struct machine machine;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t seed[64] = {2, 0, 0, 0, 0, 0, 0, 0x19, 0, 0, 0, 64};

    (void)argc, (void)argv;
    fuzz_disk_seed("directory", seed, sizeof(seed));
    test_ok(memory_open(&machine.memory, MEMORY));
    return 0;
}

/* A descriptor somewhere, and the two halves of its address. */
static void transfer(struct fuzz_bytes *bytes, const struct record *record)
{
    uint64_t address = record->what == 0xff ? record->value : record->value % AREA;
    uint8_t descriptor[16];

    fuzz_take(bytes, descriptor, sizeof(descriptor));
    if (record->what < 0x80) { /* the key, the length and the target are small ones, mostly */
        memset(descriptor + 4, 0, 2);
        memset(descriptor + 8, 0, 6);
    }
    memory_write(&machine.memory, address, descriptor, sizeof(descriptor));
    bus_write(&machine.pio, 0x514, 4, __builtin_bswap32((uint32_t)(address >> 32)));
    bus_write(&machine.pio, 0x518, 4, __builtin_bswap32((uint32_t)address));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static const char file[] = "what stands in a file of this name";
    struct fuzz_bytes bytes = {input, size};
    struct fwcfg fwcfg;
    struct record record;

    test_ok(fwcfg_open(&fwcfg, &machine));
    fwcfg_file_add(&fwcfg, "etc/file", file, sizeof(file));
    fwcfg_file_add(&fwcfg, "etc/empty", file, 0);
    fwcfg_number_add(&fwcfg, 5, 7, 2);
    for (unsigned i = 0; bytes.left > 0 && i < ACCESSES; i++) {
        fuzz_take(&bytes, &record, sizeof(record));
        if (record.kind & 2)
            transfer(&bytes, &record);
        else if (record.kind & 1)
            bus_write(&machine.pio, 0x510 + record.offset % 12u, 1u << record.size % 4, record.value);
        else
            for (unsigned n = 0; n <= record.what; n++)
                bus_read(&machine.pio, 0x510 + record.offset % 12u, 1u << record.size % 4);
    }
    test_equal(fwcfg.numbers[4], 7);
    test_equal(fwcfg.file_count, 2);
    fwcfg_close(&fwcfg);
    return 0;
}
