/* SPDX-License-Identifier: BSD-2-Clause */
/* What may be asked of a holder: one function and one line of the table each (docs/control.md tells the members). */
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "info.h"
#include "job.h"
#include "json.h"

#define CHANGES_MAX 300000u /* so that the reply is not too long: CONTROL_REPLY_MAX */

static int run_info(struct job *job, json_t **result)
{
    int chain = 0, err = job_arguments(job, "{s?b}", "chain", &chain);

    if (err < 0)
        return err;
    *result = json_pack("{s:o}", "links", control_info(vdisk_port_disk(server_port(job->server)), chain));
    return 0;
}

/* Whether the path, or where it is to be, is in a directory that the holder may use. */
static bool path_allowed(const char *path, const char *const *directory)
{
    char *copy = strdup(path), *real = realpath(path, NULL);
    bool allowed = !directory;

    if (!real && copy)
        real = realpath(dirname(copy), NULL);
    for (; real && !allowed && *directory; directory++) {
        size_t length = strcmp(*directory, "/") == 0 ? 0 : strlen(*directory);

        allowed = strncmp(real, *directory, length) == 0 && (real[length] == '\0' || real[length] == '/');
    }
    free(real);
    free(copy);
    return allowed;
}

/* The holder stands in another directory than who asks. */
static int path_check(struct job *job, const char *name, const char *path)
{
    const struct control_holder *holder = server_holder(job->server);

    if (path[0] != '/')
        return job_error(job, -EINVAL, "%s: %s: %s has to be a path from the root", job->operation->name, path, name);
    if (path_allowed(path, holder->allowed))
        return 0;
    return job_error(job, -EACCES, "%s: %s: %s uses the directories of its disks only, and those that its --allow names",
                     job->operation->name, path, holder->program);
}

/* The disk as it is now. pause: how long requests had to wait at most. */
static json_t *summary(struct job *job, uint64_t pause)
{
    struct vdisk *disk = vdisk_port_disk(server_port(job->server));

    return json_pack("{s:o, s:s, s:s, s:I, s:I, s:I}", "file", control_json_text(vdisk_path(disk)), "format",
                     vdisk_format(disk), "type", vdisk_type(disk), "virtual-size", (json_int_t)vdisk_size(disk),
                     "block-size", (json_int_t)vdisk_block_size(disk), "pause-ns", (json_int_t)pause);
}

static int run_snapshot(struct job *job, json_t **result)
{
    struct vdisk_create_options create = {.log = control_log(server_log(job->server))};
    struct vdisk_pause pause = {0};
    json_int_t block_size = 0;
    const char *child;
    int err = job_arguments(job, "{s:s, s?I}", "child", &child, "block-size", &block_size);

    if (err == 0)
        err = path_check(job, "child", child);
    if (err == 0 && (block_size < 0 || block_size > UINT32_MAX))
        err = job_error(job, -EINVAL, "a block of %lld bytes does not exist", (long long)block_size);
    if (err < 0)
        return err;
    create.block_size = (uint32_t)block_size;
    err = vdisk_snapshot(server_port(job->server), child, &create, &pause);
    if (err == 0)
        *result = summary(job, pause.longest);
    return err;
}

/* Larger only: what of a smaller disk is not in use the guest has to say, and no partition may be cut. */
static int run_resize(struct job *job, json_t **result)
{
    struct vdisk_port *port = server_port(job->server);
    json_int_t size = 0;
    int err = job_arguments(job, "{s:I}", "size", &size);

    if (err == 0 && (size < 0 || (uint64_t)size < vdisk_port_size(port)))
        err = job_error(job, -EINVAL, "%s: becomes smaller only when nobody has it open",
                        vdisk_path(vdisk_port_disk(port)));
    if (err == 0)
        err = vdisk_resize(port, (uint64_t)size, 0, &job->progress);
    if (err == 0)
        *result = summary(job, 0);
    return err;
}

