#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Every way in which a machine ends or starts again, each with what is said of it and the exit status.
. "$(dirname "$0")/../machine.sh"
need script
machine=("$BUILD/hv" run --kernel "$guests/first" --memory 64M --nic none --name m)

# ends STATUS LETTER HELLOS MESSAGE [OPTION...]: and says nothing where there is no message.
ends() {
    status "$1" timeout -k 1 20 "${machine[@]}" --append "$2" --verbose "${@:5}"
    same "$(grep -c 'hello from the guest' out || true)" "$3" "$2: how often it said hello"
    grep -v -e Landlock err >said || true
    if [ -n "$4" ]; then
        grep -qE -- "^hv: ([a-z]+: )?m: $4" said || fail "$2: no \"$4\" in: $(cat err)"
    fi
    same "$(wc -l <said)" "$([ -z "$4" ] && echo 0 || echo "${6:-1}")" "$2: lines of messages: $(cat said)"
}
ends 0 o 1 ''
for way in c k f a; do
    ends 0 $way 2 'reset$'
    ends 0 $way 1 '' --no-reboot
done
status 0 timeout -k 1 20 "${machine[@]}" --append t --cpus 2
same "$(grep -c 'hello from the guest' out || true)" 2 "a triple fault: how often it said hello"
grep -q 'm: processor 0: triple fault: the machine starts again' err || fail "a triple fault: $(cat err)"
ends 4 t 1 'processor 0: triple fault$' --no-reboot
ends 3 p 1 'the guest has panicked$'

start() {
    rm -f serial
    "${machine[@]}" --append "$1" --serial file=serial >out 2>err </dev/null &
    pid=$!
    until_said serial 'the guest waits'
}

for signal in TERM INT HUP; do
    start w
    kill -$signal $pid
    ended 0
    grep -q 'm: power button: the guest is told' err || fail "SIG$signal: $(cat err)"
done
start z
kill -TERM $pid
until_said err 'm: power button: the guest does not listen; once more switches off at once'
kill -TERM $pid
ended 5
grep -q 'm: switched off' err || fail "SIGTERM twice: $(cat err)"

# terminal LETTER KEY: the terminal, and what is typed behind Ctrl-].
terminal() {
    rm -f keys typed
    mkfifo keys
    timeout 20 script -q -f -e -c "$(printf '%q ' "${machine[@]}" --append "$1")" typed <keys >/dev/null &
    pid=$!
    exec 7<>keys
    until_said typed 'the guest waits'
    printf '\035%s' "$2" >&7
}
terminal n n
ended 0
grep -q 'NMI button: pressed' typed || fail "the NMI button: $(cat typed)"
grep -q 'an NMI' typed || fail "the guest has not seen the NMI: $(cat typed)"
terminal w p
ended 0
terminal z q
ended 5
grep -q 'switched off' typed || fail "switched off from the terminal: $(cat typed)"
echo "19 ends"
