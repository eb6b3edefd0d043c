#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A machine with a real kernel for tests that need one: Debian under QEMU's own emulation, with nested KVM (of AMD's kind),
# our build and the scripts in it.
#
#   testbed.sh run [OPTION...] SCRIPT...   runs the scripts one after the other; a line for each, then the count
#   testbed.sh here [OPTION...] SCRIPT...  runs them on this machine, whose KVM is as good as the testbed's or better
#   testbed.sh shell [OPTION...]           the same machine with a shell on the terminal
#   testbed.sh image                       makes the image if need be and prints its folder
#
# A script runs as root in a fresh directory with SRC, BUILD and VDISK in its environment, so that tests/lib.sh serves it; 0
# is passed, 77 skipped, anything else failed. What it puts into $RESULTS comes back. The machine's root file system is a
# scratch copy.
#
#   --guest             the image for machines under test, as $FILES/guest/{root.vhdx,vmlinuz,initrd,initrd.small}
#   --file PATH         a file or folder that the scripts find as $FILES/<name>
#   --scsi SIZE         an emulated SCSI disk (serial "scsi0", ...)
#   --nvme SIZE         an emulated NVMe disk that knows Copy (serial "nvme0", ...)
#   --results DIR       keeps what came back here: NAME.log, NAME.status, console.log and what the scripts left
#   --timeout SECONDS   of the whole machine (600)
#   --memory MiB        2048
#   --image DIR         another folder from image.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SRC=$(cd "$here/../../.." && pwd)
BUILD=$(realpath "${BUILD:-$SRC/build}")

die() {
    echo "testbed: $*" >&2
    exit 1
}

# ---- What goes in ----

# What the scripts find: our programs, the tests, what the caller gave.
gather() {
    local file
    mkdir -p "$work/tree"/{src/build,files}
    cp -r "$SRC/tests" "$SRC/scripts" "$SRC/bench" "$work/tree/src/"
    for file in vdisk hv libvdisk.so.0 vdisk-fuse nbdkit-vdisk-plugin.so vm-guests; do
        [ ! -e "$BUILD/$file" ] || cp -r "$BUILD/$file" "$work/tree/src/build/"
    done
    for file in "${files[@]}"; do
        cp -r --sparse=always "$file" "$work/tree/files/"
    done
    if [ -n "$guest" ]; then
        mkdir "$work/tree/files/guest"
        cp "$image"/{vmlinuz,initrd,initrd.small} "$work/tree/files/guest/"
        "$BUILD/vdisk" convert "$image/disk.raw" "$work/tree/files/guest/root.vhdx" --quiet
    fi
    printf '%s\n' "${scripts[@]}" >"$work/tree/scripts"
    cp "$here/inside.sh" "$work/tree/"
}

files_disk() {
    truncate -s $(($(du -sm "$work/tree" | cut -f1) + 64))M "$work/files.raw"
    mke2fs -q -t ext4 -O ^has_journal -L vdisk-files -d "$work/tree" "$work/files.raw"
}

# The script that the image runs when it starts.
job() {
    cat <<'EOF'
#!/bin/sh
mkdir -p /testbed
mount -o ro LABEL=vdisk-files /testbed
exec bash /testbed/inside.sh
EOF
}

# ---- The machine ----

# disk NAME SIZE CONTROLLER DEVICE: one of the emulated disks.
disk() {
    truncate -s "$2" "$work/$1.raw"
    machine+=(-drive "if=none,id=$1,file=$work/$1.raw,format=raw,cache=unsafe,discard=unmap")
    [ -z "$3" ] || machine+=(-device "$3")
    machine+=(-device "$4,drive=$1")
}

