/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The footer: found, believed, made. It stands at the end of the file; dynamic and differencing files have a copy at
 * offset 0. The one at the end is believed first: a guest can write whatever it likes to the start of a fixed
 * disk, a footer included, but never behind the disk's end.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <uuid/uuid.h>

#include "disk/mutant.h"
#include "vhd.h"

/* Footers of Virtual PC before 2004 are one byte short. */
#define SHORT_FOOTER (VHD_SECTOR - 1)

#define LL(value) ((unsigned long long)(value))

#define SECTORS_MAX (VHD_GEOMETRY_MAX / VHD_SECTOR)

int vhd_refuse(struct vhd_reason *reason, const char *code, uint64_t offset, const char *format, ...)
{
    va_list args;

    if (MUTANT_CODE("vhd", code))
        return 0;
    if (!reason)
        return -EINVAL;
    reason->code = code;
    reason->offset = offset;
    va_start(args, format);
    vsnprintf(reason->text, sizeof(reason->text), format, args);
    va_end(args);
    return -EINVAL;
}

/* The one's complement of the sum of all bytes but the checksum's own, which stand at field. */
uint32_t vhd_checksum(const void *data, size_t size, size_t field)
{
    const uint8_t *byte = data;
    uint32_t sum = 0;

    for (size_t i = 0; i < size; i++)
        if (i < field || i >= field + 4)
            sum += byte[i];
    return ~sum;
}

static uint32_t footer_checksum(const struct vhd_footer *footer)
{
    return vhd_checksum(footer, sizeof(*footer), offsetof(struct vhd_footer, checksum));
}

static bool has_cookie(const struct vhd_footer *footer)
{
    return memcmp(footer->cookie, VHD_COOKIE, sizeof(footer->cookie)) == 0;
}

bool vhd_footer_valid(const struct vhd_footer *footer)
{
    return has_cookie(footer) && be32_get(footer->checksum) == footer_checksum(footer);
}

/* Reads both places. Only an error of the storage is one here. */
int vhd_footers_read(struct file *file, struct vhd_footers *f)
{
    uint64_t size = file->size;
    int err;

    memset(f, 0, sizeof(*f));
    f->end_at = size;
    if (size < SHORT_FOOTER)
        return 0;
    if (size >= VHD_SECTOR) {
        err = file_read(file, &f->copy, sizeof(f->copy), 0);
        if (!err)
            err = file_read(file, &f->end, sizeof(f->end), size - VHD_SECTOR);
        if (err)
            return err;
        f->end_at = size - VHD_SECTOR;
    }
    if (!has_cookie(&f->end)) {
        memset(&f->end, 0, sizeof(f->end));
        err = file_read(file, &f->end, SHORT_FOOTER, size - SHORT_FOOTER);
        if (err)
            return err;
        f->end_at = size - SHORT_FOOTER;
    }
    f->copy_there = has_cookie(&f->copy);
    f->copy_valid = vhd_footer_valid(&f->copy);
    f->end_there = has_cookie(&f->end);
    f->end_valid = vhd_footer_valid(&f->end);
    if (f->end_there)
        return 0;
    f->end_at = size;
    if (f->copy_there)
        return 0;
    err = MUTANT("vhd-footer-not-sought") ? 0 : vhd_footer_search(file, &f->end, &f->end_at);
    if (err < 0)
        return err;
    f->end_there = f->end_valid = f->behind = err;
    if (!err)
        f->end_at = size;
    return 0;
}

int vhd_footer_choose(const struct vhd_footers *f, struct vhd_footer *footer, struct vhd_reason *reason)
{
    if (f->end_valid) {
        *footer = f->end;
        return 0;
    }
    if (f->copy_valid && be32_get(f->copy.type) != VHD_FIXED) {
        *footer = f->copy;
        return 0;
    }
    if (f->end_there)
        return vhd_refuse(reason, "footer-checksum", f->end_at,
                          "footer at 0x%llx: checksum is 0x%08x, its bytes give 0x%08x", (unsigned long long)f->end_at,
                          be32_get(f->end.checksum), footer_checksum(&f->end));
    if (f->copy_there && !f->copy_valid)
        return vhd_refuse(reason, "footer-checksum", 0,
                          "footer copy at 0x0: checksum is 0x%08x, its bytes give 0x%08x; no footer at the end",
                          be32_get(f->copy.checksum), footer_checksum(&f->copy));
    return vhd_refuse(reason, "footer-missing", f->end_at,
                      "has no footer at its end (0x%llx): not a VHD, or a truncated one",
                      (unsigned long long)f->end_at);
}

static uint64_t geometry_bytes(const struct vhd_footer *footer)
{
    return (uint64_t)be16_get(footer->cylinders) * footer->heads * footer->sectors_per_track * VHD_SECTOR;
}

/* Virtual PC, and QEMU unless told otherwise, show the guest what the geometry holds and let the current size be
 * larger; everybody else means the current size. A geometry at its maximum says nothing, one of 0 neither. */
