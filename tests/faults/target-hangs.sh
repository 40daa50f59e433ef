#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A target that hangs while its machine still acknowledges what TCP brings: that is an outage like any other. A
# mount waits and goes on; one with timeout=, which only reads, gets EIO, and goes on as well, also after a
# restart of the target.
. "$(dirname "$0")/common.sh"

run_target --allow "$PUBLIC" --lun "$DISK,size=600M" --lun "$FAST/read-disk,size=64M"
mkfs
only=${URL%1}2
READ=$T/read
mkdir "$READ"
"$ENCSAN" mkfs "$only" -o "key=$KEY,target_key=$TARGET_KEY" -- -q >"$T/mkfs.log" 2>&1 || fail "$(cat "$T/mkfs.log")"
"$ENCSANFS" "$only" "$READ" -o "key=$KEY,target_key=$TARGET_KEY"
random_file "$T/little" 4
cp "$T/little" "$READ/little"
"$ENCSAN" umount "$READ"
"$ENCSANFS" "$only" "$READ" -f -o "key=$KEY,target_key=$TARGET_KEY,ro,timeout=1" >"$T/read.log" 2>&1 &
READ_PID=$!
HELPERS="$HELPERS $READ_PID"
until_true 60 mounted "$READ" || fail "the second mount"

mnt_logged cache=16M # less than is copied
random_file "$T/data" 64
echo here >"$M/here"
sync "$M/here"
drop_caches
kill -STOP "$TARGET_PID"
cp "$T/data" "$M/copy" 2>"$T/cp.err" &
CP=$!
cat "$READ/little" >"$T/cat.out" 2>"$T/cat.err" &
CAT=$!
until_true 120 status_says '^state *waiting for the target' || fail "nobody notices that the target hangs"
grep -q 'connection to the target is lost' "$T/encsanfs.log" || fail "the log does not tell of it"
! wait $CAT || fail "cat reads from a target that hangs"
grep -q 'Input/output error' "$T/cat.err" || fail "cat: $(cat "$T/cat.err")"
grep -q 'the target does not answer, though its machine does' "$T/encsanfs.log" "$T/read.log" ||
    fail "the logs do not say what it is"
kill -0 $CP || fail "cp does not wait: $(cat "$T/cp.err")"
kill -CONT "$TARGET_PID"
wait $CP || fail "cp: $(cat "$T/cp.err")"
sync "$M/copy"
status_says '^state *connected' || fail "status has not noticed the end of it"
drop_caches
same "$T/data" "$M/copy"

# a read fails until it is back
reads() {
    cmp "$T/little" "$READ/little" 2>/dev/null
}
until_true 120 reads || fail "who only reads does not come back"
kill_target
run_target --allow "$PUBLIC" --lun "$DISK" --lun "$FAST/read-disk"
drop_caches
until_true 120 reads || fail "who only reads does not come back after a restart"
rm "$M/here"
"$ENCSAN" umount "$READ"
wait $READ_PID || fail "the second mount failed"
umnt
wait "$FS_PID" || fail "encsanfs failed"
check_disk
