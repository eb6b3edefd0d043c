#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# check --repair: the plan, then the work; a dry run changes nothing; the content stays; what cannot be proved stays too.
. "$(dirname "$0")/../lib.sh"
need jq

# dent FILE OFFSET TEXT: overwrites bytes.
dent() {
    printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
# entry FILE INDEX: the BAT entry of a VHDX as its 8 bytes, octal.
entry() {
    dd if="$1" bs=1 skip=$((3145728 + 8 * $2)) count=8 status=none | od -An -to1 | tr -d '\n' | sed 's/ /\\0/g'
}
# mends FILE CODE...: the plan is these actions, a dry run does none of them, a repair all, and the content stays; again, nothing.
mends() {
    local file=$1 before content codes
    shift
    codes=$(printf '%s\n' "$@" | sort)
    before=$(sha_of "$file")
    content=$(hash_of "$file")
    "$VDISK" check "$file" --repair --dry-run --json >plan || true
    same "$(jq -r '.repair[] | select(.severity == "mend").code' plan | sort)" "$codes" "plan for $file, codes"
    same "$(jq '[.repair[] | select(.severity == "leave")] | length' plan)" 0 "$(cat plan)"
    same "$(sha_of "$file")" "$before" "$file after a dry run"
    status 0 vdisk check "$file" --repair --json
    same "$(jq -r '.mended, .result' out | tr '\n' ' ')" "true clean " "$(cat out)"
    same "$(hash_of "$file")" "$content" "content of $file after repair"
    clean "$file"
    before=$(sha_of "$file")
    status 0 vdisk check "$file" --repair --json
    same "$(jq -c '.mended, .repair' out | tr '\n' ' ')" "false [] " "$(cat out)"
    same "$(sha_of "$file")" "$before" "$file after a second repair"
}
# leaves FILE CODE...: these faults stay, each with advice, and nothing is changed.
leaves() {
    local file=$1 before
    shift
    before=$(sha_of "$file")
    status 1 vdisk check "$file" --repair --json
    same "$(jq -r '.repair[] | select(.severity == "leave").code' out | sort -u)" "$(printf '%s\n' "$@" | sort)" "$(cat out)"
    same "$(jq -r '.mended, .result' out | tr '\n' ' ')" "false faults " "$(cat out)"
    same "$(sha_of "$file")" "$before" "$file that cannot be mended"
    status 1 vdisk check "$file" --repair
    grep -q 'leave: .*: not mended' out || fail "no advice: $(cat out)"
}

for f in vhdx vhd; do
    quietly create good.$f --size 20M --block-size 1M
    for i in 0 3 5 9; do put good.$f $((i * 1048576)) 700000 "$i"; done
    clean good.$f
    status 0 vdisk check good.$f --repair
    grep -q 'clean$' out || fail "$(cat out)"
done
status 2 vdisk check good.vhdx --dry-run
refused_with 2 none vdisk check none.vhdx --repair

# VHDX: copies
fresh() {
    cp --sparse=always "good.$1" "bad.$1"
}
fresh vhdx
dent bad.vhdx 65736 x
mends bad.vhdx header-checksum
fresh vhdx
dent bad.vhdx 131072 x
dent bad.vhdx 262236 x
mends bad.vhdx header-signature region-checksum
fresh vhdx
dent bad.vhdx 196608 x
status 1 vdisk check bad.vhdx --repair --dry-run
grep -q '0x30000: mend: region-signature: ' out || fail "$(cat out)"
mends bad.vhdx region-signature

# VHDX: space that nobody owns, at the end
fresh vhdx
truncate -s +3M bad.vhdx
random_bytes 1000000 7 | dd of=bad.vhdx bs=1M seek=$(($(size_of bad.vhdx) / 1048576 - 2)) conv=notrunc status=none
mends bad.vhdx leak
same "$(size_of bad.vhdx)" "$(size_of good.vhdx)" "size after the leak was cut off"

# restored CODE: bad.vhdx, in which something of the BAT is lost, is good.vhdx again.
restored() {
    status 0 vdisk check bad.vhdx --repair
    grep -q "mend: $1: " out || fail "$(cat out)"
    same "$(hash_of bad.vhdx)" "$(hash_of good.vhdx)" "content after $1"
    same "$(size_of bad.vhdx)" "$(size_of good.vhdx)" "size after $1"
    clean bad.vhdx
}
# forgetful: bad.vhdx has a log that holds nothing.
forgetful() {
    fresh vhdx
    dd if=/dev/zero of=bad.vhdx bs=1M seek=1 count=1 conv=notrunc status=none
}

# VHDX: reserved bits, where every MiB has its owner; a page of the BAT that the log still has
forgetful
dent bad.vhdx $((3145728 + 8 * 2)) '\0010'
restored bat-reserved
fresh vhdx
head -c 4096 /dev/zero | dd of=bad.vhdx bs=4096 seek=768 conv=notrunc status=none
[ "$(hash_of bad.vhdx)" != "$(hash_of good.vhdx)" ] || fail "the BAT was not lost"
restored bat-lost
fresh vhdx
dent bad.vhdx $((3145728 + 8 * 3)) '\0006\0000\0000\0000\0001\0000\0000\0000'
restored bat-lost

# VHDX: what stays. One entry gone is no lost page: its block is not given away.
forgetful
dent bad.vhdx $((3145728 + 8 * 3)) "$(entry bad.vhdx 0)"
leaves bad.vhdx bat-duplicate leak
forgetful
dent bad.vhdx $((3145728 + 8 * 3)) '\0006\0000\0000\0000\0001\0000\0000\0000'
leaves bad.vhdx bat-range leak
forgetful
dent bad.vhdx $((3145728 + 8 * 3)) '\0006\0000\0000\0000\0000\0000\0000\0000'
leaves bad.vhdx bat-overlap leak
forgetful
dent bad.vhdx $((3145728 + 8 * 2)) '\0010'
truncate -s +1M bad.vhdx
leaves bad.vhdx bat-reserved leak
fresh vhdx
dent bad.vhdx $((3145728 + 8 * 3)) '\0002\0000\0000\0000\0000\0000\0000\0000'
before=$(sha_of bad.vhdx)
status 0 vdisk check bad.vhdx --repair --json
same "$(jq -r '.repair[] | .severity + " " + .code' out)" "leave leak" "$(cat out)"
same "$(sha_of bad.vhdx)" "$before" "a leak that the log knows"

# VHD: footers
end=$(($(size_of good.vhd) - 512))
fresh vhd
dent bad.vhd 0 x
mends bad.vhd footer-copy-missing
same "$(sha_of bad.vhd)" "$(sha_of good.vhd)" "the copy that was mended"
fresh vhd
dent bad.vhd $((end + 100)) x
mends bad.vhd footer-checksum
same "$(sha_of bad.vhd)" "$(sha_of good.vhd)" "the footer that was mended"
fresh vhd
truncate -s -512 bad.vhd
mends bad.vhd footer-missing
same "$(sha_of bad.vhd)" "$(sha_of good.vhd)" "the footer that was written anew"
fresh vhd
dent bad.vhd 0 x
dent bad.vhd $((end + 100)) x
leaves bad.vhd footer-checksum

# VHD: space
bat=$((0x$(dd if=good.vhd bs=1 skip=528 count=8 status=none | od -An -tx1 | tr -d ' \n')))
fresh vhd
dent bad.vhd $((bat + 4 * 3)) '\0377\0377\0377\0377'
mends bad.vhd gap
fresh vhd
dent bad.vhd $((bat + 4 * 9)) '\0377\0377\0377\0377'
mends bad.vhd gap
[ "$(size_of bad.vhd)" -lt "$(size_of good.vhd)" ] || fail "the end was not cut off"
quietly create empty.vhd --size 20M --block-size 1M
put empty.vhd 3000000 4096 1
sector=$((0x$(dd if=empty.vhd bs=1 skip=$((bat + 4 * 2)) count=4 status=none | od -An -tx1 | tr -d ' \n')))
dd if=/dev/zero of=empty.vhd bs=512 seek=$sector count=2049 conv=notrunc status=none
mends empty.vhd block-empty

# VHD: what stays
fresh vhd
dd if=bad.vhd bs=1 skip=$bat count=4 status=none | dd of=bad.vhd bs=1 seek=$((bat + 12)) conv=notrunc status=none
leaves bad.vhd bat-duplicate gap
fresh vhd
dent bad.vhd $((bat + 4 * 3)) '\0001\0000\0000\0000'
leaves bad.vhd bat-past-end gap

# a file that another process has open for writing is not repaired
fresh vhdx
dent bad.vhdx 65736 x
mkfifo pipe
"$VDISK" write bad.vhdx --quiet <pipe &
exec 9>pipe
waits_for_pipe $!
status 2 vdisk check bad.vhdx --repair
exec 9>&-
wait
