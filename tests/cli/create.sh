#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# create: every format and type, with the sizes asked for; what is made is empty and clean.
. "$(dirname "$0")/../lib.sh"
need jq

# made FILE FORMAT TYPE SIZE BLOCK SECTOR: info says so, check is content, and everything reads as zeros.
made() {
    local facts
    facts=$(member "$1" '[.format, .type, ."virtual-size", (."block-size" // 0), ."logical-sector-size"] | join(" ")')
    same "$facts" "$2 $3 $4 $5 $6" "$1"
    clean "$1"
    raw zeros "$4"
    holds "$1" zeros
}

M=$((1 << 20))
quietly create a.vhdx --size 100M
made a.vhdx vhdx dynamic $((100 * M)) "$(member a.vhdx '."block-size"')" 512
quietly create b.vhdx --size 20M --block-size 1M --sector-size 4096
made b.vhdx vhdx dynamic $((20 * M)) $M 4096
quietly create c.vhdx --size 20M --type fixed --block-size 2M
made c.vhdx vhdx fixed $((20 * M)) $((2 * M)) 512
[ "$(used_of c.vhdx)" -ge $((20 * M)) ] || fail "a fixed disk has its space reserved"
quietly create d.vhd --size 100M
made d.vhd vhd dynamic $((100 * M)) $((2 * M)) 512
quietly create e.vhd --size 20M --block-size 512K
made e.vhd vhd dynamic $((20 * M)) $((512 * 1024)) 512
quietly create f.vhd --size 20M --type fixed
made f.vhd vhd fixed $((20 * M)) 0 512
same "$(size_of f.vhd)" $((20 * M + 512)) "the size of a fixed VHD"
quietly create g.raw --size 20M
made g.raw raw dynamic $((20 * M)) 0 512
quietly create h.img --size 1.5M
made h.img raw dynamic $((3 * M / 2)) 0 512
quietly create i --format vhdx --size 4M --block-size 256M
made i vhdx dynamic $((4 * M)) $((256 * M)) 512

quietly create a2.vhdx --parent a.vhdx
made a2.vhdx vhdx differencing $((100 * M)) "$(member a2.vhdx '."block-size"')" 512
quietly create b2.avhdx --parent b.vhdx --block-size 4M --type differencing
made b2.avhdx vhdx differencing $((20 * M)) $((4 * M)) 4096
quietly create d2.vhd --parent d.vhd
made d2.vhd vhd differencing $((100 * M)) $((2 * M)) 512
quietly create f2.avhd --parent f.vhd --block-size 512K
made f2.avhd vhd differencing $((20 * M)) $((512 * 1024)) 512
quietly create a3.vhdx --parent a2.vhdx --size 200M
made a3.vhdx vhdx differencing $((200 * M)) "$(member a3.vhdx '."block-size"')" 512

# The whole size in words, and exactly
for pair in 127G:136365211648 1.5T:1649267441664 512K:524288 1048576:1048576 0x100000:1048576 1MiB:1048576; do
    quietly create size.vhdx --size "${pair%:*}" --force
    same "$(member size.vhdx '."virtual-size"')" "${pair#*:}" "--size ${pair%:*}"
done
nothing_left
