#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Commands on a disk that another process has open ask that process: over a mount and over NBD. A holder that died is
# nobody, and its socket goes away.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
need jq

sockets() {
    find "$VDISK_RUNTIME_DIR" -type s 2>/dev/null | wc -l
}

# asked IMAGE PROGRAM: its holder answers.
asked() {
    same "$(stat -c %a "$VDISK_RUNTIME_DIR")" 700 "the directory's mode"
    same "$(find "$VDISK_RUNTIME_DIR" -type s -printf %m)" 600 "the socket's mode"
    same "$(member "$1" '.headers | length > 0')" true "$1: headers from its holder"
    vdisk info "$1" >out
    grep -Eq 'virtual-size +64 MiB' out || fail "$1: $(cat out)"
    vdisk stats "$1" --json >out
    same "$(jq -r .program out)" "$2" "who has it open"
    same "$(jq '.write.bytes' out)" 4194304 "bytes written"
    [ "$(jq '.write."latency-ns".p99' out)" -gt 0 ] || fail "no latency: $(cat out)"
    vdisk top "$1" --count 1 >out
    grep -Eq '^write +0 ' out || fail "top: $(cat out)"
    ln -sf "$1" other-name
    same "$(vdisk stats other-name --json | jq -r .program)" "$2" "who has it open, by another name"
    refused "is in use" vdisk write "$1"
}

# snapshot IMAGE CHILD FILE: of a disk under writes, which go on in the child; FILE stands for the disk.
snapshot() {
    refused "exists" vdisk snapshot "$1" "$1"
    vdisk snapshot "$1" "$2" >out
    grep -Eq 'requests waited [0-9.]+ ms' out || fail "snapshot: $(cat out)"
    refused "$1: is beneath the disk that .* has open" vdisk stats "$1"
    same "$(vdisk stats "$2" --json | jq .write.bytes)" 4194304 "$2: bytes written"
    same "$(vdisk info "$2" --chain --json | jq length)" 2 "links"
}

chain() { # IMAGE
    vdisk info "$1" --chain --json | jq -r '.[].file' | sed 's,.*/,,' | tr '\n' ' '
}

# beneath PROGRAM BASE MIDDLE TOP: what can be done to a middle link is done by who has the disk over it open, and what
# only the disk can have done to it is refused.
beneath() {
    local above="$3: is beneath the disk that $1 \\(process [0-9]+\\) has open"
    same "$(sockets)" 3 "names of the socket"
    refused "$above" vdisk resize "$3" 65M
    refused "$above" vdisk compact "$3"
    refused "$above" vdisk move "$3" elsewhere
    refused "$above" vdisk point "$3" name
    refused "$above" vdisk top "$3"
    refused "$2: is beneath" vdisk compact "$2"
    status 0 vdisk info "$3" # what is only read is read from the file
    cp "$2" "copy.$2"
    status 0 vdisk relink "$3" --parent "copy.$2"
    same "$(chain "$4")" "$4 $3 copy.$2 " "the chain over the copy"
    same "$(sockets)" 3 "names of the socket"
    refused "copy.$2: is beneath" vdisk compact "copy.$2"
    status 0 vdisk relink "$3" --parent "$2"
    refused "no process that can be asked" vdisk stats "copy.$2"
    vdisk merge "$3" >out
    grep -Eq "^$3: merged into its parent: .* removed 1 file" out || fail "merge: $(cat out)"
    [ ! -e "$3" ] || fail "$3 is still there"
    same "$(chain "$4")" "$4 $2 " "the chain without $3"
    same "$(sockets)" 2 "names of the socket"
}

