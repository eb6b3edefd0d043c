#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Tests the tests: each deliberate fault of disk/mutant.h must make one of them fail. Names on the command line choose
# faults, LIST=1 prints them. SEEDS: how often the random tests are run, each time with another seed, before a fault
# counts as missed. BUILD: where the broken variant is built.
#
# The names are read from the sources: each MUTANT("name"), and each code of a fault that is told of a file. Says which
# test finds which fault; status 1 if one is found by none. What found a fault last time stands in tests/mutants.tsv, is
# tried first, and is written anew.
set -u

SRC=$(cd "$(dirname "$0")/.." && pwd)
cd "$SRC" || exit 1
BUILD=$(realpath -m "${BUILD:-build/mutants}")
SEEDS=${SEEDS:-3}
VDISK=$BUILD/vdisk
IMAGES=${IMAGES:-$(realpath -m "$SRC/../shared/images")}
export SRC BUILD VDISK IMAGES SEEDS

# "<prefix>/<code>" for each code that FUNCTION tells in the files.
codes() { # PREFIX FUNCTION FILE...
    local prefix=$1 function=$2
    shift 2
    perl -0777 -ne '
        while (/\b'"$function"'\(([^;]*);/g) {
            for ("$1" =~ /"([^"]*)"/g) {
                last if /[ %]/;
                print "$_\n" if /^[a-z0-9]+(-[a-z0-9]+)*$/;
            }
        }' "$@" | sort -u | sed "s|^|$prefix/|"
}

names() {
    local folders
    folders=$(find . -mindepth 1 -maxdepth 1 -type d ! -name '.*' ! -name build ! -name tests)
    # shellcheck disable=SC2086
    grep -rhoE 'MUTANT\("[^"]+"\)' --include='*.c' $folders | cut -d'"' -f2 | sort -u
    codes vhdx vhdx_fault vhdx/*.c
    codes vhd vhd_refuse vhd/*.c
    codes vhd-check check_tell vhd/check*.c
    grep -hoE 'return "bat-[a-z]+"' vhdx/bat.c | cut -d'"' -f2 | sort -u | sed 's|^|vhdx-entry/|'
}

# The tests that may find a fault, the likely ones first: "<name> <command>"
random() { # for each seed
    local seed
    for ((seed = 1; seed <= SEEDS; seed++)); do
        echo "faults#$seed env FAULT_PROCESSES=1 FAULT_SEED=$((seed * 1000)) $BUILD/tests/crash/faults"
        echo "powercut#$seed env CRASH_PROCESSES=1 CRASH_SAMPLES=0 CRASH_SEED=$((seed * 1000)) CRASH_STATES=${CRASH_STATES:-6000} $BUILD/tests/crash/powercut"
        echo "model#$seed env MODEL_SEED=$seed MODEL_OPS=${MODEL_OPS:-60000} $BUILD/tests/model/random"
    done
}
of_kind() { # PATTERN
    local file
    for file in tests/*/*.c tests/*/*.sh; do
        [[ $file =~ $1 ]] || continue
        case $file in
        *.c) file=${file%.c} && echo "${file#tests/} $BUILD/$file" ;;
        *.sh) echo "${file#tests/} $SRC/$file" ;;
        esac
    done
}
# Of the formats' images: the log's own come first for what speaks of the log.
hostile() { # NAME FORMAT
    case $1 in
    *log*) of_kind "hostile/$2-" && of_kind "hostile/$2[.]" ;;
    *) of_kind "hostile/$2[.]" && of_kind "hostile/$2-" ;;
    esac
}
tests_for() { # NAME
    local area=${1%%[-/]*}
    {
        case $1 in
        vhd-check/* | vhdx-entry/*) ;;
        vhd-* | vhdx-* | map-*) echo "order $BUILD/tests/crash/order" ;;
        esac
        case $1 in
        vhd-cut-* | vhd-footer*) echo "forged $BUILD/tests/crash/forged" ;;&
        *resize-* | *relocated-* | compact-* | vhd-fixed-* | vhd-footer*)
            of_kind 'cli/(resize|compact)|unit/port|model/live'
            echo "space env CRASH_PROCESSES=1 $BUILD/tests/crash/space"
            hostile "$1" vhd
            ;;
        range-* | nbd-*) of_kind 'export/(nbd-)?parts' ;;
        repair-*)
            of_kind 'cli/check-repair' && hostile "$1" vhd && hostile "$1" vhdx
            echo "repair env CRASH_PROCESSES=1 $BUILD/tests/crash/repair"
            ;;
        vhd-relink-* | *merge-*)
            echo "merge env CRASH_PROCESSES=1 MERGE_STATES=${MERGE_STATES:-4000} $BUILD/tests/crash/merge"
            case $1 in *relink*) echo "snapshot env CRASH_PROCESSES=1 SNAPSHOT_STATES=4000 $BUILD/tests/crash/snapshot" ;; esac
            of_kind 'cli/merge'
            ;;
        move-* | mirror-*)
            of_kind 'unit/mirror'
            echo "move env CRASH_PROCESSES=1 $BUILD/tests/crash/move"
            echo "move_faults env FAULT_PROCESSES=1 $BUILD/tests/crash/move_faults"
            ;;
        family-*) of_kind 'cli/(compact|snapshot)[.]' ;;
        hold-* | port-* | *-settle-*) of_kind 'unit/port|model/live' ;;
        snapshot-* | appear-* | create-name-*)
            echo "snapshot env CRASH_PROCESSES=1 SNAPSHOT_STATES=${SNAPSHOT_STATES:-6000} $BUILD/tests/crash/snapshot"
            of_kind 'cli/snapshot|model/live'
            ;;
        queue-*) echo "unit/virtqueue env MEETINGS=10000000 $BUILD/tests/unit/virtqueue" ;;
        scsi-* | blk-* | ide-*) of_kind 'unit/(scsi|virtio|ide)' ;;
        relink-* | vhdx-relink-*)
            of_kind 'unit/relink'
            echo "snapshot env CRASH_PROCESSES=1 SNAPSHOT_STATES=4000 $BUILD/tests/crash/snapshot"
            of_kind '(cli|export)/relink|model/live|hostile/chain'
            ;;
        parent-* | chain-*) of_kind 'cli/(parent|chain|relink)' && of_kind 'hostile/chain' ;;
        vhd*/*) hostile "$1" "$area" && of_kind 'hostile/chain|unit/vhd' && of_kind 'cli/(check|parent|raw|relink)' ;;
        vhdx-log-* | vhd-overlap* | vhd-saved* | *-older-* | *-damage) hostile "$1" "$area" ;;
        *relink* | *merge* | *settle*) of_kind '(cli|crash)/(relink|merge|snapshot)' && of_kind 'unit/port' ;;
        track-* | point*) echo "points $BUILD/tests/crash/points" && of_kind '(unit|cli)/points' ;;
        *-guid-*) of_kind 'unit/(api|vhd)|cli/parent-id' ;;
        vhd*) ;;
        *) of_kind "(unit|cli|crash)/[a-z_-]*$area" ;;
        esac
        of_kind 'unit/(api|file|table|vhdx?)[.]'
        random
        of_kind 'unit/'
        of_kind 'hostile/|cli/(check|parent-(id|tr)|read-)'
    } | awk -v known="$(awk -v fault="$1" '$1 == fault { print $2 }' tests/mutants.tsv)" '
        seen[$1]++ { next }
        $1 == known { print; next }
        { later = later $0 "\n" }
        END { printf "%s", later }'
}

