#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsan mkfs, fsck and resize: the options go to mke2fs and e2fsck, their progress and exit status come back.
. "$(dirname "$0")/common.sh"

start_target 300M
with="key=$KEY,target_key=$TARGET_KEY"
say "mkfs"
"$ENCSAN" mkfs "$URL" -o "$with" >"$T/mkfs.out" 2>&1 || fail "$(cat "$T/mkfs.out")"
grep -q 'Writing superblocks' "$T/mkfs.out" || fail "no progress of mke2fs: $(cat "$T/mkfs.out")"
check_disk
dumpe2fs -h "$DISK" 2>/dev/null | grep -q 'Block size: *4096' || fail "not blocks of 4096 bytes"
dumpe2fs -h "$DISK" 2>/dev/null | grep -q has_journal || fail "no journal"
say "what is there is not overwritten without -F"
before=$(sum "$DISK")
refused 1 ext4 "$ENCSAN" mkfs "$URL" -o "$with"
[ "$(sum "$DISK")" = "$before" ] || fail "it was overwritten"
say "with options"
"$ENCSAN" mkfs "$URL" -o "$with" -- -F -L name -m 1 >"$T/mkfs.out" 2>&1 || fail "$(cat "$T/mkfs.out")"
dumpe2fs -h "$DISK" 2>/dev/null | grep -q 'volume name: *name' || fail "-L did not reach mke2fs"
say "fsck"
"$ENCSAN" fsck "$URL" -o "$with" -- -fn >"$T/fsck.out" 2>&1 || fail "$(cat "$T/fsck.out")"
grep -q 'Pass 5' "$T/fsck.out" || fail "no progress of e2fsck"
say "fsck of a damaged one says so, repairs, and is content then"
stop_target
debugfs -w -R 'clri <2>' "$DISK" 2>/dev/null
start_target 300M
with="key=$KEY,target_key=$TARGET_KEY"
! "$ENCSAN" fsck "$URL" -o "$with" -- -fn >"$T/fsck.out" 2>&1 || fail "damage was not told"
"$ENCSAN" fsck "$URL" -o "$with" -- -fy >"$T/fsck.out" 2>&1 || [ $? -eq 1 ] || fail "$(cat "$T/fsck.out")"
"$ENCSAN" fsck "$URL" -o "$with" -- -fn >"$T/fsck.out" 2>&1 || fail "not repaired: $(cat "$T/fsck.out")"
say "not while it is mounted"
mnt
refused 1 "$M" "$ENCSAN" mkfs "$URL" -o "$with"
refused 1 "$M" "$ENCSAN" resize "$URL" -o "$with"
say "resize, when the LUN has grown under a mount"
make_tree "$T/tree"
cp -a "$T/tree" "$M/tree"
umnt
"$ENCSAN" resize "$URL" -o "$with" >"$T/resize.out" 2>&1 || fail "$(cat "$T/resize.out")"
grep -q 'nothing to do' "$T/resize.out" || fail "nothing to do, and it does not say so: $(cat "$T/resize.out")"
stop_target
write_conf 300M
run_config "$T/conf"
mnt
write_conf 1G
kill -HUP "$TARGET_PID"
grown() {
    [ "$(stat -c %s "$DISK")" -ge 1073741824 ]
}
until_true 60 grown || fail "the LUN does not grow"
[ "$(stat -fc %b "$M")" -lt 80000 ] || fail "its files grew by themselves"
refused 1 "$M" "$ENCSAN" resize "$URL" -o "$with"
umnt
"$ENCSAN" resize "$URL" -o "$with" >"$T/resize.out" 2>&1 || fail "$(cat "$T/resize.out")"
check_disk
[ "$(dumpe2fs -h "$DISK" 2>/dev/null | sed -n 's/^Block count: *//p')" = 262144 ] || fail "it has not grown"
mnt
compare "$T/tree" "$M/tree"
fallocate -l 700M "$M/more-than-there-was-before"
total=$(stat -fc '%b %f %c' "$M")
umnt
check_disk
kernel_mount
compare "$T/tree" "$T/loop/tree"
[ "$(stat -fc '%b %f %c' "$T/loop")" = "$total" ] || fail "the kernel's df: $(stat -fc '%b %f %c' "$T/loop"), ours $total"
kernel_umount
say "resize does not shrink"
stop_target
truncate -s 512M "$DISK"
start_target 512M
before=$(stat -c %y "$DISK")
with="key=$KEY,target_key=$TARGET_KEY"
refused 1 'not shrunk' "$ENCSAN" resize "$URL" -o "$with"
refused 2 'usage' "$ENCSAN" resize "$URL" -o "$with" -- 100M
[ "$(stat -c %y "$DISK")" = "$before" ] || fail "it was changed"
say "resize of what holds no files"
wipefs -qa "$DISK"
refused 1 'no ext4' "$ENCSAN" resize "$URL" -o "$with"
"$ENCSAN" mkfs "$URL" -o "$with" -- -q >"$T/mkfs.out" 2>&1 || fail "$(cat "$T/mkfs.out")"
say "a wrong option of mke2fs"
! "$ENCSAN" mkfs "$URL" -o "$with" -- --no-such-option >"$T/mkfs.out" 2>&1 || fail "exit status 0"
gone encsanfs
check_disk