random_bytes 4194304 1 >part
refused "a.vhdx: No such file" vdisk stats a.vhdx
if [ -x "$BUILD/vdisk-fuse" ] && [ -w /dev/fuse ]; then
    quietly create a.vhdx --size 64M
    refused "no process that can be asked" vdisk stats a.vhdx
    attach a.vhdx m
    dd if=part of=m/disk bs=1M conv=notrunc,fsync status=none
    asked a.vhdx "vdisk mount"
    snapshot a.vhdx a1.vhdx
    dd if=part of=m/disk bs=1M seek=8 conv=notrunc,fsync status=none
    status 0 vdisk point a1.vhdx live
    dd if=part of=m/disk bs=64K count=1 seek=3 skip=3 conv=notrunc,fsync status=none
    same "$(vdisk changes a1.vhdx --since live --json | jq -c .)" '[{"offset":196608,"length":65536}]' "changes of a mounted disk"
    same "$(vdisk changes a1.vhdx --json | jq -r '.[0].name')" live
    refused "no point 'dead'" vdisk point a1.vhdx dead --delete
    cmp <(part m/disk 8388608 4194304) part
    detach m
    same "$(sockets)" 0 "sockets after umount"
    clean a.vhdx
    clean a1.vhdx
    same "$(vdisk changes a1.vhdx --since live --json | jq -c .)" '[{"offset":196608,"length":65536}]' "changes after umount"
    cmp <(vdisk read a1.vhdx --length 4194304) part
    cmp <(vdisk read a1.vhdx --offset 8M --length 4194304) part
    vdisk read a.vhdx --offset 8M --length 4194304 | cmp -n 4194304 - /dev/zero

    quietly create k.vhdx --size 64M --block-size 1M # compacted while it is mounted
    attach k.vhdx m
    dd if=/dev/zero of=m/disk bs=1M count=8 conv=notrunc,fsync status=none
    dd if=part of=m/disk bs=1M seek=20 conv=notrunc,fsync status=none
    status 0 vdisk compact k.vhdx
    grep -q 'moved 4 MiB (4194304 bytes), found 8 MiB' out || fail "compact: $(cat out)"
    [ "$(size_of k.vhdx)" -le 9437184 ] || fail "k.vhdx has $(size_of k.vhdx) bytes"
    cmp <(part m/disk 20971520 4194304) part
    detach m
    clean k.vhdx
    cmp <(vdisk read k.vhdx --offset 20M --length 4194304) part

    attach a1.vhdx m
    kill_holder m
    vdisk umount m
    unset 'mounts[-1]'
    same "$(sockets)" 2 "sockets of the dead"
    refused "no process that can be asked" vdisk stats a1.vhdx
    same "$(sockets)" 0 "sockets after somebody looked"
    status 0 vdisk info a.vhdx

    chmod 755 "$VDISK_RUNTIME_DIR" # not for its owner alone: mounted all the same, and said
    mounts+=("$PWD/m")
    vdisk mount a.vhdx m 2>err
    grep -q 'no control socket can be made' err || fail "not said: $(cat err)"
    refused "no process that can be asked" vdisk stats a.vhdx
    detach m
    chmod 700 "$VDISK_RUNTIME_DIR"
    tried=yes
fi
if command -v nbdkit >/dev/null && [ -f "$BUILD/nbdkit-vdisk-plugin.so" ] && command -v nbdcopy >/dev/null; then
    quietly create b.vhd --size 64M
    serve b.vhd
    nbdcopy part "$uri"
    asked b.vhd "vdisk serve"
    snapshot b.vhd b1.vhd
    nbdcopy part "$uri"
    quietly snapshot b1.vhd b2.vhd
    beneath nbdkit b.vhd b1.vhd b2.vhd
    vdisk merge b2.vhd >out
    grep -q 'merged into .*b.vhd' out || fail "merge: $(cat out)"
    [ ! -e b2.vhd ] || fail "the merged child is still there"
    same "$(sockets)" 1 "names of the socket"
    same "$(vdisk stats b.vhd --json | jq -r .program)" "vdisk serve" "who has the parent open"
    unserve b.vhd
    same "$(sockets)" 0 "sockets after the server"
    clean b.vhd
    cmp <(vdisk read b.vhd --length 4194304) part
    tried=yes
fi
[ -n "${tried:-}" ] || skip "neither a mount nor NBD can be tried here"
