#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# When fsync returns, the bytes are in the target's file; also with dd conv=fsync, O_SYNC and sync(1) of a folder.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
in_file() {
    grep -qaF "$1" "$DISK"
}
one=a-marker-$$-one-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
two=b-marker-$$-two-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
three=c-marker-three-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
echo "$one" >"$M/one"
sync "$M/one"
in_file "$one" || fail "sync FILE returned too early"
echo "$two" | dd of="$M/two" conv=fsync status=none
in_file "$two" || fail "dd conv=fsync returned too early"
echo "$three" | dd of="$M/three" oflag=sync status=none
in_file "$three" || fail "O_SYNC returned too early"
: >"$M/an-empty-file-$two"
sync "$M"
in_file "an-empty-file-$two" || fail "sync FOLDER returned too early"
umnt
check_disk
