#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The target's disk takes its time, with more commands on their way than the target admits at once: the
# target answers for itself, so nobody mistakes it for one that hangs.
. "$(dirname "$0")/common.sh"

truncate -s 700M "$FAST/outer"
mke2fs -q -t ext4 "$FAST/outer"
mkdir "$T/disks"
mount -o loop "$FAST/outer" "$T/disks"
thaw_and_finish() { # also where it fails meanwhile
    code=$?
    set +e
    fsfreeze --unfreeze "$T/disks" 2>/dev/null
    (exit $code)
    finish
}
trap thaw_and_finish EXIT
DISK=$T/disks/disk
start_target 600M
mkfs
mnt_logged sessions=1,segment=64K,prefetch=150
random_file "$T/data" 40
in_flight() {
    [ "$("$ENCSAN" status "$M" | awk '/^in flight/ { print $3 }')" -ge 140 ]
}
cp "$T/data" "$M/before"
sync "$M/before"
fsfreeze --freeze "$T/disks"
cp "$T/data" "$M/file"
sync "$M/file" &
SYNC=$!
until_true 60 in_flight || fail "too little is on its way: $("$ENCSAN" status "$M")"
sleep 14 # longer than a target that hangs is waited for
kill -0 $SYNC || fail "sync did not wait"
fsfreeze --unfreeze "$T/disks"
wait $SYNC || fail "sync failed, with status $?"
! grep 'lost\|not answer' "$T/encsanfs.log" || fail "a slow disk is taken for a dead target"
drop_caches
same "$T/data" "$M/file"
umnt
wait "$FS_PID" || fail "encsanfs failed"
check_disk
stop_target
umount "$T/disks"
