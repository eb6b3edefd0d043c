/* SPDX-License-Identifier: BSD-2-Clause */
/* What backends of network cards share. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "net.h"

int net_error(struct net_card *card, int error, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    card->say(card, text);
    return error;
}

/* FNV-1a. */
void net_address_make(const struct net_card *card, unsigned number, uint8_t address[6])
{
    static const uint8_t none[6];
    uint32_t hash = 2166136261u;

    if (memcmp(address, none, 6) != 0)
        return;
    for (const char *name = card->machine; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    hash = (hash ^ number) * 16777619u;
    memcpy(address, (const uint8_t[]){0x52, 0x54, 0, (uint8_t)(hash >> 16), (uint8_t)(hash >> 8), (uint8_t)hash}, 6);
}

bool net_checksum(const struct net_header *header, uint8_t *frame, size_t length)
{
    size_t start = header->checksum_start, at = start + header->checksum_offset;
    uint64_t sum = 0;

    if (at + 2 > length)
        return false;
    for (size_t i = start; i + 1 < length; i += 2)
        sum += (uint32_t)frame[i] << 8 | frame[i + 1];
    if ((length - start) % 2)
        sum += (uint32_t)frame[length - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    sum = ~sum & 0xffff;
    if (sum == 0)
        sum = 0xffff; /* UDP's zero means that there is none; for TCP both are the same number */
    frame[at] = (uint8_t)(sum >> 8);
    frame[at + 1] = (uint8_t)sum;
    return true;
}
