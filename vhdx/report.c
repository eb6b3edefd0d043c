/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every parser needs: telling faults, checksums, GUIDs, text.
 */
#include <errno.h>
#include <iconv.h>
#include <isa-l.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "disk/mutant.h"
#include "parse.h"

static void tell(struct vhdx_report *report, enum vdisk_severity severity, const char *code, uint64_t offset,
                 uint64_t length, const char *format, va_list args)
{
    char text[512];
    struct vdisk_fault fault = {.severity = severity, .code = code, .offset = offset, .text = text, .length = length};

    vsnprintf(text, sizeof(text), format, args);
    if (report->fault)
        report->fault(report->arg, &fault);
    else if (report->faults == 0)
        file_error(report->file, "vhdx", 0, "%s", text);
    if (severity == VDISK_FAULT)
        report->faults++;
}

int vhdx_fault(struct vhdx_report *report, const char *code, uint64_t offset, const char *format, ...)
{
    va_list args;

    if (MUTANT_CODE("vhdx", code))
        return 0;
    va_start(args, format);
    tell(report, VDISK_FAULT, code, offset, 0, format, args);
    va_end(args);
    return -EIO;
}

void vhdx_leak(struct vhdx_report *report, const char *code, uint64_t offset, uint64_t length, const char *format, ...)
{
    va_list args;

    if (!report->fault)
        return;
    va_start(args, format);
    tell(report, VDISK_LEAK, code, offset, length, format, args);
    va_end(args);
}

int vhdx_read(struct vhdx_report *report, struct file *file, void *buffer, size_t length, uint64_t position,
              const char *what)
{
    int err = file_read(file, buffer, length, position);

    if (err == -ENODATA)
        return vhdx_fault(report, "truncated", position, "%s at 0x%llx: the file ends before its %zu bytes do", what,
                          (unsigned long long)position, length);
    if (err)
        report->error = file_error(report->file, "vhdx", err, "%s at 0x%llx: cannot read: %s", what,
                                   (unsigned long long)position, strerror(-err));
    return err;
}

uint32_t vhdx_crc(uint32_t crc, const void *data, size_t length)
{
    const unsigned char *at = data;

    while (length > 0) {
        int part = length < 1u << 20 ? (int)length : 1 << 20;

        crc = ~crc32_iscsi((unsigned char *)at, part, ~crc);
        at += part;
        length -= (size_t)part;
    }
    return crc;
}

uint32_t vhdx_checksum(const void *structure, size_t length)
{
    static const uint8_t zero[4];
    const uint8_t *bytes = structure;

    return vhdx_crc(vhdx_crc(vhdx_crc(0, bytes, 4), zero, 4), bytes + 8, length - 8);
}

bool vhdx_guid_is(const struct vhdx_guid *guid, const struct vhdx_guid *other)
{
    return memcmp(guid, other, sizeof(*guid)) == 0;
}

bool vhdx_guid_is_zero(const struct vhdx_guid *guid)
{
    static const struct vhdx_guid zero;

    return vhdx_guid_is(guid, &zero);
}

/* Between a file's byte order and libuuid's: the same both ways. */
static struct vhdx_guid swap(const uint8_t in[16])
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    struct vhdx_guid out;

    for (int i = 0; i < 16; i++)
        out.byte[i] = in[order[i]];
    return out;
}

struct vhdx_guid vhdx_guid_random(void)
{
    uuid_t uuid;

    uuid_generate_random(uuid);
    return swap(uuid);
}

void vhdx_guid_text(const struct vhdx_guid *guid, char text[VHDX_GUID_TEXT])
{
    struct vhdx_guid uuid = swap(guid->byte);

    text[0] = '{';
    uuid_unparse_lower(uuid.byte, text + 1);
    text[37] = '}';
    text[38] = '\0';
}

static int convert(const char *to, const char *from, const char *in, size_t in_bytes, char *out, size_t *out_bytes)
{
    iconv_t conversion = iconv_open(to, from);
    char *source = (char *)in, *target = out;
    size_t left = *out_bytes;
    int err = 0;

    if (conversion == (iconv_t)-1)
        return -errno;
    if (iconv(conversion, &source, &in_bytes, &target, &left) == (size_t)-1)
        err = errno == EINVAL ? -EILSEQ : -errno;
    iconv_close(conversion);
    *out_bytes -= left;
    return err;
}

int vhdx_text_read(const void *utf16, size_t bytes, char **text)
{
    size_t room = bytes / 2 * 3; /* a unit of 2 bytes becomes 3 at most, a pair of them 4 */
    char *out = malloc(room + 1);
    int err;

    if (!out)
        return -ENOMEM;
    err = bytes % 2 ? -EILSEQ : convert("UTF-8", "UTF-16LE", utf16, bytes, out, &room);
    if (!err && memchr(out, '\0', room))
        err = -EILSEQ;
    if (err) {
        free(out);
        return err;
    }
    out[room] = '\0';
    *text = out;
    return 0;
}

int vhdx_text_write(const char *text, char **utf16, size_t *bytes)
{
    size_t room = strlen(text) * 2;
    char *out = malloc(room + 1);
    int err;

    if (!out)
        return -ENOMEM;
    err = convert("UTF-16LE", "UTF-8", text, strlen(text), out, &room);
    if (err) {
        free(out);
        return err;
    }
    *utf16 = out;
    *bytes = room;
    return 0;
}
