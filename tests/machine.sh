# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For tests that run small guests of our own on /dev/kvm as it is here: . "$(dirname "$0")/../machine.sh"
# shellcheck source=tests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export guests=$BUILD/vm-guests
[ -x "$BUILD/hv" ] || skip "hv is not in this build"
[ -w /dev/kvm ] || skip "no /dev/kvm"

# A machine takes a signal for its power button, which a guest need not heed.
kill_machines() {
    # shellcheck disable=SC2046
    [ -z "$(jobs -p)" ] || kill -9 $(jobs -p) 2>/dev/null || true
    cleanup
}
trap kill_machines EXIT

# until_said FILE TEXT: the guest, or the machine, has said it.
until_said() {
    local tries
    for ((tries = 0; tries < 400; tries++)); do
        grep -qs -- "$2" "$1" && return
        sleep 0.05
    done
    fail "not said in 20 s: $2: $(cat "$1" err said 2>/dev/null)"
}

# ended STATUS: what was started in the background, as $pid.
ended() {
    local got=0
    wait "$pid" || got=$?
    same "$got" "$1" "the status"
}