uint64_t vhd_footer_size(const struct vhd_footer *footer)
{
    uint64_t geometry = geometry_bytes(footer);

    if (memcmp(footer->creator, "vpc ", 4) != 0 && memcmp(footer->creator, "qemu", 4) != 0)
        return be64_get(footer->current_size);
    return geometry == 0 || geometry >= VHD_GEOMETRY_MAX ? be64_get(footer->current_size) : geometry;
}

/* Everything in the footer that must be right for the file to be read. */
int vhd_footer_check(const struct vhd_footer *footer, uint64_t at, struct vhd_reason *reason)
{
    uint32_t version = be32_get(footer->version), type = be32_get(footer->type);
    uint64_t size = vhd_footer_size(footer);

    if (version >> 16 != VHD_VERSION >> 16)
        return vhd_refuse(reason, "footer-version", at, "footer at 0x%llx: version is %u.%u, 1.0 is known", LL(at),
                          version >> 16, version & 0xFFFF);
    if (type != VHD_FIXED && type != VHD_DYNAMIC && type != VHD_DIFFERENCING)
        return vhd_refuse(reason, "footer-type", at,
                          "footer at 0x%llx: disk type is %u; fixed (2), dynamic (3) and differencing (4) are known",
                          LL(at), type);
    if (size == 0 || size % VHD_SECTOR)
        return vhd_refuse(reason, "footer-size", at,
                          "footer at 0x%llx: disk size %llu is not a positive multiple of 512", LL(at), LL(size));
    if (size > VHD_SIZE_MAX)
        return vhd_refuse(reason, "footer-size", at,
                          "footer at 0x%llx: disk size %llu is above the format's limit of 2040 GiB", LL(at), LL(size));
    return 0;
}

/* "Appendix: CHS Calculation" */
void vhd_geometry(uint64_t size, unsigned *cylinders, unsigned *heads, unsigned *sectors)
{
    uint64_t total = size / VHD_SECTOR, tracks;

    if (total > SECTORS_MAX)
        total = SECTORS_MAX;
    if (total >= UINT64_C(65535) * 16 * 63) {
        *sectors = 255;
        *heads = 16;
        *cylinders = (unsigned)(total / 255 / 16);
        return;
    }
    *sectors = 17;
    tracks = total / 17;
    *heads = (unsigned)((tracks + 1023) / 1024);
    if (*heads < 4)
        *heads = 4;
    if (tracks >= *heads * 1024u || *heads > 16) {
        *sectors = 31;
        *heads = 16;
        tracks = total / 31;
    }
    if (tracks >= *heads * 1024u) {
        *sectors = 63;
        *heads = 16;
        tracks = total / 63;
    }
    *cylinders = (unsigned)(tracks / *heads);
}

/* Windows 10's, see vhd_footer_new; the others' sizes mean other things, or promise other things in the file. */
static void set_creator(struct vhd_footer *footer)
{
    memcpy(footer->creator, "win ", sizeof(footer->creator));
    memcpy(footer->creator_host, "Wi2k", sizeof(footer->creator_host));
    footer->creator_version = be32_of(0x000A0000);
}

/* The original size is for information, says the specification; libvhdi takes it for the disk's. */
void vhd_footer_set_size(struct vhd_footer *footer, uint64_t size)
{
    unsigned cylinders, heads, sectors;

    vhd_geometry(size, &cylinders, &heads, &sectors);
    footer->original_size = footer->current_size = be64_of(size);
    footer->cylinders = be16_of((uint16_t)cylinders);
    footer->heads = (uint8_t)heads;
    footer->sectors_per_track = (uint8_t)sectors;
    if (memcmp(footer->creator, "win ", sizeof(footer->creator)) != 0)
        set_creator(footer);
    footer->checksum = be32_of(footer_checksum(footer));
}

/* The creator is Windows 10's. It is not vanity: QEMU believes the current size only of creators it knows and cuts
 * the disk down to its geometry for all others, and of those it knows this one alone changes nothing else in any reader
 * (with XenServer's "tap" comes a map of full blocks that its readers look for). */
void vhd_footer_new(struct vhd_footer *footer, enum vhd_type type, uint64_t size)
{
    time_t now = time(NULL);

    *footer = (struct vhd_footer){
        .features = be32_of(VHD_FEATURES),
        .version = be32_of(VHD_VERSION),
        .data_offset = be64_of(type == VHD_FIXED ? VHD_NOWHERE : VHD_SECTOR),
        .timestamp = be32_of(now > VHD_EPOCH ? (uint32_t)(now - VHD_EPOCH) : 0),
        .type = be32_of(type),
    };
    memcpy(footer->cookie, VHD_COOKIE, sizeof(footer->cookie));
    uuid_generate(footer->id);
    vhd_footer_set_size(footer, size);
}
