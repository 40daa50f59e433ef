#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsan-target as a service: its own user, what the service manager is told, syslog.
. "$(dirname "$0")/common.sh"

# Whoever becomes another cannot be looked into, also not by a sanitizer's search for leaks.
ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
receiver=$(dirname "$0")/receiver.py

# receive SOCKET FILE
receive() {
    python3 "$receiver" "$1" "$2" &
    HELPERS="$HELPERS $!"
    until_true 30 test -s "$2" -o -S "$1" || fail "no receiver"
    until_true 30 test -e "$2" || fail "no receiver"
}

chmod 711 "$T" "$FAST"
mkdir "$FAST/nobody"
chown nobody "$FAST/nobody"
DISK=$FAST/nobody/disk
receive "$T/notify" "$T/told"
say "it runs as nobody, who could not read its key, and tells"
export NOTIFY_SOCKET="$T/notify" WATCHDOG_USEC=400000
run_target --user nobody --allow "$PUBLIC" --lun "$DISK,size=64M"
unset NOTIFY_SOCKET WATCHDOG_USEC
status=/proc/$TARGET_PID/status
nobody=$(id -u nobody) group=$(id -g nobody)
[ "$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "$status")" = "$nobody $nobody $nobody $nobody" ] || fail "$(cat "$status")"
[ "$(awk '/^Gid:/ { print $2, $3, $4, $5 }' "$status")" = "$group $group $group $group" ] || fail "$(cat "$status")"
[ "$(awk '/^Groups:/ { $1 = ""; print $0 }' "$status" | tr -d ' ')" = "$group" ] || fail "$(cat "$status")"
grep -q '^CapEff:.0*$' "$status" || fail "it keeps capabilities"
grep -q '^NoNewPrivs:.1$' "$status" || fail "no-new-privs is not set"
[ "$(stat -c %U "$DISK" "$DISK.encsan-state" | sort -u)" = nobody ] || fail "whose are the files?"
iscsi-inq "$URL" >/dev/null || fail "iscsi-inq"
until_true 30 grep -q '^WATCHDOG=1$' "$T/told" || fail "the watchdog hears nothing"
stop_target
until_true 30 grep -q '^STOPPING=1$' "$T/told" || fail "it does not say that it ends"
[ "$(grep -v WATCHDOG "$T/told" | tr '\n' ' ')" = "READY=1 STOPPING=1 " ] || fail "told: $(cat "$T/told")"
[ "$(head -n 1 "$T/told")" = READY=1 ] || fail "told: $(cat "$T/told")"
say "who is nobody, and what is no socket"
refused 1 "no-such-user" "$ENCSAN_TARGET" --listen 127.0.0.1:0 --name "$IQN" --key "$T/target.key" \
    --user no-such-user --allow "$PUBLIC" --lun "$DISK"
NOTIFY_SOCKET=nowhere run_target --allow "$PUBLIC" --lun "$DISK"
until_true 30 grep -q 'NOTIFY_SOCKET=nowhere: READY=1 cannot be told' "$T/target.log" || fail "no line about it"
stop_target
say "log=syslog"
mkdir "$T/dev" # what a process sees as /dev that has none of the machine's
mknod -m 666 "$T/dev/null" c 1 3
mknod -m 666 "$T/dev/urandom" c 1 9
receive "$T/dev/log" "$T/syslog"
cat >"$T/conf" <<END
[target]
listen=127.0.0.1:0
name=$IQN
key=$T/target.key
user=root
log=syslog
[initiator test]
key=$PUBLIC
[lun 1]
path=$T/disk
size=64M
END
: >"$T/target.out"
: >"$T/target.log"
unshare --mount -- sh -c 'mount --bind "$1/dev" /dev && exec "$2" --config "$1/conf"' sh "$T" "$ENCSAN_TARGET" \
    >"$T/target.out" 2>"$T/target.log" &
TARGET_PID=$!
until_true 30 target_ready || fail "encsan-target says nothing"
URL=$(sed -n '1s/ .*//p' "$T/target.out")
iscsi-inq "$URL" >/dev/null || fail "iscsi-inq"
until_true 30 grep -q 'encsan-target\[[0-9]*\]: iqn.*(127.*), session [0-9a-f]*/[1-9][0-9]*: session begins' "$T/syslog" || fail "$(cat "$T/syslog")"
stop_target
[ ! -s "$T/target.log" ] || fail "on standard error: $(cat "$T/target.log")"
