/* SPDX-License-Identifier: BSD-2-Clause */
/* See guest.h. */
#include "tests/guest.h"

#define DEPTH 6
#define LONGEST (64u << 10)

struct history {
    uint32_t value;
    bool maybe; /* a discard: this value or the one before */
    bool fua;   /* durable when done */
    uint64_t submitted, done;
};

struct sector {
    struct history *history;
    unsigned count, room;
    bool busy;
};

struct request {
    struct vdisk_io io;
    struct guest *guest;
    struct iovec iov;
    uint8_t *buffer;
    uint64_t submitted;
    bool busy;
};

struct guest {
    struct content content;
    uint32_t initial;
    struct sector *sector;
    uint32_t block_sectors;
    uint64_t *touched; /* in the order of the disk, once guest_run has ended */
    size_t touched_count;
    struct {
        uint64_t submitted, done;
    } * flush;
    uint64_t *flush_done;
    size_t flush_count;
    struct request request[DEPTH];
    unsigned flying;
    bool errors;
    uint64_t failed;
};

struct guest *guest_new(uint64_t size, uint32_t sector_size, uint32_t initial)
{
    struct guest *g = calloc(1, sizeof(*g));

    test_true(g);
    content_open(&g->content, size, sector_size);
    atomic_store(&g->content.generation, initial);
    g->initial = initial;
    g->sector = calloc(g->content.sectors, sizeof(*g->sector));
    g->touched = calloc(g->content.sectors, sizeof(*g->touched));
    test_true(g->sector && g->touched);
    for (int i = 0; i < DEPTH; i++) {
        g->request[i].guest = g;
        g->request[i].buffer = aligned_alloc(4096, LONGEST);
    }
    return g;
}

void guest_free(struct guest *g)
{
    for (uint64_t i = 0; i < g->content.sectors; i++)
        free(g->sector[i].history);
    for (int i = 0; i < DEPTH; i++)
        free(g->request[i].buffer);
    content_close(&g->content);
    free(g->sector);
    free(g->touched);
    free(g->flush);
    free(g->flush_done);
    free(g);
}

/* Whole blocks have many sectors that are all alike: those near the hot spots are watched, and a few of the others. */
bool guest_watches(uint64_t number, uint64_t per)
{
    uint64_t at = number % per;

    return at < 32 || at == per - 1 || at - per / 2 < 32 || at - per / 3 < 32 || at % (per / 8) == 0;
}

static bool watched(const struct guest *g, uint64_t number)
{
    return guest_watches(number, g->block_sectors);
}

static void remember(struct guest *g, uint64_t number, uint32_t value, bool maybe, uint64_t now)
{
    struct sector *s = &g->sector[number];

    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 4;
        s->history = realloc(s->history, s->room * sizeof(*s->history));
        test_true(s->history);
    }
    s->history[s->count++] = (struct history){.value = value, .maybe = maybe, .submitted = now};
    s->busy = true;
}

void guest_note_flush(struct guest *g, uint64_t submitted, uint64_t done)
{
    g->flush = realloc(g->flush, (g->flush_count + 1) * sizeof(*g->flush));
    g->flush_done = realloc(g->flush_done, (g->flush_count + 1) * sizeof(*g->flush_done));
    test_true(g->flush && g->flush_done);
    g->flush_done[g->flush_count] = done;
    g->flush[g->flush_count].submitted = submitted;
    g->flush[g->flush_count++].done = done;
}

static void on_done(struct vdisk_io *io, int error)
{
    struct request *r = (struct request *)io;
    struct guest *g = r->guest;
    uint64_t now = storage_clock(), unit = g->content.sector_size;

    if (error && !g->errors)
        test_fail("request %d at %llu: %s", io->op, (unsigned long long)io->offset, strerror(-error));
    r->busy = false;
    g->flying--;
    g->failed += error != 0;
    if (io->op == VDISK_FLUSH && !error)
        guest_note_flush(g, r->submitted, now);
    if (io->op == VDISK_FLUSH)
        return;
    for (uint64_t n = io->offset / unit; n < (io->offset + io->length) / unit; n++) {
        struct sector *s = &g->sector[n];

        if (!watched(g, n))
            continue;
        s->busy = false;
        if (!error) {
            s->history[s->count - 1].done = now;
            s->history[s->count - 1].fua = io->flags & VDISK_FUA;
        }
    }
}