run() { # NAME-OF-FAULT COMMAND: in a directory of its own; status 0, or the test failed
    local dir status
    dir=$(mktemp -d "${TMPDIR:-/tmp}/vdisk-mutant.XXXXXX")
    # shellcheck disable=SC2086
    (cd "$dir" && VDISK_MUTANT=$1 HOSTILE_FIRST=1 TMPDIR=$dir timeout -k 5 "${TEST_TIMEOUT:-400}" $2 >"$dir.log" 2>&1 </dev/null)
    status=$?
    [ $status -eq 77 ] && status=0
    case $status in # what finds nothing
    126 | 127) echo "$2: cannot be run" >&2 && status=0 ;;
    143) echo "$2: was ended by somebody" >&2 && status=0 ;;
    esac
    [ $status -eq 124 ] && echo "$1: time ran out: $2" >&2 # found, if it is not the machine that is slow
    [ $status -eq 0 ] || [ -n "$1" ] || tail -n 20 "$dir.log"
    [ -z "${SHOW:-}" ] || tail -n 5 "$dir.log"
    rm -rf "$dir" "$dir.log"
    return $status
}

try() { # NAME
    local test
    case $1 in
    vhdx*) export RIG_ONLY=vhdx MODEL_ONLY=vhdx- ;;
    vhd*) export RIG_ONLY=vhd MODEL_ONLY=vhd- ;;
    esac
    while read -r test command; do
        if ! run "$1" "$command"; then
            printf '%-32s %s\n' "$1" "$test"
            return
        fi
    done < <(tests_for "$1")
    printf '%-32s NOT FOUND\n' "$1"
}
export -f try run tests_for of_kind random hostile

[ -z "${LIST:-}" ] || { names; exit; }
make --no-print-directory -s -j2 BUILD="$BUILD" EXTRA=-DVDISK_MUTANTS all tests || exit 1

# Without a fault all of them pass.
if [ $# -eq 0 ]; then
    while read -r test command; do
        run "" "$command" || { echo "without any fault, $test fails" && exit 1; }
    done < <(SEEDS=1 tests_for any)
fi

# Those that were tried now, and of before the others that there still are.
keep() {
    {
        grep -v 'NOT FOUND$' "$results"
        awk 'FILENAME == ARGV[1] { tried[$1]; next } !($1 in tried)' "$results" tests/mutants.tsv
    } | awk 'FILENAME == ARGV[1] { there[$1]; next } $1 in there { print $1 "\t" $2 }' <(names) - | sort >"$results.all"
    cat "$results.all" >tests/mutants.tsv
    rm -f "$results" "$results.all"
}

results=$(mktemp)
trap keep EXIT
if [ $# -gt 0 ]; then printf '%s\n' "$@"; else names; fi | xargs -P "${JOBS:-2}" -I{} bash -c 'try {}' | tee "$results"
total=$(wc -l <"$results") missed=$(grep -c 'NOT FOUND$' "$results")
echo "$total deliberate faults, $((total - missed)) found, $missed not"
[ "$total" -gt 0 ] && [ "$missed" -eq 0 ]
