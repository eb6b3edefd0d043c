/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recording another parent, or where it is now. There is no log, and the header is two sectors: it cannot be written over
 * where it stands. So it moves out of the way and back, led by the footers, which are one sector each:
 *
 *     1. header and paths are written to a free block's place, durable
 *     2. the footer's copy names that header, durable; then the footer at the end does
 *     3. the header at its usual place is written, durable
 *     4. the copy names it, durable; then the footer at the end does
 *
 * Whichever footer a power cut leaves in force names a header that is whole; the old one and the new one both have the
 * right parent. The paths go where the old ones were if there is room, else they stay in the block's place.
 *
 * After 2 the new parent is recorded: a header that cannot be written in 3 stays in the block's place, like one whose usual
 * place is taken.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhd.h"

#define HOME VHD_SECTOR /* where a header usually stands */

struct relink {
    struct vhd *v;
    const struct disk_link *link;
    uint64_t place; /* of the free block */
    struct vhd_header header;
};

static void seal(struct vhd_header *header)
{
    header->checksum = be32_of(vhd_checksum(header, sizeof(*header), offsetof(struct vhd_header, checksum)));
}

/* Header and paths, in the free place. */
static int write_aside(struct relink *r)
{
    struct vhd *v = r->v;
    uint64_t end = r->place + sizeof(r->header), room = r->place + v->layout.bitmap_size + v->layout.block_size;
    int err;

    r->header = v->header;
    memset(r->header.locator, 0, sizeof(r->header.locator));
    memset(r->header.parent_name, 0, sizeof(r->header.parent_name));
    r->header.parent_timestamp = be32_of(0);
    if (2 * (strlen(r->link->relative) + strlen(r->link->absolute)) + 2 * VHD_SECTOR > room - end)
        return -ENAMETOOLONG;
    err = file_allocate(v->disk.file, r->place, sizeof(r->header));
    if (!err)
        err = vhd_parent_write(v->disk.file, &r->header, r->link, &end);
    seal(&r->header);
    return err ? err : file_write(v->disk.file, &r->header, sizeof(r->header), r->place);
}

/* Steps 2 and 4. What is in force after an error nobody knows. */
static int name_header(struct vhd *v, uint64_t at)
{
    struct file *file = v->disk.file;
    int err = MUTANT("vhd-relink-unsynced") ? 0 : file_sync(file);

    v->footer.data_offset = be64_of(at);
    v->footer.checksum = be32_of(vhd_checksum(&v->footer, sizeof(v->footer), offsetof(struct vhd_footer, checksum)));
    if (!err)
        err = file_write(file, &v->footer, sizeof(v->footer), 0);
    if (!err)
        err = file_sync(file);
    if (!err)
        err = file_write(file, &v->footer, sizeof(v->footer), v->end - VHD_SECTOR);
    if (!err)
        err = file_sync(file);
    if (err) {
        disk_error(&v->disk, err, "footers: cannot be written: %s", strerror(-err));
        disk_fail(&v->disk, err);
        return err;
    }
    v->footers.copy = v->footers.end = v->footer;
    return 0;
}

/* Does nothing but a header stand there? */
static bool home_is_free(const struct vhd *v)
{
    const uint64_t end = HOME + sizeof(struct vhd_header);

    if (v->layout.header_at == HOME)
        return true;
    for (unsigned i = 0; i < v->layout.ranges; i++)
        if (v->layout.range[i].start < end && v->layout.range[i].end > HOME)
            return false;
    for (uint32_t block = 0; block < v->layout.blocks; block++) {
        uint32_t sector = vhd_bat_get(table_page(v->bat, block / VHD_PAGE_ENTRIES), block);

        if (sector != VHD_UNUSED && (uint64_t)sector * VHD_SECTOR < end)
            return false;
    }
    return true;
}

/* The old header's path of this kind; NULL: there is none. */
static const struct vhd_locator *old_path(const struct vhd *v, const char *code)
{
    for (int i = 0; i < VHD_LOCATORS; i++)
        if (memcmp(v->header.locator[i].code, code, 4) == 0 && be32_get(v->header.locator[i].length) > 0)
            return &v->header.locator[i];
    return NULL;
}

