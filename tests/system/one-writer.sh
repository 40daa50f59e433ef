#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# One writer for a LUN: a second one is refused with the name of the first, which goes on undisturbed.
. "$(dirname "$0")/common.sh"

other=$("$ENCSAN" keygen "$T/other.key")
run_target --allow "$PUBLIC" --allow "$other" --lun "$DISK,size=600M"
mkfs
mnt
echo first >"$M/file"
mkdir "$T/second"
say "the same user"
refused 1 "$M" "$ENCSANFS" "$URL" "$T/second" -o "key=$KEY,target_key=$TARGET_KEY"
say "as from another machine: no state in common"
mount -t tmpfs -o mode=700 tmpfs /var/lib/encsan
refused 1 "in use by $PUBLIC" "$ENCSANFS" "$URL" "$T/second" -o "key=$T/other.key,target_key=$TARGET_KEY"
refused 1 "in use by $PUBLIC" "$ENCSANFS" "$URL" "$T/second" -o "key=$T/other.key,target_key=$TARGET_KEY,ro"
umount /var/lib/encsan
[ "$(processes encsanfs | wc -w)" = 1 ] || fail "a process stays behind"
echo more >>"$M/file"
sync "$M/file"
[ "$(tr '\n' ' ' <"$M/file")" = "first more " ] || fail "the first mount was disturbed"
umnt
say "free again"
"$ENCSANFS" "$URL" "$T/second" -o "key=$T/other.key,target_key=$TARGET_KEY"
[ "$(tr '\n' ' ' <"$T/second/file")" = "first more " ] || fail "the file"
"$ENCSAN" umount "$T/second"
check_disk
say "a mount that was killed keeps it, over a restart of the target too"
mnt_logged
echo kept >"$M/kept"
sync "$M/kept"
kill -9 "$FS_PID"
wait "$FS_PID" || :
umount -l "$M" 2>/dev/null || :
gone encsanfs
stop_target
run_target --allow "$PUBLIC" --allow "$other" --lun "$DISK" --lease-timeout 86400
refused 1 "in use by $PUBLIC" "$ENCSANFS" "$URL" "$T/second" -o "key=$T/other.key,target_key=$TARGET_KEY"
say "its user's next mount need not wait"
mnt 2>"$T/mnt.err"
[ "$(cat "$M/kept")" = kept ] || fail "the file"
umnt
"$ENCSANFS" "$URL" "$T/second" -o "key=$T/other.key,target_key=$TARGET_KEY"
"$ENCSAN" umount "$T/second"
check_disk
