/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdisk-ntfs LENGTH: what an NTFS volume does not use, by libntfs-3g, for `vdisk compact`.
 *
 * A program of its own, because that library is under the GPL, and because a volume that somebody hostile has made is
 * parsed here: the process may compute, read from its standard input and write to it, and nothing else. It has no file;
 * the bytes of the volume are asked for (protocol.h).
 *
 * Free is what $Bitmap says is free. It is believed where nothing has an interest in it that the bitmap does not show:
 *
 *   - Windows has the volume no more: it is not marked dirty, no Windows is hibernated on it (by fast start-up, too),
 *     and $LogFile holds nothing that is still to be done, as it does of a volume that a hibernated Windows has
 * mounted.
 *   - There are no shadow copies. What one of them shows and the volume has deleted since is free, and is kept by
 *     copying it when Windows writes there, which we are not.
 *   - The volume ends where its boot sector says: the backup of that stands there, and not elsewhere, as it would if
 *     this were a piece of a volume over several disks.
 *   - $Bitmap has a bit for each cluster, those behind the last are set, and so are those of the system's files.
 *
 * What is behind the last whole cluster, the backup of the boot sector among it, is never told.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ntfs-3g/attrib.h>
#include <ntfs-3g/bootsect.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/logfile.h>
#include <ntfs-3g/logging.h>
#include <ntfs-3g/runlist.h>
#include <ntfs-3g/volume.h>

#include "base/sandbox.h"
#include "ntfs/protocol.h"

#define PROCESSOR_SECONDS 600
#define CHUNK 65536 /* bytes of $Bitmap at a time */

static struct {
    uint64_t length;  /* of the volume */
    int64_t position; /* as seek left it */
    uint64_t window;  /* where the bytes below are from */
    size_t in_window; /* how many; 0: none */
    uint8_t bytes[NTFS_READ_MAX];
} source;

/* ---- What is said ---- */

static void transfer(bool out, void *data, size_t length)
{
    for (uint8_t *at = data; length > 0;) {
        ssize_t n = out ? write(STDIN_FILENO, at, length) : read(STDIN_FILENO, at, length);

        if (n <= 0 && !(n < 0 && errno == EINTR))
            _exit(EXIT_FAILURE); /* who asked has gone */
        at += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
    }
}

static void say(enum ntfs_kind kind, enum ntfs_reason reason, uint64_t offset, uint64_t length)
{
    struct ntfs_message message = {.kind = kind, .reason = reason, .offset = offset, .length = length};

    transfer(true, &message, sizeof(message));
}

/* ---- What libntfs-3g reads from ---- */

static void load(uint64_t at)
{
    source.window = at / NTFS_READ_MAX * NTFS_READ_MAX;
    source.in_window = source.length - source.window < NTFS_READ_MAX ? source.length - source.window : NTFS_READ_MAX;
    say(NTFS_READ, NTFS_TOLD, source.window, source.in_window);
    transfer(false, source.bytes, source.in_window);
}

static s64 source_pread(struct ntfs_device *device, void *data, s64 count, s64 offset)
{
    s64 done = 0;

    (void)device;
    if (offset < 0 || count < 0) {
        errno = EINVAL;
        return -1;
    }
    while (done < count && (uint64_t)(offset + done) < source.length) {
        uint64_t at = (uint64_t)(offset + done);
        size_t part;

        if (source.in_window == 0 || at < source.window || at >= source.window + source.in_window)
            load(at);
        part = source.in_window - (size_t)(at - source.window);
        part = part < (size_t)(count - done) ? part : (size_t)(count - done);
        memcpy((uint8_t *)data + done, source.bytes + (at - source.window), part);
        done += (s64)part;
    }
    return done;
}

static s64 source_read(struct ntfs_device *device, void *data, s64 count)
{
    s64 n = source_pread(device, data, count, source.position);

    source.position += n > 0 ? n : 0;
    return n;
}

static s64 source_seek(struct ntfs_device *device, s64 offset, int whence)
{
    s64 from = whence == SEEK_CUR ? source.position : whence == SEEK_END ? (s64)source.length : 0;

    (void)device;
    if (__builtin_add_overflow(from, offset, &from) || from < 0) {
        errno = EINVAL;
        return -1;
    }
    return source.position = from;
}

static int source_open(struct ntfs_device *device, int flags)
{
    (void)flags;
    NDevSetOpen(device);
    NDevSetReadOnly(device);
    return 0;
}

static int source_close(struct ntfs_device *device)
{
    NDevClearOpen(device);
    return 0;
}

static int source_sync(struct ntfs_device *device)
{
    (void)device;
    return 0;
}

static s64 source_write(struct ntfs_device *device, const void *data, s64 count)
{
    (void)device, (void)data, (void)count;
    errno = EROFS;
    return -1;
}

