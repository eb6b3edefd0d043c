/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory: see memory.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"

static void regions_make(struct memory *memory)
{
    uint64_t low = memory->size < MEMORY_HOLE ? memory->size : MEMORY_HOLE;

    memory->region[0] = (struct memory_region){0, low, 0};
    memory->region_count = 1;
    if (memory->size > low)
        memory->region[memory->region_count++] = (struct memory_region){MEMORY_HIGH, memory->size - low, low};
}

int memory_open(struct memory *memory, uint64_t size)
{
    int err;

    memset(memory, 0, sizeof(*memory));
    memory->size = size;
    memory->fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory->fd < 0)
        return -errno;
    if (ftruncate(memory->fd, (off_t)size) < 0)
        goto fail;
    memory->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory->fd, 0);
    if (memory->base == MAP_FAILED)
        goto fail;
    madvise(memory->base, size, MADV_DONTDUMP);
    madvise(memory->base, size, MADV_HUGEPAGE);
    regions_make(memory);
    return 0;

fail:
    err = -errno;
    close(memory->fd);
    memory->base = NULL;
    return err;
}

void memory_close(struct memory *memory)
{
    if (!memory->base)
        return;
    memory_track(memory, false);
    munmap(memory->base, memory->size);
    close(memory->fd);
    memory->base = NULL;
}

void *memory_range(const struct memory *memory, uint64_t address, uint64_t length)
{
    if (length == 0)
        return NULL;
    for (unsigned i = 0; i < memory->region_count; i++) {
        const struct memory_region *region = &memory->region[i];
        uint64_t offset = address - region->start;

        if (address >= region->start && offset < region->size && length <= region->size - offset)
            return memory->base + region->position + offset;
    }
    return NULL;
}

int memory_read(const struct memory *memory, uint64_t address, void *buffer, size_t length)
{
    const void *host = memory_range(memory, address, length);

    if (!host)
        return -EFAULT;
    memcpy(buffer, host, length);
    return 0;
}

int memory_write(const struct memory *memory, uint64_t address, const void *buffer, size_t length)
{
    void *host = memory_range(memory, address, length);

    if (!host)
        return -EFAULT;
    memcpy(host, buffer, length);
    memory_mark(memory, host, length);
    return 0;
}

void memory_mark(const struct memory *memory, const void *host, size_t length)
{
    uint64_t position = (uint64_t)((const uint8_t *)host - memory->base);

    if (!memory->dirty || length == 0)
        return;
    assert(position < memory->size && length <= memory->size - position);
    for (uint64_t page = position / MEMORY_PAGE; page <= (position + length - 1) / MEMORY_PAGE; page++)
        atomic_fetch_or_explicit(&memory->dirty[page / 64], UINT64_C(1) << page % 64, memory_order_release);
}

int memory_track(struct memory *memory, bool on)
{
    uint64_t words = (memory->size / MEMORY_PAGE + 63) / 64;

    free((void *)memory->dirty);
    memory->dirty = NULL;
    if (!on)
        return 0;
    memory->dirty = calloc(words, sizeof(*memory->dirty));
    return memory->dirty ? 0 : -ENOMEM;
}
