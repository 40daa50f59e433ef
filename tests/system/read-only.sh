#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# -o ro: everything can be read, nothing changes on the far disk.
. "$(dirname "$0")/common.sh"

make_tree "$T/tree"
start_target 300M
mkfs
mnt
cp -a "$T/tree" "$M/"
umnt
gone encsanfs
before=$(sum "$DISK")
mnt ro
compare "$T/tree" "$M/tree"
! touch "$M/new" 2>"$T/touch.err" || fail "a file was made"
grep -q 'Read-only' "$T/touch.err" || fail "$(cat "$T/touch.err")"
! rm "$M/tree/size-1" 2>/dev/null || fail "a file was removed"
! chmod 777 "$M/tree" 2>/dev/null || fail "a mode was changed"
umnt
gone encsanfs
[ "$(sum "$DISK")" = "$before" ] || fail "the far disk has changed"
