/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log: reading what a crash left in it, and writing entries. [MS-VHDX] 2.3
 */
#ifndef VHDX_LOG_H
#define VHDX_LOG_H

#include "parse.h"

/* Finds the active sequence and collects its pages, by position and each once, and the file's size after the replay. */
int vhdx_replay_collect(struct vhdx_report *report, struct file *file, const struct vhdx_header *header,
                        struct file_overlay_page **pages, size_t *count, uint64_t *size);
void vhdx_replay_free(struct file_overlay_page *pages, size_t count);

/* What the log will do to the file. */
struct vhdx_replay {
    struct file *view;                     /* reads as the file will after the replay */
    struct file *loan;                     /* the file under the view, which stays its owner's */
    const struct file_overlay_page *pages; /* the view's */
    size_t count;
    uint64_t size;
};

/* Reads the log and makes the view. Writes nothing. */
int vhdx_replay_open(struct vhdx_report *report, struct file *file, const struct vhdx_header *header,
                     struct vhdx_replay *replay);
void vhdx_replay_close(struct vhdx_replay *replay); /* the view; no view is allowed */

/* The view takes the file and is to stand in its stead: it is returned, and closes the file when it is closed. */
struct file *vhdx_replay_keep(struct vhdx_replay *replay);

/* Does it to the file itself, durably, and lets the headers say that the log is empty. Both are then as they stand in
 * the file. */
int vhdx_replay_settle(const struct vhdx_replay *replay, struct file *file, struct vhdx_header *header, unsigned *slot);

/* A view of the file with these pages laid over it. They are the view's on success, and freed otherwise. */
int vhdx_replay_view(struct file *file, struct file_overlay_page *pages, size_t count, uint64_t size,
                     struct vhdx_replay *replay);

/* What a log that is not in use remembers. */
struct vhdx_recall {
    struct vhdx_guid guid;
    uint64_t size;                   /* the file must not be shorter when they are replayed */
    struct file_overlay_page *pages; /* vhdx_replay_free */
    size_t count;
};

/* 1: recalled; 0: the log holds nothing that can be relied on: whatever changed the metadata last must be what the
 * recalled entries wrote, and be in place now. */
int vhdx_replay_recall(struct file *file, const struct vhdx_header *header, struct vhdx_recall *recall);

/* As many pages as one descriptor sector describes: an entry of them is smaller than half of the smallest log. */
#define VHDX_BATCH_PAGES 126u

/* One log entry in the making. */
struct vhdx_batch {
    struct vhdx_batch *next;
    unsigned count;
    struct {
        struct vhdx_log_header header;
        struct vhdx_log_descriptor descriptor[VHDX_BATCH_PAGES];
        uint8_t page[VHDX_BATCH_PAGES][VHDX_PAGE];
    } entry;
};
_Static_assert(sizeof(((struct vhdx_batch *)0)->entry) == (1 + VHDX_BATCH_PAGES) * VHDX_PAGE, "[MS-VHDX] 2.3.1");

/* The log as a writer uses it: each sequence is one entry, in the log's first half and its second by turns, so that the
 * one before is whole until the new one is durable. */
struct vhdx_log {
    uint64_t position, length; /* in the file */
    struct vhdx_guid guid;
    uint64_t sequence;
};

/* Writes the batch as one entry whose tail is itself; everything logged before is durable in place. Not yet durable. */
int vhdx_log_write(struct file *file, struct vhdx_log *log, struct vhdx_batch *batch, uint64_t flushed_file_offset,
                   uint64_t last_file_offset);

/* Writes the pages of a batch that was written to the log to their places. Not yet durable. */
int vhdx_log_apply(struct file *file, struct vhdx_batch *batch);

#endif
