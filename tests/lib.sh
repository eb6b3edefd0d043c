# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For every shell test: . "$(dirname "$0")/../lib.sh"
#
# A test runs in a fresh directory of its own and stops at the first thing that is not as it must be. Given: VDISK, BUILD,
# SRC, IMAGES (see scripts/run-tests.sh); run by hand, all of them are found from the test's own place.

set -Eeuo pipefail
SRC=${SRC:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
BUILD=${BUILD:-$SRC/build}
VDISK=${VDISK:-$BUILD/vdisk}
IMAGES=${IMAGES:-$SRC/../shared/images}

if [ -z "${TMPDIR:-}" ] || [ "$PWD" != "$TMPDIR" ]; then # by hand
    own_directory=$(mktemp -d "${TMPDIR:-/tmp}/vdisk-test.XXXXXX")
    cd "$own_directory"
    export TMPDIR=$PWD
fi

export VDISK_RUNTIME_DIR=$TMPDIR/.run # control sockets

mounts=()
cleanup() {
    local mount
    for mount in "${mounts[@]}"; do
        fusermount3 -u -z "$mount" 2>/dev/null || fusermount -u -z "$mount" 2>/dev/null || umount -l "$mount" || true
    done
    # shellcheck disable=SC2046
    [ -z "$(jobs -p)" ] || kill $(jobs -p) 2>/dev/null || true
    [ -z "${own_directory:-}" ] || rm -rf "$own_directory"
}
trap cleanup EXIT
trap 'echo "$0:$LINENO: status $?: $BASH_COMMAND" >&2' ERR

fail() {
    echo "$0:${BASH_LINENO[${#BASH_LINENO[@]} - 2]}: $*" >&2
    trap - ERR
    exit 1
}

skip() {
    echo "$*"
    trap - ERR
    exit 77
}

# need PROGRAM...: skips where one is missing.
need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

# The program under test. What it says about success is of no interest here.
vdisk() {
    "$VDISK" "$@"
}
quietly() {
    "$VDISK" "$@" --quiet
}

# waits_for_pipe PID: until the program, whose standard input or output is a pipe, waits for that: it has opened, and locked,
# what it works on. Asking by opening the same would be in its way.
waits_for_pipe() {
    local i
    for ((i = 0; i < 1500; i++)); do
        ! grep -Eqs '^(0 0x0|63 0x0|1 0x1|64 0x1) ' "/proc/$1/syscall" || return 0 # read or write, x86-64 or AArch64
        sleep 0.02
    done
    fail "process $1 does not come to wait for its pipe"
}

# status N COMMAND...: it exits with N. Its output is in ./out and ./err afterwards.
status() {
    local want=$1 got=0
    shift
    "$@" >out 2>err </dev/null || got=$?
    [ "$got" -eq "$want" ] || fail "status $got, not $want: $*: $(head -c 400 out err)"
}

# refused PATTERN COMMAND...: it exits with 1, prints nothing on stdout, and one line on stderr that matches the extended
# regular expression.
refused() {
    local pattern=$1
    shift
    refused_with 1 "$pattern" "$@"
}
refused_with() {
    local want=$1 pattern=$2
    shift 2
    status "$want" "$@"
    [ ! -s out ] || fail "refused, yet prints: $*: $(head -c 200 out)"
    [ "$(wc -l <err)" -eq 1 ] || fail "not one line of error: $*: $(head -c 800 err)"
    grep -q '^vdisk: ' err || fail "the error does not begin with \"vdisk: \": $(cat err)"
    grep -Eq -- "$pattern" err || fail "no \"$pattern\" in the error of: $*: $(cat err)"
}

same() {
    [ "$1" = "$2" ] || fail "${3:-the two}: \"$1\" is not \"$2\""
}

# nothing_left: no temporary file stands here.
nothing_left() {
    local left
    left=$(find . -name '*.tmp' -o -name '*.part')
    [ -z "$left" ] || fail "left behind: $left"
}

size_of() {
    stat -c %s "$1"
}
used_of() {
    echo $(($(stat -c %b "$1") * 512))
}

# random_bytes LENGTH SEED: the same bytes from the same seed.
random_bytes() {
    local key
    command -v openssl >/dev/null || fail "openssl is not installed"
    key=$(printf '%032x' "$2")
    (openssl enc -aes-128-ctr -K "$key" -iv 00000000000000000000000000000000 -in /dev/zero 2>/dev/null || true) |
        head -c "$1"
}

# draw N: sets $drawn to a number below N; after drawn_from=SEED the same sequence in each run.
drawn_from=1
draw() {
    drawn_from=$(((drawn_from * 6364136223846793005 + 1442695040888963407) & 0x7fffffffffffffff))
    drawn=$(((drawn_from >> 20) % $1))
}

# below N: prints a number below N; another sequence in each run, for a subshell has random numbers of its own.
below() {
    echo $((((RANDOM << 45) | (RANDOM << 30) | (RANDOM << 15) | RANDOM) % $1))
}

# put FILE OFFSET LENGTH SEED [RAW]: random bytes into a disk, and into a raw file beside it.
put() {
    random_bytes "$3" "$4" | quietly write "$1" --offset "$2"
    [ $# -lt 5 ] || random_bytes "$3" "$4" | dd of="$5" bs=64K seek="$2" oflag=seek_bytes conv=notrunc status=none
}

# scatter FILE RAW COUNT SEED [GRAIN]: random writes, unaligned ones too, small and over several blocks; offset and length
# are multiples of GRAIN.
scatter() {
    local size i offset length grain=${5:-1} drawn
    size=$(size_of "$2")
    drawn_from=$4
    for ((i = 0; i < $3; i++)); do
        draw "$size" && offset=$drawn
        case $((i % 4)) in
        0) draw 16 && length=$((512 * (1 + drawn))) offset=$((offset / 512 * 512)) ;;
        1) draw 70000 && length=$((1 + drawn)) ;;
        2) draw 64 && length=$((4096 * (1 + drawn))) offset=$((offset / 4096 * 4096)) ;;
        3) draw 3000000 && length=$((1 + drawn)) ;;
        esac
        offset=$((offset / grain * grain)) length=$(((length + grain - 1) / grain * grain))
        [ $((offset + length)) -le "$size" ] || length=$((size - offset))
        put "$1" "$offset" "$length" $(($4 * 1000 + i)) "$2"
    done
}

