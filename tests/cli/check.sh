#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# check: 0 clean, 1 faults, 2 cannot read; text and JSON agree; the file is not changed.
. "$(dirname "$0")/../lib.sh"
need jq

for f in vhdx vhd; do
    quietly create a.$f --size 20M
    put a.$f 0 3000000 1
    clean a.$f
    cp a.$f bad.$f
done
# a byte in each region table, which has a checksum
for at in 196700 262236; do printf x | dd of=bad.vhdx bs=1 seek=$at conv=notrunc status=none; done
printf x | dd of=bad.vhd bs=1 seek=1000 conv=notrunc status=none
for f in vhdx vhd; do
    print=$(sha_of bad.$f)
    status 1 vdisk check bad.$f
    grep -q "bad.$f" out || fail "the file is not named: $(cat out)"
    grep -q 0x out || fail "no offset: $(cat out)"
    status 1 vdisk check bad.$f --json
    [ "$(jq -r '.result' out)" = faults ] || fail "$(cat out)"
    [ "$(jq '.faults' out)" -ge 1 ] || fail "$(cat out)"
    jq -e '.list[0] | .code and .text and (.offset >= 0) and .severity == "fault"' out >/dev/null || fail "$(cat out)"
    same "$(sha_of bad.$f)" "$print" "bad.$f after check"
done
# A file larger than any disk needs, on a file system that can have it: what would be its map is not made.
vast=$(mktemp /dev/shm/vdisk-vast.XXXXXX)
if cp a.vhdx "$vast" && truncate -s 300T "$vast"; then
    ran=0
    "$VDISK" check "$vast" >out 2>&1 || ran=$?
    rm -f "$vast"
    same "$ran" 1 "the status of a file of 300 TiB"
    grep -q ': file-size: ' out || fail "$(cat out)"
fi
rm -f "$vast"
refused_with 2 none vdisk check none.vhdx
mkdir dir.vhdx
refused_with 2 dir.vhdx vdisk check dir.vhdx
: >empty
status 1 vdisk check empty --input-format vhdx
status 2 vdisk check
