/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The progress bar: one line on a terminal, after the first second, ten times a second at most, gone when the work is
 * done. The rate is smoothed over the last seconds, so that the time left follows what the storage does now.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define SHOW_AFTER 1.0
#define REDRAW_EVERY 0.1
#define SMOOTH_OVER 5.0

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static unsigned terminal_width(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void rate_update(struct cli *cli, uint64_t done, double time)
{
    double span = time - cli->bar.last, rate;
    uint64_t moved = done > cli->bar.last_done ? done - cli->bar.last_done : 0;

    if (span <= 0)
        return;
    rate = (double)moved / span;
    cli->bar.rate = cli->bar.rate > 0 ? cli->bar.rate + (rate - cli->bar.rate) * span / (span + SMOOTH_OVER) : rate;
    cli->bar.last = time;
    cli->bar.last_done = done;
}

static void time_left(char text[24], double seconds)
{
    uint64_t left = seconds < 359999 ? (uint64_t)seconds : 359999;

    if (left >= 3600)
        snprintf(text, 24, "%" PRIu64 ":%02u:%02u", left / 3600, (unsigned)(left / 60 % 60), (unsigned)(left % 60));
    else
        snprintf(text, 24, "%u:%02u", (unsigned)(left / 60), (unsigned)(left % 60));
}

static void draw(struct cli *cli, uint64_t done, uint64_t total)
{
    char sizes[2][32], rate[32], left[24] = "-:--", text[160], bar[64];
    double part = total > 0 ? (double)(done < total ? done : total) / (double)total : 0;
    unsigned width = terminal_width(), room, full;
    int length;

    if (cli->bar.rate > 0 && total >= done)
        time_left(left, (double)(total - done) / cli->bar.rate);
    length = snprintf(text, sizeof(text), " %3u%%  %s of %s  %s/s  ETA %s", (unsigned)(part * 100),
                      cli_size_text(sizes[0], done), cli_size_text(sizes[1], total),
                      cli_size_text(rate, (uint64_t)cli->bar.rate), left);
    room = width > (unsigned)length + 4 ? width - (unsigned)length - 4 : 0;
    if (room > 40)
        room = 40;
    full = (unsigned)(part * room);
    memset(bar, '#', full);
    memset(bar + full, '.', room - full);
    fprintf(stderr, "\r%s%.*s%s%.*s\033[K", room ? "[" : "", (int)room, bar, room ? "]" : "",
            (int)(width > 1 ? width - 1 : 1), text);
    fflush(stderr);
    cli->bar.shown = true;
}

static void step(void *arg, uint64_t done, uint64_t total)
{
    struct cli *cli = arg;
    double time = now();

    pthread_mutex_lock(&cli->lock);
    if (time - cli->bar.last >= REDRAW_EVERY) {
        rate_update(cli, done, time);
        if (cli->bar.active && time - cli->bar.began >= SHOW_AFTER)
            draw(cli, done, total);
    }
    pthread_mutex_unlock(&cli->lock);
}

void cli_progress_begin(struct cli *cli, struct vdisk_progress *progress)
{
    *progress = (struct vdisk_progress){.step = step, .arg = cli, .cancel = &cli_cancel};
    memset(&cli->bar, 0, sizeof(cli->bar));
    cli->bar.active = !cli->quiet && isatty(STDERR_FILENO);
    cli->bar.began = cli->bar.last = now();
}

void cli_progress_hide(struct cli *cli)
{
    if (cli->bar.shown)
        fputs("\r\033[K", stderr);
    cli->bar.shown = false;
}

void cli_progress_end(struct cli *cli)
{
    pthread_mutex_lock(&cli->lock);
    cli_progress_hide(cli);
    cli->bar.active = false;
    pthread_mutex_unlock(&cli->lock);
}
