#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The target's disk loses what it had taken in (a device whose space is gone when the page cache is written to it):
# what a failed flush may have lost is sent again, though the disk then says that all is well; where it fails
# again and again, an fsync ends with EIO, the mount is read-only and says so, and the next one is as before.
. "$(dirname "$0")/common.sh"

mkdir "$T/thin"
mount -t tmpfs -o size=100M tmpfs "$T/thin"
truncate -s 400M "$T/thin/backing"
DISK=$(losetup -f --show "$T/thin/backing")
detach() {
    code=$?
    set +e
    kill "$TARGET_PID" 2>/dev/null && wait "$TARGET_PID"
    TARGET_PID=
    losetup -d "$DISK"
    (exit $code)
    finish
}
trap detach EXIT

no_space() {
    dd if=/dev/zero of="$T/thin/ballast" bs=64K 2>/dev/null || : # until there is none left
}

space() {
    rm "$T/thin/ballast"
}

flush_failed() { # so many times
    [ "$(grep -c 'a flush failed' "$T/target.log")" -ge "$1" ]
}

random_file "$T/data" 8
run_target --allow "$PUBLIC" --lun "$DISK"
mkfs -J size=4
bad_line
mnt_logged
cp "$T/data" "$M/before"
sync "$M/before"

say "once"
no_space
tell delay 1000 # one way: room for what follows, before it is sent again
cp "$T/data" "$M/once"
sync "$M/once" &
SYNC=$!
until_true 60 flush_failed 1 || fail "no flush fails"
space
wait $SYNC || fail "sync failed, with status $?: $(cat "$T/encsanfs.log")"
tell delay 0
grep -q 'failed a flush: data is sent again' "$T/encsanfs.log" || fail "the log does not tell of it"
umnt
wait "$FS_PID" || fail "encsanfs failed"
stop_target
blockdev --flushbufs "$DISK"
drop_caches
check_disk
mkdir "$T/loop"
mount -t ext4 -o ro "$DISK" "$T/loop"
same "$T/data" "$T/loop/once"
umount "$T/loop"
no_line

say "for good"
run_target --allow "$PUBLIC" --lun "$DISK"
mnt_logged
no_space
cp "$T/data" "$M/never"
! sync "$M/never" 2>"$T/sync.err" || fail "an fsync succeeds without its data"
grep -q 'Input/output error' "$T/sync.err" || fail "not the right error: $(cat "$T/sync.err")"
grep -q 'failed to flush 3 times in a row' "$T/encsanfs.log" || fail "the log does not tell of it"
grep -q 'read-only' "$T/encsanfs.log" || fail "the log does not say that it is read-only"
is_read_only() {
    ! touch "$M/late" 2>"$T/touch.err" && grep -q 'Read-only file system' "$T/touch.err"
}
until_true 60 is_read_only || fail "it is not read-only: $(cat "$T/touch.err")"
drop_caches
same "$T/data" "$M/once"
! "$ENCSAN" umount "$M" 2>"$T/umount.err" || fail "the unmount says that everything is on the far disk"
gone encsanfs
stop_target
space
run_target --allow "$PUBLIC" --lun "$DISK"
mnt 2>"$T/mnt.err"
same "$T/data" "$M/before"
same "$T/data" "$M/once"
umnt
check_disk
stop_target
