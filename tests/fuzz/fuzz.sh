#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Every fuzz target for a while: first the inputs that once were findings, then those that the library makes, and then
# whatever libFuzzer thinks of. Built by clang, with ASan and UBSan, in a variant of its own.
#
# FUZZ_SECONDS (each target; 3), FUZZ_TARGETS ("vhd log"; all), FUZZ_SEED (1; 0: another each time), FUZZ_CORPUS (a
# directory that keeps what was learned).
set -eu

src=${SRC:-$(cd "$(dirname "$0")/../.." && pwd)} build=${BUILD:-build}
seconds=${FUZZ_SECONDS:-3} corpus=${FUZZ_CORPUS:-}
targets=${FUZZ_TARGETS:-$(cd "$src/tests/fuzz/targets" && for f in *.c; do echo "${f%.c}"; done)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skip() {
    echo "$1"
    exit 77
}

case $(basename "$build") in asan | tsan) skip "the fuzz targets have sanitizers of their own" ;; esac
command -v clang >/dev/null || skip "clang is not installed"
cat >"$work/try.c" <<'END'
int LLVMFuzzerTestOneInput(const char *data, unsigned long size);
int LLVMFuzzerTestOneInput(const char *data, unsigned long size) { return data && size > 9; }
END
clang -fsanitize=fuzzer,address,undefined -o "$work/try" "$work/try.c" 2>/dev/null ||
    skip "clang has no libFuzzer here (package libclang-rt-14-dev)"

# shellcheck disable=SC2086
if ! env -u MAKEFLAGS -u MFLAGS make -j2 -C "$src" VARIANT=fuzz BUILD="$build/fuzz" CC=clang CFLAGS="-O1 -gline-tables-only" fuzz-targets \
    >"$work/build.log" 2>&1; then
    cat "$work/build.log"
    exit 1
fi

export ASAN_OPTIONS=allocator_may_return_null=1:quarantine_size_mb=16:detect_stack_use_after_return=0
export UBSAN_OPTIONS=print_stacktrace=1
failed=0
for target in $targets; do
    program=$build/fuzz/fuzz/$target
    mkdir -p "$work/$target" "$work/seeds/$target"
    FUZZ_SEEDS=$work/seeds/$target "$program" -runs=0 >/dev/null 2>&1
    regressions=$src/tests/fuzz/regressions/$target
    again=()
    [ ! -d "$regressions" ] || again=("$regressions"/*)
    if [ ${#again[@]} -gt 0 ] && ! "$program" -timeout=180 "${again[@]}" >"$work/$target.log" 2>&1; then
        echo "$target: what once was a finding is one again"
        tail -n 40 "$work/$target.log"
        failed=1
        continue
    fi
    if [ -n "$corpus" ]; then keep=$corpus/$target; else keep=$work/corpus/$target; fi
    mkdir -p "$keep"
    # A fixed number of seconds; the memory is ASan's and its shadow's too.
    if "$program" -seed="${FUZZ_SEED:-1}" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=4096 \
        -use_value_profile=1 -print_final_stats=1 -artifact_prefix="${corpus:-$work}/$target-" \
        "$keep" "$work/seeds/$target" >"$work/$target.log" 2>&1; then
        awk -v t="$target" -v n="${#again[@]}" '/stat::number_of_executed_units/ { runs = $2 } / cov: / { cov = $4 }
            /stat::peak_rss_mb/ { rss = $2 }
            END { printf "%-8s %8d runs, %5d edges, %4d MiB at most; %d inputs tried again\n", t, runs, cov, rss, n }' \
            "$work/$target.log"
    else
        echo "$target: a finding"
        grep -v '^#' "$work/$target.log" | tail -n 60
        for found in "${corpus:-$work}/$target"-*; do
            [ -f "$found" ] && echo "$found, in base64:" && base64 -w 0 "$found" && echo
        done
        failed=1
    fi
done
exit $failed
