#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# make bench: ours against qemu-img, fio, cp and other exports, in turns: each round runs every contestant of a work once,
# one after the other, and gives one ratio; what is printed is the median of the rounds' ratios and the smallest and the
# largest.
#
# What is in $OUT afterwards: samples.tsv (all), table.tsv and table.md (ratios and goals), counts.tsv (system calls and
# memory), *.svg (plots).
#
#   ROUNDS   5      rounds of each work                DISK    a directory on the disk (O_DIRECT)
#   SECONDS_EACH 2  of a timed run                     MEMORY  a directory on tmpfs
#   SIZE     1G     of the disks                       ONLY    works, by part of their names: "convert threads"
#   REFLINK  10G    of the disk that is reflinked    FIXED   100G, of the fixed disk that is made there
set -euo pipefail

SRC=$(cd "$(dirname "$0")/.." && pwd)
BUILD=$(realpath "${BUILD:-$SRC/build}")
VDISK=$BUILD/vdisk
OUT=${OUT:-$BUILD/bench}
DISK=${DISK:-$OUT}
MEMORY=${MEMORY:-/dev/shm}
ROUNDS=${ROUNDS:-5}
SECONDS_EACH=${SECONDS_EACH:-2}
SIZE=${SIZE:-1G}
REFLINK=${REFLINK:-10G}
ONLY=${ONLY:-}
BYTES=$(numfmt --from=iec "$SIZE")

for program in qemu-img fio jq gnuplot strace numfmt /usr/bin/time; do
    command -v "$program" >/dev/null || { echo "bench: $program is not installed (make deps)" >&2; exit 1; }
