#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# mount -t fuse.encsanfs, the form that fstab has, and a line of fstab itself.
. "$(dirname "$0")/common.sh"

start_target
mkfs
say "installed, as far as mount(8) sees"
mount -t tmpfs tmpfs /usr/local/sbin
ln -s "$ENCSANFS" /usr/local/sbin/encsanfs
mount -t fuse.encsanfs "$URL" "$M" -o "key=$KEY,target_key=$TARGET_KEY"
mounted "$M" || fail "not mounted"
grep -q " $M .* fuse.encsanfs " /proc/self/mountinfo || fail "another type: $(grep " $M " /proc/self/mountinfo)"
echo one >"$M/file"
umnt
say "with other options of mount(8)"
mount -t fuse.encsanfs "$URL" "$M" -o "noatime,nodev,nosuid,ro,_netdev,key=$KEY,target_key=$TARGET_KEY"
grep " $M " /proc/self/mountinfo | grep -q 'ro,nosuid,nodev,noatime' || fail "$(grep " $M " /proc/self/mountinfo)"
[ "$(cat "$M/file")" = one ] || fail "the file"
umnt
say "a line of fstab"
echo "$URL $M fuse.encsanfs noauto,_netdev,key=$KEY,target_key=$TARGET_KEY 0 0" >"$T/fstab"
mount --fstab "$T/fstab" "$M"
[ "$(cat "$M/file")" = one ] || fail "the file"
umnt
umount /usr/local/sbin
check_disk
