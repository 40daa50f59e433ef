#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Modes, owners, times, special files, extended attributes, statfs.
. "$(dirname "$0")/common.sh"

start_target
mkfs -N 20000
mnt
cd "$M"
say "modes and owners"
echo x >file
chmod 4755 file
chown 65534:70000 file
[ "$(stat -c '%a %u %g' file)" = "755 65534 70000" ] || [ "$(stat -c '%a %u %g' file)" = "4755 65534 70000" ] ||
    fail "$(stat -c '%a %u %g' file)"
chmod 4755 file
chown 3000000000:4000000000 file
chmod 2640 file
[ "$(stat -c '%a %u %g' file)" = "2640 3000000000 4000000000" ] || fail "$(stat -c '%a %u %g' file)"
mkdir group
chgrp 4321 group
chmod 2775 group
mkdir group/sub
touch group/file
[ "$(stat -c '%a %g' group/sub)" = "2755 4321" ] || fail "set-group-id of a folder: $(stat -c '%a %g' group/sub)"
[ "$(stat -c %g group/file)" = 4321 ] || fail "group of a file in such a folder"
say "times"
touch -d '1969-12-31 23:59:58.5 UTC' old
touch -d '2106-02-07 06:28:17.25 UTC' late
touch -d '1850-01-01 UTC' first
touch -d '3000-01-01 UTC' last
[ "$(stat -c '%Y' first last | paste -sd' ')" = "-2147483648 15032385535" ] || fail "not ext4's first and last second"
ln -s nowhere link
touch -hd '2010-01-01 00:00:00.125 UTC' link
before=$(stat -c %z file)
sleep 0.05
chmod 600 file
[ "$(stat -c %z file)" != "$before" ] || fail "chmod does not change ctime"
before=$(stat -c %y .)
sleep 0.05
touch new
[ "$(stat -c %y .)" != "$before" ] || fail "a new file does not change its folder's mtime"
say "special files"
mknod pipe p
mknod char c 250 70000
mknod block b 8 17
say "extended attributes"
setfattr -n user.empty file
setfattr -n user.one -v "$(printf '%0100d' 1)" file
setfattr -n user.two -v "$(printf '%02000d' 2)" file
setfattr -n user.one -v changed file
setfattr -n security.thing -v s file
setfattr -n trusted.thing -v t group
setfattr -x user.two file
! setfattr -n user.too-big -v "$(printf '%09000d' 3)" file 2>/dev/null || fail "9000 bytes are too much for ext4"
getfattr -dm - file group >"$T/xattr"
say "statfs"
[ "$(stat -fc %s .)" = 4096 ] || fail "block size $(stat -fc %s .)"
[ "$(stat -fc %c .)" -ge 20000 ] || fail "inodes: $(stat -fc %c .)"
[ "$(stat -fc %l .)" = 255 ] || fail "length of names"
files='file group group/sub old late first last link pipe char block .'
format='%n %a %u %g %F %t %T %h %s %y %z'
# shellcheck disable=SC2086
stat -c "$format" $files >"$T/stat"
cd /
mnt_anew
cd "$M"
# shellcheck disable=SC2086
stat -c "$format" $files | diff "$T/stat" - || fail "other attributes after a fresh mount"
getfattr -dm - file group | diff "$T/xattr" - || fail "other extended attributes after a fresh mount"
cd /
umnt
check_disk
kernel_mount
cd "$T/loop"
# shellcheck disable=SC2086
stat -c "$format" $files | diff "$T/stat" - || fail "the kernel sees other attributes"
getfattr -dm - file group | diff "$T/xattr" - || fail "the kernel sees other extended attributes"
cd /
kernel_umount
