#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# With an overlay everything can be written, and nothing of it stays: neither in the image nor in $TMPDIR.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported
need jq

# mounted_twice IMAGE: two overlays over one image are asked by the files of their mounts, and each tells of itself. What
# would need a name, or change the image, is refused. Then one of them is gone, and not the other.
mounted_twice() {
    local written
    written=$(vdisk stats m/disk --json | jq .write.bytes)
    [ "$written" -ge 9000000 ] || fail "$written bytes written"
    attach "$1" n --overlay
    printf x | dd of=n/disk bs=512 conv=notrunc,fsync status=none
    same "$(vdisk stats n/disk --json | jq -r .program)" "vdisk mount"
    same "$(vdisk stats n/disk --json | jq .write.requests)" 1 "writes to the other"
    same "$(vdisk stats m/disk --json | jq .write.bytes)" "$written" "bytes written"
    same "$(vdisk info n/disk --chain --json | jq -c 'map(.type)')" '["differencing","differencing","dynamic"]'
    vdisk top m/disk --count 1 >out
    refused "$1: is beneath the disk" vdisk stats "$1"
    refused "n/disk: snapshot: not of an overlay" vdisk snapshot n/disk child."${1##*.}"
    refused "n/disk: merge: not of an overlay" vdisk merge n/disk
    refused "n/disk: move: not of an overlay" vdisk move n/disk moved."${1##*.}"
    refused "n/disk: resize: not of an overlay" vdisk resize n/disk 64M
    refused "n/disk: compact: not of an overlay" vdisk compact n/disk
    refused "n/disk: relink: not of an overlay" vdisk relink n/disk --parent p."${1##*.}"
    refused "n/disk: point: not of an overlay" vdisk point n/disk monday
    refused "n/disk: changes: not of an overlay" vdisk changes n/disk --since monday
    same "$(ls -d child.* moved.* 2>/dev/null || true)" "" "what is refused leaves"
    detach n
    same "$(find "$VDISK_RUNTIME_DIR" -type s -printf "%i\n" | sort -u | wc -l)" 1 "sockets"
}

for f in vhd vhdx; do
    quietly create p.$f --size 32M
    put p.$f 0 5000000 1
    quietly create c.$f --parent p.$f
    put c.$f 3000000 4000000 2
    before=$(cat p.$f c.$f | sha256sum) content=$(hash_of c.$f)
    attach c.$f m --overlay
    same "$(sha_of m/disk)" "$content"
    random_bytes 9000000 3 | dd of=m/disk bs=1M conv=notrunc,fsync status=none
    cmp <(random_bytes 9000000 3) <(head -c 9000000 m/disk)
    mounted_twice c.$f
    holds c.$f <(vdisk read c.$f) # others may read the image meanwhile
    [ -z "$(find . -name 'vdisk-overlay*')" ] || fail "the overlay has a name"
    if [ $f = vhd ]; then detach m; else
        kill_holder m
        detach m
    fi
    [ -z "$(find . -name 'vdisk-overlay*')" ] || fail "the overlay is left behind"
    same "$(cat p.$f c.$f | sha256sum)" "$before" "the images"
done
