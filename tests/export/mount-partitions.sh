#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Partitions are windows on the disk, of MBR with logical ones and of GPT; what lies outside is not shown.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported
need sfdisk

# names: the files, in order.
names() {
    # shellcheck disable=SC2012
    same "$(ls -v m | tr '\n' ' ')" "$1 " "the files"
}

# window NUMBER START SIZE in sectors of 512: a byte written here is read there, and the size is right.
window() {
    same "$(size_of m/p$1)" $(($3 * 512)) "size of p$1"
    random_bytes 3000 "$1" >part
    dd if=part of=m/p$1 bs=3000 seek=777 count=1 conv=notrunc status=none
    cmp part <(dd if=m/disk bs=1M iflag=skip_bytes,count_bytes,fullblock skip=$(($2 * 512 + 3000 * 777)) count=3000 status=none)
    cmp part <(dd if=m/p$1 bs=1M iflag=skip_bytes,count_bytes skip=$((3000 * 777)) count=3000 status=none)
    ! dd if=part of=m/p$1 bs=512 seek="$3" count=1 conv=notrunc status=none 2>err || fail "p$1 reaches beyond its end"
}

quietly create mbr.vhd --size 64M
raw table.raw 64M
sfdisk -q table.raw <<END
label: dos
start=2048, size=20480, type=7
start=22528, size=40960, type=5
start=24576, size=8192, type=83
start=34816, size=8192, type=83
END
quietly convert table.raw mbr.vhd --force
attach mbr.vhd m
names "disk p1 p5 p6"
window 1 2048 20480
window 5 24576 8192
window 6 34816 8192
detach m
clean mbr.vhd

for sector in 512 4096; do
    raw table.raw 64M
    quietly create gpt.vhdx --size 64M --sector-size $sector --force
    attach gpt.vhdx m
    names disk
    sfdisk -q --sector-size $sector m/disk <<END 2>err || sfdisk -q m/disk <<END2
label: gpt
start=1MiB, size=8MiB, name=first
start=16MiB, size=40MiB
END
label: gpt
start=1MiB, size=8MiB, name=first
start=16MiB, size=40MiB
END2
    detach m
    attach gpt.vhdx m
    [ $sector = 4096 ] && [ ! -f m/p1 ] && detach m && continue # this sfdisk knows 512 only
    names "disk p1 p2"
    window 1 2048 16384
    window 2 32768 81920
    detach m
    clean gpt.vhdx
done

# A table that lies.
raw lie.raw 128M
sfdisk -q lie.raw <<END
label: dos
start=2048, size=20480, type=7
start=150000, size=100000, type=7
END
truncate -s 64M lie.raw
attach lie.raw m 2>err
grep -q "partition 2 .* not lie inside" err || fail "not told: $(cat err)"
names "disk p1"
detach m
