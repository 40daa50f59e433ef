#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# vi: it writes a new file, renames and keeps a swap file.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
seq 10000 >"$M/text"
vi -es -u NONE -c 'set backup writebackup swapfile backupskip=' -c '%s/1/one/g' -c 'wq' "$M/text" </dev/null ||
    fail "vi: exit status $?"
seq 10000 | sed 's/1/one/g' | cmp - "$M/text" || fail "the text is not the one that vi wrote"
mnt_anew
seq 10000 | sed 's/1/one/g' | cmp - "$M/text" || fail "the text is not there after a fresh mount"
seq 10000 | cmp - "$M/text~" || fail "the backup is not the old text"
umnt
check_disk
