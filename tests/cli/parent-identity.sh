#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A parent that was changed after the child was made is refused where the format can tell, with both identities.
. "$(dirname "$0")/../lib.sh"

quietly create base.vhdx --size 6M
put base.vhdx 0 1000 1
quietly create kid.vhdx --parent base.vhdx
status 0 vdisk hash kid.vhdx
printf x | quietly write base.vhdx
refused 'base.vhdx' vdisk hash kid.vhdx
grep -Eqi '[0-9a-f]{8}-[0-9a-f]{4}-.*[0-9a-f]{8}-[0-9a-f]{4}-' err || fail "both identities are not shown: $(cat err)"
refused 'base.vhdx' vdisk write kid.vhdx

# a parent opened for writing, but not written, is the same parent
quietly create base2.vhdx --size 6M
quietly create kid2.vhdx --parent base2.vhdx
print=$(sha_of base2.vhdx)
: | quietly write base2.vhdx
same "$(sha_of base2.vhdx)" "$print" "a disk opened for writing and not written"
status 0 vdisk hash kid2.vhdx
for f in vhd vhdx; do
    quietly create same.$f --size 6M
    put same.$f 0 5000 1
    print=$(sha_of same.$f)
    : | quietly write same.$f
    status 0 vdisk hash same.$f
    status 0 vdisk info same.$f
    status 0 vdisk map same.$f
    status 0 vdisk check same.$f
    same "$(sha_of same.$f)" "$print" "same.$f after reading"
done

# parents are opened read-only: a write to the child leaves them
quietly create kid3.vhdx --parent kid2.vhdx
print=$(sha_of base2.vhdx)$(sha_of kid2.vhdx)
put kid3.vhdx 0 3000000 3
same "$(sha_of base2.vhdx)$(sha_of kid2.vhdx)" "$print" "the parents after a write to the child"
chmod a-w base2.vhdx kid2.vhdx
put kid3.vhdx 100000 3000 4
