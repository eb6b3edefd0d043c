/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk check: every fault in a file's metadata, what and where; and the repair of those that the file itself proves.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/json.h"

#define CLEAN 0
#define FAULTS 1
#define CANNOT_READ 2

static struct {
    bool json, repair, dry_run;
} given;

static const struct cli_option options[] = {
    {"json", CLI_FLAG, NULL, &given.json, "print one JSON object"},
    {"repair", CLI_FLAG, NULL, &given.repair, "tell what can be mended and what not, then mend it"},
    {"dry-run", CLI_FLAG, NULL, &given.dry_run, "with --repair: tell, and change nothing"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

struct report {
    struct cli *cli;
    const char *path;
    uint64_t faults, leaks, mends;
    bool silent; /* counts only */
    struct cli_json_array array;
};

static const char *severity_name(enum vdisk_severity severity)
{
    static const char *const names[] = {
        [VDISK_FAULT] = "fault", [VDISK_LEAK] = "leak", [VDISK_MEND] = "mend", [VDISK_REFUSE] = "leave"};

    return names[severity];
}

static void fault_json(struct report *report, const struct vdisk_fault *fault)
{
    cli_json_array_put(&report->array,
                       json_pack("{s:s, s:s, s:I, s:o}", "severity", severity_name(fault->severity), "code",
                                 fault->code, "offset", (json_int_t)fault->offset, "text", cli_json_text(fault->text)));
}

static void fault_text(struct report *report, const struct vdisk_fault *fault)
{
    pthread_mutex_lock(&report->cli->lock);
    cli_progress_hide(report->cli);
    pthread_mutex_unlock(&report->cli->lock);
    cli_put_text(stdout, report->path);
    printf(": 0x%" PRIx64 ": %s: %s: ", fault->offset, severity_name(fault->severity), fault->code);
    cli_put_text(stdout, fault->text);
    putchar('\n');
}

static void fault_report(void *arg, const struct vdisk_fault *fault)
{
    struct report *report = arg;

    report->faults += fault->severity == VDISK_FAULT;
    report->leaks += fault->severity == VDISK_LEAK;
    report->mends += fault->severity == VDISK_MEND;
    if (report->silent)
        return;
    if (given.json)
        fault_json(report, fault);
    else
        fault_text(report, fault);
}

static void counts_text(struct report *report)
{
    char text[128];

    if (report->faults + report->leaks == 0)
        snprintf(text, sizeof(text), "clean");
    else
        snprintf(text, sizeof(text), "%" PRIu64 " fault%s, %" PRIu64 " leak%s%s", report->faults,
                 report->faults == 1 ? "" : "s", report->leaks, report->leaks == 1 ? "" : "s",
                 report->silent ? " left" : "");
    cli_report(report->cli, report->path, text);
}

static void json_begin(const char *path)
{
    json_t *name = cli_json_text(path);

    fputs("{\"file\": ", stdout);
    json_dumpf(name, stdout, JSON_ENCODE_ANY);
    fputs(", \"list\": ", stdout);
    json_decref(name);
}

static void json_end(struct report *report, int result)
{
    cli_json_array_end(&report->array);
    if (given.repair && !given.dry_run)
        printf(", \"mended\": %s", result >= 0 && report->mends > 0 ? "true" : "false");
    printf(", \"faults\": %" PRIu64 ", \"leaks\": %" PRIu64 ", \"result\": \"%s\"}\n", report->faults, report->leaks,
           result < 0    ? "unreadable"
           : result == 0 ? "clean"
                         : "faults");
}

/* The plan, the work, and what is left. The result is check's, or the repair's error. */
static int repair(struct report *report, const struct vdisk_open_options *how, const struct vdisk_progress *progress,
                  int result)
{
    int err;

    if (given.json) {
        cli_json_array_end(&report->array);
        fputs(", \"repair\": ", stdout);
        report->array = (struct cli_json_array){0};
    }
    err = vdisk_repair(report->path, how, given.dry_run ? VDISK_REPAIR_DRY : 0, progress, fault_report, report);
    if (err || given.dry_run || report->mends == 0)
        return err ? err : result;
    report->faults = report->leaks = 0;
    report->silent = true;
    return vdisk_check(report->path, how, progress, fault_report, report);
}

static int run(struct cli *cli, char **operand)
{
    struct report report = {.cli = cli, .path = operand[0]};
    struct vdisk_open_options open_options;
    struct vdisk_progress progress;
    int result;

    if (given.dry_run && !given.repair)
        return cli_fail(cli, "--dry-run is for --repair");
    cli_open_options(cli, 0, &open_options);
    if (given.json)
        json_begin(operand[0]);
    cli_progress_begin(cli, &progress);
    result = vdisk_check(operand[0], &open_options, &progress, fault_report, &report);
    if (result >= 0 && given.repair)
        result = repair(&report, &open_options, &progress, result);
    cli_progress_end(cli);
    if (given.json)
        json_end(&report, result);
    else if (result >= 0)
        counts_text(&report);
    if (result < 0)
        return cli_error(cli, operand[0], result);
    return result == 0 ? CLEAN : FAULTS;
}

const struct cli_command cli_check = {
    .name = "check",
    .summary = "find every fault in a disk's metadata, and mend what can be",
    .operands = "FILE",
    .description =
        "Read all metadata of FILE (not of its parents) and tell each fault: offset in the file, code, and what\n"
        "was found. A leak costs space; a fault costs data or trust. Nothing is changed without --repair, which mends\n"
        "what the file itself proves, and tells of the rest what a person can do. What the guest reads stays the "
        "same.\n"
        "Exit status: 0 clean (there may be leaks), 1 faults (left), 2 cannot read, or not be repaired.",
    .examples = "vdisk check disk.vhdx\n"
                "vdisk check disk.vhd --json | jq '.list[].code'\n"
                "vdisk check disk.vhdx --repair --dry-run",
    .options = options,
    .operand_count = 1,
    .failure = CANNOT_READ,
    .run = run,
};
