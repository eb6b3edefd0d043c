/* SPDX-License-Identifier: BSD-2-Clause */
/* VHDX files whose log is wrong, or unusual. */
#include "tests/hostile_vhdx.h"

static void log_wraps(struct hostile_image *image)
{
    uint64_t length = le_get(image, vhdx_image_header(image, true) + 68, 4);

    vhdx_image_log_write(image, length - 4096, 5, vhdx_image_log_guid);
    vhdx_image_log_guid_set(image);
}

/* An older sequence whose entry is whole, behind it the newest: only the newest counts. */
static void log_stale_entry(struct hostile_image *image)
{
    uint8_t zeros[4096] = {0}, page[4096], entry[8192];
    uint64_t log = vhdx_image_log(image), sequence = 50;

    image_read(image, page, sizeof(page), vhdx_image_bat(image));
    vhdx_image_log_write(image, 0, 50,
                         vhdx_image_log_guid); /* as right as the other, but it was durable in place long ago */
    image_read(image, entry, sizeof(entry), log);
    vhdx_image_log_data(entry, 0, 1, zeros, vhdx_image_bat(image), sequence); /* and holds older bytes */
    image_write(image, entry, sizeof(entry), log);
    vhdx_image_mend(image, log, sizeof(entry));
    image_write(image, page, sizeof(page), vhdx_image_bat(image));
    vhdx_image_log_write(image, 64 * KIB, 60, vhdx_image_log_guid);
    vhdx_image_log_guid_set(image);
}

/* The second entry says that its sequence begins with the first, but one between them is missing: the first alone is one. */
static void log_gap(struct hostile_image *image)
{
    uint64_t log = vhdx_image_log(image);

    vhdx_image_log_write(image, 0, 50, vhdx_image_log_guid);
    vhdx_image_log_write(image, 8192, 52, vhdx_image_log_guid); /* of zeros */
    le_put(image, log + 8192 + 12, 4, 0);
    vhdx_image_mend(image, log + 8192, 8192);
    vhdx_image_log_guid_set(image);
}

static void log_other_guid(struct hostile_image *image)
{
    vhdx_image_log_write(image, 0, 50, vhdx_image_guid_unknown);
    vhdx_image_log_guid_set(image);
}

static void log_guid_alone(struct hostile_image *image)
{
    vhdx_image_log_guid_set(image);
}

/* Clean, but for what an earlier log left: must not be replayed. */
static void log_left_over(struct hostile_image *image)
{
    uint8_t page[4096];

    image_read(image, page, sizeof(page), vhdx_image_bat(image));
    vhdx_image_log_write(image, 0, 50, vhdx_image_log_guid);
    image_write(image, page, sizeof(page), vhdx_image_bat(image));
    le_put(image, vhdx_image_log(image) + 64 + 16, 8, 0); /* it would even write over the file identifier */
    vhdx_image_mend(image, vhdx_image_log(image), 8192);
}

static void log_file_shorter(struct hostile_image *image)
{
    le_put(image, vhdx_image_log(image) + 48, 8, image->size + MIB);
    le_put(image, vhdx_image_log(image) + 56, 8, image->size + MIB);
    vhdx_image_mend(image, vhdx_image_log(image), 8192);
}

static void log_file_grows(struct hostile_image *image)
{
    le_put(image, vhdx_image_log(image) + 56, 8, image->size + 3 * MIB);
    vhdx_image_mend(image, vhdx_image_log(image), 8192);
}

/* A zero descriptor over the BAT's second page: right, and without effect. */
static void log_zero_descriptor(struct hostile_image *image)
{
    uint64_t log = vhdx_image_log(image), at = vhdx_image_bat(image) + 4096;

    le_put(image, log + 24, 4, 2);
    le_put(image, log + 96, 4, 0x6f72657a);
    le_put(image, log + 100, 4, 0);
    le_put(image, log + 104, 8, 4096);
    le_put(image, log + 112, 8, at);
    le_put(image, log + 120, 8, 77);
    vhdx_image_mend(image, log, 8192);
}

static void log_zero_huge(struct hostile_image *image)
{
    log_zero_descriptor(image);
    le_put(image, vhdx_image_log(image) + 104, 8, 1ull << 62);
    vhdx_image_mend(image, vhdx_image_log(image), 8192);
}

static void log_zero_unaligned(struct hostile_image *image)
{
    log_zero_descriptor(image);
    le_put(image, vhdx_image_log(image) + 104, 8, 4097);
    vhdx_image_mend(image, vhdx_image_log(image), 8192);
}

/* The entry says that it has a hundred sectors more, and they are there, of zeros. */
static void log_longer(struct hostile_image *image)
{
    le_put(image, vhdx_image_log(image) + 8, 4, 8192 + 4096 * 100);
    vhdx_image_mend(image, vhdx_image_log(image), 8192 + 4096 * 100);
}

