#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The number of links that the kernel counts by itself, while others ask for it. From meson: LINK_WHILE_LOOKED_AT.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
cd "$M"
"$LINK_WHILE_LOOKED_AT" 3000 || fail "a link is refused"
say "seen at once by others"
for i in $(seq 10); do
    ln first third
    [ "$(stat -c %h first)" = 3 ] || fail "$(stat -c %h first) links instead of 3"
    rm third
    [ "$(stat -c %h first)" = 2 ] || fail "$(stat -c %h first) links instead of 2"
    ln first third
    echo other >new
    mv new third
    [ "$(stat -c %h first)" = 2 ] || fail "$(stat -c %h first) links after a rename over the third"
    rm third
done
[ "$(stat -c %h first)" = 2 ] || fail "$(stat -c %h first) links at the end"
cd /
umnt
check_disk
