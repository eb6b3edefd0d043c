#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# move: every format to every other with the bytes and the size, chains in three ways; what is refused leaves all as it was.
. "$(dirname "$0")/../lib.sh"

raw content 20M
quietly create a.vhdx --size 20M
scatter a.vhdx content 12 1 512
last=a.vhdx
for next in b.vhd c.raw d.vhdx e.vhdx f.vhd g.vhd; do
    vdisk move $last $next >out
    grep -Eq '^'$next': .* copied, .* requests waited [0-9.]+ ms$' out || fail "$next: $(cat out)"
    [ ! -e $last ] || fail "$last is still there"
    holds $next content
    [ $next = c.raw ] || clean $next
    last=$next
done
same "$(member g.vhd '."virtual-size"')" 20971520 "the size"
quietly create fixed.vhd --size 4M --type fixed
quietly move fixed.vhd fixed.vhdx
same "$(member fixed.vhdx .type)" fixed "the type"
mkdir sub
quietly move fixed.vhdx sub
[ -f sub/fixed.vhdx ] || fail "not in the directory"
quietly create odd.vhdx --size 8M --sector-size 4096
refused "sector" vdisk move odd.vhdx odd.vhd
quietly move odd.vhdx odd2 --format vhdx
same "$(member odd2 '."logical-sector-size"')" 4096 "the sector size"

# Chains.
quietly create base.vhdx --size 20M
raw base 20M
scatter base.vhdx base 8 2 512
quietly create mid.vhdx --parent base.vhdx
cp base top
scatter mid.vhdx top 4 3 512
quietly create top.vhdx --parent mid.vhdx
scatter top.vhdx top 6 4 512
before=$(sha_of base.vhdx)$(sha_of mid.vhdx)
refused "has a parent, so it stays a vhdx" vdisk move top.vhdx top.vhd
refused "base.vhdx: has a child, .*mid.vhdx, which would lose its parent" vdisk move base.vhdx elsewhere.vhdx
refused "mid.vhdx: has a child, .*top.vhdx, which would lose its parent" vdisk move mid.vhdx sub
[ -f base.vhdx ] && [ -f mid.vhdx ] && [ ! -e elsewhere.vhdx ] || fail "a parent was moved"
refused "one of them" vdisk move top.vhdx sub --chain --flatten
quietly move top.vhdx sub/top2.vhdx
same "$(hash_of sub/top2.vhdx --parent-dir .)" "$(sha_of top)" "the content"
same "$(vdisk info sub/top2.vhdx --chain --json --parent-dir . | jq length)" 3 links
quietly move sub/top2.vhdx top.vhdx --parent-dir .
mkdir all
touch all/base.vhdx
refused "all/base.vhdx.*exists" vdisk move top.vhdx all --chain
same "$(ls all)" base.vhdx "what is there after a refusal"
rm all/base.vhdx
quietly move top.vhdx all --chain
same "$(cd all && echo *)" "base.vhdx mid.vhdx top.vhdx" "what is there"
same "$(sha_of base.vhdx)$(sha_of mid.vhdx)" "$before" "the parents"
rm base.vhdx mid.vhdx
holds all/top.vhdx top
quietly move all/top.vhdx flat.vhd --flatten
holds flat.vhd top
clean flat.vhd

# Refused.
cp flat.vhd other.vhd
before=$(sha_of flat.vhd)
refused "same file" vdisk move flat.vhd flat.vhd
ln flat.vhd link.vhd
refused "same file" vdisk move flat.vhd link.vhd
rm link.vhd
refused "other.vhd: exists" vdisk move flat.vhd other.vhd
refused "No such file" vdisk move flat.vhd none/x.vhd
refused "No such file" vdisk move none.vhd x.vhd
refused "there is no format" vdisk move flat.vhd x.qcow2 --format qcow2
refused "not a directory|Not a directory" vdisk move flat.vhd other.vhd/x.vhd
quietly move flat.vhd x.qcow2 # a name without a format keeps it
same "$(member x.qcow2 .format)" vhd "the format"
same "$(hash_of x.qcow2)" "$(sha_of top)" "the content"

# Not faster than allowed, parents neither: but for the last MiB, which requests would wait for. What the storage shares is not
# copied.
kept_rate() { # BYTES RATE-MIB
    ! grep -q ' 0 bytes shared' out || [ "$took" -ge $((($1 - 1048576) * 100 / ($2 << 20) - 2)) ] ||
        fail "$1 bytes in $took hundredths of a second: faster than $2 MiB a second"
}
quietly create d2.raw --size 12M
put d2.raw 0 12000000 5
clocked status 0 vdisk move d2.raw d3.raw --rate-limit 16M
kept_rate 12000000 16
quietly create p.vhdx --size 12M --block-size 1M
put p.vhdx 0 8000000 6
quietly create c.vhdx --parent p.vhdx --block-size 1M
put c.vhdx 8M 4000000 7
mkdir slow
clocked status 0 vdisk move c.vhdx slow --chain --rate-limit 16M
kept_rate 12000000 16
before=$(sha_of d3.raw)
env --default-signal=INT "$VDISK" move d3.raw d4.vhdx --rate-limit 1M >out 2>err &
cut_short INT $! compgen -G '.d4.vhdx.*.tmp' >/dev/null
[ ! -e d4.vhdx ] && same "$(sha_of d3.raw)" "$before"
nothing_left
