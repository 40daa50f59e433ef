#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The network is away for a while during a copy: no error, status and log tell of it, processes that wait can
# be killed, and the copy goes on within WITHIN seconds when the network is back. SECONDS_AWAY makes it longer.
if [ -z "${ENCSAN_TEST_NETWORK:-}" ]; then
    ENCSAN_TEST_NETWORK=1 exec unshare --net -- sh "$0" "$@"
fi
ip link set lo up
. "$(dirname "$0")/common.sh"

# Also where the test fails meanwhile: encsanfs does not end before it has written everything.
network_back() {
    code=$?
    set +e
    ip link set lo up
    (exit $code)
    finish
}
trap network_back EXIT

start_target 600M
mkfs
mnt_logged
random_file "$T/data" 96
cp "$T/data" "$M/before"
sync "$M/before"
cp "$T/data" "$M/copy" 2>"$T/cp.err" &
CP=$!
has_begun() {
    [ -s "$M/copy" ] || ! kill -0 $CP 2>/dev/null
}
until_true 30 has_begun || fail "cp does not begin"
ip link set lo down
away_ms=$(now_ms)
until_true 60 status_says '^state *waiting for the target' || fail "status does not tell of the outage"
status_says '^waiting ' || fail "status does not say for how long"
[ "$(grep -c 'connection to the target is lost' "$T/encsanfs.log")" -eq 1 ] || fail "not one line in the log"

ended() {
    ! kill -0 "$1" 2>/dev/null || grep -qs '^State:.Z' "/proc/$1/status"
}
sleeps() {
    grep -qs '^State:.[DS]' "/proc/$1/status"
}
# dies SIGNAL command…: it waits, for the target is away, and the signal ends it at once
dies() { # a shell makes what runs in the background ignore two of them
    signal=$1
    shift
    env --default-signal=INT,QUIT "$@" >"$T/dies.out" 2>&1 &
    waiting=$!
    until_true 30 sleeps $waiting || fail "it does not wait: $*"
    sleep 0.5
    ! ended $waiting || fail "it does not wait: $* ($(cat "$T/dies.out"))"
    kill "-$signal" $waiting
    until_true 30 ended $waiting || fail "SIG$signal does not end: $*"
    wait $waiting || :
}

say "processes that wait are killed"
drop_caches
dies INT cp "$T/data" "$M/removed"
dies KILL cat "$M/before"
dies TERM sync "$M/before"
dies QUIT sync "$M"
dies INT cp "$T/data" "$M/more"
# a signal that does not end it changes nothing
dd if="$T/data" of="$M/more" bs=4K count=1 conv=notrunc,fsync status=none 2>/dev/null & # it handles SIGUSR1
patient=$!
handles_usr1() {
    grep -qs '^SigCgt:.*[2367abef]..$' "/proc/$patient/status"
}
until_true 30 handles_usr1 && until_true 30 sleeps $patient || fail "dd does not wait"
kill -USR1 $patient
rm "$M/removed" &
RM=$!

durable() {
    "$ENCSAN" status "$M" --json | sed -n 's/.*"durable_ordinal" *: *\([0-9]*\).*/\1/p'
}
goes_on() {
    [ "$(durable)" -gt "$before" ]
}
is_over() {
    [ $(($(now_ms) - away_ms)) -ge $((${SECONDS_AWAY:-20} * 1000)) ]
}
until_true "$((${SECONDS_AWAY:-20} + 60))" is_over
before=$(durable)
ip link set lo up
back_ms=$(now_ms)
until_true 60 goes_on || fail "it does not go on"
took_ms=$(($(now_ms) - back_ms))
say "something more was on the far disk $took_ms ms after the network's return"
[ $took_ms -le $((${WITHIN:-20} * 1000)) ] || fail "it took too long to go on"
wait $CP || fail "cp: $(cat "$T/cp.err")"
wait $patient || fail "a signal that it handles ended its fsync"
wait $RM || fail "rm"
sync "$M/copy"
status_says '^state *connected' || fail "status has not noticed the end of the outage"
drop_caches
same "$T/data" "$M/copy"
umnt
check_disk

say "fusermount3 -u -z while it is away; the rest is written when it is back"
mnt_logged
cp "$T/data" "$M/last"
ip link set lo down
random_file "$T/little" 1
cp "$T/little" "$M/little"
until_true 60 status_says '^state *waiting for the target' || fail "status does not tell of the outage"
timeout 30 fusermount3 -u -z "$M" || fail "fusermount3 -u -z does not work during an outage"
! mounted "$M" || fail "still mounted"
ip link set lo up
wait "$FS_PID" || fail "encsanfs could not write the rest"
check_disk
mnt
same "$T/little" "$M/little"
same "$T/data" "$M/last"
umnt
check_disk
