#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The everyday tools: tar, rsync, mv, rm -r; nothing is left of what was removed.
. "$(dirname "$0")/common.sh"

make_tree "$T/tree"
start_target
mkfs
mnt
before=$(stat -fc '%f %d' "$M")
say "tar"
tar -C "$T" --xattrs --xattrs-include='*' -cf - tree | tar -C "$M" --xattrs --xattrs-include='*' -xpf -
compare "$T/tree" "$M/tree"
say "rsync, and again with a change"
rsync -aHX --modify-window=-1 "$T/tree/" "$M/synced/"
compare "$T/tree" "$M/synced"
echo more >>"$T/tree/many/added"
echo more >>"$T/tree/size-131072"
rsync -aHX --modify-window=-1 --inplace "$T/tree/" "$M/synced/"
rm "$T/tree/many/added"
rsync -aHX --modify-window=-1 --delete "$T/tree/" "$M/synced/"
compare "$T/tree" "$M/synced"
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
