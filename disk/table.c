/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages are loaded TABLE_GROUP at a time into one piece of memory and published by their first pointer: a group is
 * loaded whole or not at all.
 */
#include "table.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_GROUP 16u /* pages */
#define GROUP_BYTES (TABLE_GROUP * TABLE_PAGE)

struct table {
    struct file *file;
    uint64_t position, length;
    uint64_t pages;
    pthread_mutex_t load; /* one load at a time */
    _Atomic(char *) *groups;
    _Atomic uint64_t *marks; /* a bit per page */
};

int table_open(struct file *file, uint64_t position, uint64_t length, struct table **table)
{
    struct table *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->file = file;
    t->position = position;
    t->length = length;
    t->pages = (length + TABLE_PAGE - 1) / TABLE_PAGE;
    t->groups = calloc((t->pages + TABLE_GROUP - 1) / TABLE_GROUP + 1, sizeof(*t->groups));
    t->marks = calloc(t->pages / 64 + 1, sizeof(*t->marks));
    if (!t->groups || !t->marks) {
        free(t->groups);
        free(t->marks);
        free(t);
        return -ENOMEM;
    }
    pthread_mutex_init(&t->load, NULL);
    *table = t;
    return 0;
}

void table_close(struct table *t)
{
    if (!t)
        return;
    for (uint64_t i = 0; i * TABLE_GROUP < t->pages; i++)
        free(t->groups[i]);
    pthread_mutex_destroy(&t->load);
    free(t->groups);
    free(t->marks);
    free(t);
}

void *table_page(const struct table *t, uint64_t index)
{
    char *group = atomic_load_explicit(&t->groups[index / TABLE_GROUP], memory_order_acquire);

    return group ? group + index % TABLE_GROUP * TABLE_PAGE : NULL;
}

/* Fills one group from the file, or with zeros. */
static int load_group(struct table *t, uint64_t number, bool read)
{
    uint64_t start = number * GROUP_BYTES;
    uint64_t length = t->length - start < GROUP_BYTES ? t->length - start : GROUP_BYTES;
    char *group;
    int err = 0;

    if (t->groups[number])
        return 0;
    group = aligned_alloc(TABLE_PAGE, GROUP_BYTES);
    if (!group)
        return -ENOMEM;
    if (read)
        err = file_read(t->file, group, length, t->position + start);
    else
        length = 0;
    if (err) {
        free(group);
        return err;
    }
    memset(group + length, 0, GROUP_BYTES - length);
    atomic_store_explicit(&t->groups[number], group, memory_order_release);
    return 0;
}

int table_load(struct table *t, uint64_t index)
{
    int err;

    pthread_mutex_lock(&t->load);
    err = load_group(t, index / TABLE_GROUP, true);
    pthread_mutex_unlock(&t->load);
    return err;
}

int table_fill_zero(struct table *t)
{
    int err = 0;

    pthread_mutex_lock(&t->load);
    for (uint64_t i = 0; i * TABLE_GROUP < t->pages && !err; i++)
        err = load_group(t, i, false);
    pthread_mutex_unlock(&t->load);
    return err;
}

void table_mark(struct table *t, uint64_t index)
{
    atomic_fetch_or(&t->marks[index / 64], UINT64_C(1) << index % 64);
}

bool table_collect(struct table *t, uint64_t *index)
{
    for (uint64_t word = *index / 64; word * 64 < t->pages; word++) {
        uint64_t from = word == *index / 64 ? *index % 64 : 0;
        uint64_t marks = atomic_load(&t->marks[word]) & ~UINT64_C(0) << from;

        if (marks) {
            uint64_t bit = (uint64_t)__builtin_ctzll(marks);

            atomic_fetch_and(&t->marks[word], ~(UINT64_C(1) << bit));
            *index = word * 64 + bit;
            return true;
        }
    }
    return false;
}

uint64_t table_position(const struct table *t)
{
    return t->position;
}

uint64_t table_pages(const struct table *t)
{
    return t->pages;
}
