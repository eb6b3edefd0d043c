/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file identifier and the two headers. The valid one with the greater sequence number is current; an update writes
 * the other one, so that a torn write leaves the current one alone. [MS-VHDX] 2.2.2
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "disk/mutant.h"
#include "parse.h"

int vhdx_identifier_probe(struct file *file)
{
    uint8_t signature[8];
    int err = file_read(file, signature, sizeof(signature), 0);

    if (err)
        return err == -ENODATA ? 0 : err;
    return memcmp(signature, "vhdxfile", sizeof(signature)) == 0;
}

int vhdx_identifier_read(struct vhdx_report *report, struct file *file)
{
    int found = vhdx_identifier_probe(file);

    if (found < 0)
        report->error = file_error(file, "vhdx", found, "file identifier at 0x0: cannot read: %s", strerror(-found));
    if (found)
        return found < 0 ? found : 0;
    return vhdx_fault(report, "signature", 0, "file identifier at 0x0: the signature is not 'vhdxfile'");
}

/* Reads one header; false where it is not valid, told as a fault. */
static bool read_slot(struct vhdx_report *report, struct file *file, unsigned slot, struct vhdx_header *header)
{
    uint64_t position = VHDX_HEADER_AT(slot);
    uint32_t checksum;

    if (vhdx_read(report, file, header, sizeof(*header), position, "header"))
        return false;
    if (memcmp(header->signature, "head", 4) != 0) {
        vhdx_fault(report, "header-signature", position, "header at 0x%" PRIx64 ": the signature is not 'head'",
                   position);
        return false;
    }
    checksum = vhdx_checksum(header, sizeof(*header));
    if (checksum == le32_get(header->checksum))
        return true;
    vhdx_fault(report, "header-checksum", position, "header at 0x%" PRIx64 ": the checksum is 0x%08x, expected 0x%08x",
               position, le32_get(header->checksum), checksum);
    return false;
}

static int check_fields(struct vhdx_report *report, struct file *file, const struct vhdx_header *h, uint64_t position)
{
    uint64_t offset = le64_get(h->log_offset), length = le32_get(h->log_length);

    if (le16_get(h->version) != 1) {
        vhdx_fault(report, "header-version", position, "header at 0x%" PRIx64 ": the version is %u, expected 1",
                   position, le16_get(h->version));
        return -EOPNOTSUPP;
    }
    if (le16_get(h->log_version) != 0 && !vhdx_guid_is_zero(&h->log_guid)) {
        vhdx_fault(report, "log-version", position,
                   "header at 0x%" PRIx64 ": the log, which is not empty, has version %u, expected 0", position,
                   le16_get(h->log_version));
        return -EOPNOTSUPP;
    }
    if (length == 0 || length % VHDX_MIB)
        return vhdx_fault(report, "log-length", position,
                          "header at 0x%" PRIx64 ": the log's length is %" PRIu64 ", expected a multiple of 1 MiB",
                          position, length);
    if (offset < VHDX_MIB || offset % VHDX_MIB)
        return vhdx_fault(report, "log-offset", position,
                          "header at 0x%" PRIx64 ": the log's offset is 0x%" PRIx64
                          ", expected a multiple of 1 MiB from 1 MiB on",
                          position, offset);
    if (offset > file->size || length > file->size - offset)
        return vhdx_fault(report, "log-range", position,
                          "header at 0x%" PRIx64 ": the log at 0x%" PRIx64 " of %" PRIu64
                          " bytes ends behind the file, which has %" PRIu64,
                          position, offset, length, (uint64_t)file->size);
    return 0;
}

int vhdx_header_read(struct vhdx_report *report, struct file *file, struct vhdx_header *header, unsigned *slot)
{
    /* For open one valid header is enough, and a fault of the other is no news. */
    struct vhdx_report silent = {.file = report->file, .faults = 1};
    struct vhdx_report *each = report->fault ? report : &silent;
    struct vhdx_header h[2];
    bool valid[2] = {read_slot(each, file, 0, &h[0]), read_slot(each, file, 1, &h[1])};
    uint64_t a, b;

    report->error = each->error;
    if (report->error)
        return report->error;
    if (!valid[0] && !valid[1])
        return vhdx_fault(report, "header-none", VHDX_HEADER_AT(0),
                          "headers at 0x%x and 0x%x: neither has a valid signature and checksum", VHDX_HEADER_AT(0),
                          VHDX_HEADER_AT(1));
    a = le64_get(h[0].sequence);
    b = le64_get(h[1].sequence);
    *slot = !valid[0] || (valid[1] && (MUTANT("vhdx-older-header") ? b < a : b > a));
    /* Disk2VHD writes the same header twice: a file that opens. */
    if (valid[0] && valid[1] && a == b && memcmp(&h[0], &h[1], sizeof(h[0])) != 0)
        return vhdx_fault(report, "header-sequence", VHDX_HEADER_AT(0),
                          "headers at 0x%x and 0x%x: both have sequence number %" PRIu64
                          " but they differ: neither is current",
                          VHDX_HEADER_AT(0), VHDX_HEADER_AT(1), a);
    *header = h[*slot];
    return check_fields(report, file, header, VHDX_HEADER_AT(*slot));
}

int vhdx_header_write(struct file *file, struct vhdx_header *header, unsigned *slot)
{
    for (int i = 0; i < 2; i++) {
        struct vhdx_header next = *header;
        int err;

        next.sequence = le64_of(le64_get(header->sequence) + 1);
        next.checksum = le32_of(vhdx_checksum(&next, sizeof(next)));
        err = file_write(file, &next, sizeof(next), VHDX_HEADER_AT(1 - *slot));
        if (!err && !MUTANT("vhdx-headers-at-once"))
            err = file_sync(file);
        if (err)
            return err;
        *header = next;
        *slot = 1 - *slot;
    }
    return 0;
}
