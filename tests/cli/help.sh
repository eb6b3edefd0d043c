#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# help: of the program and of every command, with examples; an unknown word is refused in one line.
. "$(dirname "$0")/../lib.sh"

status 0 vdisk --help
[ ! -s err ] || fail "help is no error"
cp out overview
status 0 vdisk --version
grep -Eq '^vdisk [0-9]+\.[0-9]+\.[0-9]+$' out || fail "version: $(cat out)"
for command in create info map convert compare check read write hash bench mount umount serve snapshot relink merge move point changes stats top; do
    grep -Eq "^  $command " overview || fail "$command is not in the overview"
    status 0 vdisk $command --help
    grep -q "^Usage: vdisk $command" out || fail "$command: no usage"
    grep -q "^Examples:" out || fail "$command: no examples"
    for option in --input-format --parent-dir --parent-map --parent --quiet --verbose; do
        grep -q -- "$option" out || fail "$command: $option is not told"
    done
    [ "$(awk '{ if (length($0) > n) n = length($0) } END { print n }' out)" -le 120 ] || fail "$command: long lines"
    [ -f "$SRC/man/vdisk-$command.1" ] || fail "$command: no man page"
    awk '/^  --/ { print $1 }' out | while read -r option; do
        grep -Eq -- "${option#--}" "$SRC/man/vdisk-$command.1" || grep -Eq -- "${option#--}" "$SRC/man/vdisk.1" ||
            fail "$command: $option is not in a man page"
    done
    want=1
    case $command in check | compare) want=2 ;; esac
    refused_with $want no-such vdisk $command --no-such-option a b
done
status 1 vdisk
[ ! -s out ] && [ -s err ] || fail "no command: usage goes to stderr"
refused frobnicate vdisk frobnicate
refused no-such vdisk --no-such
