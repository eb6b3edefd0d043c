#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# read and write: any offset and length, to a file with holes, to a pipe, from a pipe; nothing beyond the end.
. "$(dirname "$0")/../lib.sh"

SIZE=$((6 * 1048576 + 512))
for f in a.vhdx b.vhd c.raw d.vhdx; do
    raw ref.raw $SIZE
    case $f in
    d.vhdx) quietly create base.vhdx --size $SIZE && quietly create $f --parent base.vhdx ;;
    *) quietly create $f --size $SIZE ;;
    esac
    put $f 1 1 1 ref.raw
    put $f 511 2 2 ref.raw
    put $f 1048000 3000001 3 ref.raw
    put $f $((SIZE - 1)) 1 4 ref.raw
    put $f 4096 4096 5 ref.raw
    holds $f ref.raw
    vdisk read $f >out.raw
    cmp out.raw ref.raw
    vdisk read $f | cmp - ref.raw
    vdisk read $f --offset 1047999 --length 3000003 | cmp - <(part ref.raw 1047999 3000003)
    vdisk read $f --offset $((SIZE - 1)) --length 1 | cmp - <(tail -c 1 ref.raw)
    same "$(vdisk read $f --offset $SIZE | wc -c)" 0 "bytes at the end"
    same "$(vdisk read $f --offset 5 --length 0 | wc -c)" 0 "bytes of nothing"
    refused "beyond" vdisk read $f --offset $SIZE --length 1
    refused "beyond" vdisk read $f --offset $((SIZE + 1))
    refused "beyond" vdisk read $f --offset 1 --length 0xfffffffffffffff0
    [ "$f" = c.raw ] || sound $f
    : | quietly write $f --offset $SIZE
    holds $f ref.raw

    # beyond the end: what fits is written, and said
    rc=0
    random_bytes 5000 6 | vdisk write $f --offset $((SIZE - 1000)) >out 2>err || rc=$?
    same $rc 1 "the status of a write beyond the end"
    grep -q 1000 err || fail "how much was written is not said: $(cat err)"
    random_bytes 1000 6 | dd of=ref.raw bs=64K seek=$((SIZE - 1000)) oflag=seek_bytes conv=notrunc status=none
    holds $f ref.raw
    refused "beyond" vdisk write $f --offset $((SIZE + 1))
done

# holes
quietly create h.vhdx --size 1G
put h.vhdx 900000000 1000 1
vdisk read h.vhdx >h.raw
same "$(size_of h.raw)" $((1 << 30)) "the size of what was read"
[ "$(used_of h.raw)" -lt 3000000 ] || fail "zeros were written: $(used_of h.raw)"

# a reader that goes away
rc=0
(vdisk read h.vhdx || echo $? >rc) 2>err | head -c 100 >/dev/null
[ ! -s err ] || fail "a closed pipe is no news: $(cat err)"

# A file that somebody cuts while it is read: what is missing is an error, and not zeros, whether the map or a read meets it.
raw hole.raw 64M
random_bytes $((16 << 20)) 7 | dd of=hole.raw conv=notrunc status=none
random_bytes $((16 << 20)) 8 | dd of=hole.raw bs=1M seek=48 conv=notrunc status=none
quietly convert hole.raw hole.vhdx --type fixed
cut_to() { # SIZE FILE: when what reads it has begun
    head -c 4096 >/dev/null
    truncate -s "$1" "$2"
    cat >/dev/null
}
for left in 1M 20M; do
    for image in hole.raw hole.vhdx; do
        cp --sparse=always $image cut."${image##*.}"
        rm -f rc
        (vdisk read cut."${image##*.}" 2>err || echo $? >rc) | cut_to $left cut."${image##*.}"
        grep -q 'the file ends there' err || fail "$image, cut to $left: $(cat err)"
        same "$(cat rc)" 1 "the status of reading $image, cut to $left"
    done
done
