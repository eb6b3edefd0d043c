#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# fio writes and verifies over a mount and over NBD, for LIVE_SECONDS each, while snapshots are taken and merged and the disk,
# with its chain and without, is moved from format to format, compacted and made larger. Afterwards the content is the one that
# was read last, and every file is sound. What is refused or interrupted meanwhile changes nothing.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
need fio jq

seconds=${LIVE_SECONDS:-4}

# verify NAME FIO-OPTION...: in the background, until the file stop is there.
verify() {
    local name=$1 i
    shift
    for ((i = 1; ; i++)); do
        timeout 300 fio --name="$name" --rw=randrw --rwmixread=30 --bsrange=4k-64k --size=24M --iodepth=16 --verify=crc32c \
            --verify_fatal=1 --serialize_overlap=1 --randseed=$i --fsync=64 --output="$name.log" "$@" ||
            { touch "$name.failed" && return; }
        ! grep -Eq 'err= *[1-9]|verify:' "$name.log" || { touch "$name.failed" && return; }
        echo $i >"$name.runs"
        [ ! -e stop ] || return 0
    done
}

# interrupt IMAGE DESTINATION OPTION...: a move that is under way, after which nothing of it is there.
interrupt() {
    local pid i got=0
    "$VDISK" move "$@" --rate-limit 1M >out 2>err &
    pid=$!
    for ((i = 0; i < 500; i++)); do
        [ "$(vdisk stats "$1" --json | jq -r '."working-on".operation')" != move ] || break
        sleep 0.02
    done
    refused "is busy with move" vdisk info "$1"
    kill -INT $pid
    wait $pid || got=$?
    [ $got -eq 1 ] || fail "an interrupted move ends with $got: $(cat out err)"
    same "$(find . -type f \( -path "./$2*" -o -name '*.tmp' \))" "" "what an interrupted move leaves"
}

# links IMAGE: the files of the disk in use, as its holder has them.
links() {
    vdisk info "$1" --chain --json | jq -r '.[].file' | sed "s,^$PWD/,," | tr '\n' ' '
}

# unused FILE IMAGE: who has the disk in use does not have this file open.
unused() {
    local open
    open=$(find "/proc/$(vdisk stats "$2" --json | jq .pid)/fd" -lname "$PWD/$1*")
    [ -z "$open" ] || fail "$1 is still open"
}

# chain_move CHILD DIRECTORY: of the disk in use and a child that it gets. The parent's old file stays, for others may need
# it; the disk does not.
chain_move() {
    vdisk snapshot "$image" "$1" >>work.log
    mkdir "$2"
    interrupt "$1" "$2" --chain
    same "$(links "$1")" "$1 $image " "the chain after an interrupted move"
    vdisk move "$1" "$2" --chain >>work.log
    same "$(links "$2/$1")" "$2/$1 $2/$image " "the chain that was moved"
    [ ! -e "$1" ] || fail "the source is still there"
    unused "$image" "$2/$1"
    rm "$image"
}

# work IMAGE: on the disk in use; $image is where it is now, with a parent beside it.
work() {
    local step=0 began=$SECONDS other
    image=$1
    while [ $((SECONDS - began)) -lt "$seconds" ] || [ $((step % 4)) -ne 0 ]; do
        refused "exists" vdisk move "$image" taken.vhdx --flatten
        [ $((step % 4)) -eq 3 ] || interrupt "$image" gone.vhdx --flatten
        case $((step % 4)) in
        0) other=moved$step.vhd && vdisk move "$image" $other --flatten >>work.log ;;
        1) other=moved$step.vhdx && vdisk move "$image" $other >>work.log ;;
        2) other=$image && vdisk snapshot "$image" snapshot$step.vhdx >>work.log && vdisk merge snapshot$step.vhdx >>work.log ;;
        3) other=chain$step/child.vhdx && chain_move child.vhdx chain$step ;;
        esac
        image=$other
        quietly compact "$image"
        size=$((size + 1048576))
        quietly resize "$image" $size
        step=$((step + 1))
    done
    same "$(vdisk info "$image" --json | jq '."virtual-size"')" $size "the size"
}

# begin FILE BASE: a disk over a parent, which both hold something.
begin() {
    size=$((64 << 20))
    quietly create "$2" --size $size
    put "$2" 32M 16000000 1
    quietly create "$1" --parent "$2"
    put "$1" 40M 4000000 2
}

# finish NAME CONTENT: the writers end; CONTENT as a reader sees it is hashed.
finish() {
    touch stop
    wait
    rm stop
    [ ! -e "$1.failed" ] || fail "fio: $(grep -E 'err=|verify:' "$1.log")"
    [ "$(cat "$1.runs")" -gt 0 ] || fail "fio has done nothing"
}

# whole SUM: the disk, closed, has this content, and each file of its chain is clean.
whole() {
    local file
    same "$(hash_of "$image")" "$1" "the content"
    for file in "${image%/*}"/*; do
        clean "$file"
    done
    same "$(echo "${image%/*}"/*)" "${image%/*}/child.vhdx $(vdisk info "$image" --chain --json | jq -r '.[1].file' | sed "s,^$PWD/,,")" "the files"
}

quietly create taken.vhdx --size 1M
if [ -x "$BUILD/vdisk-fuse" ] && [ -w /dev/fuse ]; then
    begin a.vhdx a0.vhdx
    attach a.vhdx m
    verify mounted --filename=m/disk --ioengine=libaio --direct=1 &
    work a.vhdx
    finish mounted
    sleep 1.1
    same "$(size_of m/disk)" $size "the file's size"
    before=$(sha_of m/disk)
    detach m
    whole "$before"
    [ ! -e a.vhdx ] || fail "the source is still there"
    echo "mount: $(cat mounted.runs) runs of fio over $(wc -l <work.log) changes, $(grep -o 'waited.*' work.log | sort -k2 -n | tail -n 1) at most"
    tried=yes
fi
rm -rf work.log moved* chain*
if command -v nbdkit >/dev/null && [ -f "$BUILD/nbdkit-vdisk-plugin.so" ] && fio --enghelp | grep -qw nbd; then
    begin b.vhdx b0.vhdx
    serve b.vhdx
    verify served --ioengine=nbd --uri="$uri" &
    work b.vhdx
    finish served
    before=$(nbdcopy "$uri" - | sha256sum | cut -d' ' -f1)
    unserve b.vhdx
    whole "$before"
    echo "NBD: $(cat served.runs) runs of fio over $(wc -l <work.log) changes, $(grep -o 'waited.*' work.log | sort -k2 -n | tail -n 1) at most"
    tried=yes
fi
[ -n "${tried:-}" ] || skip "neither a mount nor NBD can be tried here"
