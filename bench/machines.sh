#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# make bench-vm: our machine against QEMU's (-M microvm and -M pc) in the testbed, in turns: from start to userspace, a disk's
# requests on the same VHDX and on raw, and the memory that the process takes beside the guest's. The samples join those of
# run.sh in $OUT, and the table is made of all.
#
#   ROUNDS   3      rounds                             SECONDS_EACH 3  of a run of fio in the guest
set -euo pipefail

SRC=$(cd "$(dirname "$0")/.." && pwd)
BUILD=$(realpath "${BUILD:-$SRC/build}")
OUT=$(realpath -m "${OUT:-$BUILD/bench}")
export SRC BUILD OUT

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$OUT" "$work/machines"
touch "$OUT/samples.tsv" "$OUT/counts.tsv"
echo "rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-3}" >"$work/machines/settings"
TESTBED_PACKAGES="qemu-system-x86" "$SRC/tests/vm/testbed/testbed.sh" run --guest --file "$work/machines" --results "$work/results" \
    --memory 3072 --timeout "${TIMEOUT:-3000}" "$SRC/bench/inside/machines.sh"
for table in samples counts; do
    sed -i '/^machine, /d' "$OUT/$table.tsv"
    cat "$work/results/$table.tsv" >>"$OUT/$table.tsv"
done
"$SRC/bench/report.sh"
grep '^machine, ' "$OUT/counts.tsv" | column -t -s "$(printf '\t')"
