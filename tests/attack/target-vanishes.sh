#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The target is killed and stays away for longer than timeout=: who writes gets EIO, no process hangs, umount
# says that it failed; fsynced files are there.
. "$(dirname "$0")/common.sh"

start_target 600M
mkfs
mnt_logged timeout=2
random_file "$T/data" 8
cp "$T/data" "$M/kept"
sync "$M/kept"
kill -9 "$TARGET_PID"
wait "$TARGET_PID" || :
TARGET_PID=
say "it is gone"
got=0
timeout 60 dd if="$T/data" of="$M/lost" bs=1M conv=fsync status=none 2>"$T/dd.err" || got=$?
[ $got -eq 1 ] || fail "fsync after the target's end: exit status $got"
grep -q 'Input/output error\|Read-only\|not connected' "$T/dd.err" || fail "$(cat "$T/dd.err")"
grep -qi 'connection to the target is lost' "$T/encsanfs.log" || fail "encsanfs did not log it"
"$ENCSAN" status "$M" | grep -q '^state *waiting for the target' || fail "status does not say it"
got=0
timeout 60 "$ENCSAN" umount "$M" 2>"$T/umount.err" || got=$?
[ $got -eq 1 ] || fail "encsan umount: exit status $got"
[ "$(wc -l <"$T/umount.err")" -eq 1 ] || fail "not one line: $(cat "$T/umount.err")"
cat "$T/umount.err"
! mounted "$M" || fail "still mounted"
gone encsanfs
say "and back"
start_target 600M
mnt 2>"$T/mnt.log"
same "$M/kept" "$T/data"
umnt
check_disk
say "not there at all"
stop_target
refused 1 "127.0.0.1:$PORT\|connect" "$ENCSANFS" "$URL" "$M" -o "key=$KEY,target_key=$TARGET_KEY"
gone encsanfs
