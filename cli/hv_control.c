/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control sockets of a machine's disks, and which files its process may open while it runs: the directories of the
 * disks' chains, for operations on them, and those that --allow names, for where these put something.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/hv.h"
#include "control/place.h"

/* ---- Which files ---- */

/* NULL-terminated; each once behind the first, which may be among them again: it has a meaning of its own. path is
 * malloced and taken; NULL: out of memory, or it is not there. */
static int paths_add(struct hv_paths *paths, char *path)
{
    const char **grown;

    for (unsigned i = 1; path && i < paths->count; i++) {
        if (strcmp(paths->path[i], path) != 0)
            continue;
        free(path);
        return 0;
    }
    grown = path ? realloc(paths->path, (paths->count + 2) * sizeof(*grown)) : NULL;
    if (!grown) {
        free(path);
        return path ? -ENOMEM : -errno;
    }
    paths->path = grown;
    grown[paths->count++] = path;
    grown[paths->count] = NULL;
    return 0;
}

static void paths_free(struct hv_paths *paths)
{
    while (paths->count > 0)
        free((char *)paths->path[--paths->count]);
    free(paths->path);
}

/* The directory in which a link's file is; of a block device itself, since its directory has others'. */
static char *place_of(const struct vdisk *link)
{
    char *real = realpath(vdisk_path(link), NULL);
    struct stat st;

    if (real && stat(real, &st) == 0 && !S_ISBLK(st.st_mode))
        dirname(real);
    return real;
}

static int disks_add(struct hv *hv)
{
    int err = 0;

    for (unsigned i = 0; i < hv->machine.disk_count && err == 0; i++) {
        struct vdisk *link = hv->hold[i].nameless ? NULL : vdisk_port_disk(hv->machine.disk[i].port);

        for (; link && err == 0; link = vdisk_parent(link))
            err = paths_add(hv->machine.disk[i].readonly ? &hv->readable : &hv->writable, place_of(link));
    }
    return err;
}

int hv_paths_make(struct cli *cli, struct hv *hv, const struct cli_list *allow)
{
    const char *const files[] = {hv->machine.kernel, hv->machine.initrd, hv->machine.firmware};
    char sockets[PATH_MAX];
    int directory = place_open_own(sockets), err = 0;

    if (directory >= 0)
        close(directory);
    err = paths_add(&hv->writable, strdup(sockets)); /* the first: of itself no place that a request may name */
    for (unsigned i = 0; i < allow->count && err == 0; i++) {
        err = paths_add(&hv->writable, realpath(allow->item[i], NULL));
        if (err < 0)
            return cli_error(cli, allow->item[i], err), err;
    }
    if (err == 0)
        err = disks_add(hv);
    for (unsigned i = 0; i < sizeof(files) / sizeof(*files) && err == 0; i++)
        if (files[i])
            err = paths_add(&hv->readable, strdup(files[i]));
    hv->machine.readable = hv->readable.path;
    hv->machine.writable = hv->writable.path;
    return err < 0 ? cli_error(cli, "the directories of the disks", err), err : 0;
}

void hv_paths_free(struct hv *hv)
{
    paths_free(&hv->readable);
    paths_free(&hv->writable);
}

/* ---- The sockets ---- */

static void resized(void *arg)
{
    struct hv_hold *hold = arg;

    machine_disk_resized(hold->hv->running, hold->number);
}

void hv_control_open(struct hv *hv, struct machine *machine)
{
    hv->running = machine;
    for (unsigned i = 0; i < hv->machine.disk_count; i++) {
        struct hv_hold *hold = &hv->hold[i];

        if (hold->nameless)
            continue;
        hold->hv = hv;
        hold->number = i;
        hold->holder = (struct control_holder){
            .program = "hv run", .allowed = hv->writable.path + 1, .resized = resized, .arg = hold};
        control_server_open(hv->machine.disk[i].port, &hold->holder, &hold->words, &hold->server); /* or without */
    }
}

void hv_control_close(struct hv *hv)
{
    for (unsigned i = 0; i < hv->machine.disk_count; i++)
        control_server_close(hv->hold[i].server);
}
