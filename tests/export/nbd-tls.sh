#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# nbdkit's own TLS and filters over a disk: who has no key is refused, and what a filter keeps apart is not written.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
served
need nbdinfo nbdcopy
nbdkit --dump-config | grep '^tls=yes' >/dev/null || skip "this nbdkit has no TLS"

quietly create a.vhdx --size 16M
put a.vhdx 0 3000000 1
before=$(hash_of a.vhdx)

printf 'alice:%s\n' "$(random_bytes 32 1 | sha256sum | cut -d' ' -f1)" >keys
printf 'alice:%s\n' "$(random_bytes 32 2 | sha256sum | cut -d' ' -f1)" >wrong
serve a.vhdx -- --tls=require --tls-psk="$PWD/keys"
tls="nbds+unix://alice@/?socket=$PWD/a.vhdx.sock&tls-psk-file=$PWD"
same "$(nbdcopy "$tls/keys" - | sha256sum | cut -d' ' -f1)" "$before" "the content over TLS"
status 1 nbdinfo "$tls/wrong"
status 1 nbdinfo "$uri"
unserve a.vhdx

serve a.vhdx -- --filter=cow
random_bytes 16777216 3 >new
nbdcopy new "$uri"
cmp new <(nbdcopy "$uri" -)
unserve a.vhdx
same "$(hash_of a.vhdx)" "$before" "the content beneath a filter that keeps writes"
clean a.vhdx
