/* SPDX-License-Identifier: BSD-2-Clause */
/* See readers.h. */
#include "tests/readers.h"

#include <sys/wait.h>
#include <unistd.h>

struct known {
    const char *name, *program;
    const char *vhd, *vhdx; /* shell commands with the limit before each: $n is the file, here */
};

#define LIMIT "timeout -k 1 300 "

static const struct known readers[READERS] = {
    [READER_QEMU] = {"qemu-img", "qemu-img", LIMIT "qemu-img convert -f vpc -O raw $n $n.out",
                     LIMIT "qemu-img convert -f vhdx -O raw $n $n.out"},
    [READER_QEMU_REPLAY] = {"qemu-img after its own replay", "qemu-img", NULL,
                            LIMIT "qemu-img check -r all -f vhdx $n && " LIMIT
                                  "qemu-img convert -f vhdx -O raw $n $n.out"},
    [READER_7ZIP] = {"7-Zip", "7zz", LIMIT "7zz x -so $n >$n.out", LIMIT "7zz x -so $n >$n.out"},
    [READER_VHDI] = {"libvhdi", "vhdimount",
                     "mkdir -p $n.mnt && " LIMIT "vhdimount $n $n.mnt && cp $n.mnt/vhdi1 $n.out; r=$?; "
                     "fusermount -u $n.mnt || fusermount3 -u $n.mnt; rmdir $n.mnt; exit $r",
                     "mkdir -p $n.mnt && " LIMIT "vhdimount $n $n.mnt && cp $n.mnt/vhdi1 $n.out; r=$?; "
                     "fusermount -u $n.mnt || fusermount3 -u $n.mnt; rmdir $n.mnt; exit $r"},
};

const char *reader_name(enum reader reader)
{
    return readers[reader].name;
}

static bool is_installed(enum reader reader)
{
    static signed char known[READERS]; /* 0: not looked yet */
    char command[64];

    if (!known[reader]) {
        snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", readers[reader].program);
        known[reader] = system(command) == 0 ? 1 : -1;
        if (reader == READER_VHDI && access("/dev/fuse", R_OK | W_OK) != 0)
            known[reader] = -1;
    }
    return known[reader] > 0;
}

bool reader_knows(enum reader reader, const char *format, enum disk_type type, bool dirty)
{
    bool vhdx = strcmp(format, "vhdx") == 0;

    if (!is_installed(reader) || (vhdx ? !readers[reader].vhdx : !readers[reader].vhd))
        return false;
    if (dirty != (reader == READER_QEMU_REPLAY))
        return false;
    return type != DISK_DIFFERENCING || reader == READER_7ZIP;
}

bool reader_read(enum reader reader, const char *dir, const char *name, const char *format, char why[256])
{
    bool vhdx = strcmp(format, "vhdx") == 0;
    char command[2048];
    FILE *pipe;
    size_t length;

    snprintf(command, sizeof(command), "cd '%s' && n='%s' && { %s; } 2>&1 </dev/null", dir, name,
             vhdx ? readers[reader].vhdx : readers[reader].vhd);
    fflush(NULL);
    pipe = popen(command, "r");
    test_true(pipe);
    length = fread(why, 1, 255, pipe);
    why[length] = 0;
    while (fgetc(pipe) != EOF)
        ;
    return pclose(pipe) == 0;
}