static int run_merge(struct job *job, json_t **result)
{
    const char *child = NULL, *children[2] = {NULL, NULL};
    struct vdisk_merge_options how = {.children = NULL};
    struct vdisk_merge_result merged = {0};
    int err = job_arguments(job, "{s?s, s?s, s?s}", "link", &how.link, "into", &how.into, "child", &child);

    if (err == 0 && how.link)
        err = path_check(job, "link", how.link);
    if (err == 0 && how.into)
        err = path_check(job, "into", how.into);
    if (err == 0 && child)
        err = path_check(job, "child", child);
    if (err < 0)
        return err;
    children[0] = child;
    how.children = child ? children : NULL;
    err = vdisk_merge(server_port(job->server), &how, &job->progress, &merged);
    if (err < 0)
        return err;
    *result = summary(job, merged.pause.longest);
    json_object_set_new(*result, "moved", json_integer((json_int_t)merged.bytes_moved));
    json_object_set_new(*result, "links", json_integer(merged.links));
    return 0;
}

static int run_relink(struct job *job, json_t **result)
{
    const char *link, *parent;
    struct vdisk_pause pause;
    int err = job_arguments(job, "{s:s, s:s}", "link", &link, "parent", &parent);

    if (err == 0)
        err = path_check(job, "link", link);
    if (err == 0)
        err = path_check(job, "parent", parent);
    if (err == 0)
        err = vdisk_port_relink(server_port(job->server), link, parent, &job->progress, &pause);
    if (err == 0)
        *result = summary(job, pause.longest);
    return err;
}

static int run_move(struct job *job, json_t **result)
{
    struct vdisk_move_options how = {.log = control_log(server_log(job->server))};
    struct vdisk_move_result moved;
    const char *destination;
    int chain = 0, flatten = 0;
    json_int_t rate = 0;
    int err = job_arguments(job, "{s:s, s?s, s?b, s?b, s?I}", "destination", &destination, "format", &how.format,
                            "chain", &chain, "flatten", &flatten, "rate", &rate);

    if (err == 0)
        err = path_check(job, "destination", destination);
    if (err == 0 && rate < 0)
        err = job_error(job, -EINVAL, "a rate of %lld bytes a second does not exist", (long long)rate);
    if (err < 0)
        return err;
    how.flags = (chain ? VDISK_MOVE_CHAIN : 0) | (flatten ? VDISK_MOVE_FLATTEN : 0);
    how.rate = (uint64_t)rate;
    err = vdisk_move(server_port(job->server), destination, &how, &job->progress, &moved);
    if (err < 0)
        return err;
    *result = summary(job, moved.pause);
    json_object_set_new(*result, "moved", json_integer((json_int_t)moved.moved));
    json_object_set_new(*result, "shared", json_integer((json_int_t)moved.shared));
    json_object_set_new(*result, "mirrored", json_integer((json_int_t)moved.mirrored));
    return 0;
}

static int run_compact(struct job *job, json_t **result)
{
    struct vdisk_compact_options how = {0};
    struct vdisk_compact_result done;
    json_int_t rate = 0;
    int err = job_arguments(job, "{s?I}", "rate", &rate);

    if (err == 0 && rate < 0)
        err = job_error(job, -EINVAL, "a rate of %lld bytes a second does not exist", (long long)rate);
    if (err < 0)
        return err;
    how.rate = (uint64_t)rate;
    err = vdisk_compact(server_port(job->server), &how, &job->progress, &done);
    if (err == 0)
        *result = json_pack("{s:I, s:I, s:I, s:I, s:I}", "moved", (json_int_t)done.bytes_moved, "dropped",
                            (json_int_t)done.bytes_dropped, "used-before", (json_int_t)done.used_before, "used-after",
                            (json_int_t)done.used_after, "file-size", (json_int_t)done.size_after);
    return err;
}

static const char *const ops[] = {"read", "write", "zero", "discard", "flush"};

/* Sums since the disk was opened; "latency" has the buckets that are not empty, each the longest duration in nanoseconds
 * that is counted in it, and how often. */
