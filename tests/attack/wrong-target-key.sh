#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Another target than the one whose key we know: one line, exit status 1; also a target_key that is none.
. "$(dirname "$0")/common.sh"

start_target 600M
mkfs
other=$("$ENCSAN" keygen "$T/other")
refused 1 'target_key\|key' "$ENCSANFS" "$URL" "$M" -o "key=$KEY,target_key=$other"
refused 1 'target_key\|key' "$ENCSAN" mkfs "$URL" -o "key=$KEY,target_key=$other"
say "not known at all: no key of a target in the configuration"
refused 1 'target_key\|known_targets' "$ENCSANFS" "$URL" "$M" -o "key=$KEY"
got=0
"$ENCSANFS" "$URL" "$M" -o "key=$KEY,target_key=nonsense" 2>"$T/err" || got=$?
[ $got -ne 0 ] || fail "target_key=nonsense: exit status 0"
grep -q target_key "$T/err" || fail "target_key=nonsense: $(cat "$T/err")"
gone encsanfs
mnt
umnt
check_disk