# clocked COMMAND...: how long it takes, in hundredths of a second by a clock that nobody sets, is in $took afterwards.
# shellcheck disable=SC2034
clocked() {
    local began ended
    read -r began _ </proc/uptime
    "$@"
    read -r ended _ </proc/uptime
    took=$((10#${ended/./} - 10#${began/./}))
}

# raw FILE SIZE: an empty raw file.
raw() {
    rm -f "$1"
    truncate -s "$2" "$1"
}

hash_of() {
    vdisk hash "$@" | cut -d' ' -f1
}
sha_of() {
    sha256sum "$1" | cut -d' ' -f1
}

# clean FILE: check finds neither fault nor leak. sound FILE: no fault.
clean() {
    status 0 vdisk check "$1" --json
    [ "$(jq '.faults + .leaks' out)" = 0 ] || fail "check of $1: $(cat out)"
}
sound() {
    status 0 vdisk check "$1"
}

# holds DISK RAW: the disk's content is the file's.
holds() {
    same "$(hash_of "$1")" "$(sha_of "$2")" "the content of $1, that of $2"
}

# member FILE FILTER: a value of vdisk info --json.
member() {
    vdisk info "$1" --json | jq -r "$2"
}

# image NAME: unpacks a real image here.
image() {
    [ -f "$IMAGES/$1.zst" ] || skip "no real images at $IMAGES"
    zstd -q -d -f "$IMAGES/$1.zst" -o "$1"
}

# part FILE OFFSET LENGTH: these bytes.
part() {
    dd if="$1" bs=64K iflag=skip_bytes,count_bytes skip="$2" count="$3" status=none
}

# vhdi IMAGE [OPTION...]: mounts it with libvhdi; the path of the disk's content is in $content.
vhdi() {
    local mount image=$1
    shift
    need vhdimount
    [ -w /dev/fuse ] || skip "no /dev/fuse"
    mount=$(mktemp -d ./vhdi.XXXXXX)
    vhdimount "$@" "$image" "$mount" >vhdi.log 2>&1 || fail "vhdimount $image: $(cat vhdi.log)"
    mounts+=("$PWD/$mount")
    content=$(find "$mount" -name 'vhdi*' | sort -V | tail -n 1)
}
vhdi_done() {
    local mount=${mounts[-1]}
    fusermount3 -u "$mount" 2>/dev/null || fusermount -u "$mount" || umount "$mount"
    unset 'mounts[-1]'
    rmdir "$mount"
}

# ntfs_mount VOLUME DIR; ntfs_umount DIR: returns when ntfs-3g has ended, which it does later than umount.
ntfs_mount() {
    local i
    mounts+=("$PWD/$2")
    ntfs-3g -o no_detach "$1" "$2" >ntfs-3g.log 2>&1 &
    mounter=$!
    for ((i = 0; i < 1500; i++)); do
        ! mountpoint -q "$2" || return 0
        kill -0 "$mounter" || fail "ntfs-3g does not mount $1: $(cat ntfs-3g.log)"
        sleep 0.02
    done
    fail "ntfs-3g does not come to mount $1: $(cat ntfs-3g.log)"
}
ntfs_umount() {
    fusermount3 -u "$1" 2>/dev/null || fusermount -u "$1" || umount "$1"
    unset 'mounts[-1]'
    wait "$mounter"
}

# vhdi_agrees IMAGE RAW: libvhdi reads it as the raw file. Of a chain, libvhdi 20210425 now and then answers a request with
# the parent's bytes instead of the child's, though it gives the same sectors right when asked in other pieces; so it is
# asked in other pieces. An image that is wrong never reads right by that.
vhdi_agrees() {
    local block
    for block in 4096 1M 64K 512 256K; do
        vhdi "$1" -X max_readahead=0
        same "$(size_of "$content")" "$(size_of "$2")" "$1: the size libvhdi sees"
        if dd if="$content" bs=$block status=none | cmp -s - "$2"; then
            vhdi_done
            return
        fi
        vhdi_done
    done
    fail "$1: libvhdi reads other bytes"
}

# cut_short SIGNAL PID CONDITION...: the signal comes to the job, whose output goes to ./out and ./err, when the condition holds;
# the job says so and has not done its work.
cut_short() {
    local signal=$1 pid=$2
    shift 2
    until "$@"; do
        kill -0 "$pid" || fail "it has ended: $(cat out err)"
        sleep 0.02
    done
    kill -"$signal" "$pid"
    ! wait "$pid" || fail "interrupted, yet done: $(cat out)"
    same "$(cat err)" "vdisk: interrupted" "what it says"
}

# image_of_fs IMAGE: named for what it is to be of ./fs.raw, or of ./disk.raw, whose partition at 1 MiB holds that; skip: where
# the file system begins in it, MiB.
# shellcheck disable=SC2034
image_of_fs() {
    local from=fs.raw
    skip=0
    case $1 in part.*) from=disk.raw skip=1 ;; esac
    case $1 in
    fixed.*) quietly convert $from "$1" --type fixed ;;
    part.raw) cp $from "$1" ;;
    *) quietly convert $from "$1" --block-size 1M ;;
    esac
}
