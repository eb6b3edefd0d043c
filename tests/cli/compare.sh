#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# compare: 0 equal, 1 different (and where), 2 cannot tell; a longer disk is equal when the rest is zero.
. "$(dirname "$0")/../lib.sh"

raw ref.raw 5M
random_bytes 100000 1 | dd of=ref.raw conv=notrunc status=none
quietly convert ref.raw a.vhdx
quietly convert ref.raw b.vhd
status 0 vdisk compare a.vhdx b.vhd
status 0 vdisk compare a.vhdx a.vhdx
status 0 vdisk compare a.vhdx b.vhd --quiet
[ ! -s out ] && [ ! -s err ] || fail "--quiet is not quiet"
quietly create c.vhdx --from ref.raw --size 6M
status 0 vdisk compare a.vhdx c.vhdx
status 0 vdisk compare c.vhdx b.vhd

printf x | quietly write b.vhd --offset 3000001
status 1 vdisk compare a.vhdx b.vhd
grep -q 3000001 out || fail "where they differ is not said: $(cat out)"
status 1 vdisk compare b.vhd a.vhdx
printf x | quietly write c.vhdx --offset 6291455
status 1 vdisk compare a.vhdx c.vhdx
grep -q 6291455 out || fail "where they differ is not said: $(cat out)"
status 1 vdisk compare c.vhdx a.vhdx

refused_with 2 none vdisk compare a.vhdx none
refused_with 2 none vdisk compare none a.vhdx
: >empty.vhdx
refused_with 2 empty vdisk compare a.vhdx empty.vhdx --input-format vhdx
status 2 vdisk compare a.vhdx
status 2 vdisk compare a.vhdx b.vhd c.vhdx

# Sectors of two sizes: what one disk tells of a sector is a part of the other's.
quietly create p.vhd --size 6M
quietly create s.vhd --parent p.vhd
quietly create p.vhdx --size 6M --sector-size 4096
quietly create s.vhdx --parent p.vhdx
for image in s.vhd s.vhdx; do
    put $image 512 512 1
    put $image 8192 4096 2
done
status 0 timeout -k 1 60 "$VDISK" compare s.vhd s.vhdx
status 0 timeout -k 1 60 "$VDISK" compare s.vhdx s.vhd
