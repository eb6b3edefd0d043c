/* SPDX-License-Identifier: BSD-2-Clause */
/* Which device answers at an address: a sorted array, searched by halves. */
#include <errno.h>
#include <string.h>

#include "bus.h"

/* The first range that ends beyond the address. */
static unsigned place(const struct bus *bus, uint64_t address)
{
    unsigned low = 0, high = bus->count;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        const struct bus_range *range = bus->range[middle];

        if (range->start + (range->size - 1) < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int bus_add(struct bus *bus, struct bus_range *range)
{
    unsigned at = place(bus, range->start);

    if (bus->count == BUS_RANGES_MAX)
        return -ENOSPC;
    if (range->size == 0 || range->start + (range->size - 1) < range->start)
        return -EINVAL;
    if (at < bus->count && bus->range[at]->start <= range->start + (range->size - 1))
        return -EEXIST;
    memmove(&bus->range[at + 1], &bus->range[at], (bus->count - at) * sizeof(*bus->range));
    bus->range[at] = range;
    bus->count++;
    return 0;
}

void bus_remove(struct bus *bus, struct bus_range *range)
{
    for (unsigned at = 0; at < bus->count; at++) {
        if (bus->range[at] != range)
            continue;
        bus->count--;
        memmove(&bus->range[at], &bus->range[at + 1], (bus->count - at) * sizeof(*bus->range));
        return;
    }
}

/* The range that holds all of the access; one that hangs over an edge is nobody's. */
static struct bus_range *find(const struct bus *bus, uint64_t address, unsigned size)
{
    unsigned at = place(bus, address);
    struct bus_range *range = at < bus->count ? bus->range[at] : NULL;

    if (!range || address < range->start || address - range->start > range->size - 1 ||
        range->size - (address - range->start) < size)
        return NULL;
    return range;
}

uint64_t bus_read(struct bus *bus, uint64_t address, unsigned size)
{
    struct bus_range *range = find(bus, address, size);

    return range && range->read ? range->read(range->owner, address - range->start, size) : UINT64_MAX;
}

void bus_write(struct bus *bus, uint64_t address, unsigned size, uint64_t value)
{
    struct bus_range *range = find(bus, address, size);

    if (range && range->write)
        range->write(range->owner, address - range->start, size, value);
}