/* Where a request goes: a few places in each block, whole blocks, the edges between blocks. */
static void choose_range(const struct guest *g, struct rng *rng, const struct guest_load *load, enum vdisk_op op,
                         uint64_t *first, uint64_t *count)
{
    uint64_t unit = g->content.sector_size, stride = load->stride ? load->stride : 1, per = load->block_size / unit;
    uint64_t blocks = (g->content.size + load->block_size - 1) / load->block_size;
    uint64_t base = rng_below(rng, (blocks + stride - 1) / stride) * stride * per, spot = rng_below(rng, 4);

    *count = 1 + rng_below(rng, rng_below(rng, 4) ? 3 : 24);
    *first = base +
             (spot == 0   ? 0
              : spot == 1 ? per - 1
              : spot == 2 ? per / 2
                          : per / 3) +
             (spot == 1 ? 0 : rng_below(rng, 4));
    if ((op == VDISK_ZERO || op == VDISK_DISCARD) && rng_below(rng, 2)) {
        *first = base;
        *count = per * (1 + rng_below(rng, 2));
    }
    if (stride > 1 && *count > base + per - *first)
        *count = base + per - *first;
    if (*first >= g->content.sectors)
        *first = g->content.sectors - 1;
    if (*count > g->content.sectors - *first)
        *count = g->content.sectors - *first;
}

static bool any_busy(const struct guest *g, uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (g->sector[first + i].busy)
            return true;
    return false;
}

static void submit(struct guest *g, struct vdisk *disk, struct vdisk_ring *ring, struct request *r, struct rng *rng,
                   const struct guest_load *load)
{
    uint64_t pick = rng_below(rng, 100), first = 0, count = 0, unit = g->content.sector_size;
    enum vdisk_op op = pick < 70 ? VDISK_WRITE : pick < 82 ? VDISK_ZERO : VDISK_DISCARD;
    uint32_t value = 0;

    if (rng_below(rng, load->flush_every) == 0)
        op = VDISK_FLUSH;
    if (op != VDISK_FLUSH) {
        choose_range(g, rng, load, op, &first, &count);
        if (op == VDISK_WRITE && count > LONGEST / unit)
            count = LONGEST / unit;
        if (any_busy(g, first, count))
            return;
    }
    if (op == VDISK_WRITE) {
        value = atomic_fetch_add(&g->content.generation, 1) + 1;
        content_fill(&g->content, r->buffer, first, count, value);
    }
    r->submitted = storage_clock();
    for (uint64_t i = 0; i < count; i++)
        if (watched(g, first + i))
            remember(g, first + i, value, op == VDISK_DISCARD, r->submitted);
    r->iov = (struct iovec){r->buffer, count * unit};
    r->io = (struct vdisk_io){
        .op = op, .offset = first * unit, .length = count * unit, .iov = &r->iov, .iovcnt = 1, .done = on_done};
    if (op == VDISK_WRITE && rng_below(rng, 16) == 0 && !load->no_fua)
        r->io.flags = VDISK_FUA;
    r->busy = true;
    g->flying++;
    if (load->port)
        vdisk_port_submit(load->port, ring, &r->io);
    else
        vdisk_submit(disk, ring, &r->io);
}

void guest_run(struct guest *g, struct vdisk *disk, struct vdisk_ring *ring, struct rng *rng,
               const struct guest_load *load)
{
    g->errors = load->errors;
    g->block_sectors = load->block_size / g->content.sector_size;
    for (unsigned n = 0; n < load->requests; n++) {
        struct request *r = &g->request[rng_below(rng, DEPTH)];

        if (r->busy)
            vdisk_ring_poll(ring, rng_below(rng, 2));
        else
            submit(g, disk, ring, r, rng, load);
    }
    while (g->flying > 0)
        vdisk_ring_poll(ring, true);
    g->touched_count = 0;
    for (uint64_t n = 0; n < g->content.sectors; n++)
        if (g->sector[n].count > 0)
            g->touched[g->touched_count++] = n;
}

