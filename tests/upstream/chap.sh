#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# CHAP towards tgtd: a wrong password, none, and what else can be wrong with an upstream give one line each.
. "$(dirname "$0")/common.sh"

truncate -s 64M "$FAST/up"
start_tgtd "$FAST/up"
tgt --mode account --op new --user proxy --password right-password || fail "tgtadm: no account"
tgt --mode account --op bind --tid 1 --user proxy || fail "tgtadm: nobody has to authenticate"
(umask 077 && echo right-password >"$T/right" && echo wrong-password >"$T/wrong" && : >"$T/empty")
with_user=iscsi://proxy@127.0.0.1:3260/$UP_IQN/1

refused_lun() { # PATTERN LUN
    refused "$3" "$1" "$ENCSAN_TARGET" --listen 127.0.0.1:0 --name "$IQN" --key "$T/target.key" --lun "$2,access=plain"
}
refused_lun 'cannot log in: .*authenti' "$with_user,password-file=$T/wrong" 1
refused_lun 'cannot log in: .*authenti' "$UPSTREAM" 1
refused_lun "$T/missing: No such file" "$with_user,password-file=$T/missing" 1
refused_lun 'a password of 1 to 255 bytes' "$with_user,password-file=$T/empty" 1
chmod 644 "$T/right"
refused_lun 'chmod 600' "$with_user,password-file=$T/right" 1
chmod 600 "$T/right"
refused_lun 'no iSCSI target answers' "iscsi://127.0.0.1:3261/$UP_IQN/1" 1
refused_lun 'not found' "iscsi://127.0.0.1:3260/iqn.2026-11.org.encsan:other/1" 1
refused_lun 'password-file= is needed' "$with_user" 2
refused_lun 'names a user' "$UPSTREAM,password-file=$T/right" 2
refused_lun 'password in password-file=' "iscsi://proxy%secret@127.0.0.1/$UP_IQN/1" 2
refused_lun 'a URL as' "iscsi://127.0.0.1/$UP_IQN" 2
refused_lun 'has the size that it has' "$UPSTREAM,size=1G" 2

cat >"$T/conf" <<EOF
[target]
listen=127.0.0.1:3300
name=$IQN
key=$T/target.key
[lun 1]
path=$with_user
password-file=$T/right
access=plain
EOF
"$ENCSAN_TARGET" --config "$T/conf" --check >"$T/check" || fail "--check"
"$ENCSAN_TARGET" --config "$T/conf" >"$T/target.out" 2>"$T/target.log" &
TARGET_PID=$!
until_true 60 target_ready || fail "it does not start"
URL=$(sed -n '1s/ .*//p' "$T/target.out")
qemu-io -f raw -c 'write -P 0x11 0 1M' -c flush "$URL" >"$T/qemu-io.log" 2>&1 || fail "qemu-io"
kill_tgtd
head -c 1M /dev/zero | tr '\0' '\21' | cmp -n 1048576 - "$FAST/up" || fail "tgtd has other bytes"
stop_target
