#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A LUN without a file system, with xfs, with a damaged superblock, with features that we don't write: one line each.
. "$(dirname "$0")/common.sh"

start_target 600M
with="key=$KEY,target_key=$TARGET_KEY"
say "nothing"
refused 1 'encsan mkfs\|no file system' "$ENCSANFS" "$URL" "$M" -o "$with"
gone encsanfs
! mounted "$M" || fail "it is mounted"
say "xfs"
mkfs.xfs -q "$DISK"
before=$(sum "$DISK")
refused 1 xfs "$ENCSANFS" "$URL" "$M" -o "$with"
gone encsanfs
[ "$(sum "$DISK")" = "$before" ] || fail "it was changed"
say "ext4 with quota, with bigalloc, without a journal"
for features in 'quota' 'bigalloc' '^has_journal'; do
    mke2fs -q -F -t ext4 -b 4096 -O "$features" "$DISK" 2>/dev/null
    refused 1 "${features#^}\|journal" "$ENCSANFS" "$URL" "$M" -o "$with"
    gone encsanfs
done
say "blocks of 1024 bytes"
mke2fs -q -F -t ext4 -b 1024 "$DISK"
refused 1 '1024\|block' "$ENCSANFS" "$URL" "$M" -o "$with"
gone encsanfs
say "ext4 marked as damaged"
mke2fs -q -F -t ext4 -b 4096 "$DISK"
debugfs -w -R 'ssv state 2' "$DISK" 2>/dev/null
before=$(sum "$DISK")
refused 1 'encsan fsck\|error' "$ENCSANFS" "$URL" "$M" -o "$with"
gone encsanfs
