#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsanfs MOUNTPOINT alone: the user's default image is made at first use, and is there the next time.
. "$(dirname "$0")/common.sh"

"$ENCSANFS" "$M" >"$T/first.log" 2>&1
mounted "$M" || fail "not mounted"
echo kept >"$M/file"
umnt
gone encsanfs
gone encsan-target
[ -f /var/lib/encsan/default.img ] || fail "no default image"
"$ENCSANFS" "$M"
[ "$(cat "$M/file")" = kept ] || fail "the file is not there any more"
umnt
DISK=/var/lib/encsan/default.img
check_disk
gone encsan-target
umount /var/lib/encsan