static bool has_room(const struct vhd_locator *old, const struct vhd_locator *now)
{
    return old && be64_get(old->offset) % VHD_SECTOR == 0 &&
           vhd_align(be32_get(now->length), VHD_SECTOR) <= vhd_align(be32_get(old->length), VHD_SECTOR);
}

/* Step 3. *moved: the paths stand where the old ones did. */
static int write_home(struct relink *r, bool *moved)
{
    struct vhd *v = r->v;
    const struct vhd_locator *absolute = old_path(v, "W2ku"), *relative = old_path(v, "W2ru");
    struct vhd_header header = r->header;
    int err = 0;

    *moved = v->layout.header_at == HOME && has_room(absolute, &header.locator[0]) &&
             has_room(relative, &header.locator[1]);
    if (*moved) {
        uint64_t at = be64_get(absolute->offset), second = be64_get(relative->offset);

        err = vhd_locator_write(v->disk.file, &header.locator[0], "W2ku", r->link->absolute, &at);
        if (!err)
            err = vhd_locator_write(v->disk.file, &header.locator[1], "W2ru", r->link->relative, &second);
    }
    seal(&header);
    return err ? err : file_write(v->disk.file, &header, sizeof(header), HOME);
}

/* What stands in the file now. */
static int look_again(struct vhd *v)
{
    struct vhd_layout layout;
    struct vhd_header header;
    struct vhd_reason reason;
    int err = vhd_header_read(v->disk.file, &v->footer, v->end - VHD_SECTOR, &header, &layout, &reason);

    if (!err) {
        v->header = header;
        v->layout = layout;
        if (v->floor < layout.metadata_end)
            v->floor = layout.metadata_end;
        return 0;
    }
    disk_error(&v->disk, err, "%s", reason.code ? reason.text : strerror(-err));
    disk_fail(&v->disk, err); /* where its metadata stand is not known: they would be cut off, or written over */
    return err;
}

static int move_header(struct relink *r, bool *moved)
{
    struct vhd *v = r->v;
    int err = write_aside(r);

    *moved = false;
    if (err)
        return disk_error(&v->disk, err, "cannot record its parent: %s",
                          err == -EILSEQ ? "the path is not UTF-8" : strerror(-err));
    err = MUTANT("vhd-relink-in-place") ? 0 : name_header(v, r->place);
    if (err || !home_is_free(v))
        return err;
    err = write_home(r, moved);
    if (!err)
        return name_header(v, HOME);
    *moved = false;
    file_say(v->disk.file, VDISK_WARNING, "vhd", "header at 0x%x: cannot be written: %s; it stays at 0x%llx", HOME,
             strerror(-err), (unsigned long long)r->place);
    return MUTANT("vhd-relink-lost") ? err : 0;
}

/* All paths that it has, or none: of a parent that is only to be written, nothing has to be recorded. */
int vhd_relink(struct vdisk *disk, const struct disk_link *link)
{
    struct vhd *v = vhd_of(disk);
    struct relink r = {.v = v, .link = link};
    struct vhd_space *space = calloc(1, sizeof(*space));
    bool moved = false;
    int err = space ? 0 : -ENOMEM;

    if (err || !link->relative || !link->absolute)
        goto free_space;
    pthread_mutex_lock(&v->lock);
    err = vhd_begin(v);
    if (!err && v->footers.end_at % VHD_SECTOR)
        err = disk_error(disk, -EOPNOTSUPP, "footer at 0x%llx: is one byte short: its header cannot be moved",
                         (unsigned long long)v->footers.end_at);
    if (!err)
        err = vhd_space_take(v, &space->sector);
    if (!err) {
        v->moved = true;
        r.place = (uint64_t)space->sector * VHD_SECTOR;
        err = move_header(&r, &moved);
        if (!err)
            err = look_again(v);
    }
    pthread_mutex_unlock(&v->lock);
    if (!err && moved) {
        vhd_space_return(v, space);
        return 0;
    }

free_space:
    free(space);
    return err;
}
