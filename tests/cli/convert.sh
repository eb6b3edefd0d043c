#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# convert: any to any; the content stays, holes stay holes.
. "$(dirname "$0")/../lib.sh"

M=$((1 << 20))
raw ref.raw $((40 * M))
for at in 0 7 21 39; do
    random_bytes $((M / 2)) $((at + 1)) | dd of=ref.raw bs=64K seek=$((at * M + at * 1024)) oflag=seek_bytes \
        conv=notrunc status=none
done
cp ref.raw 0.raw
quietly convert ref.raw 0.vhdx
quietly convert ref.raw 0.vhd
quietly convert ref.raw 1.vhdx --type fixed
quietly convert ref.raw 1.vhd --type fixed
quietly convert ref.raw 2.vhdx --block-size 1M
quietly convert ref.raw 2.vhd --block-size 512K

n=0
for source in 0.raw 0.vhdx 0.vhd 1.vhdx 1.vhd 2.vhdx 2.vhd; do
    for target in a.raw a.vhdx a.vhd; do
        for type in fixed dynamic; do
            [ "$target/$type" != a.raw/dynamic ] || continue
            quietly convert "$source" "$target" --type "$type" --force
            holds "$target" ref.raw
            status 0 vdisk compare "$source" "$target"
            [ "$target" = a.raw ] || clean "$target"
            n=$((n + 1))
        done
    done
done
same $n 35 "pairs"

# Holes stay holes: two MiB of data in a 40 MiB disk, whatever it passed through.
quietly convert 2.vhdx b.vhdx --block-size 1M
[ "$(size_of b.vhdx)" -lt $((14 * M)) ] || fail "b.vhdx is $(size_of b.vhdx) bytes"
quietly convert 1.vhdx c.vhdx --block-size 1M
[ "$(size_of c.vhdx)" -lt $((14 * M)) ] || fail "zeros were written: c.vhdx is $(size_of c.vhdx) bytes"
quietly convert b.vhdx d.raw
[ "$(used_of d.raw)" -lt $((4 * M)) ] || fail "d.raw takes $(used_of d.raw) bytes"
quietly convert 2.vhdx e --format vhdx
holds e ref.raw
nothing_left
