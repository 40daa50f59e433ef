#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A file that was removed while it is open lives on for who holds it, and its space comes back afterwards.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
random_file "$T/data" 10
free=$(stat -fc '%f %d' "$M")
cp "$T/data" "$M/file"
exec 3<>"$M/file"
rm "$M/file"
[ ! -e "$M/file" ] || fail "the name is still there"
drop_caches
cmp "$T/data" /proc/self/fd/3 || fail "the bytes are gone"
echo changed >&3
[ "$(head -c 7 /proc/self/fd/3)" = changed ] || fail "it cannot be written any more"
[ "$(stat -Lc %h /proc/self/fd/3)" = 0 ] || fail "it still has links"
exec 3>&-
freed() {
    sync -f "$M"
    [ "$(stat -fc '%f %d' "$M")" = "$free" ]
}
until_true 10 freed || fail "the space did not come back: $free, now $(stat -fc '%f %d' "$M")"
say "renamed over while open"
echo old >"$M/a"
echo new >"$M/b"
exec 4<"$M/a"
mv "$M/b" "$M/a"
[ "$(cat <&4) $(cat "$M/a")" = "old new" ] || fail "rename over an open file"
exec 4<&-
umnt
check_disk
