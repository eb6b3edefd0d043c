#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A disk under fio's verification, mounted and served, is moved to where there is no room: now the copying meets that, now
# a write of the guest's. fio sees nothing of it, the disk stays where it is, whole, and moves to where there is room. The
# socket of a holder that was killed is no hindrance.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
need fio jq
[ "$(id -u)" -eq 0 ] || skip "not root: no file system to fill"

# write NAME FIO-OPTION...: in the background, until the file stop is there. Into new space, on and on: then it is trimmed.
write() {
    local name=$1
    shift
    until [ -e stop ]; do
        timeout 300 fio --name="$name" --rw=randwrite --bsrange=4k-64k --size=16M --iodepth=8 --verify=crc32c --verify_fatal=1 \
            --do_verify=1 --serialize_overlap=1 --fsync=64 --output="$name.log" "$@" || { touch failed && return; }
        ! grep -Eq 'err= *[1-9]|verify:' "$name.log" || { touch failed && return; }
        touch "$name.ran"
    done
}

# stays IMAGE ARGUMENT...
stays() {
    refused "full/b[.a-z]*: .*No space left on device" vdisk move "$@"
    same "$(ls -A full)" "" "what is left where there is no room"
    same "$(vdisk stats "$1" --json | jq '.operations.write.errors // .write.errors')" 0 "writes that failed"
}

# try IMAGE: which is in use.
try() {
    for _ in 1 2; do
        stays "$1" full/b.vhdx
        stays "$1" full/b.vhd
        stays "$1" full/b.raw --rate-limit 6M # so that the guest's writes fill it
    done
    refused "same file" vdisk move "$1" "$1"
    ln -sf "$1" by-link
    refused "same file" vdisk move "$1" by-link
    quietly move "$1" "moved-$1"
    refused "same file" vdisk move "moved-$1" "$PWD/moved-$1"
}

# finish IMAGE READER...: what a reader sees is what is there afterwards.
finish() {
    touch stop
    wait
    rm stop
    [ ! -e failed ] || fail "fio: $(grep -hE 'err=|verify:' ./*.log)"
}

mkdir full
mount -t tmpfs -o size=8M none full || skip "no mounts here"
mounts+=("$PWD/full")
if [ -x "$BUILD/vdisk-fuse" ] && [ -w /dev/fuse ]; then
    quietly create a.vhdx --size 64M
    put a.vhdx 32M 16000000 1
    attach a.vhdx m
    write mounted --filename=m/disk --ioengine=libaio --direct=1 &
    try a.vhdx
    finish
    [ -e mounted.ran ] || fail "fio has done nothing"
    before=$(sha_of m/disk)
    detach m
    clean moved-a.vhdx
    same "$(hash_of moved-a.vhdx)" "$before" "the content"

    attach moved-a.vhdx m # and its process is killed
    kill_holder m
    vdisk umount m
    unset 'mounts[-1]'
    same "$(find "$VDISK_RUNTIME_DIR" -type s | wc -l)" 1 "sockets of the dead"
    quietly move moved-a.vhdx alive.vhdx
    same "$(find "$VDISK_RUNTIME_DIR" -type s | wc -l)" 0 "sockets after somebody looked"
    same "$(hash_of alive.vhdx)" "$before" "the content"
    tried=yes
fi
if command -v nbdkit >/dev/null && [ -f "$BUILD/nbdkit-vdisk-plugin.so" ] && fio --enghelp | grep -qw nbd; then
    quietly create b.vhdx --size 64M
    put b.vhdx 32M 16000000 1
    serve b.vhdx
    write served --ioengine=nbd --uri="$uri" &
    try b.vhdx
    finish
    [ -e served.ran ] || fail "fio has done nothing"
    before=$(nbdcopy "$uri" - | sha256sum | cut -d' ' -f1)
    unserve b.vhdx
    clean moved-b.vhdx
    same "$(hash_of moved-b.vhdx)" "$before" "the content"
    tried=yes
fi
[ -n "${tried:-}" ] || skip "neither a mount nor NBD can be tried here"