describe() {
    local i
    # shellcheck disable=SC2054
    machine=(qemu-system-x86_64 -M q35 -accel tcg,thread=multi -smp 2 -cpu max -m "$memory" -nodefaults -no-reboot
        -display none -serial "$1" -kernel "$image/vmlinuz" -initrd "$image/initrd.small"
        -append "root=LABEL=vdisk-root console=ttyS0 quiet panic=-1"
        -drive "if=virtio,file=$image/disk.raw,format=raw,snapshot=on,cache=unsafe"
        -drive "if=virtio,file=$work/files.raw,format=raw,cache=unsafe"
        -drive "if=none,id=results,file=$work/results.raw,format=raw,cache=unsafe"
        -device virtio-blk-pci,drive=results,serial=results
        -device virtio-rng-pci)
    [ "$1" = mon:stdio ] || machine+=(-drive "if=virtio,file=$work/job.raw,format=raw,cache=unsafe")
    [ -z "${scsi[*]}" ] || machine+=(-device virtio-scsi-pci)
    for ((i = 0; i < ${#scsi[@]}; i++)); do
        disk "scsi$i" "${scsi[i]}" "" "scsi-hd,serial=scsi$i"
    done
    for ((i = 0; i < ${#nvme[@]}; i++)); do
        disk "nvme$i" "${nvme[i]}" "nvme,id=nvme$i,serial=nvme$i" "nvme-ns,bus=nvme$i"
    done
}

# Shows what the machine says of its scripts while it runs.
follow() {
    tail -n +1 -f --pid="$1" -s 0.2 "$work/console.log" 2>/dev/null | tr -d '\r' | sed -un 's/^testbed: //p'
}

run() {
    local status=0
    job >"$work/job.raw"
    truncate -s 64K "$work/job.raw"
    describe "file:$work/console.log"
    : >"$work/console.log"
    TMPDIR=$work timeout -k 5 "$timeout" "${machine[@]}" >"$work/qemu.log" 2>&1 </dev/null &
    pid=$!
    trap 'kill $pid 2>/dev/null || true; wait; rm -rf "$work"' EXIT
    follow $pid
    wait $pid || status=$?
    mkdir -p "$results"
    cp "$work"/{console,qemu}.log "$results/"
    tar -C "$results" -xf "$work/results.raw" 2>/dev/null && [ -f "$results/done" ] || {
        tail -n 40 "$work/console.log" "$work/qemu.log"
        [ $status -ne 124 ] || die "the machine had not ended after $timeout s"
        die "no results came back (QEMU's status: $status)"
    }
    report
}

# In a network of their own.
run_here() {
    mkdir -p "$results" "$work/tests"
    TMPDIR=$work/tests timeout -k 5 "$timeout" unshare -n sh -c 'ip link set lo up && exec bash "$@"' sh \
        "$work/tree/inside.sh" "$work/tree" "$results" </dev/null | sed -un 's/^testbed: //p' || true
    [ -f "$results/done" ] || die "the scripts had not ended after $timeout s"
    report
}

# The end of a failed script's log, and the count.
report() {
    local script name status passed=0 failed=0 skipped=0
    for script in "${scripts[@]}"; do
        name=$(basename "$script" .sh)
        status=$(cat "$results/$name.status" 2>/dev/null || echo lost)
        case $status in
        0) passed=$((passed + 1)) ;;
        77) skipped=$((skipped + 1)) ;;
        *)
            failed=$((failed + 1))
            echo "FAIL $script (status $status)"
            tail -n 60 "$results/$name.log" 2>/dev/null | sed 's/^/  | /'
            ;;
        esac
    done
    echo "$passed passed, $failed failed, $skipped skipped"
    [ $failed -eq 0 ]
}

# ---- Start ----

command=${1:-}
[ $# -eq 0 ] || shift
scripts=() files=() scsi=() nvme=() results='' timeout=600 memory=2048 image='' guest=''
while [ $# -gt 0 ]; do
    case $1 in
    --guest) guest=yes && shift && continue ;;
    --file) files+=("$2") ;;
    --scsi) scsi+=("$2") ;;
    --nvme) nvme+=("$2") ;;
    --results) results=$2 ;;
    --timeout) timeout=$2 ;;
    --memory) memory=$2 ;;
    --image) image=$2 ;;
    -*) die "unknown option $1" ;;
    *) scripts+=("$(realpath --relative-to="$SRC" "$1")") && shift && continue ;;
    esac
    shift 2
done
for program in qemu-system-x86_64 mmdebstrap mke2fs sfdisk; do
    command -v $program >/dev/null || die "$program is not installed (make deps)"
done
[ -n "$image" ] || image=$("$here/image.sh")
[ "$command" != image ] || { echo "$image" && exit; }
work=$(mktemp -d "${TMPDIR:-/tmp}/testbed.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
results=${results:-$work/results}
gather
[ "$command" != here ] || { run_here; exit; }
truncate -s 256M "$work/results.raw"
files_disk
case $command in
run) run ;;
shell) describe mon:stdio && "${machine[@]}" ;;
*) die "run, here, shell or image?" ;;
esac
