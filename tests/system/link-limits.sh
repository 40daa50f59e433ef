#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# 65,000 links to a file and no more; folders beyond that say 1, which means many.
# The numbers are put on the disk by debugfs: it is quicker than to make the links.
. "$(dirname "$0")/common.sh"

links() { # links NAME NUMBER: on the far disk, unmounted
    gone encsanfs
    debugfs -w -R "sif $1 links_count $2" "$DISK" 2>"$T/debugfs.err"
}

start_target
mkfs
mnt
mkdir "$M/folder" "$M/other"
mkdir "$M/folder/sub" "$M/other/moves"
echo x >"$M/file"
umnt
links file 64999
links folder 65000
links other 1
say "a file"
mnt
cd "$M"
ln file last
[ "$(stat -c %h file)" = 65000 ] || fail "$(stat -c %h file) links"
! ln file one-too-many 2>"$T/ln.err" || fail "65,001 links"
grep -q "Too many links" "$T/ln.err" || fail "$(cat "$T/ln.err")"
[ ! -e one-too-many ] || fail "a name without a link"
rm last
ln file again
rm again
say "a folder"
mkdir folder/first-too-many
[ "$(stat -c %h folder)" = 1 ] || fail "$(stat -c %h folder) links of a folder with too many"
mkdir folder/another
mv other/moves folder/
rmdir folder/first-too-many folder/another
[ "$(stat -c %h folder)" = 1 ] || fail "$(stat -c %h folder) links of a folder that had too many"
[ "$(stat -c %h other)" = 1 ] || fail "$(stat -c %h other) links of a folder that had too many"
[ "$(find folder -mindepth 1 -type d | wc -l)" = 2 ] || fail "other subfolders"
cd /
umnt
say "they are gone, and the numbers are right again"
links file 1
links folder 4
links other 2
dumpe2fs -h "$DISK" 2>"$T/dumpe2fs.err" | grep -q dir_nlink || fail "no dir_nlink"
check_disk
mnt
rm -r "$M/folder" "$M/other" "$M/file"
umnt
check_disk
