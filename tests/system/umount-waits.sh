#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsan umount returns when all is on the far disk; after fusermount3 -u a new mount waits for that.
. "$(dirname "$0")/common.sh"

random_file "$T/data" 100
start_target
mkfs
mnt
say "encsan umount"
cp "$T/data" "$M/one"
"$ENCSAN" umount "$M" || fail "its exit status says that it failed"
cp --sparse=always "$DISK" "$FAST/copy" # at once: nothing may come later
e2fsck -fn "$FAST/copy" >"$T/e2fsck.log" 2>&1 || fail "not everything was on the disk"
dumpe2fs -h "$FAST/copy" 2>/dev/null | grep -q 'Filesystem state: *clean$' || fail "not marked as clean"
! dumpe2fs -h "$FAST/copy" 2>/dev/null | grep -q needs_recovery || fail "there is something to recover"
mkdir "$T/loop"
mount -t ext4 -o loop,ro "$FAST/copy" "$T/loop"
same "$T/loop/one" "$T/data"
umount "$T/loop"
rm "$FAST/copy"
say "fusermount3 -u, and at once again"
mnt
dumpe2fs -h "$DISK" 2>/dev/null | grep -q needs_recovery || fail "not marked as in use while mounted"
cp "$T/data" "$M/two"
fusermount3 -u "$M"
mnt 2>"$T/mnt.log"
same "$M/two" "$T/data"
say "umount(8)"
cp "$T/data" "$M/three"
umount "$M"
mnt 2>>"$T/mnt.log"
same "$M/three" "$T/data"
say "in use: it says so and stays"
exec 3<"$M/one"
refused 1 'busy\|in use' "$ENCSAN" umount "$M"
exec 3<&-
umnt
say "not mounted, not there"
refused 1 'mount' "$ENCSAN" umount "$M"
refused 1 'nowhere' "$ENCSAN" umount "$T/nowhere"
check_disk
