#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A person types hv run and the name of an image: SeaBIOS, GRUB and Debian on this terminal, and there a login.
. "$SRC/tests/vm/testbed/guest.sh"
need script

job <<'END'
#!/bin/sh
passwd -q -d root
setsid -w busybox getty -L 115200 ttyS0 vt100
[ "$(cat /run/typed)" = root ]
END

# until_shown TEXT: on the terminal, by now.
until_shown() {
    until tr -d '\0' <typed | grep -- "$1" >/dev/null; do
        kill -0 $pid 2>/dev/null || fail "hv has ended: $(tail -n 40 typed)"
        sleep 0.5
    done
}

quietly create debian.vhdx --parent "$FILES/guest/root.vhdx"
mkfifo keys
: >typed
timeout -s KILL 400 script -q -f -e -c "$(printf '%q ' "$hv" run debian.vhdx --parent "$FILES/guest/root.vhdx" --disk job.raw)" typed <keys >/dev/null &
pid=$!
exec 7<>keys
until_shown 'testbed login:'
printf 'root\n' >&7
until_shown 'root@testbed'
printf 'whoami >/run/typed; exit\n' >&7
status=0
wait $pid || status=$?
same $status 0 "hv's status"
grep 'job: 0' typed >/dev/null || fail "$(tail -n 40 typed)"
