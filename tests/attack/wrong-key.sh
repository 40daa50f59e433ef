#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Key files that are no good, and a key that the target does not know: one line each, exit status 1.
. "$(dirname "$0")/common.sh"

start_target 600M
mkfs
with="target_key=$TARGET_KEY"
say "no such file, no key in it, readable by others"
refused 1 "$T/none" "$ENCSANFS" "$URL" "$M" -o "$with,key=$T/none"
echo nonsense >"$T/nonsense"
chmod 600 "$T/nonsense"
refused 1 "$T/nonsense" "$ENCSANFS" "$URL" "$M" -o "$with,key=$T/nonsense"
cp "$KEY" "$T/open"
chmod 644 "$T/open"
refused 1 "$T/open" "$ENCSANFS" "$URL" "$M" -o "$with,key=$T/open"
say "an initiator that the target does not know"
stranger=$("$ENCSAN" keygen "$T/stranger")
refused 1 "allow.*$stranger" "$ENCSANFS" "$URL" "$M" -o "$with,key=$T/stranger"
refused 1 "allow.*$stranger" "$ENCSAN" mkfs "$URL" -o "$with,key=$T/stranger"
gone encsanfs
! mounted "$M" || fail "it is mounted"
say "the right one still works"
mnt
umnt
check_disk
