/* SPDX-License-Identifier: BSD-2-Clause */
/* --disk and --nic: a word and options, with commas between them. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/hv.h"

static int bad(struct cli *cli, const char *option, const char *word, const char *why)
{
    cli_say(cli, VDISK_ERROR, "--%s: %s: %s", option, word, why);
    return -EINVAL;
}

int hv_words(struct cli *cli, const char *text, char *words[HV_WORDS_MAX])
{
    int count = 0;

    for (bool more = true; more;) {
        char *word = malloc(strlen(text) + 1), *to = word;

        if (!word || count == HV_WORDS_MAX) {
            free(word);
            hv_words_free(words, count);
            cli_say(cli, VDISK_ERROR, "%s", word ? "too many words between commas" : "out of memory");
            return word ? -EINVAL : -ENOMEM;
        }
        while (*text && (*text != ',' || text[1] == ',')) {
            text += *text == ',';
            *to++ = *text++;
        }
        *to = '\0';
        words[count++] = word;
        more = *text++ == ',';
    }
    return count;
}

void hv_words_free(char *words[HV_WORDS_MAX], int count)
{
    while (count-- > 0)
        free(words[count]);
}

/* What follows "name=" in a word; NULL: it is another one. */
static const char *value_of(const char *word, const char *name)
{
    size_t length = strlen(name);

    return strncmp(word, name, length) == 0 && word[length] == '=' ? word + length + 1 : NULL;
}

static int number(struct cli *cli, const char *option, const char *word, const char *value, uint64_t most,
                  uint64_t *result)
{
    const char *why = "not a number in its range";
    int err = cli_size_parse(value, result, &why);

    if (err < 0 || *result == 0 || *result > most)
        return bad(cli, option, word, err < 0 ? why : "not a number in its range");
    return 0;
}

/* ---- Disks ---- */

struct disk_words {
    bool overlay, direct;
};

static int bus_parse(struct cli *cli, const char *word, const char *value, struct machine_disk *disk)
{
    static const char *const names[] = {[MACHINE_VIRTIO] = "virtio", [MACHINE_SCSI] = "scsi", [MACHINE_IDE] = "ide"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(value, names[i]) != 0)
            continue;
        disk->bus = (enum machine_disk_bus)i;
        return 0;
    }
    return bad(cli, "disk", word, "the bus is virtio, scsi or ide");
}

