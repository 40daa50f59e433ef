#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# CHAP: plain LUNs are there for their users only; mutual CHAP; what is wrong is refused and logged.
. "$(dirname "$0")/common.sh"

truncate -s 16M "$FAST/alice" "$FAST/both" "$FAST/all"
cat >"$T/conf" <<END
[target]
listen=127.0.0.1:0
name=$IQN
key=$T/target.key
state-dir=$T/states
[initiator test]
key=$PUBLIC
[user alice]
password=wonderland-12
target-password=looking-glass
[user bob]
password=the-builder-1
[lun 1]
path=$DISK
size=1G
[lun 2]
path=$FAST/alice
access=plain
users=alice
[lun 3]
path=$FAST/both
access=plain
users=alice;bob
[lun 4]
path=$FAST/all
access=plain
END
: >"$T/target.out"
"$ENCSAN_TARGET" --config "$T/conf" >"$T/target.out" 2>>"$T/target.log" &
TARGET_PID=$!
until_true 30 target_ready || fail "encsan-target says nothing"
URL=$(sed -n '1s/ .*//p' "$T/target.out")
TARGET_KEY=$(sed -n '1s/.*target_key=//p' "$T/target.out")
at=${URL#iscsi://}
at=${at%/1}

# luns [USER%PASSWORD@]: the numbers that iscsi-ls shows
luns() {
    iscsi-ls -s "iscsi://$1${at%/iqn*}/" >"$T/ls" 2>&1 || fail "iscsi-ls $1: $(cat "$T/ls")"
    sed -n 's/^Lun:\([0-9]*\).*/\1/p' "$T/ls" | tr '\n' ' '
}

# denied USER%PASSWORD@ LUN[?…] PATTERN: iscsi-inq fails, and the log says why
denied() {
    : >"$T/target.log"
    ! timeout 60 iscsi-inq "iscsi://$1$at/$2" >"$T/inq" 2>&1 || fail "$1 got in"
    until_true 30 grep -q -- "$3" "$T/target.log" || fail "the log does not say '$3'"
}

say "who sees what"
[ "$(luns "")" = "1 4 " ] || fail "nobody sees $(cat "$T/ls")"
[ "$(luns alice%wonderland-12@)" = "1 2 3 4 " ] || fail "alice sees $(cat "$T/ls")"
[ "$(luns bob%the-builder-1@)" = "1 3 4 " ] || fail "bob sees $(cat "$T/ls")"
iscsi-inq "iscsi://alice%wonderland-12@$at/2" >/dev/null || fail "alice"
iscsi-inq "iscsi://bob%the-builder-1@$at/3" >/dev/null || fail "bob"
! timeout 60 iscsi-readcapacity16 "iscsi://bob%the-builder-1@$at/2" >/dev/null 2>&1 || fail "bob has alice's"
! timeout 60 iscsi-readcapacity16 "iscsi://$at/2" >/dev/null 2>&1 || fail "nobody has alice's"
say "wrong passwords and users"
denied alice%wonderland-13@ 2 'login refused: CHAP: an unknown user, or a wrong password'
denied alice%the-builder-1@ 4 'login refused: CHAP: an unknown user, or a wrong password'
denied carol%wonderland-12@ 2 'login refused: CHAP: an unknown user, or a wrong password'
say "mutual CHAP"
iscsi-inq "iscsi://alice%wonderland-12@$at/2?target_user=$IQN&target_password=looking-glass" >/dev/null ||
    fail "mutual CHAP"
! timeout 60 iscsi-inq "iscsi://alice%wonderland-12@$at/2?target_user=$IQN&target_password=looking-grass" \
    >/dev/null 2>&1 || fail "the initiator does not check"
denied bob%the-builder-1@ "3?target_user=$IQN&target_password=looking-glass" 'no target-password='
say "qemu writes as alice, and a sealed LUN needs no user"
qemu-io -f raw -c 'write -P 7 0 1M' -c flush "iscsi://alice%wonderland-12@$at/2" >"$T/qemu-io.log" 2>&1 ||
    fail "qemu-io: $(cat "$T/qemu-io.log")"
[ "$(head -c 1048576 "$FAST/alice" | tr -d '\007' | wc -c)" = 0 ] || fail "not what was written"
mkfs
