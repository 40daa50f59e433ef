#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Times of reading, as with relatime: written where they say more than mtime and ctime do, or once a day.
# What the page cache answers is not seen by a FUSE daemon: here each read is the first of its mount.
. "$(dirname "$0")/common.sh"

seconds() {
    (cd "$M" && stat -c '%n %X' file folder link)
}

use() {
    cat "$M/file" >/dev/null
    ls "$M/folder" >/dev/null
    readlink "$M/link" >/dev/null
}

old_times() { # old_times ATIME MTIME; ctime is now, so all of them are read later once
    touch -h -m -d "$2" "$M/file" "$M/folder" "$M/link"
    touch -h -a -d "$1" "$M/file" "$M/folder" "$M/link"
}

start_target
mkfs
mnt
echo content >"$M/file"
mkdir "$M/folder"
touch "$M/folder/in"
ln -s file "$M/link"
old_times '2001-01-01 UTC' '2002-02-02 UTC'
before=$(date +%s)
mnt_anew noatime
say "noatime"
use
[ "$(seconds | grep -c ' 978307200$')" = 3 ] || fail "noatime, and it changed: $(seconds)"
mnt_anew ro
say "read-only"
use
[ "$(seconds | grep -c ' 978307200$')" = 3 ] || fail "read-only, and it changed: $(seconds)"
mnt_anew
say "read"
use
read_at=$(seconds)
echo "$read_at" | while read -r name at; do
    [ "$at" -ge "$before" ] || fail "the atime of $name is $at"
done
say "read again, after a fresh mount: it is younger than mtime and ctime"
mnt_anew
[ "$(seconds)" = "$read_at" ] || fail "another atime after a fresh mount: $(seconds)"
sleep 1.1
use
[ "$(seconds)" = "$read_at" ] || fail "read twice within a day: $(seconds)"
say "what the kernel has"
umnt
check_disk
kernel_mount
[ "$(cd "$T/loop" && stat -c '%n %X' file folder link)" = "$read_at" ] || fail "the kernel sees another atime"
kernel_umount
say "forgotten by the kernel, and read again"
mnt
old_times '2001-01-01 UTC' '2002-02-02 UTC'
sync "$M/file"
umnt
mnt
use
read_at=$(seconds)
drop_caches
[ "$(seconds)" = "$read_at" ] || fail "another atime after the kernel forgot: $(seconds)"
! seconds | grep -q ' 978307200$' || fail "not changed: $(seconds)"
umnt
check_disk