static int disk_word(struct cli *cli, const char *word, struct machine_disk *disk, struct disk_words *words)
{
    const char *value;
    uint64_t count;
    int err;

    if (strcmp(word, "overlay") == 0) {
        words->overlay = true;
    } else if (strcmp(word, "direct") == 0) {
        words->direct = true;
    } else if (strcmp(word, "readonly") == 0) {
        disk->readonly = true;
    } else if ((value = value_of(word, "bus"))) {
        return bus_parse(cli, word, value, disk);
    } else if ((value = value_of(word, "serial"))) {
        if (strlen(value) >= sizeof(disk->serial) ||
            value[strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-_.ABCDEFGHIJKLMNOPQRSTUVWXYZ")])
            return bad(cli, "disk", word, "a serial number has at most 20 letters, digits, and - _ .");
        strcpy(disk->serial, value);
    } else if ((value = value_of(word, "queues"))) {
        err = number(cli, "disk", word, value, 16, &count);
        disk->queues = err == 0 ? (unsigned)count : 0;
        return err;
    } else if ((value = value_of(word, "iops"))) {
        return number(cli, "disk", word, value, UINT32_MAX, &disk->iops);
    } else if ((value = value_of(word, "rate"))) {
        return number(cli, "disk", word, value, INT64_MAX, &disk->bytes_per_second);
    } else {
        return bad(cli, "disk", word, "overlay, readonly, direct, bus=, serial=, queues=, iops= and rate= are known");
    }
    return 0;
}

/* A differencing disk without a name: it is gone with the machine, however that ends. */
static int overlay_open(struct cli *cli, const char *path, struct machine_disk *disk)
{
    const char *directory = getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
    struct vdisk_create_options create = {.flags = VDISK_CREATE_UNNAMED, .parent = path, .log = cli->log};
    struct vdisk_open_options open;
    struct vdisk *base, *child;
    char *name;
    int err;

    cli_open_options(cli, 0, &open);
    create.parent_options = &open;
    err = vdisk_open(path, &open, &base);
    if (err < 0)
        return cli_error(cli, path, err), err;
    create.format = vdisk_format(base);
    vdisk_close(base);
    if (strcmp(create.format, "raw") == 0)
        return bad(cli, "disk", path, "an overlay needs a VHD or VHDX disk");
    if (asprintf(&name, "%s/hv-overlay.%s", directory, create.format) < 0)
        return -ENOMEM;
    err = vdisk_create(name, &create, &child);
    free(name);
    if (err < 0)
        return cli_error(cli, path, err), err;
    err = vdisk_port_of(child, &disk->port);
    if (err < 0)
        vdisk_close(child);
    return err;
}

static int disk_open(struct cli *cli, const char *path, struct machine_disk *disk, const struct disk_words *words,
                     struct hv_hold *hold)
{
    struct vdisk_open_options open;
    int err;

    if (words->overlay && disk->readonly)
        return bad(cli, "disk", path, "an overlay is written, and readonly is not");
    hold->nameless = words->overlay;
    if (words->overlay)
        return overlay_open(cli, path, disk);
    cli_open_options(cli, (disk->readonly ? 0 : VDISK_OPEN_WRITE) | (words->direct ? VDISK_OPEN_DIRECT : 0), &open);
    hold->words = (struct control_log)CONTROL_LOG_INIT(cli->log);
    open.log = control_log(&hold->words);
    err = vdisk_port_open(path, &open, &disk->port);
    if (err < 0)
        cli_error(cli, path, err);
    return err;
}

int hv_disk_open(struct cli *cli, const char *text, bool plain, struct machine_disk *disk, struct hv_hold *hold)
{
    struct disk_words given = {0};
    char *words[HV_WORDS_MAX];
    int count, err = 0;

    *disk = (struct machine_disk){0};
    if (plain)
        return disk_open(cli, text, disk, &given, hold);
    count = hv_words(cli, text, words);
    if (count < 0)
        return count;
    for (int i = 1; i < count && err == 0; i++)
        err = disk_word(cli, words[i], disk, &given);
    if (err == 0 && words[0][0] == '\0')
        err = bad(cli, "disk", text, "a file name is empty");
    if (err == 0)
        err = disk_open(cli, words[0], disk, &given, hold);
    hv_words_free(words, count);
    return err;
}

/* ---- NICs ---- */

static int mac_parse(struct cli *cli, const char *word, const char *value, struct machine_nic *nic)
{
    unsigned byte[6];
    int length = 0;

    if (sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%n", &byte[0], &byte[1], &byte[2], &byte[3], &byte[4], &byte[5],
               &length) != 6 ||
        value[length] || (byte[0] & 1))
        return bad(cli, "nic", word, "not the address of one station, such as 52:54:00:12:34:56");
    for (unsigned i = 0; i < 6; i++)
        nic->mac[i] = (uint8_t)byte[i];
    return 0;
}

/* Several forwards stand in one text, with commas between them. */
static int forward_add(struct cli *cli, const char *value, struct machine_nic *nic)
{
    char *all;

    if (asprintf(&all, "%s%s%s", nic->forward ? nic->forward : "", nic->forward ? "," : "", value) < 0)
        return cli_say(cli, VDISK_ERROR, "out of memory"), -ENOMEM;
    free((char *)nic->forward);
    nic->forward = all;
    return 0;
}

static int nic_word(struct cli *cli, const char *word, struct machine_nic *nic)
{
    const char *value;
    uint64_t count;
    int err;

    if ((value = value_of(word, "mac")))
        return mac_parse(cli, word, value, nic);
    if ((value = value_of(word, "forward")) && nic->backend == MACHINE_USER)
        return forward_add(cli, value, nic);
    if ((value = value_of(word, "queues"))) {
        err = number(cli, "nic", word, value, 16, &count);
        nic->queues = err == 0 ? (unsigned)count : 0;
        return err;
    }
    return bad(cli, "nic", word, "mac=, queues= and, for user, forward=tcp:8080:80 are known");
}

static int backend_parse(struct cli *cli, const char *word, struct machine_nic *nic)
{
    const char *tap = value_of(word, "tap");

    if (strcmp(word, "user") == 0)
        return 0;
    if (!tap)
        return bad(cli, "nic", word, "user, tap=NAME or none");
    if (*tap == '\0' || strlen(tap) >= sizeof(nic->tap))
        return bad(cli, "nic", word, "not the name of a network interface");
    nic->backend = MACHINE_TAP;
    strcpy(nic->tap, tap);
    return 0;
}

int hv_nic_parse(struct cli *cli, const char *text, struct machine_nic *nic)
{
    char *words[HV_WORDS_MAX];
    int count = hv_words(cli, text, words), err;

    *nic = (struct machine_nic){0};
    if (count < 0)
        return count;
    err = backend_parse(cli, words[0], nic);
    for (int i = 1; i < count && err == 0; i++)
        err = nic_word(cli, words[i], nic);
    hv_words_free(words, count);
    return err;
}
