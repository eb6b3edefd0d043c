#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# bench: its JSON holds what was asked for; it writes only when told to, and what it leaves is sound. Never how fast.
. "$(dirname "$0")/../lib.sh"

raw ref.raw 20M
quietly create a.vhdx --size 20M --block-size 1M
put a.vhdx 1000000 3000000 1 ref.raw
before=$(sha_of a.vhdx)

status 0 vdisk bench a.vhdx --number-ios 500 --iodepth 8 --threads 2 --json
jq -e '.iops > 0 and .bytes_per_second > 0 and .reads == 1000 and .writes == 0 and .threads == 2 and .iodepth == 8 and
       .latency_ns.min <= .latency_ns.p50 and .latency_ns.p50 <= .latency_ns.p99 and .latency_ns.p99 <= .latency_ns.max and
       (.latency_ns | has("mean") and has("p90") and has("p99.9") and has("p99.99"))' out >/dev/null || fail "$(cat out)"
status 0 vdisk bench a.vhdx --rw read --bs 64k --number-ios 10
grep -q 'requests/s' out || fail "$(cat out)"
status 0 vdisk bench a.vhdx --runtime 1 --json
same "$(sha_of a.vhdx)" "$before" "the file, after reading"

# Every pattern, backend and depth; flushes come when they must.
for backend in auto io_uring libaio threads; do
    for rw in randwrite write randrw rw; do
        status 0 vdisk bench a.vhdx --rw $rw --backend $backend --number-ios 100 --iodepth 4 --fsync 16 --json
        writes=$(jq .writes out)
        same "$(jq '.reads + .writes' out)" 100 "requests"
        jq -e '.flushes <= .writes / 16 and .flushes >= .writes / 16 - 1' out >/dev/null || fail "flushes: $(cat out)"
        case $rw in randwrite | write) same "$writes" 100 "$rw: writes" ;; esac
    done
done
clean a.vhdx

# A part of the disk only; the step.
quietly create b.vhd --size 20M
status 0 vdisk bench b.vhd --rw write --offset 4M --size 8M --step 2M --number-ios 4
same "$(vdisk map b.vhd --json | jq 'map(select(.kind == "data").offset) | min')" $((4 << 20)) "the first byte written"
same "$(vdisk map b.vhd --json | jq 'map(select(.kind == "data").length) | add')" $((8 << 20)) "blocks written"
status 0 vdisk bench b.vhd --rw randrw --rwmixread 100 --number-ios 10 --json
same "$(jq .writes out)" 0 "writes"

# Past the page cache, where that is possible; the same bytes then.
if quietly bench a.vhdx --direct --number-ios 1 >/dev/null 2>&1; then
    status 0 vdisk bench a.vhdx --direct --rw randwrite --bs 512 --number-ios 200 --iodepth 8 --fsync 10 --json
    same "$(jq .direct out)" true "direct"
    clean a.vhdx
fi

refused 'randread' vdisk bench a.vhdx --rw sideways
refused 'io_uring' vdisk bench a.vhdx --backend smoke
refused 'multiples' vdisk bench a.vhdx --bs 1000
refused 'iodepth' vdisk bench a.vhdx --iodepth 0
refused 'beyond' vdisk bench a.vhdx --offset 10M --size 11M
refused 'small' vdisk bench a.vhdx --size 4096 --threads 2
nothing_left
