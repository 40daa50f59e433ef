#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# access=plain: a LUN for stock initiators, with what is written to it in the file.
. "$(dirname "$0")/common.sh"

truncate -s 64M "$FAST/plain"
run_target --allow "$PUBLIC" --lun "$DISK,size=1G" --lun "$FAST/plain,access=plain"
plain=iscsi://127.0.0.1:$PORT/$IQN/2
qemu-img info "$plain" | grep -q '67108864 bytes' || fail "qemu-img info"
qemu-io -f raw -c 'write -P 0x11 0 8M' -c 'write -P 0x22 60M 4M' -c flush -c 'read -P 0x11 0 8M' \
    -c 'read -P 0x22 60M 4M' -c 'read -P 0 8M 8M' "$plain" >"$T/qemu-io.log" 2>&1 || fail "qemu-io"
! grep -i 'failed\|error' "$T/qemu-io.log" || fail "qemu-io"
random_file "$T/data" 64
qemu-img convert -n -f raw -O raw "$T/data" "$plain"
same "$FAST/plain" "$T/data"
qemu-img compare -f raw -F raw "$T/data" "$plain" >/dev/null || fail "qemu-img compare"
