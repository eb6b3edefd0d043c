#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A mounted disk is a file like a raw one: whatever is done to both, both hold the same; the image is clean afterwards.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported

# draw N: the next number below N, in drawn.
draw() {
    state=$(((${state:-7} * 1103515245 + 12345) & 0x7fffffff)) drawn=$((state / 8 % $1))
}

# same_write OFFSET LENGTH SEED [dd option...]: to the disk and to the raw file.
same_write() {
    random_bytes "$2" "$3" >part
    dd if=part of=m/disk bs="$2" count=1 seek="$1" oflag=seek_bytes conv=notrunc status=none "${@:4}"
    dd if=part of=ref.raw bs="$2" count=1 seek="$1" oflag=seek_bytes conv=notrunc status=none
}
same_fallocate() {
    fallocate "$@" m/disk
    fallocate "$@" ref.raw
}

try() {
    local image=$1 size
    size=$(size_of ref.raw)
    attach "$image" m
    same "$(size_of m/disk)" "$size" "the size of the file"
    same "$(stat -c %a m/disk)" 600
    for ((i = 0; i < 6; i++)); do
        draw 70000 && length=$((1 + drawn))
        draw $((size - length)) && same_write "$drawn" $length $i
        draw 100 && length=$((4096 * (1 + drawn)))
        draw $((size / 4096 - 100)) && same_write $((drawn * 4096)) $length $i oflag=direct
    done
    same_write $((size - 5000)) 5000 1 conv=fsync
    same_write 100 1 2
    same_fallocate -p -o 3000000 -l 4500001
    same_fallocate -z -o 1000001 -l 100
    same_fallocate -z -n -o $((size - 10000)) -l 20000
    cmp m/disk ref.raw
    dd if=m/disk bs=1234567 skip=1 status=none | cmp - <(dd if=ref.raw bs=1234567 skip=1 status=none)
    [ "$(truncate -s "$size" m/disk 2>&1)" = "" ] || fail "truncate to its size"
    ! truncate -s 1M m/disk 2>err || fail "a disk was cut"
    cp --sparse=always ref.raw m/disk # O_TRUNC is nothing to a disk
    cmp m/disk ref.raw
    ! dd if=part of=m/disk bs=1 seek="$size" count=1 conv=notrunc status=none 2>err || fail "written past the end"
    detach m
    sound "$image"
    holds "$image" ref.raw
}

for f in vhdx vhd; do
    raw ref.raw 24M
    quietly create a.$f --size 24M
    try a.$f
done
raw ref.raw 24M
quietly create fixed.vhd --size 24M --type fixed
try fixed.vhd
raw ref.raw 24M
quietly create four.vhdx --size 24M --sector-size 4096 --block-size 1M
try four.vhdx
raw ref.raw 24M
cp ref.raw a.raw
try a.raw

# A child: the parent keeps its bytes.
raw ref.raw 24M
quietly create parent.vhdx --size 24M --block-size 1M
put parent.vhdx 0 9000000 1 ref.raw
before=$(sha_of parent.vhdx)
quietly create child.vhdx --parent parent.vhdx
try child.vhdx
same "$(sha_of parent.vhdx)" "$before"

# Holes are told.
quietly create holes.vhdx --size 1G --block-size 1M
put holes.vhdx 104857600 1000000 1
attach holes.vhdx m --read-only
cp --sparse=auto m/disk copy.raw
[ "$(used_of copy.raw)" -lt 4000000 ] || fail "a copy has no holes"
same "$(sha_of copy.raw)" "$(hash_of holes.vhdx)"
! dd if=/dev/zero of=m/disk bs=512 count=1 conv=notrunc status=none 2>err || fail "written to, though read-only"
holds holes.vhdx m/disk # a second reader of the image
detach m
