#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# resize: larger and smaller in every kind, what is refused, partition tables, and what others read of it.
. "$(dirname "$0")/../lib.sh"
need qemu-img sfdisk jq

MIB=1048576
random_bytes 3000000 7 >data

# padded FILE SIZE: the content that FILE's resize to SIZE must show
padded() {
    cp -f "$1" want.raw && truncate -s "$2" want.raw && sha_of want.raw
}
shown() {
    vdisk hash "$1" | cut -d' ' -f1
}
# read_by_qemu FILE: the same content
read_by_qemu() {
    case $1 in
    *.vhd) qemu-img compare -q -f vpc -F raw "$1" want.raw ;;
    *.vhdx) qemu-img compare -q -f vhdx -F raw "$1" want.raw ;;
    esac || fail "qemu-img reads $1 otherwise"
}

raw base.raw $((16 * MIB))
dd if=data of=base.raw bs=64K seek=$((5 * MIB)) oflag=seek_bytes conv=notrunc status=none
for image in d.vhd d.vhdx f.vhd f.vhdx small.vhd r.raw; do
    case $image in
    f.*) quietly convert base.raw $image --type fixed ;;
    small.*) quietly convert base.raw $image --block-size 64K ;;
    *) quietly convert base.raw $image ;;
    esac
    for size in 40M $((40 * MIB + 512)) 8388608 9M; do
        status 0 vdisk resize $image $size
        grep -q "^$image: from .* to " out || fail "$image: says $(cat out)"
        bytes=$(vdisk info $image --json | jq '."virtual-size"')
        same "$(shown $image)" "$(padded base.raw "$bytes")" "$image resized to $size"
        status 0 vdisk check $image
        read_by_qemu $image
    done
    case $image in # so far that the BAT has to grow, or to move
    d.* | small.*)
        status 0 vdisk resize $image 300G
        status 0 vdisk compare $image want.raw
        status 0 vdisk check $image
        status 0 vdisk resize $image 9M
        same "$(shown $image)" "$(sha_of want.raw)" "$image, there and back"
        status 0 vdisk check $image
        read_by_qemu $image
        case $image in *.vhd) vhdi_agrees $image want.raw ;; esac
        ;;
    esac
    refused 'data behind the new end, first at 0x500000' vdisk resize $image 5M
    status 0 vdisk resize $image 5M --shrink-data
    same "$(shown $image)" "$(padded base.raw $((5 * MIB)))" "$image cut"
    status 0 vdisk check $image
    status 0 vdisk resize $image 16M
    truncate -s 16M want.raw
    same "$(shown $image)" "$(sha_of want.raw)" "$image cut and grown: the old bytes must not come back"
done

# A cut gives the space back.
quietly create big.vhdx --size 1G --block-size 1M
quietly create big.vhd --size 1G
for image in big.vhdx big.vhd; do
    random_bytes $((20 * MIB)) 3 | vdisk write $image --offset 512M --quiet
    before=$(used_of $image)
    quietly resize $image 256M --shrink-data
    [ $((before - $(used_of $image))) -ge $((19 * MIB)) ] || fail "$image: $before bytes used, then $(used_of $image)"
done

# A parent's bytes do not show in what a child gains: by blocks, in the middle of one, in one of its own.
for kind in vhd vhdx; do
    quietly convert base.raw p.$kind --block-size 2M
    quietly create c.$kind --parent p.$kind --block-size 2M
    random_bytes 65536 5 | vdisk write c.$kind --offset $((6 * MIB)) --quiet
    vdisk read c.$kind --length $((5 * MIB + 512 * 7)) >want.raw
    status 0 vdisk resize c.$kind $((5 * MIB + 512 * 7)) --shrink-data
    status 0 vdisk resize c.$kind 30M
    truncate -s 30M want.raw
    same "$(shown c.$kind)" "$(sha_of want.raw)" "c.$kind: smaller, then larger"
    status 0 vdisk check c.$kind
done

# A parent that is resized would not be the parent any more.
for kind in vhd vhdx; do
    quietly create p2.$kind --size 64M
    quietly create c2.$kind --parent p2.$kind
    sum=$(sha_of p2.$kind)
    refused 'p2.'$kind': has a child, .*c2.'$kind', which would lose its parent' vdisk resize p2.$kind 128M
    same "$(sha_of p2.$kind)" "$sum" "the parent's file"
    mkdir -p elsewhere && mv c2.$kind elsewhere # no more known
    quietly resize p2.$kind 128M
