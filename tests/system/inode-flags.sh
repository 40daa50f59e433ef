#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Flags of chattr(1): what the kernel's ext4 has set holds here, and the other way round. That each
# call is permitted and refused as there is for side-by-side.
. "$(dirname "$0")/common.sh"

# not_permitted command…
not_permitted() {
    ! "$@" 2>"$T/refused" || fail "permitted: $*"
    grep -q "Operation not permitted" "$T/refused" || fail "$*: $(cat "$T/refused")"
}

kernel_mount_rw() {
    mkdir -p "$T/loop"
    mount -t ext4 -o loop "$DISK" "$T/loop"
}

kill_and_mount() {
    kill -9 "$FS_PID"
    wait "$FS_PID" || :
    umount -l "$M" 2>/dev/null || :
    gone encsanfs
    mnt 2>"$T/mnt.err"
}

all_flags() {
    lsattr -d . free immutable append fixed log other sub sub/folder sub/file
}

start_target
mkfs
kernel_mount_rw
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

say "chattr"
chattr -i fixed immutable
chattr -a log append
echo again >>fixed
mv append/file other
chmod 666 other
mkdir sub
chattr +SADdT sub
mkdir sub/folder
touch sub/file
lsattr sub/file | grep -q -- '^--S---dA-*e-* ' || fail "what is new in a folder does not inherit: $(lsattr sub/file)"
before=$(stat -c %z other)
sleep 0.05
chattr +d other
[ "$(stat -c %z other)" != "$before" ] || fail "chattr does not change ctime"
chattr +i other
chattr +a log
chattr +iA fixed
not_permitted chattr +S other
not_permitted rm -f other
not_permitted setpriv --reuid 1001 --clear-groups chattr -i other
! chattr -e free 2>"$T/refused" || fail "chattr -e"
grep -q "not supported" "$T/refused" || fail "chattr -e: $(cat "$T/refused")"
say "append-only, but not written at the end"
python3 - log <<'END'
import os, sys

RWF_NOAPPEND = 0x20 # Linux 6.9; before, it is not supported
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
try:
    os.pwritev(fd, [b"other"], 0, RWF_NOAPPEND)
    sys.exit("written")
except OSError:
    pass
END
random_file "$T/pieces" 12
touch pieces
chattr +a pieces
dd if="$T/pieces" of=pieces bs=12M oflag=direct,append conv=notrunc status=none
same pieces "$T/pieces"
say "no times of reading"
echo quiet >quiet
chattr +A quiet
touch -d '2001-01-01 UTC' quiet
say "mapped pages"
python3 - free fixed <<'END'
import fcntl, mmap, os, struct, sys, time

FS_IOC_SETFLAGS = 1 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 2
FS_IMMUTABLE_EXTENTS = 0x80010

def is_refused(fd, pages, content):
    try:
        pages.flush()
        sys.exit("msync says nothing")
    except OSError:
        pass
    for _ in range(600):
        if os.pread(fd, len(content), 0) == content:
            return
        time.sleep(0.1)
    sys.exit(f"{os.pread(fd, 100, 0)} stays")

def mapped(name):
    fd = os.open(name, os.O_RDWR)
    return fd, mmap.mmap(fd, os.fstat(fd).st_size)

# what is written before it becomes immutable counts, what comes later does not
fd, pages = mapped(sys.argv[1])
pages[:4] = b"CONT"
fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", FS_IMMUTABLE_EXTENTS)) # chattr would close it, too
pages[4:7] = b"ENT"
is_refused(fd, pages, b"CONTent")

fd, pages = mapped(sys.argv[2])
pages[:4] = b"FAIL"
is_refused(fd, pages, b"content")
END
all_flags >"$T/flags"
version=$(lsattr -v other)
cd /
mnt_anew
cd "$M"
all_flags | diff "$T/flags" - || fail "other flags after a fresh mount"
[ "$(lsattr -v other)" = "$version" ] || fail "another version after a fresh mount"
[ "$(cat free)" = CONTent ] || fail "content before it became immutable: $(cat free)"
cat quiet >/dev/null
[ "$(stat -c %X quiet)" = 978307200 ] || fail "the time of reading changes: $(stat -c %x quiet)"
cd /
umnt
check_disk
say "synchronous: what was answered survives a kill of encsanfs"
mnt_logged commit=300
mkdir "$M/plain"
touch "$M/synchronous"
chattr +S "$M/synchronous"
chattr +D "$M/plain"
echo "written with +S" >"$M/synchronous"
kill_and_mount
[ "$(cat "$M/synchronous")" = "written with +S" ] || fail "+S: $(cat "$M/synchronous")"
umnt
mnt_logged commit=300
touch "$M/plain/made"
kill_and_mount
[ -e "$M/plain/made" ] || fail "+D: it was made, and is not there"
umnt
check_disk
say "the kernel"
kernel_mount_rw
cd "$T/loop"
all_flags | diff "$T/flags" - || fail "the kernel sees other flags"
[ "$(lsattr -v other)" = "$version" ] || fail "the kernel sees another version"
not_permitted rm -f fixed
not_permitted rm -f log
cd /
kernel_umount
