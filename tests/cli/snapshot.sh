#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A snapshot keeps the disk as it is; children of a template go their own ways; what cannot be is refused and leaves nothing.
. "$(dirname "$0")/../lib.sh"

for f in vhdx vhd; do
    raw ref.raw 6M
    quietly create base.$f --size 6M
    put base.$f 0 100000 1 ref.raw
    status 0 vdisk snapshot base.$f a.$f
    grep -q "^a.$f: differencing $f, 6 MiB" out || fail "it does not say what it made: $(cat out)"
    holds a.$f ref.raw
    before=$(sha_of base.$f)
    put a.$f 50000 100000 2 ref.raw
    holds a.$f ref.raw
    status 0 vdisk snapshot a.$f b.a$f --block-size 1M
    put b.a$f 3000000 70000 3 ref.raw
    holds b.a$f ref.raw
    vdisk check base.$f && vdisk check a.$f && vdisk check b.a$f
    vdisk info b.a$f --chain >out
    grep -q base.$f out || fail "no chain of three"

    # a template: its children do not know of each other, and are used at the same time
    for n in 1 2 3; do
        cp ref.raw ref$n.raw
        quietly create child$n.$f --parent a.$f
        vdisk convert a.$f ref$n.raw --force --quiet
        put child$n.$f $((n * 4096)) 8192 $((n + 5)) ref$n.raw
    done
    for n in 1 2 3; do
        holds child$n.$f ref$n.raw
    done
    same "$before" "$(sha_of base.$f)" "the parent's file"

    refused 'exists' vdisk snapshot b.a$f a.$f
    refused 'No such file' vdisk snapshot b.a$f no/where.$f
    refused 'No such file' vdisk snapshot nothing.$f c.$f
    refused 'block size' vdisk snapshot b.a$f c.$f --block-size 3M
    [ -z "$(find . -name "c.*" -o -name "*.tmp")" ] || fail "something was left"
    holds b.a$f ref.raw
    put b.a$f 100 1000 4 ref.raw
    holds b.a$f ref.raw

    # back to a point: its child goes away, and it is the disk again; dropping one: its child goes into it
    cp ref.raw kept.raw
    status 0 vdisk snapshot b.a$f undo.a$f
    put undo.a$f 2000000 600000 5
    ! cmp -s <(vdisk read undo.a$f) kept.raw || fail "nothing was written"
    rm undo.a$f
    holds b.a$f kept.raw
    put b.a$f 4000000 50000 6 ref.raw
    holds b.a$f ref.raw
    status 0 vdisk snapshot b.a$f drop.a$f
    put drop.a$f 10000 700000 7 ref.raw
    status 0 vdisk merge drop.a$f
    [ ! -e drop.a$f ] || fail "the child that was merged is still there"
    holds b.a$f ref.raw
    sound b.a$f
    rm -f ./*."$f" ./*."a$f"
done
quietly create x.vhdx --size 6M
refused 'named like a vhd' vdisk snapshot x.vhdx y.vhd
raw r.raw 1M
refused 'raw' vdisk snapshot r.raw r2.raw --input-format raw
