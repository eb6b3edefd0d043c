/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables: pages come from the file when asked for, marks are collected once, and none is lost between threads. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#include "disk/table.h"
#include "tests/support.h"

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;

static struct file *make(const char *name, uint64_t size)
{
    struct vdisk_log log = messages_log(&messages);
    struct file *file;

    test_ok(file_open(AT_FDCWD, scratch_path(dir, name), FILE_WRITE | FILE_CREATE, &log, &file));
    test_ok(file_resize(file, size));
    return file;
}

static void loading(void **state)
{
    enum { AT = 8192, LENGTH = 300 * 4096 + 512 };
    struct file *file = make("loading", AT + LENGTH);
    struct table *table;
    char text[16];

    (void)state;
    for (unsigned i = 0; i <= 300; i++) {
        snprintf(text, sizeof(text), "page %u", i);
        test_ok(file_write(file, text, sizeof(text), AT + i * 4096));
    }
    test_ok(file_write(file, "end", 3, AT + LENGTH - 3));
    test_ok(table_open(file, AT, LENGTH, &table));
    assert_true(table_pages(table) == 301);
    assert_true(table_position(table) == AT);
    for (unsigned i = 0; i <= 300; i++)
        assert_null(table_page(table, i));
    test_ok(table_load(table, 300));
    assert_non_null(table_page(table, 300));
    assert_null(table_page(table, 0));
    assert_true((uintptr_t)table_page(table, 300) % 8 == 0);
    assert_memory_equal((char *)table_page(table, 300) + 509, "end\0\0\0\0", 7); /* padded with zeros */
    for (unsigned i = 0; i <= 300; i++) {
        snprintf(text, sizeof(text), "page %u", i);
        test_ok(table_load(table, i));
        assert_string_equal(table_page(table, i), text);
    }
    table_close(table);
    table_close(NULL);
    file_close(file);
}

static void past_the_end(void **state)
{
    struct file *file = make("short", 8192);
    struct table *table;

    (void)state;
    test_ok(table_open(file, 4096, 1 << 20, &table));
    assert_true(table_load(table, 200) < 0);
    assert_null(table_page(table, 200));
    table_close(table);
    file_close(file);
}

static void marks(void **state)
{
    static const uint64_t some[] = {0, 1, 63, 64, 65, 1000, 4095};
    struct file *file = make("marks", 4096 * 4096);
    struct table *table;
    uint64_t at;

    (void)state;
    test_ok(table_open(file, 0, 4096 * 4096, &table));
    test_ok(table_fill_zero(table));
    at = 0;
    assert_false(table_collect(table, &at));
    for (size_t i = 0; i < 7; i++) {
        table_mark(table, some[6 - i]);
        table_mark(table, some[6 - i]);
    }
    for (size_t i = at = 0; i < 7; i++) {
        assert_true(table_collect(table, &at));
        assert_true(at == some[i]);
    }
    at = 0;
    assert_false(table_collect(table, &at));
    table_mark(table, 64);
    at = 65;
    assert_false(table_collect(table, &at));
    at = 64;
    assert_true(table_collect(table, &at));
    table_close(table);
    file_close(file);
}

/* Writers count up in pages and mark them; a collector copies what is marked. After the last mark and one more
 * collection the copies are the pages. */
#define PAGES 200u
#define ROUNDS 100000u

static struct table *shared;
static uint32_t copies[PAGES];
static _Atomic unsigned writing;

static void *writer(void *arg)
{
    struct rng rng;

    rng_seed(&rng, (uintptr_t)arg);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t page = rng_below(&rng, PAGES);

        atomic_fetch_add((_Atomic uint32_t *)table_page(shared, page), 1);
        table_mark(shared, page);
    }
    writing--;
    return NULL;
}

static void collect(void)
{
    for (uint64_t at = 0; table_collect(shared, &at); at++)
        copies[at] = atomic_load((_Atomic uint32_t *)table_page(shared, at));
}

static void racing(void **state)
{
    struct file *file = make("racing", PAGES * 4096);
    pthread_t id[2];

    (void)state;
    test_ok(table_open(file, 0, PAGES * 4096, &shared));
    test_ok(table_fill_zero(shared));
    writing = 2;
    for (uintptr_t i = 0; i < 2; i++)
        test_true(pthread_create(&id[i], NULL, writer, (void *)(i + 1)) == 0);
    while (writing)
        collect();
    for (int i = 0; i < 2; i++)
        pthread_join(id[i], NULL);
    collect();
    for (uint64_t i = 0, sum = 0; i < PAGES; i++) {
        assert_int_equal(copies[i], *(uint32_t *)table_page(shared, i));
        sum += copies[i];
        if (i == PAGES - 1)
            assert_int_equal(sum, 2 * ROUNDS);
    }
    table_close(shared);
    file_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading),
        cmocka_unit_test(past_the_end),
        cmocka_unit_test(marks),
        cmocka_unit_test(racing),
    };

    scratch_make(dir, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
