/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An open VHD.
 *
 * The truth about a block is one atomic word, its state: where it lives and how much of it is there. map and publish
 * use nothing but these words, the bitmaps they speak of, and the pages of the BAT that are in memory; they take no
 * lock. A word of 0 says nothing: the BAT as it stands in the file answers. Words are given and taken under `lock`;
 * publish and sync only add to and clear their flags, by compare and exchange, so that neither undoes a drop.
 */
#ifndef VHD_VHD_H
#define VHD_VHD_H

#include <pthread.h>
#include <stdatomic.h>

#include "disk/disk.h"
#include "disk/table.h"
#include "metadata.h"
#include "vhd_format.h"

#define VHD_STATE_SECTOR UINT64_C(0xFFFFFFFF)   /* of the bitmap in the file */
#define VHD_STATE_KNOWN (UINT64_C(1) << 32)     /* without it the rest is 0 and the BAT page answers */
#define VHD_STATE_HOME (UINT64_C(1) << 33)      /* the block lives at the sector */
#define VHD_STATE_PUBLISHED (UINT64_C(1) << 34) /* and map shows what is there */
#define VHD_STATE_FULL (UINT64_C(1) << 35)      /* every sector is there, whatever `bitmap` says */
#define VHD_STATE_DIRTY (UINT64_C(1) << 36)     /* the bitmap in the file is older */
#define VHD_STATE_REVOKED (UINT64_C(1) << 37)   /* a drop waits for those who still use the sector */
#define VHD_STATE_USER (UINT64_C(1) << 48)      /* counts, above: publishers between a bit and DIRTY */
#define VHD_STATE_USERS (UINT64_C(0xFFFF) << 48)

#define VHD_PAGE_ENTRIES (TABLE_PAGE / 4u) /* of the BAT */
#define VHD_SECTOR_ENTRIES (VHD_SECTOR / 4u)

struct vhd_space {
    struct vhd_space *next;
    uint32_t sector;
};

struct vhd_batch;

struct vhd {
    struct vdisk disk;
    struct vhd_footers footers;
    struct vhd_footer footer; /* the one that is believed */
    struct vhd_header header;
    struct vhd_layout layout;
    struct table *bat;                   /* as it stands in the file; changed by sync, entry by entry */
    _Atomic uint64_t *state;             /* a word per block */
    _Atomic(_Atomic uint64_t *) *bitmap; /* of blocks that are not full; stays until close; first sector: top bit */

    pthread_mutex_t lock; /* reserve and drop: one at a time. All below to `sync` */
    _Atomic bool begun;   /* the first modification was prepared; set under lock, once */
    int begin_error;
    uint64_t next;           /* data of the next new block */
    uint64_t end;            /* of the file */
    uint64_t floor;          /* below it nothing is ever allocated */
    bool tail_clean;         /* behind the last block all is zero up to the footer */
    bool moved;              /* allocated or freed: the end is tidied at close */
    struct vhd_space *free;  /* reads as zeros and is in no BAT, on disk neither */
    struct vhd_space *freed; /* in no BAT in memory */
    unsigned freed_count;

    pthread_mutex_t sync; /* all below */
    pthread_cond_t sync_done;
    uint64_t sync_started, sync_finished;
    bool sync_running;
    struct vhd_batch *batch; /* the running sync's */
};

static inline struct vhd *vhd_of(const struct vdisk *disk)
{
    return (struct vhd *)disk;
}

static inline uint64_t vhd_align(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* The BAT's entry as the file has it; page is from table_page. */
static inline uint32_t vhd_bat_get(const void *page, uint32_t block)
{
    return be32toh(
        atomic_load_explicit((const _Atomic uint32_t *)page + block % VHD_PAGE_ENTRIES, memory_order_relaxed));
}

int vhd_map(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length,
            struct disk_extent *extent); /* map.c */
void vhd_publish(struct vdisk *disk, uint64_t offset, uint64_t length, uint64_t position);
int vhd_reserve(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length); /* reserve.c */
int64_t vhd_drop(struct vdisk *disk, uint64_t offset, uint64_t length);                         /* drop.c */
int vhd_load_block(struct vhd *v, uint32_t block); /* after it, the block's word or its BAT page tells all about it */
int vhd_resize(struct vdisk *disk, uint64_t size, uint64_t below);                              /* resize.c */
uint32_t vhd_home(const struct vhd *v, uint32_t block);                                         /* relocate.c */
int vhd_relocate(struct vhd *v, uint32_t block, uint32_t to, uint64_t *moved);
int vhd_locate(struct vdisk *disk, uint64_t offset, uint64_t *position); /* compact.c */
int vhd_reclaim(struct vdisk *disk);
int vhd_relocate_first(struct vdisk *disk, uint64_t offset, uint64_t *moved);
int vhd_begin(struct vhd *v);                                                                   /* begin.c */
int vhd_space_take(struct vhd *v, uint32_t *sector);                                            /* space.c */
int vhd_space_place_footer(struct vhd *v, uint64_t end);
void vhd_space_return(struct vhd *v, struct vhd_space *list);
int vhd_space_trim(struct vhd *v);
int vhd_space_cut(struct vhd *v, uint64_t last);
void vhd_space_close(struct vhd_space *list);
int vhd_batch_open(const struct vhd_layout *layout, struct vhd_batch **batch); /* sync.c */
void vhd_batch_close(struct vhd_batch *batch);
int vhd_sync(struct vdisk *disk);
int vhd_create(struct file *file, const struct disk_geometry *geometry); /* create.c */
void vhd_info(struct vdisk *disk, vdisk_field_fn *field, void *arg);     /* info.c */
int vhd_check(struct file *file, const struct vdisk_progress *progress, vdisk_fault_fn *fault, void *arg); /* check.c */
int vhd_relink(struct vdisk *disk, const struct disk_link *link); /* relink.c */
int vhd_repair(struct file *file, struct disk_repair *repair);                                             /* repair.c */

#endif
