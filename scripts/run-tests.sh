#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs every test, two at a time, each in a fresh directory of its own, and prints the count last.
#
#   tests/<dir>/<name>.c    is built as $BUILD/tests/<dir>/<name> and run as one test
#   tests/<dir>/<name>.sh   is one test
#
# A test passes with 0 (its last line says how much it did), is skipped with 77 (its last line is the reason), and fails
# otherwise: its output is shown before the count.
# For the tests:  VDISK the program, BUILD the build folder, SRC the checkout, IMAGES the folder of real images.
# For the caller: BUILD, TESTS (which: "tests/cli unit/endian"), JOBS (2), TEST_TIMEOUT in seconds (900).
set -u

SRC=$(cd "$(dirname "$0")/.." && pwd)
cd "$SRC" || exit 1
BUILD=$(realpath "${BUILD:-build}")
IMAGES=${IMAGES:-$(realpath -m "$SRC/../shared/images")}
VDISK=$BUILD/vdisk
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vdisk-tests.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
mkdir "$scratch/result" "$scratch/work"
export SRC BUILD IMAGES VDISK scratch
export UBSAN_OPTIONS=print_stacktrace=1

# Prints "<name> <command>" for each test; the long ones first, so that the last to end is a short one.
list() {
    echo "layers $SRC/scripts/check-layers.sh"
    for dir in tests/fuzz tests/vm tests/interop tests/model tests/crash tests/hostile $(ls -d tests/*/ 2>/dev/null); do
        for file in "${dir%/}"/*.c "${dir%/}"/*.sh; do
            [ -f "$file" ] || continue
            case $file in
            *.c) echo "${file%.c} $BUILD/${file%.c}" ;;
            *.sh) echo "${file%.sh} $SRC/$file" ;;
            esac
        done
    done | awk '!seen[$1]++'
}

wanted() {
    while read -r name command; do
        [ -z "${TESTS:-}" ] && echo "$name $command" && continue
        for part in $TESTS; do
            case $name in *"$part"*) echo "$name $command"; break ;; esac
        done
    done
}

run_one() {
    local name=$1 command=$2 key=${1//\//-} began rc seconds
    mkdir "$scratch/work/$key" && cd "$scratch/work/$key" || exit 1
    began=$EPOCHREALTIME
    TMPDIR=$PWD timeout -k 10 "${TEST_TIMEOUT:-900}" "$command" >"$scratch/result/$key.log" 2>&1 </dev/null
    rc=$?
    seconds=$(( (${EPOCHREALTIME/./} - ${began/./}) / 100000 ))
    seconds=$((seconds / 10)).$((seconds % 10))
    cd "$scratch" && rm -rf "$scratch/work/$key"
    case $rc in
    0) echo passed; printf 'pass  %-40s %6s s  %s\n' "$name" "$seconds" "$(tail -n 1 "$scratch/result/$key.log" | cut -c 1-160)" >&3 ;;
    77) echo skipped; printf 'skip  %-40s %s\n' "$name" "$(tail -n 1 "$scratch/result/$key.log")" >&3 ;;
    *)
        echo failed
        {
            [ $rc -eq 124 ] && echo "timed out after ${TEST_TIMEOUT:-900} s" >>"$scratch/result/$key.log"
            [ $rc -gt 128 ] && echo "ended by SIG$(kill -l "$rc")" >>"$scratch/result/$key.log"
            printf 'FAIL  %-40s %6s s  (status %d)\n' "$name" "$seconds" "$rc" >&3
            echo "$name:"
            tail -n 60 "$scratch/result/$key.log" | sed 's/^/      | /'
        } >"$scratch/result/$key.failure"
        ;;
    esac >"$scratch/result/$key.verdict"
}
export -f run_one

list | wanted >"$scratch/list"
xargs -a "$scratch/list" -P "${JOBS:-2}" -L 1 bash -c 'run_one "$1" "$2"' run 3>&1

count() {
    cat "$scratch"/result/*.verdict 2>/dev/null | grep -c "$1"
}
passed=$(count passed) failed=$(count failed) skipped=$(count skipped)
lost=$(($(wc -l <"$scratch/list") - passed - failed - skipped))
failed=$((failed + lost))
cat "$scratch"/result/*.failure 2>/dev/null
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
