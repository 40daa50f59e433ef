#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The link has the round trip, the rate and the loss that were asked for, as
# ping and iperf3 see them; both ends see the caller's mounts; nothing stays.
. "$(dirname "$0")/../system/common.sh"

namespaces() {
    find /proc/[0-9]*/ns/net -printf '%l\n' 2>/dev/null | sort -u | wc -l
}

sleeping() {
    [ -n "$(processes sleep)" ]
}

before=$(namespaces)

say "round trip and rate"
"$LINK" --delay=5 --rate=200 -- sh "$(dirname "$0")/link-measured.sh" rate "$T"

say "loss"
"$LINK" --delay=1 --loss=10 -- sh "$(dirname "$0")/link-measured.sh" loss "$T"

say "the caller's mounts are there at both ends, and only the network is another"
mkdir "$T/here"
mount -t tmpfs tmpfs "$T/here"
touch "$T/here/file"
"$LINK" -- sh -c "\$NEAR test -e $T/here/file && \$FAR test -e $T/here/file && \$FAR ip -br address show link0" >"$T/out"
grep -q 10.87.0.2 "$T/out" || fail "far has another address: $(cat "$T/out")"
umount "$T/here"

say "its exit status is the command's"
status=0
"$LINK" -- sh -c 'exit 7' || status=$?
[ $status = 7 ] || fail "exit status $status, not 7"
status=0
"$LINK" --delay=-1 -- true 2>"$T/err" || status=$?
[ $status = 2 ] || fail "exit status $status at a wrong option, not 2"
[ "$(wc -l <"$T/err")" = 1 ] || fail "more than a line: $(cat "$T/err")"

say "SIGTERM ends the command, SIGKILL leaves nothing"
"$LINK" -- sleep 60 &
pid=$!
until_true 30 sleeping || fail "the command does not run"
kill -TERM $pid
status=0
wait $pid || status=$?
[ $status = 143 ] || fail "exit status $status after SIGTERM, not 143"
"$LINK" --delay=1 -- sleep 60 &
pid=$!
until_true 30 sleeping || fail "the command does not run"
kill -KILL $pid
wait $pid 2>/dev/null || :
gone sleep
[ "$(namespaces)" = "$before" ] || fail "a network namespace is left"
