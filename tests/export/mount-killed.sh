#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# However the process ends, the image opens and is sound: what was flushed before a kill is there; after SIGTERM and
# after umount everything is, and the image is clean.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported

for f in vhdx vhd; do
    for signal in KILL TERM INT; do
        quietly create a.$f --size 256M --force
        attach a.$f m
        pid=$(holder "$PWD/m")
        random_bytes 20000000 1 >part
        dd if=part of=m/disk bs=1M seek=3 conv=notrunc,fsync status=none
        (for ((i = 50; i < 250; i++)); do
            dd if=part of=m/disk bs=1M count=1 seek=$i conv=notrunc,nocreat status=none 2>>err || break
        done) &
        sleep 0.2
        kill -$signal "$pid"
        ended "$pid" || fail "$signal does not end it"
        wait
        fusermount3 -u -z m 2>/dev/null || umount -l m 2>/dev/null || true
        unset 'mounts[-1]'
        if [ $signal = KILL ]; then sound a.$f; else clean a.$f; fi
        cmp part <(vdisk read a.$f --offset 3M --length 20000000)
        quietly write a.$f --offset 1M <part # it is not locked, and can be written
        sound a.$f
    done
done
