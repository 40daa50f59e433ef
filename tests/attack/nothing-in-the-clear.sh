#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A marker, written and read back, is on the far disk but never in a recording of the connection.
. "$(dirname "$0")/common.sh"

start_target 600M
proxy --record "$T/record"
mkfs
marker=a-marker-$$-$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
mnt
yes "$marker" | head -n 50000 >"$M/secret-name-$marker"
setfattr -n user.secret -v "attribute-$marker" "$M/secret-name-$marker"
ln -s "link-$marker" "$M/link"
mnt_anew
yes "$marker" | head -n 50000 | cmp - "$M/secret-name-$marker" || fail "read back"
ls -l "$M" >/dev/null
umnt
without_proxy
grep -qaF "$marker" "$DISK" || fail "the marker is not on the far disk"
[ "$(stat -c %s "$T/record.out")" -gt 2000000 ] || fail "the recording is too small"
[ "$(stat -c %s "$T/record.in")" -gt 2000000 ] || fail "the recording is too small"
! grep -qaF "$marker" "$T/record.out" "$T/record.in" || fail "the marker crossed in the clear"
say "nor does anything of ext4: runs of zeros, the superblock's label, lost+found"
! grep -qaF lost+found "$T/record.out" "$T/record.in" || fail "a folder's name crossed in the clear"
python3 - "$T/record.out" "$T/record.in" <<'PY'
import sys
for name in sys.argv[1:]:
    if bytes(512) in open(name, 'rb').read():
        sys.exit('FAILED: 512 zeros in ' + name)
PY
check_disk