/* The log moves to the end of the file, where it may be of any length. */
static uint64_t log_move(struct hostile_image *image, uint64_t length)
{
    uint64_t log = (image->size + MIB - 1) / MIB * MIB;

    image_resize(image, log + length);
    for (uint64_t at = 64 * KIB; at <= 128 * KIB; at += 64 * KIB) {
        le_put(image, at + 68, 4, length);
        le_put(image, at + 72, 8, log);
    }
    vhdx_image_log_guid_set(image);
    return log;
}

/* A header without any checksum that could be right, as the first sector of an entry of length bytes. */
static void log_header(struct hostile_image *image, uint64_t at, uint64_t length)
{
    uint8_t header[64] = "loge";

    image_write(image, header, sizeof(header), at);
    le_put(image, at + 8, 4, length);
    le_put(image, at + 16, 8, 1);
    image_write(image, vhdx_image_log_guid, 16, at + 32);
}

/* To sum them all would take longer than anybody waits. */
static void log_overlapping(struct hostile_image *image)
{
    uint64_t log = log_move(image, 64 * MIB);

    for (uint64_t at = 0; at < 64 * MIB; at += 4096)
        log_header(image, log + at, 64 * MIB);
}

static void log_overlapping_sparse(struct hostile_image *image)
{
    uint64_t log = log_move(image, 1024 * MIB);

    for (uint64_t at = 0; at < 256 * 4096; at += 4096)
        log_header(image, log + at, 1024 * MIB);
}

static void log_huge_and_empty(struct hostile_image *image)
{
    log_move(image, 2048 * MIB);
}

/* Right in itself, but what it makes of the file is not. */
static void log_zeroes_regions(struct hostile_image *image)
{
    uint64_t log = vhdx_image_log(image);

    log_zero_descriptor(image);
    le_put(image, log + 104, 8, 128 * KIB);
    le_put(image, log + 112, 8, 192 * KIB);
    vhdx_image_mend(image, log, 8192);
}

static void log_zeroes_metadata(struct hostile_image *image)
{
    uint64_t log = vhdx_image_log(image);

    log_zero_descriptor(image);
    le_put(image, log + 112, 8, vhdx_image_metadata(image));
    vhdx_image_mend(image, log, 8192);
}

static void log_bat_over_metadata(struct hostile_image *image)
{
    uint64_t log = vhdx_image_log(image);

    le_put(image, log + 80, 8, vhdx_image_metadata(image));
    vhdx_image_mend(image, log, 8192);
}

/* The same page twice in one entry: the later one counts. */
static void log_page_twice(struct hostile_image *image)
{
    uint64_t log = vhdx_image_log(image);
    uint8_t descriptor[32], data[4096];

    image_read(image, descriptor, sizeof(descriptor), log + 64);
    image_read(image, data, sizeof(data), log + 4096);
    image_write(image, descriptor, sizeof(descriptor), log + 96);
    image_write(image, data, sizeof(data), log + 8192);
    memset(data + 8, 0xff, 512); /* of the first: not to be seen */
    image_write(image, data, sizeof(data), log + 4096);
    le_put(image, log + 8, 4, 12288);
    le_put(image, log + 24, 4, 2);
    vhdx_image_mend(image, log, 12288);
}

/* ---- The kinds ----------------------------------------------------------------------------------------------- */

