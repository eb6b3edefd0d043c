#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# info: text and JSON, one link or the chain; a parent is not needed.
. "$(dirname "$0")/../lib.sh"
need jq

quietly create base.vhdx --size 10M
quietly create kid.vhdx --parent base.vhdx
quietly create grandkid.vhdx --parent kid.vhdx
quietly create base.vhd --size 10M
quietly create kid.vhd --parent base.vhd
for f in base.vhdx kid.vhdx base.vhd kid.vhd; do
    vdisk info $f >out
    head -n 1 out | grep -qx $f || fail "the file is not the first line: $(head -n 1 out)"
    grep -Eq 'virtual-size +10 MiB \(10485760 bytes\)' out || fail "no size: $(cat out)"
    vdisk info $f --json >out
    jq -e '."virtual-size" == 10485760 and ."logical-sector-size" == 512 and .depth == 0 and (.headers | length) > 0' \
        out >/dev/null || fail "$(cat out)"
done
vdisk info grandkid.vhdx --chain --json >out
same "$(jq -r '[.[].file] | map(split("/")[-1]) | join(" ")' out)" "grandkid.vhdx kid.vhdx base.vhdx" "the chain"
same "$(jq -r '[.[].type] | join(" ")' out)" "differencing differencing dynamic" "the chain's types"
same "$(jq -r '[.[].depth] | join(" ")' out)" "0 1 2" "the chain's depths"
vdisk info kid.vhd --chain >out
same "$(grep -c virtual-size out)" 2 "links in the text"
rm base.vhdx
status 0 vdisk info kid.vhdx
refused base.vhdx vdisk info kid.vhdx --chain
refused none vdisk info none