static s64 source_pwrite(struct ntfs_device *device, const void *data, s64 count, s64 offset)
{
    (void)offset;
    return source_write(device, data, count);
}

static int source_stat(struct ntfs_device *device, struct stat *st)
{
    (void)device;
    *st = (struct stat){.st_mode = S_IFREG | S_IRUSR, .st_size = (off_t)source.length};
    return 0;
}

static int source_ioctl(struct ntfs_device *device, unsigned long request, void *argument)
{
    (void)device, (void)request, (void)argument;
    errno = EOPNOTSUPP;
    return -1;
}

static struct ntfs_device_operations operations = {
    .open = source_open,
    .close = source_close,
    .seek = source_seek,
    .read = source_read,
    .write = source_write,
    .pread = source_pread,
    .pwrite = source_pwrite,
    .sync = source_sync,
    .stat = source_stat,
    .ioctl = source_ioctl,
};

/* ---- Is the bitmap the truth? ---- */

static bool log_is_clean(ntfs_volume *volume)
{
    ntfs_inode *inode = ntfs_inode_open(volume, FILE_LogFile);
    ntfs_attr *data = inode ? ntfs_attr_open(inode, AT_DATA, AT_UNNAMED, 0) : NULL;
    RESTART_PAGE_HEADER *restart = NULL;
    bool clean = data && ntfs_check_logfile(data, &restart) && ntfs_is_logfile_clean(data, restart);

    free(restart);
    if (data)
        ntfs_attr_close(data);
    if (inode)
        ntfs_inode_close(inode);
    return clean;
}

/* The header that volsnap.sys keeps in the boot area: at its byte 48 is where the catalog of shadow copies begins, 0
 * where there is none. One that cannot be understood counts. */
static bool has_shadows(ntfs_volume *volume)
{
    static const uint8_t volsnap[16] = {0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e,
                                        0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52};
    static const uint8_t none[8];
    uint8_t header[512];

    if (source_pread(volume->dev, header, sizeof(header), 0x1e00) != sizeof(header))
        return true;
    return memcmp(header, volsnap, sizeof(volsnap)) == 0 && memcmp(header + 48, none, sizeof(none)) != 0;
}

/* The first and the last sector of the volume, which is the one that the number of sectors does not count. */
static enum ntfs_reason check_boot(ntfs_volume *volume)
{
    NTFS_BOOT_SECTOR boot, backup;
    s64 end;

    if (source_pread(volume->dev, &boot, sizeof(boot), 0) != sizeof(boot))
        return NTFS_UNREADABLE;
    if (__builtin_mul_overflow(sle64_to_cpu(boot.number_of_sectors), (s64)volume->sector_size, &end) || end <= 0 ||
        (uint64_t)end + volume->sector_size > source.length || volume->nr_clusters <= 0 ||
        volume->nr_clusters > end >> volume->cluster_size_bits)
        return NTFS_LENGTH;
    if (source_pread(volume->dev, &backup, sizeof(backup), end) != sizeof(backup) ||
        memcmp((uint8_t *)&boot + 3, (uint8_t *)&backup + 3, 0x54 - 3) != 0)
        return NTFS_BACKUP;
    return NTFS_TOLD;
}

/* Of [bit, bit + count) all are set. */
static bool all_set(ntfs_volume *volume, s64 bit, s64 count)
{
    static uint8_t bits[CHUNK];

    while (count > 0) {
        s64 first = bit / 8, length = (bit + count + 7) / 8 - first;

        length = length < CHUNK ? length : CHUNK;
        if (ntfs_attr_pread(volume->lcnbmp_na, first, length, bits) != length)
            return false;
        for (; count > 0 && bit < (first + length) * 8; bit++, count--)
            if (!(bits[bit / 8 - first] >> bit % 8 & 1))
                return false;
    }
    return true;
}

static bool is_bitmap_whole(ntfs_volume *volume)
{
    const ntfs_attr *bitmap = volume->lcnbmp_na;
    s64 needed = (volume->nr_clusters + 7) / 8;

    return bitmap && bitmap->data_size >= needed && bitmap->data_size <= (needed + 7) / 8 * 8 &&
           bitmap->initialized_size == bitmap->data_size &&
           all_set(volume, volume->nr_clusters, bitmap->data_size * 8 - volume->nr_clusters);
}

static bool is_in_use(ntfs_volume *volume, ntfs_attr *data)
{
    if (!NAttrNonResident(data))
        return true;
    if (ntfs_attr_map_whole_runlist(data))
        return false;
    for (const runlist_element *run = data->rl; run && run->length > 0; run++)
        if (run->lcn >= 0 && (run->lcn > volume->nr_clusters || run->length > volume->nr_clusters - run->lcn ||
                              !all_set(volume, run->lcn, run->length)))
            return false;
    return true;
}

