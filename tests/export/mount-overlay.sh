#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# With an overlay everything can be written, and nothing of it stays: neither in the image nor in $TMPDIR.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported

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
    holds c.$f <(vdisk read c.$f) # others may read the image meanwhile
    [ -z "$(find . -name 'vdisk-overlay*')" ] || fail "the overlay has a name"
    if [ $f = vhd ]; then detach m; else
        kill -9 "$(holder "$PWD/m")"
        detach m
    fi
    [ -z "$(find . -name 'vdisk-overlay*')" ] || fail "the overlay is left behind"
    same "$(cat p.$f c.$f | sha256sum)" "$before" "the images"
done
