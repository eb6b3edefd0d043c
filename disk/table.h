/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A region of a file kept in memory as it stands on disk, page by page, loaded when needed: BATs and bitmaps.
 *
 * Pages are read without a lock. A change is made in place with atomic operations by the format, then the page is
 * marked dirty; whoever collects a dirty page clears the mark first and copies after, so that no change is ever
 * between two collections. Pages stay in memory until close.
 */
#ifndef DISK_TABLE_H
#define DISK_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "file.h"

#define TABLE_PAGE 4096u

struct table;

/* The region is [position, position + length) of file, length a multiple of 512. Nothing is read. */
int table_open(struct file *file, uint64_t position, uint64_t length, struct table **table);
void table_close(struct table *table); /* NULL is allowed */

/* Page index, or NULL: not loaded. Never blocks. 8-byte aligned; the last page is padded with zeros. */
void *table_page(const struct table *table, uint64_t index);

/* Loads the page and some of its neighbours. Blocks. -EIO and the like come as file_read gives them. */
int table_load(struct table *table, uint64_t index);

/* All pages become present and zero without reading: a region that is known to be new. */
int table_fill_zero(struct table *table);

/* Never blocks. The change was made before the call. */
void table_mark(struct table *table, uint64_t index);

/* The next marked page at or after *index: clears its mark, sets *index. False: there is none. */
bool table_collect(struct table *table, uint64_t *index);

uint64_t table_position(const struct table *table); /* of the region in the file */
uint64_t table_pages(const struct table *table);

#endif
