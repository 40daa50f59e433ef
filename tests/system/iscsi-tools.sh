#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# libiscsi's own tools work on the target.
. "$(dirname "$0")/common.sh"

run_target --allow "$PUBLIC" --lun "$DISK,size=1G" --lun "$FAST/plain,size=64M,access=plain"
portal=iscsi://127.0.0.1:$PORT
say "iscsi-ls -s"
iscsi-ls -s "$portal/" >"$T/ls" || fail "iscsi-ls"
cat "$T/ls"
grep -q "Target:$IQN" "$T/ls" || fail "the name is missing"
grep -q 'Lun:1 .*1G\|Lun:1 .*1.0G\|Lun:1 .*Size:1' "$T/ls" || fail "LUN 1 and its size are missing"
grep -q 'Lun:2 .*64M\|Lun:2 .*Size:6' "$T/ls" || fail "LUN 2 and its size are missing"
say "iscsi-inq"
iscsi-inq "$URL" >"$T/inq" || fail "iscsi-inq"
grep -q 'DIRECT_ACCESS_BLOCK_DEVICE\|Peripheral Device Type:DIRECT' "$T/inq" || fail "no disk: $(cat "$T/inq")"
iscsi-inq -e 1 -c 0 "$URL" >"$T/inq" || fail "iscsi-inq of VPD page 00h"
iscsi-inq -e 1 -c 131 "$URL" >"$T/inq" || fail "iscsi-inq of VPD page 83h"
iscsi-inq -e 1 -c 176 "$URL" >"$T/inq" || fail "iscsi-inq of VPD page B0h"
say "iscsi-readcapacity16"
iscsi-readcapacity16 "$URL" >"$T/capacity" || fail "iscsi-readcapacity16"
cat "$T/capacity"
grep -q 'block length in bytes *: *4096\|BLOCK LENGTH.*4096\|4096' "$T/capacity" || fail "not blocks of 4096 bytes"
grep -q 262143 "$T/capacity" || fail "not the last block of 1 GiB"
[ "$(stat -c %s "$DISK")" = 1073741824 ] || fail "the file is not of 1 GiB"
[ "$(stat -c %b "$DISK")" -lt 2000 ] || fail "the file is not sparse"
kill -0 "$TARGET_PID" || fail "the target is gone"
