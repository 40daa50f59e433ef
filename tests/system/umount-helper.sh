#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# umount(8) calls umount.fuse.encsanfs, which is encsan umount: the write-back has ended when it returns.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mkdir "$T/upper" "$T/work"
mount -t tmpfs tmpfs "$T/upper"
mkdir "$T/upper/files" "$T/upper/work"
mount -t overlay -o "lowerdir=/usr/sbin,upperdir=$T/upper/files,workdir=$T/upper/work" overlay /usr/sbin
ln -s "$ENCSAN" /usr/sbin/umount.fuse.encsanfs
mnt
random_file "$T/data" 60
cp "$T/data" "$M/file"
umount "$M"
cp --sparse=always "$DISK" "$FAST/copy"
e2fsck -fn "$FAST/copy" >"$T/e2fsck.log" 2>&1 || fail "umount(8) did not wait"
dumpe2fs -h "$FAST/copy" 2>/dev/null | grep -q 'Filesystem state: *clean$' || fail "not marked as clean"
rm "$FAST/copy"
umount /usr/sbin
umount "$T/upper"
check_disk
