#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A raw disk whose guest wrote a signature stays raw; a file with a signature is never taken for raw by itself.
. "$(dirname "$0")/../lib.sh"

quietly create real.vhdx --size 8M
put real.vhdx 0 100000 1
quietly create real.vhd --size 8M --type fixed
put real.vhd 0 100000 1

for f in vhdx vhd; do
    # the guest puts a whole image into its disk
    cp real.$f guest.raw
    same "$(hash_of guest.raw --input-format raw)" "$(sha_of real.$f)" "a $f inside a raw disk"
    printf hello | quietly write guest.raw --offset 4096 --input-format raw
    same "$(dd if=guest.raw bs=1 skip=4096 count=5 status=none)" hello "a raw disk written to"
    # by name and signature together it is not clear what it is: refused for writing
    printf x >x
    rc=0
    vdisk write guest.raw <x 2>err || rc=$?
    same $rc 1 "writing to a .raw with a signature, without saying what it is"
    [ "$(wc -l <err)" -eq 1 ] && grep -q guest.raw err || fail "$(cat err)"
    # a name that says nothing, as a device's does, is not taken for more than raw either
    cp real.$f guest
    refused "guest: carries a $f signature" vdisk write guest --offset 0 </dev/null
    refused "guest: carries a $f signature" vdisk resize guest 16M
    same "$(hash_of guest)" "$(hash_of real.$f)" "$f, read without a suffix"
    cmp real.$f guest
    printf hello | quietly write guest --offset 4096 --input-format raw
    same "$(dd if=guest bs=1 skip=4096 count=5 status=none)" hello "a raw disk without a suffix written to"
    quietly convert guest.raw out.raw --input-format raw --force
    cmp guest.raw out.raw
    # said raw, opened raw, converted: the header is content
    quietly convert guest.raw out.vhdx --input-format raw --force
    same "$(hash_of out.vhdx)" "$(sha_of guest.raw)"
done

# no signature: not a VHDX, whatever its name
head -c 8388608 /dev/zero >zero.vhdx
refused zero.vhdx vdisk hash zero.vhdx --input-format vhdx
printf x >x
rc=0
vdisk write zero.vhdx <x 2>err || rc=$?
same $rc 1 "writing to a .vhdx without a signature"
refused 'real.vhdx' vdisk hash real.vhdx --input-format vhd
refused 'real.vhd' vdisk hash real.vhd --input-format vhdx
refused 'qcow2' vdisk hash real.vhd --input-format qcow2
