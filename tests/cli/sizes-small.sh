#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# One sector, one sector more than a block, one less.
. "$(dirname "$0")/../lib.sh"

M=$((1 << 20))
try() { # FORMAT SIZE OPTION...
    local f=disk.$1 size=$2
    raw ref.raw "$size"
    quietly create "$f" --size "$size" "${@:3}"
    same "$(vdisk read "$f" | wc -c)" "$size"
    put "$f" 0 1 1 ref.raw
    put "$f" $((size - 1)) 1 2 ref.raw
    put "$f" $((size > 4096 ? size - 4096 : 0)) $((size > 4096 ? 4096 : size)) 3 ref.raw
    holds "$f" ref.raw
    sound "$f"
    quietly create "kid-$f" --parent "$f"
    put "kid-$f" $((size - 1)) 1 4 ref.raw
    holds "kid-$f" ref.raw
    sound "kid-$f"
    rm -f "$f" "kid-$f"
}

for size in 512 1024 4096 $((M - 512)) $M $((M + 512)) $((2 * M - 512)) $((2 * M + 512)) $((5 * M + 1536)); do
    try vhdx $size --block-size 1M
    try vhdx $size --type fixed --block-size 1M
    try vhdx $size
    try vhd $size
    try vhd $size --block-size 512K
    try vhd $size --type fixed
done
for size in 4096 $((M - 4096)) $((M + 4096)) $((2 * M + 4096)); do
    try vhdx $size --block-size 1M --sector-size 4096
done
for size in 512 $((M + 512)); do
    raw ref.raw $size
    quietly create a.raw --size $size --force
    put a.raw 0 512 1 ref.raw
    cmp a.raw ref.raw
done
