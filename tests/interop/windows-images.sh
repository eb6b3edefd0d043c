#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Every image that Windows and others wrote: the content is the manifest's, check finds no fault, the file is not touched.
# Of 127 GiB of nothing the map is asked: two minutes of SHA-256 would tell nothing of us. IMAGES_WHOLE=1 hashes them too.
. "$(dirname "$0")/../lib.sh"
need zstd jq
[ -f "$IMAGES/MANIFEST.tsv" ] || skip "no real images at $IMAGES"

column() { # NAME: its number
    head -n 1 "$IMAGES/MANIFEST.tsv" | tr '\t' '\n' | grep -nx "$1" | cut -d: -f1
}
n=0
for name in $(tail -n +2 "$IMAGES/MANIFEST.tsv" | cut -f1); do
    fact() {
        awk -F'\t' -v name="$name" -v column="$(column "$1")" '$1 == name { print $column }' "$IMAGES/MANIFEST.tsv"
    }
    image "$name"
    parent=$(fact parent)
    [ "$parent" = - ] || [ -f "$parent" ] || image "$parent"
    chmod a-w "$name"
    same "$(sha_of "$name")" "$(fact sha256_file)" "$name as it was"

    if [ "$(fact virtual_size)" -gt $((16 << 30)) ] && [ -z "${IMAGES_WHOLE:-}" ]; then
        status 0 vdisk map "$name" --json
        same "$(jq -r 'map(.kind) | unique | join(" ")' out)" zero "$name: content"
    else
        same "$(hash_of "$name")" "$(fact sha256_content)" "$name: content"
    fi
    same "$(member "$name" '[."virtual-size", .type] | join(" ")')" "$(fact virtual_size) $(fact kind)" "$name: info"
    same "$(member "$name" '."logical-sector-size"')" "$(fact logical_sector)" "$name: sector"
    [ "$(fact block_size)" = - ] || same "$(member "$name" '."block-size"')" "$(fact block_size)" "$name: block size"
    status 0 vdisk info "$name" --chain
    status 0 vdisk check "$name"
    status 0 vdisk map "$name" --json
    same "$(jq 'map(.length) | add' out)" "$(fact virtual_size)" "$name: map"
    if [ "$(fact virtual_size)" -le $((64 << 20)) ]; then
        same "$(vdisk read "$name" | sha256sum | cut -d' ' -f1)" "$(fact sha256_content)" "$name: read"
    fi

    same "$(sha_of "$name")" "$(fact sha256_file)" "$name after reading"
    n=$((n + 1))
done
echo "$n images"
[ $n -ge 22 ] || fail "only $n images"
