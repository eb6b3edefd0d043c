#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A snapshot keeps the disk as it is; a child goes back to its point, or into its parent; children of a template go their
# own ways; what cannot be is refused and leaves nothing.
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
    same "$(member a.$f '."block-size"')" $((2 << 20)) "the usual block size"
    same "$(member b.a$f '."block-size"')" $((1 << 20)) "the chosen block size"
    vdisk check base.$f && vdisk check a.$f && vdisk check b.a$f
    vdisk info b.a$f --chain >out
    grep -q base.$f out || fail "no chain of three"

    # a template: its children do not know of each other, and are used at the same time; nobody may write to it
    chmod 444 base.$f a.$f
    as=()
    if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
        chmod 777 .
        as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    fi
    for n in 1 2 3; do
        quietly create child$n.$f --parent a.$f
        chmod 666 child$n.$f
        vdisk convert a.$f ref$n.raw --force --quiet
        mkfifo pipe$n
        "${as[@]}" "$VDISK" write child$n.$f --offset $((n * 4096)) --quiet <pipe$n &
        eval "exec 1$n>pipe$n"
        waits_for_pipe $!
        random_bytes 8192 $((n + 5)) | dd of=ref$n.raw bs=64K seek=$((n * 4096)) oflag=seek_bytes conv=notrunc status=none
    done
    for n in 1 2 3; do
        random_bytes 8192 $((n + 5)) >&1$n
        eval "exec 1$n>&-"
    done
    wait
    rm pipe?
    for n in 1 2 3; do
        holds child$n.$f ref$n.raw
    done
    chmod 644 base.$f a.$f
    same "$before" "$(sha_of base.$f)" "the parent's file"

    refused 'exists' vdisk snapshot b.a$f a.$f
    refused 'No such file' vdisk snapshot b.a$f no/where.$f
    refused 'No such file' vdisk snapshot nothing.$f c.$f
    refused 'block size' vdisk snapshot b.a$f c.$f --block-size 3M
    refused '4 GiB' vdisk snapshot b.a$f c.$f --block-size 4G
    refused 'CHILD is needed' vdisk snapshot b.a$f
    [ -z "$(find . -name "c.*" -o -name "*.tmp")" ] || fail "something was left"
    holds b.a$f ref.raw
    put b.a$f 100 1000 4 ref.raw
    holds b.a$f ref.raw

    # back to a point: the child is as it was when it was made, under the name, the mode and the owner that it had
    cp ref.raw kept.raw
    status 0 vdisk snapshot b.a$f undo.a$f --block-size 1M
    sha256sum a.$f b.a$f >before
    put undo.a$f 2000000 600000 5
    quietly point undo.a$f monday
    put undo.a$f 4000000 600000 6
    ! cmp -s <(vdisk read undo.a$f) kept.raw || fail "nothing was written"
    chmod 640 undo.a$f
    [ "$(id -u)" != 0 ] || chown 65534:65534 undo.a$f
    owner=$(stat -c %u:%g:%a undo.a$f)
    ln -s undo.a$f link.a$f
    status 0 vdisk snapshot link.a$f --back
    same "$(cat out)" "link.a$f: is back at its parent"
    [ -L link.a$f ] || fail "the symbolic link was replaced"
    rm link.a$f
    holds undo.a$f kept.raw
    same "$(stat -c %u:%g:%a undo.a$f)" "$owner" "whose it is"
    same "$(member undo.a$f '."block-size"')" $((1 << 20)) "its block size"
    same "$(vdisk map undo.a$f --json | jq '[.[] | select(.depth == 0 and .kind == "data")] | length')" 0 "what it holds itself"
    sha256sum -c --quiet before || fail "its parents were touched"
    clean undo.a$f
    # ... which is a change since the point
    status 0 vdisk changes undo.a$f --since monday --json
    same "$(jq '[.[].length] | add' out)" $((6 << 20)) "what has changed"
    put undo.a$f 100000 50000 7 kept.raw
    holds undo.a$f kept.raw
    quietly snapshot undo.a$f more.a$f
    sum=$(sha_of undo.a$f)
    refused 'has a child, .*more.a'$f', which would lose its parent' vdisk snapshot undo.a$f --back
    refused 'no point to go back to' vdisk snapshot base.$f --back
    refused 'takes one file' vdisk snapshot undo.a$f x.a$f --back
    refused 'keeps its block size' vdisk snapshot undo.a$f --back --block-size 2M
    refused 'No such file' vdisk snapshot none.a$f --back
    rm more.a$f
    mkfifo pipe
    "$VDISK" read undo.a$f --quiet >pipe &
    exec 9<pipe
    waits_for_pipe $!
    refused 'undo.a'$f': is in use: a disk goes back to a point only while nobody uses it' vdisk snapshot undo.a$f --back
    exec 9<&-
    wait $! || true
    rm pipe
    same "$(sha_of undo.a$f)" "$sum" "what was not to go back"
    # ... or, by hand, the child is removed, and its parent is the disk again
    rm undo.a$f undo.a$f.points
    put b.a$f 4000000 50000 6 ref.raw
    holds b.a$f ref.raw
    # dropping one: its child goes into it
    status 0 vdisk snapshot b.a$f drop.a$f
    put drop.a$f 10000 700000 7 ref.raw
    status 0 vdisk merge drop.a$f
    [ ! -e drop.a$f ] || fail "the child that was merged is still there"
    holds b.a$f ref.raw
    sound b.a$f
    rm -f ./*."$f" ./*."a$f"
done
quietly create x.vhdx --size 6M
refused 'named like a vhd, but a child has the format of its parent, and x.vhdx is a vhdx' vdisk snapshot x.vhdx y.vhd
raw r.raw 1M
refused 'raw' vdisk snapshot r.raw r2.raw --input-format raw
