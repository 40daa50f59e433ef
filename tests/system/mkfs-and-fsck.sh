#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsan mkfs and fsck: the options go to mke2fs and e2fsck, their progress and exit status come back.
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
umnt
say "a wrong option of mke2fs"
! "$ENCSAN" mkfs "$URL" -o "$with" -- --no-such-option >"$T/mkfs.out" 2>&1 || fail "exit status 0"
gone encsanfs
check_disk
