#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# create --from: the content of a raw file or an image, into any format; a larger size leaves zeros behind.
. "$(dirname "$0")/../lib.sh"

raw src.raw $((9 * 1048576 + 512))
random_bytes 3000000 1 | dd of=src.raw bs=64K seek=1000000 oflag=seek_bytes conv=notrunc status=none
for target in a.vhdx b.vhd; do
    quietly create "$target" --from src.raw
    holds "$target" src.raw
    clean "$target"
done
quietly create c.vhd --type fixed --from a.vhdx
holds c.vhd src.raw
quietly create d.vhdx --block-size 1M --sector-size 512 --from c.vhd
holds d.vhdx src.raw

cp src.raw larger.raw
truncate -s 12M larger.raw
quietly create e.vhdx --from src.raw --size 12M
holds e.vhdx larger.raw
refused 'src.raw' vdisk create f.vhdx --from src.raw --size 1M
[ ! -e f.vhdx ] || fail "made all the same"
refused 'src.raw' vdisk create src.raw --from src.raw --format vhdx --force
holds a.vhdx src.raw
refused 'none' vdisk create f.vhdx --from none.raw

# of a child: what it shows
quietly create kid.vhdx --parent a.vhdx
put kid.vhdx 5000 100000 2 src.raw
quietly create g.vhd --from kid.vhdx
holds g.vhd src.raw
nothing_left
