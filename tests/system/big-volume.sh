#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A half full volume of 1 TiB: what a mount reads is what it needs, not what is there. All of
# its bitmaps in use are 16 MiB, and more than the cache of the second mount. Those of one file are
# more than the journal.
. "$(dirname "$0")/common.sh"

got() { # bytes from the far disk since the mount began
    "$ENCSAN" status "$M" --json >"$T/json" || fail "encsan status --json"
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["read_bytes"])' "$T/json"
}

# at_most KIBIBYTES WHAT
at_most() {
    bytes=$(got)
    say "$2: $((bytes / 1024)) KiB read"
    [ "$bytes" -le $(($1 * 1024)) ] || fail "$2 took $bytes bytes"
}

truncate -s 1T "$DISK"
mke2fs -q -t ext4 -b 4096 -J size=4 -E lazy_itable_init=1,lazy_journal_init=1 "$DISK"
mkdir "$T/loop"
mount -t ext4 -o loop,noinit_itable "$DISK" "$T/loop"
fallocate -l 62G "$T/loop/1"
fallocate -l 200G "$T/loop/2"
fallocate -l 234G "$T/loop/3"
echo kept >"$T/loop/kept"
kernel_umount
start_target 1T
mnt
at_most 1536 "a mount" # the descriptors are 512 KiB
mkdir "$M/folder"
for i in $(seq 100); do
    echo "$i" >"$M/folder/$i"
done
random_file "$T/data" 20
cp "$T/data" "$M/folder/data"
at_most 4096 "then a folder with files"
rm "$M/1" # 496 groups
sync "$M/folder"
at_most 10240 "then a deletion of 62 GiB"
umnt
say "with less of a cache than there are bitmaps"
mnt cache=16M
truncate -s 5000 "$M/2"
fallocate -p -o 1G -l 232G "$M/3"
cp "$T/data" "$M/again"
[ "$(df --output=used -BG "$M" | tail -n 1 | tr -dc 0-9)" -lt 10 ] || fail "the space is not free: $(df -h "$M")"
fallocate -l 180G "$M/new"
rm "$M/new"
umnt
check_disk
mnt
same "$T/data" "$M/folder/data"
same "$T/data" "$M/again"
[ "$(cat "$M/kept")" = kept ] || fail "a small file"
umnt
