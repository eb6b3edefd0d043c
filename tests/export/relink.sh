#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Parents of a disk that is mounted or served go elsewhere, as copies and by another name, and what is left of them is
# removed, while the disk is written to. The disk shows the same, then and afterwards; what is no parent is refused.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
need jq

# chain FORMAT: base, kid, and top over that, as ref.raw.
chain() {
    rm -rf ./*."$1" there ref.raw
    mkdir there
    raw ref.raw 12M
    quietly create base."$1" --size 12M
    put base."$1" 0 3000000 1 ref.raw
    quietly create kid."$1" --parent base."$1"
    put kid."$1" 2000000 3000000 2 ref.raw
    quietly create top."$1" --parent kid."$1"
    put top."$1" 4000000 3000000 3 ref.raw
}

# parents IMAGE: those of the disk in use, as its holder has them.
parents() {
    vdisk info "$1" --chain --json | jq -r '.[1:][].file' | sed "s,^$PWD/,," | tr '\n' ' '
}

# nothing_gone PID: the holder has no file open that was removed.
nothing_gone() {
    local gone
    gone=$(find "/proc/$1/fd" -lname '*(deleted)' -printf '%l ')
    [ -z "$gone" ] || fail "still open: $gone"
}

# parents_move FORMAT HOLDER CONTENT WRITE: in use. CONTENT prints what a user reads, WRITE makes a user write, to ref.raw too.
parents_move() {
    local f=$1 holder=$2 content=$3 write=$4 before
    same "$($content)" "$(sha_of ref.raw)" "before"

    # what is refused changes nothing
    before=$(sha_of top.$f)
    quietly create other.$f --size 12M
    refused 'not by force' vdisk relink top.$f --parent other.$f
    refused 'not by force' vdisk relink top.$f --parent other.$f --force
    refused 'No such file' vdisk relink top.$f --parent none.$f
    refused 'own ancestor' vdisk relink top.$f --parent top.$f
    refused 'not in the chain' vdisk relink top.$f --link other.$f --parent kid.$f
    cp kid.$f changed.$f
    put changed.$f 11000000 10 9
    case $f in
    vhdx) refused 'identity' vdisk relink top.$f --parent changed.$f ;;
    vhd) refused 'differs from the parent in use' vdisk relink top.$f --parent changed.$f ;;
    esac
    same "$(sha_of top.$f)" "$before" "the child's file"
    same "$(parents top.$f)" "kid.$f base.$f " "the parents"

    # a copy of the parent, whose own parent stays where it is
    cp kid.$f there/copy.$f
    status 0 vdisk relink top.$f --parent there/copy.$f
    grep -Eq "top.$f: its parent is there/copy.$f, requests waited [0-9.]+ ms" out || fail "$(cat out)"
    same "$(parents top.$f)" "there/copy.$f base.$f " "the parents"
    rm kid.$f
    nothing_gone "$holder"
    $write 7000000 700000 4
    same "$($content)" "$(sha_of ref.raw)" "over the copy"

    # the parent's own parent is renamed, from a link that is not the disk itself
    mv base.$f there/renamed.$f
    status 0 vdisk relink top.$f --link there/copy.$f --parent there/renamed.$f
    same "$(parents top.$f)" "there/copy.$f there/renamed.$f " "the parents"
    $write 5500000 3000000 5
    same "$($content)" "$(sha_of ref.raw)" "over the renamed"

    # all of the chain as copies elsewhere
    mkdir -p elsewhere
    cp there/copy.$f there/renamed.$f elsewhere/
    status 0 vdisk relink top.$f --parent elsewhere/copy.$f
    same "$(parents top.$f)" "elsewhere/copy.$f elsewhere/renamed.$f " "the parents"
    rm -r there
    nothing_gone "$holder"
    $write 1000000 200000 6
    same "$($content)" "$(sha_of ref.raw)" "over copies"
}

# at_rest FORMAT: the disk as it was left.
at_rest() {
    refused 'was not found' vdisk hash top.$1
    same "$(hash_of top.$1 --parent elsewhere/copy.$1)" "$(sha_of ref.raw)" "with its parent named"
    same "$(hash_of top.$1 --parent-dir elsewhere)" "$(sha_of ref.raw)" "with its parent's directory"
    vdisk info top.$1 --parent-dir elsewhere --json | jq -r '.. | strings' | sed 's,[\\],/,g' >facts
    grep -q '^\./elsewhere/copy' facts || fail "no relative path: $(cat facts)"
    mv elsewhere/* . # where the child looks
    rmdir elsewhere
    holds top.$1 ref.raw
    clean top.$1
    clean copy.$1
    clean renamed.$1
}

mounted_content() {
    sha_of m/disk
}
mounted_write() { # OFFSET LENGTH SEED
    local out
    for out in m/disk ref.raw; do
        random_bytes "$2" "$3" | dd of=$out bs=64K seek="$1" oflag=seek_bytes conv=notrunc,fsync status=none
    done
}
served_content() {
    nbdcopy "$uri" - | sha256sum | cut -d' ' -f1
}
served_write() {
    random_bytes "$2" "$3" | dd of=ref.raw bs=64K seek="$1" oflag=seek_bytes conv=notrunc status=none
    head -c 12M ref.raw >image
    nbdcopy image "$uri"
}

for f in vhdx vhd; do
    if [ -x "$BUILD/vdisk-fuse" ] && [ -w /dev/fuse ]; then
        chain $f
        attach top.$f m
        parents_move $f "$(holder "$PWD/m")" mounted_content mounted_write
        detach m
        at_rest $f
        tried=yes
    fi
    if command -v nbdkit >/dev/null && [ -f "$BUILD/nbdkit-vdisk-plugin.so" ] && command -v nbdcopy >/dev/null; then
        chain $f
        serve top.$f
        parents_move $f "$(cat top.$f.pid)" served_content served_write
        unserve top.$f
        at_rest $f
        tried=yes
    fi
done
[ -n "${tried:-}" ] || skip "neither a mount nor NBD can be tried here"
