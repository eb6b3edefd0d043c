#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# create: what cannot be made is refused in one line, and nothing is left.
. "$(dirname "$0")/../lib.sh"

quietly create p.vhdx --size 8M
quietly create p.vhd --size 8M
quietly create p4.vhdx --size 8M --sector-size 4096
mkdir keep
mv p.vhdx p.vhd p4.vhdx keep

no() {
    refused "$1" vdisk create "${@:2}"
    [ ! -e x.vhdx ] && [ ! -e x.vhd ] && [ ! -e x.xyz ] && [ ! -e x.raw ] || fail "made all the same: ${*:2}"
}

no 'size' x.vhdx
no 'size' x.vhdx --size 0
no 'size' x.vhdx --size 1
no 'size' x.vhdx --size 1000
no 'block' x.vhdx --size 1M --block-size 1K
no 'size' x.vhdx --size -5
no 'size' x.vhdx --size 5X
no 'size' x.vhdx --size 1.0001K
no '20E' x.vhdx --size 20E
no 'size' x.vhdx --size 64.5T
no '64' x.vhdx --size 65T
no '2040' x.vhd --size 2041G
no '2040' x.vhd --size 2190433321472
no 'block' x.vhdx --size 8M --block-size 3M
no 'block' x.vhdx --size 8M --block-size 512K
no 'block' x.vhdx --size 8M --block-size 512M
no 'block' x.vhdx --size 8M --block-size 1
no 'block' x.vhd --size 8M --block-size 3M
no 'block' x.vhd --size 8M --block-size 8G
no 'sector' x.vhdx --size 8M --sector-size 513
no 'sector' x.vhdx --size 8M --sector-size 1024
no 'sector' x.vhd --size 8M --sector-size 4096
no 'sector' x.vhdx --parent keep/p.vhdx --sector-size 4096
no 'type|sparse' x.vhdx --size 8M --type sparse
no 'format|qcow2' x.vhdx --size 8M --format qcow2
no 'format|suffix' x.xyz --size 8M
no 'parent' x.vhdx --size 8M --type differencing
no 'parent|differencing' x.vhdx --parent keep/p.vhdx --type fixed
no 'vhd' x.vhdx --parent keep/p.vhd
no 'vhd' x.vhd --parent keep/p.vhdx
no 'raw' x.raw --parent keep/p.vhdx
no 'none.vhdx' x.vhdx --parent keep/none.vhdx
no 'none/x.vhdx|none' none/x.vhdx --size 8M
no 'parent' x.vhdx --parent keep/p.vhdx --from keep/p.vhd
no 'azure' x.vhdx --size 8M --azure --format vhdx
nothing_left
