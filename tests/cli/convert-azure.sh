#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# convert --azure: a fixed VHD, its size a multiple of 1 MiB, zeros behind; --hydrate: no holes.
. "$(dirname "$0")/../lib.sh"
need jq

M=$((1 << 20))
raw ref.raw $((9 * M + 512))
random_bytes 300000 1 | dd of=ref.raw bs=64K seek=$((9 * M - 300000 + 512)) oflag=seek_bytes conv=notrunc status=none
quietly convert ref.raw a.vhd --azure
same "$(size_of a.vhd)" $((10 * M + 512)) "the size of the file"
same "$(member a.vhd '[.format, .type, ."virtual-size"] | join(" ")')" "vhd fixed $((10 * M))"
truncate -s 10M ref.raw
holds a.vhd ref.raw
clean a.vhd
refused azure vdisk convert ref.raw b.vhdx --azure --format vhdx
refused azure vdisk convert ref.raw b.vhd --azure --type dynamic

for f in a.vhdx a.raw; do
    quietly convert ref.raw $f --hydrate
    holds $f ref.raw
    [ "$(used_of $f)" -ge "$(size_of $f)" ] || fail "$f has holes: $(used_of $f) of $(size_of $f) bytes"
done
quietly create h.vhd --type fixed --size 8M --hydrate
[ "$(used_of h.vhd)" -ge $((8 * M)) ] || fail "h.vhd has holes"
