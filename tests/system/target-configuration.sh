#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsan-target --config: several addresses, LUNs with gaps, who may use which, read-only; --check.
. "$(dirname "$0")/common.sh"

OTHER=$("$ENCSAN" keygen "$T/other.key")
truncate -s 16M "$FAST/plain"
cat >"$T/conf" <<END
[target]
listen=127.0.0.1:0;[::1]:0
name=$IQN
key=$T/target.key
state-dir=$T/states
[initiator test]
key=$PUBLIC
[initiator other]
key=$OTHER
[lun 3]
path=$DISK
size=1G
initiators=test
[lun 9]
path=$FAST/plain
access=read-only
END
say "--check"
"$ENCSAN_TARGET" --config "$T/conf" --check >"$T/check" || fail "--check: exit status $?"
[ "$(cat "$T/check")" = "$T/conf: fine" ] || fail "$(cat "$T/check")"
[ ! -e "$DISK" ] || fail "--check made the disk"
sed 's/^size=.*/colour=red/' "$T/conf" >"$T/wrong"
refused 1 "$T/wrong:12: .lun 3. colour= is unknown here; there are path, size" \
    "$ENCSAN_TARGET" --config "$T/wrong" --check
refused 1 "$T/wrong:12: " "$ENCSAN_TARGET" --config "$T/wrong"
sed "s,^path=.*/plain,path=$T/none," "$T/conf" >"$T/wrong"
refused 1 "$T/wrong:14: .lun 9. $T/none: no such file; with a size=, it is made" "$ENCSAN_TARGET" --config "$T/wrong"
rm "$DISK"
refused 1 "$T/none" "$ENCSAN_TARGET" --config "$T/none" --check
refused 2 "beside it" "$ENCSAN_TARGET" --config "$T/conf" --name "$IQN"
refused 2 "needs --config" "$ENCSAN_TARGET" --check
say "serving what it says"
run_config "$T/conf"
[ "$(grep -c "^iscsi://127.0.0.1:[0-9]*/$IQN/[39] " "$T/target.out")" = 2 ] || fail "$(cat "$T/target.out")"
[ "$(grep -c "^iscsi://\[::1\]:[0-9]*/$IQN/[39] " "$T/target.out")" = 2 ] || fail "$(cat "$T/target.out")"
[ -d "$T/states" ] || fail "no state-dir"
TARGET_KEY=$(sed -n '1s/.*target_key=//p' "$T/target.out")
plain=$(sed -n '/^iscsi:\/\/127.*\/9 plain$/s/ .*//p' "$T/target.out")
v6=$(sed -n '/^iscsi:\/\/\[.*\/9 plain$/s/ .*//p' "$T/target.out")
URL=$(sed -n '1s/ .*//p' "$T/target.out")
iscsi-ls -s "${URL%/iqn*}/" >"$T/ls" || fail "iscsi-ls"
grep -q 'Lun:3 ' "$T/ls" && grep -q 'Lun:9 ' "$T/ls" || fail "iscsi-ls: $(cat "$T/ls")"
! grep -q 'Lun:1 ' "$T/ls" || fail "there is no LUN 1: $(cat "$T/ls")"
iscsi-inq "$v6" >/dev/null || fail "over IPv6"
mkfs
mnt
echo kept >"$M/file"
umnt
say "an initiator that is none of this LUN's"
refused 1 "" "$ENCSAN" fsck "$URL" -o "key=$T/other.key,target_key=$TARGET_KEY"
grep -q "^encsan-target: iqn[^ ]* (127.0.0.1:[0-9]*), session [0-9a-f]\{12\}/[0-9]*, LUN 3: refused to $OTHER (other): " \
    "$T/target.log" || fail "the log does not tell"
say "read-only"
qemu-io -f raw -r -c 'read -P 0 0 64K' "$plain" >"$T/qemu-io.log" 2>&1 || fail "reading"
! qemu-io -f raw -c 'write -P 1 0 64K' "$plain" >"$T/qemu-io.log" 2>&1 || fail "it was written to"
cmp -n 65536 "$FAST/plain" /dev/zero || fail "it was written to"