static json_t *stats_op(const struct vdisk_stats_op *op)
{
    json_t *latency = json_array();

    for (unsigned i = 0; i < VDISK_STATS_BUCKETS; i++)
        if (op->latency[i] > 0)
            json_array_append_new(latency, json_pack("[I, I]", (json_int_t)vdisk_stats_bound(i),
                                                     (json_int_t)op->latency[i]));
    return json_pack("{s:I, s:I, s:I, s:I, s:o}", "count", (json_int_t)op->count, "errors", (json_int_t)op->errors,
                     "bytes", (json_int_t)op->bytes, "nanoseconds", (json_int_t)op->nanoseconds, "latency", latency);
}

static int run_stats(struct job *job, json_t **result)
{
    struct control_server *server = job->server;
    struct vdisk_stats stats;
    json_t *all;
    int err = job_arguments(job, "{}");

    if (err < 0)
        return err;
    vdisk_port_stats(server_port(server), &stats);
    all = json_object();
    for (unsigned i = 0; i < sizeof(ops) / sizeof(*ops); i++)
        json_object_set_new(all, ops[i], stats_op(&stats.op[i]));
    *result = json_pack("{s:s, s:i, s:I, s:o, s:o}", "program", server_holder(server)->program, "pid", (int)getpid(), "size",
                        (json_int_t)vdisk_port_size(server_port(server)), "working-on",
                        queue_status(server_queue(server)), "operations", all);
    return 0;
}

static int run_point(struct job *job, json_t **result)
{
    struct vdisk_port *port = server_port(job->server);
    struct vdisk_pause pause = {0};
    const char *name;
    int delete = 0, err = job_arguments(job, "{s:s, s?b}", "name", &name, "delete", &delete);

    if (err < 0)
        return err;
    err = delete ? vdisk_point_delete(port, name, &pause) : vdisk_point_create(port, name, &pause);
    *result = err < 0 ? NULL : json_pack("{s:I}", "pause-ns", (json_int_t)pause.longest);
    return err;
}

static int add_point(void *arg, const struct vdisk_point *point)
{
    return json_array_append_new(arg, json_pack("[o, I, b, o]", control_json_text(point->name), (json_int_t)point->created,
                                                point->whole, control_json_text(vdisk_path(point->link))))
               ? -ENOMEM
               : 0;
}

static int add_change(void *arg, uint64_t offset, uint64_t length)
{
    if (json_array_size(arg) >= CHANGES_MAX)
        return -E2BIG;
    return json_array_append_new(arg, json_pack("[I, I]", (json_int_t)offset, (json_int_t)length)) ? -ENOMEM : 0;
}

/* With since the changes, without it the points. */
static int run_changes(struct job *job, json_t **result)
{
    struct vdisk *disk = vdisk_port_disk(server_port(job->server));
    const char *since = NULL, *until = NULL;
    int err = job_arguments(job, "{s?s, s?s}", "since", &since, "until", &until);
    json_t *all = json_array();

    if (!err)
        err = since ? vdisk_changes(disk, since, until, add_change, all) : vdisk_points(disk, add_point, all);
    if (err == -E2BIG)
        job_error(job, err, "more than %u changes are not told of a disk in use", CHANGES_MAX);
    if (err)
        json_decref(all);
    else
        *result = json_pack("{s:o}", since ? "changes" : "points", all);
    return err;
}

static const struct operation operations[] = {
    {.name = "changes", .run = run_changes},
    {.name = "point", .run = run_point},
    {.name = "info", .run = run_info, .nameless = true},
    {.name = "snapshot", .run = run_snapshot},
    {.name = "resize", .run = run_resize},
    {.name = "merge", .run = run_merge, .lengthy = true},
    {.name = "relink", .run = run_relink, .lengthy = true},
    {.name = "move", .run = run_move, .lengthy = true},
    {.name = "compact", .run = run_compact, .lengthy = true},
    {.name = "stats", .run = run_stats, .instant = true, .nameless = true},
};

const struct operation *operation_find(const char *name)
{
    for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
        if (strcmp(operations[i].name, name) == 0)
            return &operations[i];
    return NULL;
}
