#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Includes point one way. Each line below says what a folder may include from other folders; system headers and the
# folder's own are free. Whatever else is found is named, and the script fails.
set -eu
cd "$(dirname "$0")/.."

failed=0

# folder, then the prefixes that its quoted includes may begin with ("-": none but its own)
allow() {
    folder=$1
    shift
    [ -d "$folder" ] || return 0
    for file in $(find "$folder" -name '*.[ch]' | sort); do
        sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file" | while read -r include; do
            case $include in
            */*) ;;
            *) [ -f "$(dirname "$file")/$include" ] && continue ;;
            esac
            for prefix in "$@" "$folder/"; do
                case $include in *..*) break ;; "$prefix"*) continue 2 ;; esac
            done
            echo "$file: \"$include\": $folder/ may include only its own headers and: $*"
        done
    done
}

check() {
    allow disk -
    allow vhd disk/
    allow vhdx disk/
    allow odx disk/
    allow replica disk/
    allow lib disk/ vhd/ vhdx/ odx/ replica/
    allow control disk/vdisk.h
    allow cli disk/vdisk.h control/ ntfs/protocol.h vmm/machine.h
    allow ntfs base/
    allow fuse disk/vdisk.h disk/mutant.h control/
    allow scsi disk/vdisk.h disk/endian.h disk/mutant.h base/iov.h
    allow nbd disk/vdisk.h disk/mutant.h control/
    allow iscsi disk/vdisk.h scsi/
    allow base -
    allow net base/
    allow vmm disk/vdisk.h disk/endian.h disk/mutant.h scsi/ base/ net/
    allow vswitch base/ net/
}

found=$(check)
if [ -n "$found" ]; then
    echo "$found"
    failed=1
fi

# The names of formats belong to their folders and to the list of formats.
if grep -nE '#[[:space:]]*include[[:space:]]*"(vhd|vhdx)/' disk/*.[ch] cli/*.[ch] 2>/dev/null; then
    failed=1
fi
exit $failed
