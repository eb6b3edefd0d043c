/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The footer of a fixed disk in a file that is longer than it should be: a power cut while the disk grew may leave the
 * new length without the new footer. What is behind the old one is zeros then, but for the last sector, which may hold
 * anything. So the last sector before it that holds something is a footer, and one that stands exactly where its disk
 * ends: not one that a guest has in a file of its own, which stands further behind.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd.h"

#define WINDOW 65536u
#define READ_MAX (UINT64_C(1) << 30) /* zeros that are read through, where the storage does not tell holes */

/* The end of the last data before end, to 4 KiB; where the storage cannot tell, end. */
static uint64_t data_end(struct file *file, uint64_t end)
{
    uint64_t low = 0, high = end / VHD_ALIGN + 1, data, hole;

    if (file_seek_data(file, 0, &data, &hole) || data >= end)
        return data >= end ? 0 : end;
    while (high - low > 1) { /* there is data before end from low on, and none from high on */
        uint64_t middle = low + (high - low) / 2;

        if (file_seek_data(file, middle * VHD_ALIGN, &data, &hole))
            return end;
        if (data < end)
            low = middle;
        else
            high = middle;
    }
    return high * VHD_ALIGN < end ? high * VHD_ALIGN : end;
}

static bool is_zero(const uint8_t *sector)
{
    return sector[0] == 0 && memcmp(sector, sector + 1, VHD_SECTOR - 1) == 0;
}

static int look(struct file *file, uint8_t *window, struct vhd_footer *footer, uint64_t *at)
{
    uint64_t end = file->size / VHD_SECTOR * VHD_SECTOR - VHD_SECTOR;

    for (uint64_t bytes = 0; bytes < READ_MAX; bytes += WINDOW) {
        uint64_t start;
        int err;

        end = data_end(file, end);
        start = end > WINDOW ? end - WINDOW : 0;
        if (end < 2 * VHD_SECTOR)
            return 0;
        err = file_read(file, window, end - start, start);
        if (err)
            return err;
        for (uint64_t position = end - VHD_SECTOR;; position -= VHD_SECTOR) {
            if (!is_zero(window + (position - start))) {
                memcpy(footer, window + (position - start), sizeof(*footer));
                *at = position;
                return vhd_footer_valid(footer) && be32_get(footer->type) == VHD_FIXED &&
                       be64_get(footer->current_size) == position;
            }
            if (position == start)
                break;
        }
        end = start;
    }
    return 0;
}

int vhd_footer_search(struct file *file, struct vhd_footer *footer, uint64_t *at)
{
    uint8_t *window = file->size >= 3 * VHD_SECTOR ? malloc(WINDOW) : NULL;
    int found = file->size < 3 * VHD_SECTOR ? 0 : window ? look(file, window, footer, at) : -ENOMEM;

    free(window);
    return found;
}
