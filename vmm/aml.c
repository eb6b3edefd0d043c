/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes ACPI's machine language: see aml.h. */
#include <assert.h>
#include <string.h>

#include "aml.h"

#define OP_NAME 0x08u
#define OP_BYTE 0x0au
#define OP_WORD 0x0bu
#define OP_DWORD 0x0cu
#define OP_STRING 0x0du
#define OP_QWORD 0x0eu
#define OP_SCOPE 0x10u
#define OP_BUFFER 0x11u
#define OP_PACKAGE 0x12u
#define OP_EXTENDED 0x5bu
#define OP_DEVICE 0x82u /* after OP_EXTENDED */

#define LENGTH_BYTES 3u /* of a PkgLength: always the form of three bytes, so that it can be filled in later */

#define WINDOW_FIXED 0x0cu /* first and last address are as they are */

static void bytes(struct aml *aml, const void *data, uint32_t length)
{
    assert(length <= aml->room - aml->length);
    memcpy(aml->bytes + aml->length, data, length);
    aml->length += length;
}

static void number(struct aml *aml, uint64_t value, unsigned size)
{
    bytes(aml, &value, size); /* x86 is little-endian, as AML is */
}

static struct aml_open begin(struct aml *aml, uint8_t op)
{
    struct aml_open open;

    number(aml, op, 1);
    open.length_at = aml->length;
    number(aml, 0, LENGTH_BYTES);
    return open;
}

/* [ACPI] 20.2.4: bits 7 and 6 of the first byte tell how many follow, its low four are the length's lowest. */
void aml_end(struct aml *aml, struct aml_open open)
{
    uint32_t length = aml->length - open.length_at;
    uint8_t *at = aml->bytes + open.length_at;

    assert(length < 1 << 20);
    at[0] = (uint8_t)(2 << 6 | (length & 15));
    at[1] = (uint8_t)(length >> 4);
    at[2] = (uint8_t)(length >> 12);
}

static void name_string(struct aml *aml, const char *name)
{
    if (*name == '\\')
        number(aml, (uint8_t)*name++, 1);
    assert(strlen(name) <= 4);
    bytes(aml, name, (uint32_t)strlen(name));
    bytes(aml, "____", 4 - (uint32_t)strlen(name));
}

struct aml_open aml_scope_begin(struct aml *aml, const char *name)
{
    struct aml_open open = begin(aml, OP_SCOPE);

    name_string(aml, name);
    return open;
}

struct aml_open aml_device_begin(struct aml *aml, const char *name)
{
    struct aml_open open;

    number(aml, OP_EXTENDED, 1);
    open = begin(aml, OP_DEVICE);
    name_string(aml, name);
    return open;
}

struct aml_open aml_package_begin(struct aml *aml, uint8_t count)
{
    struct aml_open open = begin(aml, OP_PACKAGE);

    number(aml, count, 1);
    return open;
}

void aml_name(struct aml *aml, const char *name)
{
    number(aml, OP_NAME, 1);
    name_string(aml, name);
}

void aml_integer(struct aml *aml, uint64_t value)
{
    if (value <= 1) {
        number(aml, value, 1);
    } else if (value <= UINT8_MAX) {
        number(aml, OP_BYTE, 1);
        number(aml, value, 1);
    } else if (value <= UINT16_MAX) {
        number(aml, OP_WORD, 1);
        number(aml, value, 2);
    } else if (value <= UINT32_MAX) {
        number(aml, OP_DWORD, 1);
        number(aml, value, 4);
    } else {
        number(aml, OP_QWORD, 1);
        number(aml, value, 8);
    }
}

void aml_string(struct aml *aml, const char *text)
{
    number(aml, OP_STRING, 1);
    bytes(aml, text, (uint32_t)strlen(text) + 1);
}

static uint32_t hex(char digit)
{
    return (uint32_t)(digit <= '9' ? digit - '0' : digit - 'A' + 10);
}

/* [ACPI] 19.3.4: three letters of five bits and four hexadecimal digits, the most significant byte first. */
void aml_eisa_id(struct aml *aml, const char *id)
{
    uint32_t value = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 | (uint32_t)(id[2] - '@') << 16 |
                     hex(id[3]) << 12 | hex(id[4]) << 8 | hex(id[5]) << 4 | hex(id[6]);

    assert(strlen(id) == 7);
    number(aml, OP_DWORD, 1);
    number(aml, __builtin_bswap32(value), 4);
}

/* ---- Resources ---- */

/* A buffer says its size twice: as the length of the whole, and as an integer, here always a word. */
struct aml_open aml_resources_begin(struct aml *aml)
{
    struct aml_open open = begin(aml, OP_BUFFER);

    number(aml, OP_WORD, 1);
    number(aml, 0, 2);
    return open;
}

void aml_resources_end(struct aml *aml, struct aml_open open)
{
    uint32_t data_at = open.length_at + LENGTH_BYTES + 3;
    uint16_t length;

    number(aml, 0x79, 1); /* the end tag, with no checksum */
    number(aml, 0, 1);
    length = (uint16_t)(aml->length - data_at);
    memcpy(aml->bytes + data_at - 2, &length, sizeof(length));
    aml_end(aml, open);
}

void aml_resource_io(struct aml *aml, uint16_t start, uint8_t length)
{
    const uint8_t head[] = {0x47, 1}; /* all 16 bits are decoded */

    bytes(aml, head, sizeof(head));
    number(aml, start, 2);
    number(aml, start, 2);
    number(aml, 1, 1);
    number(aml, length, 1);
}

void aml_resource_irq(struct aml *aml, unsigned irq)
{
    number(aml, 0x22, 1);
    number(aml, 1u << irq, 2);
}

static void window_word(struct aml *aml, uint8_t type, uint8_t flags, uint16_t first, uint16_t last)
{
    const uint8_t head[] = {0x88, 13, 0, type, WINDOW_FIXED, flags};

    bytes(aml, head, sizeof(head));
    number(aml, 0, 2);
    number(aml, first, 2);
    number(aml, last, 2);
    number(aml, 0, 2);
    number(aml, (uint16_t)(last - first + 1), 2);
}

void aml_resource_buses(struct aml *aml, uint16_t first, uint16_t last)
{
    window_word(aml, 2, 0, first, last);
}

void aml_resource_ports(struct aml *aml, uint16_t first, uint16_t last)
{
    window_word(aml, 1, 3, first, last);
}

void aml_resource_memory(struct aml *aml, uint32_t first, uint32_t last)
{
    const uint8_t head[] = {0x87, 23, 0, 0, WINDOW_FIXED, 1}; /* read and write, not cached */

    bytes(aml, head, sizeof(head));
    number(aml, 0, 4);
    number(aml, first, 4);
    number(aml, last, 4);
    number(aml, 0, 4);
    number(aml, last - first + 1, 4);
}