done
mkdir -p "$OUT"
disk=$(mktemp -d "$DISK/bench.XXXXXX") memory=$(mktemp -d "$MEMORY/bench.XXXXXX") mounted=
undo=() # commands
cleanup() {
    local command
    for command in "${undo[@]}"; do $command || true; done
    [ -z "$mounted" ] || umount "$mounted" || umount -l "$mounted"
    rm -rf "$disk" "$memory"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
[ -n "$ONLY" ] || rm -f "$OUT"/*.tsv
touch "$OUT/samples.tsv" "$OUT/counts.tsv"

# ---- Measuring ----

wanted() {
    local part
    [ -n "$ONLY" ] || return 0
    for part in $ONLY; do
        case $1 in *"$part"*) return 0 ;; esac
    done
    return 1
}

# work NAME CONTESTANT...: runs each function, which prints how fast it was (more is better), ROUNDS times in turns.
work() {
    local name=$1 round contestant value
    shift
    wanted "$name" || return 0
    sed -i "/^$(printf '%s' "$name" | sed 's/[][\.*^$/]/\\&/g')\t/d" "$OUT/samples.tsv"
    for ((round = 1; round <= ROUNDS; round++)); do
        for contestant in "$@"; do
            value=$("${contestant//-/_}") || { echo "bench: $name: $contestant failed" >&2; return 0; }
            printf '%s\t%s\t%s\t%s\n' "$name" "$round" "$contestant" "$value" >>"$OUT/samples.tsv"
        done
    done
    printf 'bench: %s\n' "$name" >&2
}

# count NAME VALUE UNIT: something that does not depend on the machine's mood.
count() {
    sed -i "/^$1\t/d" "$OUT/counts.tsv"
    printf '%s\t%s\t%s\n' "$1" "$2" "$3" | tee -a "$OUT/counts.tsv" >&2
}

# per_second COMMAND...: how often it could be run in a second.
per_second() {
    local began=$EPOCHREALTIME
    "$@" >/dev/null 2>&1 || return 1
    awk -v began="$began" -v ended="$EPOCHREALTIME" 'BEGIN { printf "%.4f", 1 / (ended - began) }'
}

# ours FILE OPTION...
ours() {
    "$VDISK" bench "$@" --json | jq .iops
}

# qemu FILE FORMAT COUNT DEPTH OPTION...: qemu-img bench has no random offsets; a stride that is no divisor of the disk
# scatters its requests over all of it.
qemu() {
    local file=$1 format=$2 requests=$3 depth=$4
    shift 4
    qemu-img bench -f "$format" -c "$requests" -d "$depth" -s 4096 "$@" "$file" |
        awk -v n="$requests" '/completed/ { printf "%.1f", n / $4 }'
}

fio_() {
    fio --name=x --bs=4k --norandommap --randrepeat=0 --thread --group_reporting --time_based --runtime="$SECONDS_EACH" --size="$SIZE" \
        --output-format=json "$@" | sed -n '/^{/,$p' | jq '.jobs[0] | .read.iops + .write.iops'
}

# fill FILE [--direct]: the whole disk, with bytes that are not zero. Direct: nothing of it stays in the page cache, which
# direct requests would have to clear.
fill() {
    "$VDISK" bench "$@" --rw write --bs 1M --iodepth 4 --number-ios $((BYTES / 1048576)) >/dev/null
}

# ---- Random requests ----

SCATTER=$((4096 * 7919))

random_memory() {
    local format driver
    wanted random || wanted threads || return 0
    "$VDISK" create "$memory/f.raw" --type fixed --size "$SIZE" --quiet && fill "$memory/f.raw"
    ours_threads_1() { ours "$memory/o.vhdx" --iodepth 32 --runtime "$SECONDS_EACH"; }
    ours_threads_2() { ours "$memory/o.vhdx" --iodepth 32 --threads 2 --runtime "$SECONDS_EACH"; }
    ours_32() { ours "$memory/o.$format" --iodepth 32 --runtime "$SECONDS_EACH"; }
    ours_1() { ours "$memory/o.$format" --runtime "$SECONDS_EACH"; }
    qemu_32() { qemu "$memory/q.$format" "$driver" $((SECONDS_EACH * 80000)) 32 -S $SCATTER -i io_uring; }
    qemu_1() { qemu "$memory/q.$format" "$driver" $((SECONDS_EACH * 20000)) 1 -S $SCATTER -i io_uring; }
    fio_32() { fio_ --filename="$memory/f.raw" --rw=randread --ioengine=io_uring --iodepth=32; }
    fio_threads_2() { fio_ --filename="$memory/f.raw" --rw=randread --ioengine=psync --numjobs=2; }
    fio_1() { fio_ --filename="$memory/f.raw" --rw=randread --ioengine=psync; }
    for format in vhdx vhd; do
        driver=$format
        [ $format = vhdx ] || driver=vpc
        "$VDISK" create "$memory/o.$format" --size "$SIZE" --quiet && fill "$memory/o.$format"
        cp "$memory/o.$format" "$memory/q.$format"
        work "random read, depth 32, tmpfs, $format" ours-32 qemu-32 fio-32
        work "random read, depth 1, tmpfs, $format" ours-1 qemu-1 fio-1
        [ $format = vhd ] || work "random read, threads, tmpfs, $format" ours-threads-2 ours-threads-1 fio-threads-2 fio-1
        rm -f "$memory"/[oq].*
    done
    rm -f "$memory"/*
}

# For the plot of requests a second by depth.
sweep() {
    local depth
    wanted sweep || return 0
    "$VDISK" create "$memory/f.raw" --type fixed --size "$SIZE" --quiet && fill "$memory/f.raw"
    "$VDISK" create "$memory/o.vhdx" --size "$SIZE" --quiet && fill "$memory/o.vhdx"
    cp "$memory/o.vhdx" "$memory/q.vhdx"
    sweep_ours() { ours "$memory/o.vhdx" --iodepth "$depth" --runtime 1; }
    sweep_qemu() { qemu "$memory/q.vhdx" vhdx 40000 "$depth" -S $SCATTER -i io_uring; }
    sweep_fio() { fio_ --filename="$memory/f.raw" --rw=randread --ioengine=io_uring --iodepth="$depth"; }
    for depth in 1 2 4 8 16 32 64; do
        ROUNDS=$((ROUNDS < 3 ? ROUNDS : 3)) work "sweep $depth" sweep-ours sweep-qemu sweep-fio
    done
    rm -f "$memory"/*
}

random_disk() {
    local format rw
    wanted direct || return 0
    "$VDISK" create "$disk/f.raw" --type fixed --size "$SIZE" --quiet && fill "$disk/f.raw" --direct
    ours_direct() { ours "$disk/o.$format" --rw "$rw" --iodepth 32 --direct --ramp-time 1 --runtime "$SECONDS_EACH"; }
    fio_direct() { fio_ --filename="$disk/f.raw" --rw="$rw" --ioengine=io_uring --iodepth=32 --direct=1 --ramp_time=1; }
    for format in vhdx vhd; do
        "$VDISK" create "$disk/o.$format" --size "$SIZE" --quiet && fill "$disk/o.$format" --direct
        for rw in randread randwrite; do
            work "$rw, depth 32, direct, $format" ours-direct fio-direct
        done
        rm -f "$disk"/o.*
    done
    rm -f "$disk"/f.*
}

# Five links, each of which holds parts of every block of the disk.
chain() {
    local format rw link
    wanted chain || return 0
    ours_one() { ours "$disk/one.$format" --rw "$rw" --iodepth 32 --direct --ramp-time 1 --runtime "$SECONDS_EACH"; }
    ours_chain() { ours "$disk/5.$format" --rw "$rw" --iodepth 32 --direct --ramp-time 1 --runtime "$SECONDS_EACH"; }
    for format in vhdx vhd; do
        "$VDISK" create "$disk/1.$format" --size "$SIZE" --quiet && fill "$disk/1.$format" --direct
        cp --sparse=never "$disk/1.$format" "$disk/one.$format"
        fill "$disk/one.$format" --direct
        for link in 2 3 4 5; do
            "$VDISK" create "$disk/$link.$format" --parent "$disk/$((link - 1)).$format" --quiet
            "$VDISK" bench "$disk/$link.$format" --rw randwrite --bs 64k --iodepth 8 --seed $link \
                --number-ios $((BYTES / 65536 / 5 / 8)) >/dev/null
        done
        sync -f "$disk"
        rw=randread
        work "chain of 5, randread, depth 32, direct, $format" ours-chain ours-one
        rw=randwrite
        work "chain of 5, randwrite to new space, depth 32, direct, $format" ours-chain ours-one
        fill "$disk/5.$format" --direct
        sync -f "$disk"
        work "chain of 5, randwrite, depth 32, direct, $format" ours-chain ours-one
        rm -f "$disk"/*."$format"
    done
}

# ---- First writes ----

FIRST=512

first_writes() {
    local format driver
    wanted first || return 0
    first_create() { # FILE
        rm -f "$1"
        if [ $format = vhdx ]; then
            "$VDISK" create "$1" --size 4G --block-size 1M --quiet
        else
            "$VDISK" create "$1" --size 4G --quiet
        fi
    }
    ours_first() {
        first_create "$disk/o.$format"
        ours "$disk/o.$format" --rw write --step 2M --iodepth 32 --number-ios $FIRST --fsync 64
    }
    qemu_first() {
        first_create "$disk/q.$format"
        qemu "$disk/q.$format" "$driver" $FIRST 32 -w -S 2M --flush-interval=64 -t writeback
    }
    syncs() { # COMMAND...: its syncs
        strace -f -c -o "$disk/strace" -e trace=fsync,fdatasync,sync_file_range "$@" >/dev/null
        awk '$NF ~ /sync/ { n += $4 } END { print n + 0 }' "$disk/strace"
    }
    for format in vhdx vhd; do
        driver=$format
        [ $format = vhdx ] || driver=vpc
        work "first writes, flush every 64, $format" ours-first qemu-first
        first_create "$disk/o.$format"
        first_create "$disk/q.$format"
        count "first writes, $format, ours: syncs" "$(syncs "$VDISK" bench "$disk/o.$format" --rw write --step 2M \
            --iodepth 32 --number-ios $FIRST --fsync 64)" "in $FIRST writes"
        count "first writes, $format, qemu: syncs" "$(syncs qemu-img bench -f $driver -c $FIRST -d 32 -s 4096 -w -S 2M \
            --flush-interval=64 "$disk/q.$format")" "in $FIRST writes"
        rm -f "$disk"/*
    done
}

# ---- Convert: until the output is durable, for all; the source is in the page cache ----

convert() {
    local where directory format driver
    wanted convert || return 0
    durable() { # FILE COMMAND...
        local file=$1
        shift
        "$@" && sync "$file"
    }
    new() { rm -f "$directory"/new.*; sync -f "$directory"; }
    ours_in() { new; per_second durable "$directory/new.$format" "$VDISK" convert "$directory/s.raw" "$directory/new.$format"; }
    qemu_in() { new; per_second durable "$directory/new.$format" qemu-img convert -f raw -O "$driver" "$directory/s.raw" "$directory/new.$format"; }
    cp_in() { new; per_second durable "$directory/new.raw" cp "$directory/s.raw" "$directory/new.raw"; }
    ours_out() { new; per_second durable "$directory/new.raw" "$VDISK" convert "$directory/s.$format" "$directory/new.raw"; }
    qemu_out() { new; per_second durable "$directory/new.raw" qemu-img convert -f "$driver" -O raw "$directory/s.$format" "$directory/new.raw"; }
    cp_out() { new; per_second durable "$directory/new.$format" cp "$directory/s.$format" "$directory/new.$format"; }
    for where in tmpfs disk; do
        directory=$disk
        [ $where = disk ] || directory=$memory
        "$VDISK" create "$directory/s.raw" --type fixed --size "$SIZE" --quiet && fill "$directory/s.raw"
        for format in vhdx vhd; do
            driver=$format
            [ $format = vhdx ] || driver=vpc
            "$VDISK" convert "$directory/s.raw" "$directory/s.$format" --quiet
            work "convert raw to $format, $where" ours-in qemu-in cp-in
            work "convert $format to raw, $where" ours-out qemu-out cp-out
            rm -f "$directory/s.$format"
        done
        rm -f "$directory"/*
    done
}

reflink() {
    local directory=$disk/xfs
    wanted reflink || return 0
    mkdir -p "$directory"
    truncate -s $((3 * $(numfmt --from=iec "$REFLINK") + $(numfmt --from=iec "${FIXED:-100G}") + 1073741824)) "$disk/xfs.img"
    mkfs.xfs -q -m reflink=1 "$disk/xfs.img" && mount -o loop "$disk/xfs.img" "$directory" ||
        { echo "bench: no XFS on a loop device here: reflink is not measured" >&2; rm -f "$disk/xfs.img"; return 0; }
    mounted=$directory
    milliseconds_of_fixed() { rm -f "$directory"/new.vhdx; "$VDISK" create "$directory/new.vhdx" --type fixed --size "${FIXED:-100G}" --quiet; }
    count "create fixed ${FIXED:-100G} vhdx, XFS" "$(milliseconds milliseconds_of_fixed)" ms
    rm -f "$directory/new.vhdx"
    "$VDISK" create "$directory/s.raw" --size "$REFLINK" --quiet
    "$VDISK" bench "$directory/s.raw" --rw write --bs 1M --number-ios $(($(numfmt --from=iec "$REFLINK") / 1048576)) >/dev/null
    new() { rm -f "$directory"/new.*; sync -f "$directory"; }
    ours_reflink() { new; per_second "$VDISK" convert "$directory/s.raw" "$directory/new.vhdx"; }
    qemu_reflink() { new; per_second qemu-img convert -f raw -O vhdx "$directory/s.raw" "$directory/new.vhdx"; }
    ROUNDS=$((ROUNDS < 3 ? ROUNDS : 3)) work "convert raw to vhdx, XFS reflink" ours-reflink qemu-reflink
    umount "$directory"
    mounted=
    rm -rf "$disk/xfs.img" "$directory"
}

# ---- Maintenance: until it is durable, for all ----

# The child holds a quarter of the disk, in pieces of 64 KiB. QEMU writes no differencing VHDX: its overlay is a qcow2
# over a copy of the same parent, with the same bytes in it.
merge() {
    wanted merge || return 0
    "$VDISK" create "$disk/s.vhdx" --size "$SIZE" --quiet && fill "$disk/s.vhdx"
    "$VDISK" create "$disk/c.vhdx" --parent "$disk/s.vhdx" --quiet
    "$VDISK" bench "$disk/c.vhdx" --rw randwrite --bs 64k --iodepth 8 --number-ios $((BYTES / 65536 / 4)) >/dev/null
    "$VDISK" convert "$disk/c.vhdx" "$disk/c.raw" --quiet
    qemu-img convert -f raw -O qcow2 -B "$disk/s.vhdx" -F vhdx "$disk/c.raw" "$disk/c.qcow2"
    again() { # FILE...: copies of them, in $disk/new
        rm -rf "$disk/new" && mkdir "$disk/new"
        for file in "$@"; do cp --sparse=never "$disk/$file" "$disk/new/"; done
        sync -f "$disk"
    }
    durable_merge() { "$VDISK" merge "$disk/new/c.vhdx" --quiet; }
    durable_commit() { qemu-img commit -q -f qcow2 "$disk/new/c.qcow2" && sync "$disk/new/s.vhdx"; }
    ours_merge() { again s.vhdx c.vhdx; per_second durable_merge; }
    qemu_commit() {
        again s.vhdx c.qcow2
        qemu-img rebase -q -u -f qcow2 -b "$disk/new/s.vhdx" -F vhdx "$disk/new/c.qcow2"
        per_second durable_commit
    }
    work "merge, disk, vhdx" ours-merge qemu-commit
    rm -rf "${disk:?}"/*
}

# Three quarters of what is allocated is zeros. Without a compact, a new image is what returns the space.
compact() {
    local at format driver
    wanted compact || return 0
    durable_compact() { "$VDISK" compact "$disk/new.$format" --quiet; }
    durable_convert() {
        qemu-img convert -f "$driver" -O "$driver" "$disk/new.$format" "$disk/new2.$format" && sync "$disk/new2.$format" &&
            mv "$disk/new2.$format" "$disk/new.$format"
    }
    again() { rm -f "$disk"/new*; cp --sparse=never "$disk/s.$format" "$disk/new.$format"; sync -f "$disk"; }
    ours_compact() { again; per_second durable_compact; }
    qemu_compact() { again; per_second durable_convert; }
    for format in vhdx vhd; do
        driver=$format
        [ $format = vhdx ] || driver=vpc
        "$VDISK" create "$disk/s.$format" --size "$SIZE" --quiet && fill "$disk/s.$format"
        for ((at = 0; at < BYTES; at += 256 << 20)); do
            head -c 192M /dev/zero | "$VDISK" write "$disk/s.$format" --offset $at --quiet
        done
        work "compact, disk, $format" ours-compact qemu-compact
        count "compact $format: size before" "$(stat -c %s "$disk/s.$format")" bytes
        again && durable_compact
        count "compact $format: size after" "$(stat -c %s "$disk/new.$format")" bytes
        rm -f "$disk"/*
    done
}

# ---- What is counted ----

rss() { # COMMAND...: KiB
    /usr/bin/time -f %M -o "$memory/rss" "$@" >/dev/null 2>&1
    tail -n 1 "$memory/rss"
}

milliseconds() { # COMMAND...: the best of five
    local began
    for _ in 1 2 3 4 5; do
        rm -f "$memory"/new.*
        began=$EPOCHREALTIME
        "$@" >/dev/null
        awk -v began="$began" -v ended="$EPOCHREALTIME" 'BEGIN { printf "%.1f\n", (ended - began) * 1000 }'
    done | sort -n | head -n 1
}

calls() { # COMMAND...: system calls
    strace -f -c -o "$memory/strace" "$@" >/dev/null
    awk '$NF == "total" { print $4 }' "$memory/strace" 2>/dev/null || true
}

counts() {
    local n=100000 base depth
    wanted counts || return 0
    count "vdisk --version: peak memory" "$(rss "$VDISK" --version)" KiB
    for format in vhdx vhd; do
        size=64T
        [ $format = vhdx ] || size=2040G
        count "create $size $format" "$(milliseconds "$VDISK" create "$memory/new.$format" --size $size --quiet)" ms
        "$VDISK" create "$memory/huge.$format" --size $size --quiet
        count "create $size $format: peak memory" "$(rss "$VDISK" create "$memory/new.$format" --size $size --quiet)" KiB
        count "open and info $size $format" "$(milliseconds "$VDISK" info "$memory/huge.$format")" ms
        count "open and info $size $format: peak memory" "$(rss "$VDISK" info "$memory/huge.$format")" KiB
        rm -f "$memory"/*
    done
    rm -f "$disk"/*.vhdx
    for where in memory disk; do
        local file=${!where}/o.vhdx direct=
        [ $where = memory ] || direct=--direct
        "$VDISK" create "$file" --size 256M --quiet
        "$VDISK" bench "$file" --rw write --bs 1M --number-ios 256 >/dev/null
        for depth in 1 32; do
            # shellcheck disable=SC2086
            base=$(calls "$VDISK" bench "$file" --iodepth $depth --number-ios 1 $direct)
            # shellcheck disable=SC2086
            count "random read, depth $depth, $where: system calls" "$(calls "$VDISK" bench "$file" --iodepth $depth \
                --number-ios $n $direct | awk -v n=$n -v base="$base" '{ printf "%.3f", ($1 - base) / n }')" "a request"
        done
        rm -f "$file"
    done
    count "bench, depth 32, 1 thread: peak memory" "$("$VDISK" create "$memory/o.vhdx" --size 1G --quiet
        rss "$VDISK" bench "$memory/o.vhdx" --iodepth 32 --runtime 1)" KiB
    rm -f "$memory"/*
}

# shellcheck source=bench/exports.sh
. "$SRC/bench/exports.sh"

random_memory
sweep
random_disk
chain
first_writes
convert
reflink
merge
compact
exports
counts
OUT=$OUT "$SRC/bench/report.sh"
