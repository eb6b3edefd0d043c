#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# convert: a chain is flattened, or kept with --type differencing.
. "$(dirname "$0")/../lib.sh"
need jq

for f in vhdx vhd; do
    raw ref.raw $((12 << 20))
    cp ref.raw empty.raw
    quietly create base.$f --from ref.raw
    put base.$f 100000 3000000 1 ref.raw
    cp ref.raw base.raw
    quietly create kid.$f --parent base.$f
    put kid.$f 2000000 1500000 2 ref.raw
    quietly create grandkid.$f --parent kid.$f
    put grandkid.$f 3000000 777 3 ref.raw
    holds grandkid.$f ref.raw
    base=$(sha_of base.$f)

    quietly convert grandkid.$f flat.vhdx --force
    holds flat.vhdx ref.raw
    same "$(member flat.vhdx .type)" dynamic
    quietly convert grandkid.$f flat.vhd --type fixed --force
    holds flat.vhd ref.raw

    quietly convert grandkid.$f kept.$f --type differencing
    same "$(member kept.$f .type)" differencing
    holds kept.$f ref.raw
    sound kept.$f
    [ "$(used_of kept.$f)" -le $((1 << 20)) ] || [ $f = vhdx ] || fail "kept.$f copied its parent: $(used_of kept.$f)"
    same "$(sha_of base.$f)" "$base" "base.$f after all this"

    # only what this link holds: without the parents' bytes, the rest is not in the file
    status 0 vdisk map kept.$f --alone --json
    own=$(jq 'map(select(.kind == "data").length) | add' out)
    [ "$own" -le 8192 ] || fail "kept.$f holds $own bytes of its own"
    refused 'base.'"$f"'|not a differencing' vdisk convert base.$f x.$f --type differencing
    rm -f ./*.vhd ./*.vhdx
done
nothing_left
