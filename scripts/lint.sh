#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What a compiler does not see. Each tool that is missing is named; a finding fails.
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0

have() {
    command -v "$1" >/dev/null || { echo "lint: $1 is not installed: not run (make deps)"; return 1; }
}

if have cppcheck; then
    # shellcheck disable=SC2046,SC2012
    cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr --std=c11 \
        --suppress=missingIncludeSystem --suppress=ctuuninitvar --suppress=leakReturnValNotUsed --suppress=invalidPrintfArgType_uint -D_GNU_SOURCE -I. \
        $(ls -d disk vhd vhdx odx replica lib control cli fuse ntfs nbd vmm scsi base net 2>/dev/null) || failed=1
fi
if have shellcheck; then
    # SC2154: what tests/lib.sh assigns
    # shellcheck disable=SC2046
    shellcheck -S warning -e SC2154 $(find scripts tests bench .ci -type f \( -name '*.sh' -o -name run \)) || failed=1
fi
if have mandoc; then
    mandoc -Tlint -W warning man/*.1 || failed=1
fi
scripts/check-layers.sh || failed=1
exit $failed
