#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# map: covers the disk without gap or overlap, says whose file, and the bytes are there.
. "$(dirname "$0")/../lib.sh"
need jq

SIZE=$((9 * 1048576 + 512))
for f in vhdx vhd; do
    raw ref.raw $SIZE
    quietly create base.$f --size $SIZE --block-size 1M
    put base.$f 100000 3000000 1 ref.raw
    quietly create kid.$f --parent base.$f --block-size 2M
    put kid.$f 2000000 100000 2 ref.raw
    put kid.$f $((SIZE - 512)) 512 3 ref.raw

    vdisk map kid.$f --json >map.json
    jq -e --argjson size $SIZE 'length > 0 and
        reduce .[] as $x (0; if $x.offset == . and $x.length > 0 then . + $x.length else -1 end) == $size' \
        map.json >/dev/null || fail "the map has a gap: $(cat map.json)"
    jq -e 'all(.[]; .kind == "data" or .kind == "zero")' map.json >/dev/null || fail "$(cat map.json)"
    jq -e '[.[] | select(.kind == "data").depth] | unique == [0, 1]' map.json >/dev/null || fail "$(cat map.json)"

    # a disk put together from the map alone
    raw rebuilt.raw $SIZE
    jq -r '.[] | select(.kind == "data") | "\(.offset) \(.length) \(.position) \(.file)"' map.json |
        while read -r offset length position file; do
            dd if="$file" of=rebuilt.raw bs=64K skip="$position" count="$length" seek="$offset" conv=notrunc status=none \
                iflag=skip_bytes,count_bytes oflag=seek_bytes
        done
    cmp rebuilt.raw ref.raw

    vdisk map kid.$f --alone --json >map.json
    jq -e 'any(.[]; .kind == "below") and all(.[] | select(.kind == "data"); .depth == 0)' map.json >/dev/null ||
        fail "$(cat map.json)"
    rm -f base.$f.hidden
    mv base.$f base.$f.hidden
    status 0 vdisk map kid.$f --alone
    refused "base.$f" vdisk map kid.$f
    mv base.$f.hidden base.$f
    vdisk map kid.$f >out
    [ "$(wc -l <out)" -ge 4 ] || fail "$(cat out)"
done
quietly create big.vhdx --size 64T --block-size 1M
vdisk map big.vhdx --json >map.json
same "$(jq -c '[.[] | [.kind, .offset, .length]]' map.json)" '[["zero",0,70368744177664]]' "the map of an empty disk"