static bool system_is_in_use(ntfs_volume *volume)
{
    static const MFT_REF files[] = {FILE_MFT,    FILE_MFTMirr, FILE_LogFile, FILE_AttrDef,
                                    FILE_Bitmap, FILE_Boot,    FILE_UpCase};
    bool used = true;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && used; i++) {
        ntfs_inode *inode = ntfs_inode_open(volume, files[i]);
        ntfs_attr *data = inode ? ntfs_attr_open(inode, AT_DATA, AT_UNNAMED, 0) : NULL;

        used = data && is_in_use(volume, data);
        if (data)
            ntfs_attr_close(data);
        if (inode)
            ntfs_inode_close(inode);
    }
    return used;
}

static enum ntfs_reason check(ntfs_volume *volume)
{
    const le16 unfinished = VOLUME_IS_DIRTY | VOLUME_RESIZE_LOG_FILE | VOLUME_UPGRADE_ON_MOUNT |
                            VOLUME_DELETE_USN_UNDERWAY | VOLUME_CHKDSK_UNDERWAY;
    enum ntfs_reason reason = check_boot(volume);

    if (reason)
        return reason;
    if (volume->flags & unfinished)
        return NTFS_DIRTY;
    if (ntfs_volume_check_hiberfile(volume, 0) < 0)
        return errno == EPERM ? NTFS_HIBERNATED : NTFS_UNREADABLE;
    if (!log_is_clean(volume))
        return NTFS_LOG;
    if (has_shadows(volume))
        return NTFS_SHADOWS;
    if (!is_bitmap_whole(volume))
        return NTFS_BITMAP;
    return system_is_in_use(volume) ? NTFS_TOLD : NTFS_SYSTEM;
}

/* ---- What is free ---- */

static enum ntfs_reason tell(ntfs_volume *volume)
{
    static uint8_t bits[CHUNK];
    s64 since = -1; /* the cluster at which a free run began */

    for (s64 cluster = 0; cluster < volume->nr_clusters;) {
        s64 first = cluster / 8, length = (volume->nr_clusters + 7) / 8 - first;

        length = length < CHUNK ? length : CHUNK;
        if (ntfs_attr_pread(volume->lcnbmp_na, first, length, bits) != length)
            return NTFS_UNREADABLE;
        for (; cluster < (first + length) * 8 && cluster < volume->nr_clusters; cluster++) {
            bool used = bits[cluster / 8 - first] >> cluster % 8 & 1;

            if (used && since >= 0)
                say(NTFS_FREE, NTFS_TOLD, (uint64_t)since << volume->cluster_size_bits,
                    (uint64_t)(cluster - since) << volume->cluster_size_bits);
            since = used ? -1 : since < 0 ? cluster : since;
        }
    }
    if (since >= 0)
        say(NTFS_FREE, NTFS_TOLD, (uint64_t)since << volume->cluster_size_bits,
            (uint64_t)(volume->nr_clusters - since) << volume->cluster_size_bits);
    return NTFS_TOLD;
}

static enum ntfs_reason work(void)
{
    struct ntfs_device *device = ntfs_device_alloc("volume", 0, &operations, NULL);
    ntfs_volume *volume = device ? ntfs_device_mount(device, NTFS_MNT_RDONLY | NTFS_MNT_FORENSIC) : NULL;
    enum ntfs_reason reason;

    if (!volume) {
        ntfs_device_free(device);
        return NTFS_UNREADABLE;
    }
    reason = check(volume);
    if (!reason)
        reason = tell(volume);
    ntfs_umount(volume, TRUE);
    return reason;
}

/* What this process may do from here on. */
static int confine(void)
{
    const struct rlimit processor = {PROCESSOR_SECONDS, PROCESSOR_SECONDS}, no_core = {0, 0};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (setrlimit(RLIMIT_CPU, &processor) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
        return -errno;
    return sandbox_thread(SANDBOX_CPU); /* there is no other */
}

int main(int argc, char **argv)
{
    struct stat st;

    if (argc != 2 || fstat(STDIN_FILENO, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        static const char usage[] = "vdisk-ntfs: vdisk compact runs it\n";

        return write(STDERR_FILENO, usage, sizeof(usage) - 1) < 0 ? EXIT_FAILURE : EXIT_FAILURE;
    }
    source.length = strtoull(argv[1], NULL, 10);
    if (confine() < 0) {
        say(NTFS_END, NTFS_UNCONFINED, 0, 0);
        return EXIT_SUCCESS;
    }
    ntfs_log_set_handler(ntfs_log_handler_null);
    say(NTFS_END, work(), 0, 0);
    return EXIT_SUCCESS;
}
