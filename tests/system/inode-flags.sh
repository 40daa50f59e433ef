#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Flags of chattr(1) that the kernel's ext4 has set forbid here what they forbid there.
. "$(dirname "$0")/common.sh"

# not_permitted command…
not_permitted() {
    ! "$@" 2>"$T/refused" || fail "permitted: $*"
    grep -q "Operation not permitted" "$T/refused" || fail "$*: $(cat "$T/refused")"
}

start_target
mkfs
mkdir "$T/loop"
mount -t ext4 -o loop "$DISK" "$T/loop"
cd "$T/loop"
mkdir immutable append
for file in free immutable/file append/file fixed log; do
    echo content >$file
done
chattr +i immutable fixed
chattr +a append log
cd /
umount "$T/loop"

mnt
cd "$M"
say "an immutable file"
not_permitted rm -f fixed
not_permitted mv fixed other
not_permitted mv free fixed
not_permitted ln fixed other
not_permitted chmod 600 fixed
not_permitted touch fixed
not_permitted truncate -s 0 fixed
not_permitted fallocate -l 100 fixed
not_permitted setfattr -n user.a -v 1 fixed
not_permitted dd if=/dev/zero of=fixed conv=notrunc status=none
say "an append-only file"
echo more >>log
touch log
not_permitted touch -d 2001-01-01 log
not_permitted truncate -s 0 log
not_permitted chown 1 log
not_permitted rm -f log
not_permitted dd if=/dev/zero of=log conv=notrunc status=none
say "folders"
not_permitted touch immutable/new
not_permitted mkdir immutable/new
not_permitted mv free immutable/
not_permitted rm immutable/file
touch append/new
mkdir append/folder
not_permitted rm append/new
not_permitted mv append/file .
[ "$(cat log fixed)" = "$(printf 'content\nmore\ncontent')" ] || fail "changed: $(cat log fixed)"
cd /
umnt
check_disk
