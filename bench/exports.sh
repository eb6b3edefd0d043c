# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For bench/run.sh: the disk as a file by FUSE, ours against qemu-storage-daemon's export and vhdimount, and over NBD, ours
# against qemu-nbd. All serve byte-identical copies of one full image; fio asks them past the page cache of the mounts. What
# a server without a disk does (fuse_floor.c), and nbdkit's memory plugin, shows what the protocol leaves: where that is not
# 1.5 of a rival either, the protocol is the limit.

# ask COMMAND... is fio without its words; requests a second.
ask() {
    fio --name=x --norandommap --randrepeat=0 --thread --time_based --runtime="$SECONDS_EACH" --size="$SIZE" \
        --output-format=json "$@" | sed -n '/^{/,$p' | jq '.jobs[0] | .read.iops + .write.iops'
}

# works PREFIX CONTESTANT... -- CONTESTANT...: the first also write. $shape is what fio is asked for.
works() {
    local prefix=$1 all=() writers=() shape
    shift
    while [ "$1" != -- ]; do
        writers+=("$1") && shift
    done
    all=("${writers[@]}" "${@:2}")
    shape="--rw=read --bs=1M --iodepth=1" && work "$prefix, read 1M, $where, $format" "${all[@]}"
    shape="--rw=randread --bs=4k --iodepth=1" && work "$prefix, randread, depth 1, $where, $format" "${all[@]}"
    shape="--rw=randread --bs=4k --iodepth=32" && work "$prefix, randread, depth 32, $where, $format" "${all[@]}"
    shape="--rw=randwrite --bs=4k --iodepth=1" && work "$prefix, randwrite, depth 1, $where, $format" "${writers[@]}"
    shape="--rw=randwrite --bs=4k --iodepth=32" && work "$prefix, randwrite, depth 32, $where, $format" "${writers[@]}"
    # The disk rests for the next.
    sync -f "$directory"
}

# waits_for COMMAND...: until it succeeds.
waits_for() {
    local i
    for ((i = 0; i < 500; i++)); do
        "$@" 2>/dev/null && return 0
        sleep 0.01
    done
    return 1
}

# each_image FUNCTION: with $directory/o.$format and copies q and v of it, on tmpfs and on the disk.
each_image() {
    local where format driver directory
    for where in tmpfs disk; do
        directory=$disk
        [ $where = disk ] || directory=$memory
        for format in vhdx vhd; do
            driver=$format
            [ $format = vhdx ] || driver=vpc
            "$VDISK" create "$directory/o.$format" --size "$SIZE" --quiet && fill "$directory/o.$format"
            cp --sparse=never "$directory/o.$format" "$directory/q.$format"
            cp --sparse=never "$directory/o.$format" "$directory/v.$format"
            sync -f "$directory"
            "$1"
            rm -rf "${directory:?}"/[oqv].* "$directory/mount"
        done
    done
}

export_fuse() {
    local mount=$directory/mount pid
    mkdir -p "$mount/o" "$mount/v" "$mount/f"
    touch "$mount/q"
    # shellcheck disable=SC2086
    ours_fuse() { ask --filename="$mount/o/disk" --ioengine=io_uring --direct=1 $shape; }
    # shellcheck disable=SC2086
    qsd_fuse() { ask --filename="$mount/q" --ioengine=io_uring --direct=1 $shape; }
    # shellcheck disable=SC2086
    vhdi_fuse() { ask --filename="$mount/v/vhdi1" --ioengine=io_uring --direct=1 $shape; }
    # shellcheck disable=SC2086
    floor_fuse() { ask --filename="$mount/f/disk" --ioengine=io_uring --direct=1 $shape; }
    "$VDISK" mount "$directory/o.$format" "$mount/o"
    "$memory/fuse_floor" "$mount/f" "$BYTES"
    qemu-storage-daemon --blockdev "driver=file,node-name=f,filename=$directory/q.$format,aio=${QEMU_AIO:-io_uring}" \
        --blockdev "driver=$driver,node-name=d,file=f" \
        --export "type=fuse,id=e,node-name=d,mountpoint=$mount/q,writable=on" --daemonize --pidfile "$mount/q.pid"
    vhdimount "$directory/v.$format" "$mount/v" >/dev/null
    undo+=("$VDISK umount $mount/o" "kill $(cat "$mount/q.pid")" "fusermount -u $mount/v" "fusermount -u $mount/f")
    pid=$(cat "$mount/q.pid")
    works fuse ours-fuse qsd-fuse floor-fuse -- vhdi-fuse
    "$VDISK" umount "$mount/o"
    kill "$pid" && waits_for bash -c "! kill -0 $pid"
    fusermount -u "$mount/v"
    fusermount -u "$mount/f"
    undo=()
}

export_nbd() {
    local socket=$directory pid
    # shellcheck disable=SC2086
    ours_nbd() { ask --ioengine=nbd --uri="nbd+unix:///?socket=$socket/o.sock" $shape; }
    # shellcheck disable=SC2086
    qemu_nbd() { ask --ioengine=nbd --uri="nbd+unix:///?socket=$socket/q.sock" $shape; }
    # shellcheck disable=SC2086
    memory_nbd() { ask --ioengine=nbd --uri="nbd+unix:///?socket=$socket/v.sock" $shape; }
    "$VDISK" serve "$directory/o.$format" --socket "$socket/o.sock" --pid-file "$socket/o.pid" --quiet
    qemu-nbd --socket="$socket/q.sock" --format="$driver" --persistent --shared=8 --aio="${QEMU_AIO:-io_uring}" \
        --cache=writeback --fork --pid-file="$socket/q.pid" "$directory/q.$format"
    nbdkit --unix "$socket/v.sock" --pidfile "$socket/v.pid" memory "$SIZE"
    for pid in "$socket"/*.pid; do
        undo+=("kill $(cat "$pid")")
    done
    works nbd ours-nbd qemu-nbd memory-nbd --
    for pid in "$socket"/*.pid; do
        kill "$(cat "$pid")" && waits_for bash -c "! kill -0 $(cat "$pid")"
        rm -f "$pid"
    done
    undo=()
}

exports() {
    local program
    for program in qemu-storage-daemon vhdimount qemu-nbd nbdkit; do
        command -v $program >/dev/null || { echo "bench: $program is not installed: exports are not measured" >&2; return 0; }
    done
    if wanted fuse; then
        # shellcheck disable=SC2046
        ${CC:-cc} -O2 -o "$memory/fuse_floor" "$SRC/bench/fuse_floor.c" $(pkg-config --cflags --libs fuse3)
        each_image export_fuse
    fi
    if wanted nbd; then each_image export_nbd; fi
}
