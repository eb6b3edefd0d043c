#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# fio writes and verifies over a mount and over NBD, for LIVE_SECONDS each, while snapshots are taken and merged and
# the disk is moved from format to format, compacted and made larger. Afterwards the content is the one that was read last, and sound. What is refused or
# interrupted meanwhile changes nothing.
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

# interrupt IMAGE: a move that is under way.
interrupt() {
    local pid i got=0
    "$VDISK" move "$1" gone.vhdx --rate-limit 1M --flatten >out 2>err &
    pid=$!
    for ((i = 0; i < 500; i++)); do
        [ "$(vdisk stats "$1" --json | jq -r '."working-on".operation')" != move ] || break
        sleep 0.02
    done
    refused "is busy with move" vdisk info "$1"
    kill -INT $pid
    wait $pid || got=$?
    [ $got -eq 1 ] || fail "an interrupted move ends with $got: $(cat out err)"
    [ ! -e gone.vhdx ] || fail "an interrupted move leaves something"
}

# work IMAGE: on the disk in use; $image is where it is now.
work() {
    local step=0 began=$SECONDS other
    image=$1
    while [ $((SECONDS - began)) -lt "$seconds" ] || [ $step -lt 4 ]; do
        case $((step % 4)) in
        0) other=moved$step.vhd ;;
        1) other=moved$step.vhdx ;;
        2) other=snapshot$step.vhdx ;;
        3) other=flat$step.vhdx ;;
        esac
        refused "exists" vdisk move "$image" taken.vhdx
        interrupt "$image"
        case $((step % 4)) in
        2) vdisk snapshot "$image" $other >>work.log && vdisk merge $other >>work.log && other=$image ;;
        3) vdisk move "$image" $other --flatten >>work.log ;;
        *) vdisk move "$image" $other >>work.log ;;
        esac
        image=$other
        quietly compact "$image"
        size=$((size + 1048576))
        quietly resize "$image" $size
        step=$((step + 1))
    done
    same "$(vdisk info "$image" --json | jq '."virtual-size"')" $size "the size"
}

# finish NAME CONTENT: the writers end; CONTENT as a reader sees it is hashed.
finish() {
    touch stop
    wait
    rm stop
    [ ! -e "$1.failed" ] || fail "fio: $(grep -E 'err=|verify:' "$1.log")"
    [ "$(cat "$1.runs")" -gt 0 ] || fail "fio has done nothing"
}

quietly create taken.vhdx --size 1M
if [ -x "$BUILD/vdisk-fuse" ] && [ -w /dev/fuse ]; then
    size=$((64 << 20))
    quietly create a.vhdx --size $size
    put a.vhdx 32M 16000000 1
    attach a.vhdx m
    verify mounted --filename=m/disk --ioengine=libaio --direct=1 &
    work a.vhdx
    finish mounted
    sleep 1.1
    same "$(size_of m/disk)" $size "the file's size"
    before=$(sha_of m/disk)
    detach m
    clean "$image"
    same "$(hash_of "$image")" "$before" "the content"
    [ ! -e a.vhdx ] || fail "the source is still there"
    echo "mount: $(cat mounted.runs) runs of fio over $(wc -l <work.log) changes, $(grep -o 'waited.*' work.log | sort -k2 -n | tail -n 1) at most"
    tried=yes
fi
rm -f work.log moved* snapshot* flat*
if command -v nbdkit >/dev/null && [ -f "$BUILD/nbdkit-vdisk-plugin.so" ] && fio --enghelp | grep -qw nbd; then
    size=$((64 << 20))
    quietly create b.vhdx --size $size
    put b.vhdx 32M 16000000 1
    serve b.vhdx
    verify served --ioengine=nbd --uri="$uri" &
    work b.vhdx
    finish served
    before=$(nbdcopy "$uri" - | sha256sum | cut -d' ' -f1)
    unserve b.vhdx
    clean "$image"
    same "$(hash_of "$image")" "$before" "the content"
    echo "NBD: $(cat served.runs) runs of fio over $(wc -l <work.log) changes, $(grep -o 'waited.*' work.log | sort -k2 -n | tail -n 1) at most"
    tried=yes
fi
[ -n "${tried:-}" ] || skip "neither a mount nor NBD can be tried here"
