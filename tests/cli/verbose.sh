#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# --verbose tells how I/O is done; --quiet tells nothing; progress is not for files.
. "$(dirname "$0")/../lib.sh"

raw src.raw 20M
random_bytes 1000000 1 | dd of=src.raw conv=notrunc status=none
status 0 vdisk convert src.raw a.vhdx --verbose
grep -Eiq 'uring|aio|threads' err || fail "the backend is not told: $(cat err)"
status 0 vdisk convert src.raw b.vhdx --quiet
[ ! -s out ] && [ ! -s err ] || fail "--quiet is not quiet: $(cat out err)"
status 0 vdisk convert src.raw c.vhdx
[ ! -s err ] || fail "not an error: $(cat err)"
[ "$(wc -l <out)" -eq 1 ] || fail "not one line of summary: $(cat out)"
! grep -q $'\r' out || fail "a progress bar in a file"
