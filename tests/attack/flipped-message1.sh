#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A flipped bit in message 1 of the handshake: no mount, one clear line, and the LUN stays free.
. "$(dirname "$0")/common.sh"

start_target 600M
mkfs
proxy --flip message1
refused 1 'key\|path' "$ENCSANFS" "$URL" "$M" -o "key=$KEY,target_key=$TARGET_KEY"
gone encsanfs
[ "$(flips)" = 1 ] || fail "nothing was flipped"
say "the second try is not disturbed"
mnt
umnt
check_disk
