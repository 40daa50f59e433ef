#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGHUP under mounts: one copies and notices nothing, while LUNs, its own size and other initiators
# come and go; the one whose initiator is taken off the list is shut out.
. "$(dirname "$0")/common.sh"

OTHER=$("$ENCSAN" keygen "$T/other.key")

with_other="[initiator other]
key=$OTHER
[lun 2]
path=$FAST/disk2
size=300M
initiators=other;test"
third="[lun 3]
path=$FAST/plain
size=16M
access=plain"

# lines PATTERN: how often it is in the target's log
lines() {
    grep -c -- "$1" "$T/target.log" || :
}

more_than() { # COUNT PATTERN
    [ "$(lines "$2")" -gt "$1" ]
}

# reload PATTERN: until the log says it once more
reload() {
    count=$(lines "$1")
    kill -HUP "$TARGET_PID"
    until_true 60 more_than "$count" "$1" || fail "the log does not say '$1'"
}

write_conf 600M "$with_other"
run_config "$T/conf"
URL=$(sed -n '1s/ .*//p' "$T/target.out")
TARGET_KEY=$(sed -n '1s/.*target_key=//p' "$T/target.out")
mkfs
mnt
"$ENCSAN" mkfs "${URL%/1}/2" -o "key=$T/other.key,target_key=$TARGET_KEY" -- -q >"$T/mkfs.log" 2>&1 || fail "mkfs"
mkdir "$T/mnt2"
"$ENCSANFS" "${URL%/1}/2" "$T/mnt2" -f -o "key=$T/other.key,target_key=$TARGET_KEY" >"$T/other.log" 2>&1 &
other=$!
HELPERS="$HELPERS $other"
until_true 60 mounted "$T/mnt2" || fail "the other one does not mount"
cp "$T/target.log" "$T/before"
begun=$(lines "session begins")
random_file "$T/data" 64

say "a copy, and a reload after the other"
(
    i=0
    while [ ! -e "$T/enough" ]; do
        cp "$T/data" "$M/file$i"
        i=$(((i + 1) % 4))
    done
    cp "$T/data" "$M/last"
) &
copy=$!
HELPERS="$HELPERS $copy"
for i in 1 2 3; do
    write_conf 600M "$with_other
$third"
    reload "LUN 3: added"
    echo "colour=red" >>"$T/conf"
    reload "nothing has changed: $T/conf:21: .lun 3. colour= is unknown here"
    write_conf 600M "$with_other"
    reload "LUN 3: closed"
done
write_conf 800M "$with_other"
reload "LUN 1: has grown to 838860800 bytes"
: >"$T/enough"
wait $copy || fail "the copy was interrupted"
[ "$(lines "session begins")" = "$begun" ] || fail "another session has begun"
[ "$(lines "session ended")" = "$(grep -c "session ended" "$T/before")" ] || fail "a session has ended"
mnt_anew
for file in "$M"/*[0-9] "$M/last"; do
    same "$T/data" "$file"
done

say "an initiator that is taken off the list, and one that stays"
echo there >"$T/mnt2/file"
sync "$T/mnt2/file"
write_conf 800M "$(echo "$with_other" | sed 's/other;test/test/')"
reload "LUN 2: refused to $OTHER (other): this key is not among those allowed"
grep -q "session is ended: its initiator may not use the LUN any more" "$T/target.log" || fail "the log does not tell"
cp "$T/data" "$M/meanwhile"
mnt_anew
same "$T/data" "$M/meanwhile"
say "the disk is free for who is on the list"
kill -9 $other
wait $other || :
umount -l "$T/mnt2"
"$ENCSANFS" "${URL%/1}/2" "$T/mnt2" -o "key=$KEY,target_key=$TARGET_KEY" || fail "it is still kept for the other one"
[ "$(cat "$T/mnt2/file")" = there ] || fail "what was synced"
"$ENCSAN" umount "$T/mnt2"
say "a file system that grows, through the disk view"
umnt
mnt view=disk
[ "$(stat -c %s "$M/disk")" = 838860800 ] || fail "$(stat "$M/disk")"
e2fsck -fp "$M/disk" >"$T/e2fsck.log" 2>&1 || fail "e2fsck"
resize2fs "$M/disk" >"$T/resize.log" 2>&1 || fail "resize2fs"
mnt_anew
[ "$(df -m --output=size "$M" | tail -n 1)" -gt 650 ] || fail "$(df -m "$M")"
same "$T/data" "$M/last"
umnt
say "a LUN that is gone, and comes back, under a copy: the mount waits and loses nothing"
mnt
(
    for i in 1 2; do
        cp "$T/data" "$M/across$i"
        sync "$M/across$i"
    done
) &
copy=$!
HELPERS="$HELPERS $copy"
until_true 60 test -s "$M/across1" || fail "no copy"
write_conf 800M "$with_other"
sed -i '/^.lun 1.$/,/^initiators/d' "$T/conf"
reload "LUN 1: closed"
kill -0 $copy || fail "it did not need the LUN"
write_conf 800M "$with_other"
reload "LUN 1: added"
wait $copy || fail "the copy was interrupted"
mnt_anew
for i in 1 2; do
    same "$T/data" "$M/across$i"
done
umnt
say "a LUN that is gone"
write_conf 800M
reload "LUN 2: closed"
! "$ENCSANFS" "${URL%/1}/2" "$T/mnt2" -o "key=$KEY,target_key=$TARGET_KEY" 2>"$T/gone.err" || fail "it is still there"
grep -q "LUN 2" "$T/gone.err" || cat "$T/gone.err"
check_disk
