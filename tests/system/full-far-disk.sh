#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The target's own disk is full: a write waits, with a line in the log, and goes on when there is room again.
. "$(dirname "$0")/common.sh"

mkdir "$T/small"
mount -t tmpfs -o size=80M tmpfs "$T/small"
DISK=$T/small/disk
start_target 600M
mkfs
mnt_logged
random_file "$T/data" 40
head -c 60M /dev/zero >"$T/small/ballast"
cp "$T/data" "$M/file"
sync "$M/file" &
sync_id=$!
until_true 60 grep -q "own disk is full" "$T/encsanfs.log" || fail "it does not say that the disk is full"
grep -q "cannot write: No space left" "$T/target.log" || fail "the target does not say so"
kill -0 $sync_id || fail "sync did not wait"
rm "$T/small/ballast"
wait $sync_id || fail "sync failed, with status $?"
umnt
wait "$FS_PID" || fail "encsanfs failed"
mnt
same "$M/file" "$T/data"
umnt
check_disk
stop_target
umount "$T/small"