done
status 1 vdisk hash elsewhere/c2.vhdx --parent p2.vhdx

# Misuse
refused 'not a positive multiple' vdisk resize d.vhd 1000
refused 'not a positive multiple' vdisk resize d.vhdx 1000
refused '2040 GiB' vdisk resize d.vhd 3T
refused '64 TiB' vdisk resize d.vhdx 65T
refused 'none' vdisk resize none 1G
refused 'huge' vdisk resize d.vhd huge
same "$(vdisk info d.vhdx --json | jq '."virtual-size"')" $((16 * MIB)) "the size after what was refused"

# Interrupted while it looks for data behind the new end, the disk has the old size. Each of its reads is held up.
if command -v strace >/dev/null && strace -D -o /dev/null true 2>/dev/null; then
    for image in i.vhdx i.vhd; do
        quietly create $image --size 64M --block-size 1M
        head -c $((40 * MIB)) /dev/zero | vdisk write $image --offset 16M --quiet
        sum=$(shown $image)
        for signal in INT TERM; do
            env --default-signal=INT strace -D -f -qq -o trace -e inject=pread64:delay_enter=30000 "$VDISK" resize $image 8M >out 2>err &
            cut_short $signal $! grep -qs 'pread64.* 1048576, ' trace # the first MiB of what may be data
            same "$(shown $image)" "$sum" "interrupted"
            status 0 vdisk check $image
            rm trace
        done
        status 0 vdisk resize $image 8M
    done
fi

# An end that is beyond what 64 bits count of bytes is behind every other one. crc AT LENGTH OF: the checksum of the table
# of t.raw, its bytes in order.
crc() {
    dd if=t.raw bs=1 skip="$1" count="$2" status=none | gzip -c | tail -c 8 | head -c 4 | dd of=t.raw bs=1 seek="$3" conv=notrunc status=none
}
truncate -s 64M t.raw
printf 'label: gpt\nstart=2048,size=61440\n' | sfdisk -q t.raw
printf '\xff\xff\xff\xff\xff\xff\x7f\x00' | dd of=t.raw bs=1 seek=$((1024 + 40)) conv=notrunc status=none
crc 1024 16384 $((512 + 88))
head -c 4 /dev/zero | dd of=t.raw bs=1 seek=$((512 + 16)) conv=notrunc status=none
crc 512 92 $((512 + 16))
quietly convert t.raw far.vhdx
refused 'partition 1 ends at' vdisk resize far.vhdx 20M

# Partition tables
for kind in vhdx vhd; do
    rm -f t.raw && truncate -s 64M t.raw
    printf 'label: gpt\nstart=2048,size=20480\nstart=22528,size=40960\n' | sfdisk -q t.raw
    quietly convert t.raw t.$kind
    quietly resize t.$kind 128M
    quietly convert t.$kind after.raw --force
    sfdisk -V -q after.raw 2>warn || fail "the table after growing: $(cat warn)"
    [ ! -s warn ] || fail "the table after growing: $(cat warn)"
    same "$(sfdisk -J after.raw | jq .partitiontable.lastlba)" $((128 * 2048 - 34)) "the last usable sector"
    refused 'partition 2 ends at 31 MiB' vdisk resize t.$kind 31M
    refused 'partition 2 ends at 31 MiB' vdisk resize t.$kind 20M --shrink-data
    quietly resize t.$kind 40M
    quietly convert t.$kind after.raw --force
    sfdisk -V -q after.raw 2>warn || fail "the table after shrinking: $(cat warn)"
    [ ! -s warn ] || fail "the table after shrinking: $(cat warn)"
    same "$(sfdisk -J after.raw | jq .partitiontable.lastlba)" $((40 * 2048 - 34)) "the last usable sector"
    same "$(sfdisk -J after.raw | jq -c '[.partitiontable.partitions[]|.start,.size]')" '[2048,20480,22528,40960]' "partitions"
    status 0 vdisk check t.$kind

    rm -f t.raw && truncate -s 64M t.raw
    printf 'label: dos\nstart=2048,size=61440\n' | sfdisk -q t.raw
    quietly convert t.raw m.$kind
    refused 'partition 1 ends at 31 MiB' vdisk resize m.$kind 30M --shrink-data
    quietly resize m.$kind 31M
    quietly convert m.$kind after.raw --force
    sfdisk -V -q after.raw || fail "the MBR after shrinking"
done
nothing_left
