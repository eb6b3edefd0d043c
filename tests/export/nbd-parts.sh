#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Two clients write the two halves of the same sectors over NBD at the same time, and both find what they wrote. A build
# that does not exclude writers of parts (MUTANT "nbd-parts-not-locked") loses some.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
served
need fio
fio --enghelp | grep -qw nbd || skip "this fio has no NBD"

quietly create a.vhdx --size 16M --block-size 1M
serve a.vhdx
cat >job <<END
[global]
ioengine=nbd
uri=$uri
bs=256
rw=write:256
io_size=4k
size=8k
loops=400
iodepth=8
verify=crc32c
verify_fatal=1
do_verify=1
[even]
offset=0
[odd]
offset=256
END
for i in 1 2 3; do
    timeout 200 fio job >log 2>&1 || fail "round $i: $(grep -m 3 verify log)"
done
unserve a.vhdx
clean a.vhdx
