#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Another encsan-target is the upstream, and its disk is full: a mount waits and says why, a stock initiator gets
# ENOSPC; both go on when there is room. The upstream is not there when the target starts: it comes later. Then it is
# killed and started again under a copy, and both are.
. "$(dirname "$0")/common.sh"

mkdir "$T/small"
mount -t tmpfs -o size=80M tmpfs "$T/small"
run_upstream() {
    : >"$T/upstream.out"
    "$ENCSAN_TARGET" --listen 127.0.0.1:3260 --name "$UP_IQN" --key "$T/target.key" \
        --lun "$T/small/disk,size=300M,access=plain" >"$T/upstream.out" 2>>"$T/upstream.log" &
    UPSTREAM_PID=$!
    LAST="$LAST $UPSTREAM_PID"
    until_true 60 grep -q '^iscsi:' "$T/upstream.out" || fail "the upstream says nothing"
}
run_upstream
run_target --lun "$UPSTREAM,access=plain"
head -c 60M /dev/zero >"$T/small/ballast"
! qemu-io -f raw -c 'write -P 0x11 0 40M' "$URL" >"$T/qemu-io.log" 2>&1 || fail "there was no room"
grep -q 'No space left' "$T/qemu-io.log" || fail "not ENOSPC: $(cat "$T/qemu-io.log")"
rm "$T/small/ballast"
qemu-io -f raw -c 'write -P 0x11 0 40M' -c 'discard 0 40M' -c flush "$URL" >"$T/qemu-io.log" 2>&1 ||
    fail "there is room again: $(cat "$T/qemu-io.log")"
stop_target

say "a target that starts before its upstream"
kill "$UPSTREAM_PID"
wait "$UPSTREAM_PID" || fail "the upstream failed"
PORT=
run_target --allow "$PUBLIC" --lun "$UPSTREAM"
refused 1 "waits for its own disk" "$ENCSANFS" "$URL" "$M" -o "key=$KEY,target_key=$TARGET_KEY"
run_upstream
until_true 60 target_says 2 "LUN 1: iscsi.*: is there$" || fail "it does not find its upstream"
mkfs
mnt_logged
random_file "$T/data" 24
head -c 60M /dev/zero >"$T/small/ballast"
cp "$T/data" "$M/file"
sync "$M/file" &
sync_id=$!
until_true 60 grep -q "own disk is full" "$T/encsanfs.log" || fail "it does not say that the disk is full"
kill -0 $sync_id || fail "sync did not wait"
rm "$T/small/ballast"
wait $sync_id || fail "sync failed, with status $?"
cp "$T/data" "$M/file" &
copy=$!
kill -9 "$UPSTREAM_PID"
wait "$UPSTREAM_PID" 2>/dev/null || :
run_upstream
wait $copy || fail "the copy failed"

say "power is cut at both, and the upstream comes back later"
cp "$T/data" "$M/later" &
copy=$!
kill -9 "$UPSTREAM_PID" "$TARGET_PID"
wait "$UPSTREAM_PID" "$TARGET_PID" 2>/dev/null || :
run_target --allow "$PUBLIC" --lun "$UPSTREAM"
begun=$(grep -c "session begins" "$T/target.log")
until_true 60 target_says $((begun + 2)) "session begins" || fail "encsanfs does not try again"
run_upstream
wait $copy || fail "the copy failed"
umnt
wait "$FS_PID" || fail "encsanfs failed"
stop_target
kill "$UPSTREAM_PID"
wait "$UPSTREAM_PID" || fail "the upstream failed"
DISK=$T/small/disk
check_disk
kernel_mount
same "$T/loop/file" "$T/data"
same "$T/loop/later" "$T/data"
kernel_umount
umount "$T/small"
