/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdisk map --picture: the disk as rows of cells, each a part of it of the same length, from the left to the right and
 * from the top. A cell has the colour of the file that holds most of it, the stronger the more of it is data; what is
 * zero everywhere stays empty.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/export.h"

#define SVG_COLUMNS 96u
#define SVG_ROWS 48u
#define SVG_CELL 10u /* pixels */
#define SVG_MARGIN 20u
#define SVG_LINE 22u
#define TERMINAL_ROWS 16u
#define TERMINAL_COLUMNS_MAX 128u
#define NAME_MAX_SHOWN 60

/* Told apart by eyes that see few colours, too; deeper links begin again. */
static const struct {
    const char *svg;
    int terminal;
} colours[] = {{"#0072b2", 32}, {"#e69f00", 214}, {"#009e73", 35}, {"#cc79a7", 175}, {"#d55e00", 166}, {"#56b4e9", 74},
               {"#b3a100", 142}, {"#7f52a8", 97}};

#define COLOURS (sizeof(colours) / sizeof(*colours))

struct picture {
    struct vdisk *disk;
    uint64_t size;
    unsigned links, columns, cells;
    uint64_t *bytes; /* of data: [cell * links + depth] */
    uint64_t *total; /* [depth] */
};

/* ---- What is drawn ---- */

static uint64_t cell_begin(const struct picture *p, unsigned cell)
{
    return (uint64_t)((unsigned __int128)p->size * cell / p->cells);
}

static unsigned cell_of(const struct picture *p, uint64_t offset)
{
    unsigned cell = (unsigned)((unsigned __int128)offset * p->cells / p->size);

    while (cell + 1 < p->cells && cell_begin(p, cell + 1) <= offset)
        cell++;
    return cell;
}

static void extent_add(struct picture *p, const struct vdisk_extent *extent)
{
    uint64_t at = extent->offset, end = at + extent->length;

    for (unsigned cell = cell_of(p, at); at < end; cell++) {
        uint64_t stop = cell + 1 < p->cells ? cell_begin(p, cell + 1) : p->size;

        if (stop > end)
            stop = end;
        p->bytes[(size_t)cell * p->links + extent->depth] += stop - at;
        at = stop;
    }
    p->total[extent->depth] += extent->length;
}

static int look(struct picture *p, unsigned flags)
{
    struct vdisk_extent extent;

    for (uint64_t at = 0; at < p->size; at += extent.length) {
        int err = cli_cancel ? -ECANCELED : vdisk_map(p->disk, at, p->size - at, flags, &extent);

        if (err < 0)
            return err;
        if (extent.kind == VDISK_EXTENT_DATA)
            extent_add(p, &extent);
    }
    return 0;
}

/* The link that holds most of the cell, and how much of the cell is data; -1: none of it. */
static int cell_look(const struct picture *p, unsigned cell, double *fraction)
{
    const uint64_t *bytes = p->bytes + (size_t)cell * p->links;
    uint64_t end = cell + 1 < p->cells ? cell_begin(p, cell + 1) : p->size, sum = 0;
    unsigned most = 0;

    for (unsigned i = 0; i < p->links; i++) {
        sum += bytes[i];
        if (bytes[i] > bytes[most])
            most = i;
    }
    *fraction = (double)sum / (double)(end - cell_begin(p, cell));
    return sum > 0 ? (int)most : -1;
}

static const char *link_name(const struct picture *p, unsigned depth)
{
    struct vdisk *link = p->disk;
    const char *path, *slash;

    while (depth-- > 0)
        link = vdisk_parent(link);
    path = vdisk_path(link);
    slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- SVG ---- */

static void svg_text(FILE *out, const char *text)
{
    for (int i = 0; *text && i < NAME_MAX_SHOWN; text++, i++) {
        unsigned char c = (unsigned char)*text;

        if (c == '<' || c == '>' || c == '&' || c == '"')
            fprintf(out, "&#%u;", c);
        else
            putc(c < 0x20 || c >= 0x7f ? '?' : c, out);
    }
}

static void svg_legend(FILE *out, const struct picture *p, unsigned y)
{
    char text[32];

    for (unsigned i = 0; i < p->links; i++, y += SVG_LINE) {
        fprintf(out, "<rect x=\"%u\" y=\"%u\" width=\"14\" height=\"14\" fill=\"%s\"/>\n<text x=\"%u\" y=\"%u\">",
                SVG_MARGIN, y, colours[i % COLOURS].svg, SVG_MARGIN + 22, y + 12);
        svg_text(out, link_name(p, i));
        fprintf(out, ": %s</text>\n", cli_size_text(text, p->total[i]));
    }
}

static void svg_draw(FILE *out, const struct picture *p)
{
    unsigned rows = (p->cells + p->columns - 1) / p->columns, top = SVG_MARGIN + SVG_LINE;
    unsigned legend = top + rows * SVG_CELL + SVG_MARGIN;
    unsigned width = 2 * SVG_MARGIN + p->columns * SVG_CELL, height = legend + p->links * SVG_LINE + SVG_MARGIN;
    char size[32], cell[32];

    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\" "
            "font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n"
            "<text x=\"%u\" y=\"%u\">",
            width, height, width, height, SVG_MARGIN, SVG_MARGIN + 8);
    svg_text(out, link_name(p, 0));
    fprintf(out, ": %s, a cell is %s</text>\n", cli_size_text(size, p->size),
            cli_size_text(cell, p->size / p->cells));
    fprintf(out, "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"#ececec\"/>\n", SVG_MARGIN, top,
            p->columns * SVG_CELL, rows * SVG_CELL);
    for (unsigned i = 0; i < p->cells; i++) {
        double fraction;
        int link = cell_look(p, i, &fraction);

        if (link < 0)
            continue;
        fprintf(out, "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"%s\" fill-opacity=\"%.2f\"/>\n",
                SVG_MARGIN + i % p->columns * SVG_CELL, top + i / p->columns * SVG_CELL, SVG_CELL - 1, SVG_CELL - 1,
                colours[(unsigned)link % COLOURS].svg, 0.3 + 0.7 * fraction);
    }
    svg_legend(out, p, legend);
    fputs("</svg>\n", out);
}

