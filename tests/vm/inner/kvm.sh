#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The testbed itself: its kernel has KVM, and our programs run in it.
. "$SRC/tests/lib.sh"
[ -c /dev/kvm ] || fail "no /dev/kvm: $(dmesg | grep -i kvm)"
quietly create a.vhdx --size 64M
random_bytes 3000000 1 | quietly write a.vhdx --offset 1000
clean a.vhdx
uname -r
