#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# dbench: the load of a file server's clients, four at once. When its files are gone, nothing is missing.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
before=$(stat -fc '%f blocks, %d inodes' "$M")
dbench -D "$M" -t 4 4 >"$T/dbench.log" 2>&1 || fail "dbench"
say "$(grep ^Throughput "$T/dbench.log")"
rm -r "$M/clients"
mnt_anew
[ "$(stat -fc '%f blocks, %d inodes' "$M")" = "$before" ] ||
    fail "not all came back: $(stat -fc '%f blocks, %d inodes' "$M"), and it was $before"
umnt
check_disk
