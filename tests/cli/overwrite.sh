#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# An existing output is not replaced unless asked, and then only when the new one is whole.
. "$(dirname "$0")/../lib.sh"

raw src.raw 4M
random_bytes 100000 1 | dd of=src.raw conv=notrunc status=none
echo precious >a.vhdx
cp a.vhdx keep
refused 'a.vhdx.*exist' vdisk create a.vhdx --size 4M
refused 'a.vhdx.*exist' vdisk convert src.raw a.vhdx
cmp a.vhdx keep

# --force, but it fails: the old one stands
refused none vdisk convert none.raw a.vhdx --force
refused 'block' vdisk create a.vhdx --size 4M --block-size 3M --force
refused '.' vdisk create a.vhdx --size 4M --parent none.vhdx --force
cmp a.vhdx keep

quietly convert src.raw a.vhdx --force
holds a.vhdx src.raw

# source and destination
refused 'src.raw' vdisk convert src.raw src.raw --force
ln src.raw link.raw
refused 'raw' vdisk convert src.raw link.raw --force
quietly create kid.vhdx --parent a.vhdx
refused 'a.vhdx' vdisk convert kid.vhdx a.vhdx --force
refused 'kid.vhdx' vdisk create kid.vhdx --parent kid.vhdx --force
holds kid.vhdx src.raw
# One that is in use, or beneath a disk that is: who has it open would go on with a file that has no name.
mkfifo input
for used in kid.vhdx a.vhdx; do
    "$VDISK" write kid.vhdx --quiet <input &
    exec 5>input
    waits_for_pipe $!
    refused "$used: is not replaced: it is in use" vdisk create $used --size 4M --force
    refused "$used: is not replaced: it is in use" vdisk convert src.raw $used --force
    random_bytes 100000 1 >&5
    exec 5>&-
    wait $!
done
rm input
holds kid.vhdx src.raw
mkdir dir.vhdx
refused 'dir.vhdx' vdisk convert src.raw dir.vhdx --force
mkfifo fifo.vhdx
refused 'fifo.vhdx' vdisk convert src.raw fifo.vhdx --force
ln -s /dev/null null.vhdx
refused 'null.vhdx' vdisk convert src.raw null.vhdx --force
nothing_left
