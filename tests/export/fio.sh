#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# fio writes and verifies over a mount and over NBD: deep queues, several writers, unaligned parts, with flushes.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
need fio

cat >job <<'END'
[global]
verify=crc32c
verify_fatal=1
do_verify=1
serialize_overlap=1
iodepth=16
randrepeat=1
[random]
rw=randwrite
bs=4k
size=48M
fsync=512
[mixed]
offset=48M
rw=randwrite
bsrange=512-128k
size=48M
[sequential]
offset=96M
rw=write
bs=256k
size=64M
END

try() {
    timeout 300 fio "$@" job >fio.log 2>&1 || fail "fio $*: $(tail -n 30 fio.log)"
    ! grep -Eq 'err= *[1-9]|verify:' fio.log || fail "fio $*: $(grep -E 'err=|verify:' fio.log)"
}

with_mount() {
    quietly create $1 --size 160M --force
    attach $1 m
    try --filename=m/disk --ioengine=libaio --direct=1
    detach m
    clean $1
}
if [ -x "$BUILD/vdisk-fuse" ] && [ -w /dev/fuse ]; then
    with_mount a.vhdx
    with_mount a.vhd
    tried=yes
fi

with_nbd() {
    quietly create $1 --size 160M --force
    serve $1
    try --ioengine=nbd --uri="$uri"
    unserve $1
    clean $1
}
if command -v nbdkit >/dev/null && [ -f "$BUILD/nbdkit-vdisk-plugin.so" ] && fio --enghelp | grep -qw nbd; then
    with_nbd b.vhdx
    with_nbd b.vhd
    tried=yes
fi
[ -n "${tried:-}" ] || skip "neither a mount nor NBD can be tried here"