size_t guest_flushes(const struct guest *g, const uint64_t **times)
{
    *times = g->flush_done;
    return g->flush_count;
}

uint64_t guest_errors(const struct guest *g)
{
    return g->failed;
}

size_t guest_touched(const struct guest *g)
{
    return g->touched_count;
}

uint64_t guest_sector(const struct guest *g, size_t index)
{
    return g->touched[index];
}

static int load(struct vdisk *disk, uint64_t offset, uint64_t length)
{
    struct vdisk_extent extent;

    for (uint64_t end = offset + length; offset < end; offset += extent.length) {
        int err = vdisk_map(disk, offset, end - offset, 0, &extent);

        if (err)
            return err;
    }
    return 0;
}

int guest_read(const struct guest *g, struct vdisk *disk, struct vdisk_ring *ring, uint32_t *values)
{
    uint8_t *buffer = g->request[0].buffer;
    uint32_t unit = g->content.sector_size;

    for (size_t i = 0, end; i < g->touched_count; i = end) {
        uint64_t first = g->touched[i], length;
        int err;

        for (end = i + 1; end < g->touched_count && g->touched[end] - first < LONGEST / unit &&
                          g->touched[end] - g->touched[end - 1] < 8;)
            end++;
        length = (g->touched[end - 1] + 1 - first) * unit;
        err = load(disk, first * unit, length);
        if (!err)
            err = vdisk_transfer(disk, ring, VDISK_READ, buffer, first * unit, length);
        if (err)
            return err;
        for (size_t k = i; k < end; k++)
            values[k] = content_decode(&g->content, buffer + (g->touched[k] - first) * unit, g->touched[k]);
    }
    return 0;
}

/* The last flush that was acknowledged by time was asked for then; 0: none. */
static uint64_t flushed_at(const struct guest *g, uint64_t time)
{
    uint64_t at = 0;

    for (size_t i = 0; i < g->flush_count; i++)
        if (g->flush[i].done <= time && g->flush[i].submitted > at)
            at = g->flush[i].submitted;
    return at;
}

static bool possible(const struct guest *g, const struct sector *s, uint32_t value, uint64_t time, uint64_t flushed)
{
    bool older = true; /* what was before the entry looked at is possible too */

    for (unsigned i = s->count; i-- > 0 && older;) {
        const struct history *h = &s->history[i];

        if (h->submitted > time)
            continue;
        if (h->value == value)
            return true;
        if (h->done && !h->maybe && (h->done < flushed || (h->fua && h->done <= time)))
            older = false;
    }
    return older && value == g->initial;
}

static bool all_possible(const struct guest *g, const uint32_t *values, uint64_t time, uint64_t flushed, char why[256])
{
    for (size_t i = 0; i < g->touched_count; i++) {
        const struct sector *s = &g->sector[g->touched[i]];
        int n;

        if (possible(g, s, values[i], time, flushed))
            continue;
        n = snprintf(why, 256, "sector %llu holds %#x at %llu, flushed at %llu; it was (value submitted done):",
                     (unsigned long long)g->touched[i], values[i], (unsigned long long)time,
                     (unsigned long long)flushed);
        for (unsigned k = s->count > 4 ? s->count - 4 : 0; k < s->count && n < 230; k++)
            n += snprintf(why + n, 256 - (size_t)n, " %#x%s %llu %llu;", s->history[k].value,
                          s->history[k].maybe ? "?" : "", (unsigned long long)s->history[k].submitted,
                          (unsigned long long)s->history[k].done);
        return false;
    }
    return true;
}

bool guest_possible(const struct guest *g, const uint32_t *values, uint64_t time, char why[256])
{
    return all_possible(g, values, time, flushed_at(g, time), why);
}

bool guest_holds(const struct guest *g, const uint32_t *values, char why[256])
{
    return all_possible(g, values, UINT64_MAX, UINT64_MAX, why);
}

void guest_pin(struct guest *g, const uint32_t *values)
{
    for (size_t i = 0; i < g->touched_count; i++) {
        struct sector *s = &g->sector[g->touched[i]];
        uint64_t now = storage_clock();

        s->count = 1;
        s->history[0] = (struct history){.value = values[i], .submitted = now, .done = storage_clock()};
    }
}