static const struct hostile_kind kinds[] = {
    {"log: an older whole entry before the newest", FINE, DYNAMIC, {{0}}, log_stale_entry},
    {"log: an entry missing in the middle", FINE, DYNAMIC, {{0}}, log_gap},
    {"log: an entry across the ring's end", FINE, DYNAMIC, {{0}}, log_wraps},
    {"log: entries left over, log GUID zero", FINE, DYNAMIC, {{0}}, log_left_over},
    {"log: entry of another log GUID", REFUSE, DYNAMIC, {{0}}, log_other_guid},
    {"log: a log GUID and no entry", REFUSE, DYNAMIC, {{0}}, log_guid_alone},
    {"log: a zero descriptor", FINE, LOGGED, {{0}}, log_zero_descriptor},
    {"log: zero descriptor of 2^62 bytes", REFUSE, LOGGED, {{0}}, log_zero_huge},
    {"log: zero descriptor of an unaligned length", REFUSE, LOGGED, {{0}}, log_zero_unaligned},
    {"log: the file must be longer", FINE, LOGGED, {{0}}, log_file_grows},
    {"log: the file was longer", REFUSE, LOGGED, {{0}}, log_file_shorter},
    {"log: last file offset 2^60", SURVIVE, LOGGED, P(LOG, 56, 8, 1ull << 60), NULL},
    {"log: last file offset 2^64 - 1", SURVIVE, LOGGED, P(LOG, 56, 8, ALL_ONES), NULL},
    {"log: flushed offset 2^60", REFUSE, LOGGED, P(LOG, 48, 8, 1ull << 60), NULL},
    {"log: wrong signature", REFUSE, LOGGED, P(LOG, 0, 1, 'L'), NULL},
    {"log: wrong checksum", REFUSE, LOGGED, P(LOG_RAW, 60, 1, 0x55), NULL},
    {"log: wrong byte in the data", REFUSE, LOGGED, P(LOG_RAW, 5000, 1, 0x55), NULL},
    {"log: entry of length 0", REFUSE, LOGGED, P(LOG_RAW, 8, 4, 0), NULL},
    {"log: entry of 4095 bytes", REFUSE, LOGGED, P(LOG_RAW, 8, 4, 4095), NULL},
    {"log: entry longer than the log", REFUSE, LOGGED, P(LOG_RAW, 8, 4, 0xfffff000), NULL},
    {"log: entry longer than its descriptors say", SURVIVE, LOGGED, {{0}}, log_longer},
    {"log: entry shorter than its descriptors say", REFUSE, LOGGED, P(LOG, 8, 4, 4096), NULL},
    {"log: tail unaligned", REFUSE, LOGGED, P(LOG, 12, 4, 512), NULL},
    {"log: tail outside the log", REFUSE, LOGGED, P(LOG, 12, 4, 0xfffff000), NULL},
    {"log: tail where nothing is", REFUSE, LOGGED, P(LOG, 12, 4, 64 * KIB), NULL},
    {"log: sequence 0", REFUSE, LOGGED, P(LOG, 16, 8, 0), NULL},
    {"log: sequence not its sectors'", REFUSE, LOGGED, P(LOG, 16, 8, 78), NULL},
    {"log: no descriptors", SURVIVE, LOGGED, P(LOG, 24, 4, 0), NULL},
    {"log: 2^32 - 1 descriptors", REFUSE, LOGGED, P(LOG, 24, 4, 0xffffffff), NULL},
    {"log: 200 descriptors", REFUSE, LOGGED, P(LOG, 24, 4, 200), NULL},
    {"log: 2^27 descriptors", REFUSE, LOGGED, P(LOG, 24, 4, 1u << 27), NULL},
    {"log: descriptor with a wrong signature", REFUSE, LOGGED, P(LOG, 64, 1, 'D'), NULL},
    {"log: descriptor at an unaligned offset", REFUSE, LOGGED, P(LOG, 80, 8, 2 * MIB + 1), NULL},
    {"log: descriptor at 2^63", REFUSE, LOGGED, P(LOG, 80, 8, 1ull << 63), NULL},
    {"log: descriptor past the end", SURVIVE, LOGGED, P(LOG, 80, 8, 1ull << 45), NULL},
    {"log: descriptor over the headers", SURVIVE, LOGGED, P(LOG, 80, 8, 64 * KIB), NULL},
    {"log: descriptor over the log", SURVIVE, LOGGED, P(LOG, 80, 8, MIB), NULL},
    {"log: descriptor of another sequence", REFUSE, LOGGED, P(LOG, 88, 8, 76), NULL},
    {"log: data with a wrong signature", REFUSE, LOGGED, P(LOG, 4096, 1, 'D'), NULL},
    {"log: data torn (high)", REFUSE, LOGGED, P(LOG, 4100, 4, 1), NULL},
    {"log: data torn (low)", REFUSE, LOGGED, P(LOG, 8188, 4, 76), NULL},
    {"log: every sector begins an entry as long as the log", REFUSE, DYNAMIC, {{0}}, log_overlapping},
    {"log: entries of 1 GiB over each other, in a hole", REFUSE, DYNAMIC, {{0}}, log_overlapping_sparse},
    {"log: 2 GiB of nothing", REFUSE, DYNAMIC, {{0}}, log_huge_and_empty},
    {"log: zeroes the region tables", REFUSE, LOGGED, {{0}}, log_zeroes_regions},
    {"log: zeroes the metadata table", REFUSE, LOGGED, {{0}}, log_zeroes_metadata},
    {"log: writes the BAT over the metadata", REFUSE, LOGGED, {{0}}, log_bat_over_metadata},
    {"log: a page twice in one entry", FINE, LOGGED, {{0}}, log_page_twice},
    {NULL, HOSTILE_END, 0, {{0}}, NULL},
};

int main(void)
{
    static const struct hostile_suite suite = {"vhdx", ".vhdx", kinds, BASES, vhdx_image_make, vhdx_image_apply};

    return hostile_run(&suite);
}
