#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The everyday tools: tar, rsync, mv, rm -r; nothing is left of what was removed.
. "$(dirname "$0")/common.sh"

make_tree "$T/tree"
setfacl -m u:1001:rw,g:2001:r "$T/tree/size-60"
setfacl -m u:1002:rwx,d:u:1001:rwx,d:m::rx "$T/tree/deep/er"
start_target
mkfs
mnt
before=$(stat -fc '%f %d' "$M")
copy_by_tar() { # FROM TO: the tree in it
    tar -C "$1" --acls --xattrs --xattrs-include='*' -cf - tree | tar -C "$2" --acls --xattrs --xattrs-include='*' -xpf -
    compare "$1/tree" "$2/tree"
}

say "tar, there and back"
copy_by_tar "$T" "$M"
mkdir "$T/untarred"
copy_by_tar "$M" "$T/untarred"
compare "$T/tree" "$T/untarred/tree"
say "rsync, and again with a change"
rsync -aHAX --modify-window=-1 "$T/tree/" "$M/synced/"
compare "$T/tree" "$M/synced"
echo more >>"$T/tree/many/added"
echo more >>"$T/tree/size-131072"
rsync -aHAX --modify-window=-1 --inplace "$T/tree/" "$M/synced/"
rm "$T/tree/many/added"
rsync -aHAX --modify-window=-1 --delete "$T/tree/" "$M/synced/"
compare "$T/tree" "$M/synced"
rsync -aHAX --checksum --modify-window=-1 "$M/synced/" "$T/back/"
compare "$T/back" "$T/tree"
say "mv, within and out"
mkdir "$M/a"
mv "$M/synced" "$M/a/moved"
[ ! -e "$M/synced" ] || fail "it is still there"
compare "$T/tree" "$M/a/moved"
mv "$M/a/moved" "$T/out"
compare "$T/tree" "$T/out"
say "rm -r"
rm -r "$M/a" "$M/tree"
mnt_anew
[ "$(ls "$M")" = lost+found ] || fail "not empty: $(ls "$M")"
[ "$(stat -fc '%f %d' "$M")" = "$before" ] || fail "space or inodes are lost: $before, now $(stat -fc '%f %d' "$M")"
umnt
check_disk
