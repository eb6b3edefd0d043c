#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The testbed itself: its kernel has KVM, and our programs run in it.
. "$SRC/tests/lib.sh"
[ -c /dev/kvm ] || fail "no /dev/kvm: $(dmesg | grep -i kvm)"
quietly create a.vhdx --size 64M
head -c 3000000 /dev/urandom >given
quietly write a.vhdx --offset 1000 <given
"$VDISK" read a.vhdx --offset 1000 --length 3000000 | cmp - given || fail "what was written is not what is read"
clean a.vhdx
uname -r