static int svg_write(struct cli *cli, const struct picture *p, const char *path)
{
    FILE *out = fopen(path, "wxe");
    int err = 0;

    if (!out)
        err = -errno;
    if (out) {
        svg_draw(out, p);
        if (fflush(out) != 0 || ferror(out))
            err = -EIO;
        if (fclose(out) != 0 && err == 0)
            err = -errno;
        if (err < 0)
            unlink(path);
    }
    if (err < 0)
        cli_say(cli, VDISK_ERROR, "%s: %s", path,
                err == -EEXIST ? "exists: a picture does not replace it" : strerror(-err));
    return err;
}

/* ---- Terminal ---- */

/* Without colours a cell is the depth of its file, modulo ten. */
static void terminal_cell(const struct picture *p, unsigned cell, bool coloured)
{
    static const char *const shades[] = {"░", "▒", "▓", "█"};
    double fraction;
    int link = cell_look(p, cell, &fraction);

    if (link < 0)
        fputs(coloured ? "\033[38;5;240m·" : ".", stdout);
    else if (coloured)
        printf("\033[38;5;%dm%s", colours[(unsigned)link % COLOURS].terminal, shades[fraction < 1 ? (int)(fraction * 4) : 3]);
    else
        putchar('0' + link % 10);
}

static void terminal_draw(const struct picture *p, bool coloured)
{
    const char *plain = coloured ? "\033[0m" : "";
    char text[32];

    for (unsigned i = 0; i < p->cells; i++) {
        terminal_cell(p, i, coloured);
        if (i % p->columns == p->columns - 1 || i + 1 == p->cells)
            printf("%s\n", plain);
    }
    printf("a cell is %s; what holds data:\n", cli_size_text(text, p->size / p->cells));
    for (unsigned i = 0; i < p->links; i++) {
        if (coloured)
            printf("\033[38;5;%dm█%s ", colours[i % COLOURS].terminal, plain);
        printf("%u ", i);
        cli_put_text(stdout, link_name(p, i));
        printf(": %s\n", cli_size_text(text, p->total[i]));
    }
}

static unsigned terminal_columns(void)
{
    struct winsize size;
    unsigned columns = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;

    return columns == 0 ? 64 : columns < 16 ? 16 : columns > TERMINAL_COLUMNS_MAX ? TERMINAL_COLUMNS_MAX : columns;
}

int cli_picture(struct cli *cli, struct vdisk *disk, unsigned flags, const char *path)
{
    bool terminal = strcmp(path, "-") == 0;
    struct picture p = {
        .disk = disk,
        .size = vdisk_size(disk),
        .columns = terminal ? terminal_columns() : SVG_COLUMNS,
    };
    int err = -ENOMEM;

    for (struct vdisk *link = disk; link; link = vdisk_parent(link))
        p.links++;
    p.cells = p.columns * (terminal ? TERMINAL_ROWS : SVG_ROWS);
    if (p.cells > p.size / vdisk_sector_size(disk))
        p.cells = (unsigned)(p.size / vdisk_sector_size(disk));
    p.cells = p.cells > 0 ? p.cells : 1;
    p.bytes = calloc((size_t)p.cells * p.links, sizeof(*p.bytes));
    p.total = calloc(p.links, sizeof(*p.total));
    if (p.bytes && p.total)
        err = look(&p, flags);
    if (err == 0 && terminal)
        terminal_draw(&p, isatty(STDOUT_FILENO) && !getenv("NO_COLOR"));
    else if (err == 0)
        err = svg_write(cli, &p, path);
    free(p.total);
    free(p.bytes);
    return err;
}
