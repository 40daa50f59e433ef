#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# CHAP towards tgtd, and what can be wrong with an upstream: what is wrong at this end keeps the target from starting,
# what is wrong at the other one is a line in its log.
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
waits() { # PATTERN LUN
    : >"$T/target.log"
    run_target --state-dir "$T/states" --lun "$2,access=plain"
    until_true 60 target_says 1 "^encsan-target: LUN 1: iscsi://127.0.0.1[^ ]*: .*$1.*; trying again$" ||
        fail "the log does not say $1"
    stop_target
}
waits 'cannot log in: .*uthenti' "$with_user,password-file=$T/wrong"
waits 'cannot log in: .*uthenti' "$UPSTREAM"
waits 'no iSCSI target answers' "iscsi://127.0.0.1:3261/$UP_IQN/1"
waits 'not found' "iscsi://127.0.0.1:3260/iqn.2026-11.org.encsan:other/1"
waits 'no such LUN' "${with_user%1}7,password-file=$T/right"
refused_lun "$T/missing: No such file" "$with_user,password-file=$T/missing" 1
refused_lun 'a password of 1 to 255 bytes' "$with_user,password-file=$T/empty" 1
chmod 644 "$T/right"
refused_lun 'chmod 600' "$with_user,password-file=$T/right" 1
chmod 600 "$T/right"
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
: >"$T/target.out" # the last target's
"$ENCSAN_TARGET" --config "$T/conf" >"$T/target.out" 2>"$T/target.log" &
TARGET_PID=$!
until_true 60 target_ready || fail "it does not start"
URL=$(sed -n '1s/ .*//p' "$T/target.out")
qemu-io -f raw -c 'write -P 0x11 0 1M' -c flush "$URL" >"$T/qemu-io.log" 2>&1 || fail "qemu-io"
kill_tgtd
head -c 1M /dev/zero | tr '\0' '\21' | cmp -n 1048576 - "$FAST/up" || fail "tgtd has other bytes"
stop_target
