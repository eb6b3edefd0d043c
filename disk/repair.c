/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Repair: the plan by reading alone, then, where there is something to mend, the work under the writer's lock, after
 * looking again: another process may have been there in between.
 */
#include "repair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "chain.h"

#define REFUSALS_MAX 1000u /* are told */

static void tell(struct disk_repair *repair, enum vdisk_severity severity, const char *code, uint64_t offset,
                 const char *text)
{
    struct vdisk_fault step = {.severity = severity, .code = code, .offset = offset, .text = text};

    if (repair->step)
        repair->step(repair->arg, &step);
}

void disk_repair_mend(struct disk_repair *repair, const char *code, uint64_t offset, const char *format, ...)
{
    char text[512];
    va_list args;

    repair->mends++;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    tell(repair, VDISK_MEND, code, offset, text);
}

void disk_repair_refuse(struct disk_repair *repair, const struct vdisk_fault *fault, const char *advice)
{
    char text[1024];

    if (repair->refusals++ > REFUSALS_MAX)
        return;
    if (repair->refusals > REFUSALS_MAX)
        snprintf(text, sizeof(text), "%u faults that stay were told; the rest is not", REFUSALS_MAX);
    else
        snprintf(text, sizeof(text), "%s: %s", fault->text, advice);
    tell(repair, VDISK_REFUSE, repair->refusals > REFUSALS_MAX ? "too-many" : fault->code, fault->offset, text);
}

bool disk_repair_punches(struct file *file)
{
    uint64_t data;

    return file->size > 0 && file->ops->seek_data(file, 0, &data, NULL) != -EOPNOTSUPP;
}

const char *disk_repair_advice(const struct disk_advice *table, const char *code)
{
    while (table->code && strcmp(table->code, code) != 0)
        table++;
    return table->text;
}

static int run(const char *path, const struct vdisk_open_options *how, struct disk_repair *repair)
{
    const struct disk_format *format;
    struct file *file;
    int err = file_open(AT_FDCWD, path, FILE_DEVICE | (repair->dry ? 0 : FILE_WRITE), &how->log, &file);

    if (err)
        return err;
    err = chain_format_of_file(file, how->format, &format);
    if (!err && format->repair)
        err = format->repair(file, repair);
    file_close(file);
    return err;
}

int vdisk_repair(const char *path, const struct vdisk_open_options *options, unsigned flags,
                 const struct vdisk_progress *progress, vdisk_fault_fn *step, void *arg)
{
    static const struct vdisk_open_options none;
    const struct vdisk_open_options *how = options ? options : &none;
    struct disk_repair plan = {.dry = true, .progress = progress, .step = step, .arg = arg};
    struct disk_repair work = {.progress = progress};
    int err = run(path, how, &plan);

    if (err || flags & VDISK_REPAIR_DRY || plan.mends == 0)
        return err;
    return run(path, how, &work);
}
