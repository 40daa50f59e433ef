#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A mount point that does not exist, or is a file: one line that names it, before anything is done on the network.
. "$(dirname "$0")/common.sh"

start_target 600M
mkfs
with="key=$KEY,target_key=$TARGET_KEY"
refused 1 "$T/nowhere" "$ENCSANFS" "$URL" "$T/nowhere" -o "$with"
: >"$T/file"
refused 1 "$T/file" "$ENCSANFS" "$URL" "$T/file" -o "$with"
gone encsanfs
say "the LUN is free"
mnt
umnt
check_disk
