#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# hash: of the content, the same in every format; zeros are not read.
. "$(dirname "$0")/../lib.sh"

raw ref.raw $((5 * 1048576 + 512))
random_bytes 1000000 1 | dd of=ref.raw bs=64K seek=2000000 oflag=seek_bytes conv=notrunc status=none
want=$(sha_of ref.raw)
quietly convert ref.raw a.vhdx
quietly convert ref.raw a.vhd
quietly convert ref.raw b.vhd --type fixed
quietly create c.vhdx --parent a.vhdx
for f in ref.raw a.vhdx a.vhd b.vhd c.vhdx; do
    same "$(vdisk hash $f)" "$want  $f" "what hash prints of $f"
done
refused none vdisk hash none
