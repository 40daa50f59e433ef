#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Modes, owners, times, special files, extended attributes, statfs.
. "$(dirname "$0")/common.sh"

start_target
mkfs -N 20000
mnt
cd "$M"
say "modes and owners"
echo x >file
chmod 4755 file
chown 65534:70000 file
[ "$(stat -c '%a %u %g' file)" = "755 65534 70000" ] || [ "$(stat -c '%a %u %g' file)" = "4755 65534 70000" ] ||
    fail "$(stat -c '%a %u %g' file)"
chmod 4755 file
chown 3000000000:4000000000 file
chmod 2640 file
[ "$(stat -c '%a %u %g' file)" = "2640 3000000000 4000000000" ] || fail "$(stat -c '%a %u %g' file)"
mkdir group
chgrp 4321 group
chmod 2775 group
mkdir group/sub
touch group/file
[ "$(stat -c '%a %g' group/sub)" = "2755 4321" ] || fail "set-group-id of a folder: $(stat -c '%a %g' group/sub)"
[ "$(stat -c %g group/file)" = 4321 ] || fail "group of a file in such a folder"
say "times"
touch -d '1969-12-31 23:59:58.5 UTC' old
touch -d '2106-02-07 06:28:17.25 UTC' late
touch -d '1850-01-01 UTC' first
touch -d '3000-01-01 UTC' last
[ "$(stat -c '%Y' first last | paste -sd' ')" = "-2147483648 15032385535" ] || fail "not ext4's first and last second"
ln -s nowhere link
touch -hd '2010-01-01 00:00:00.125 UTC' link
before=$(stat -c %z file)
sleep 0.05
chmod 600 file
[ "$(stat -c %z file)" != "$before" ] || fail "chmod does not change ctime"
before=$(stat -c %y .)
sleep 0.05
touch new
[ "$(stat -c %y .)" != "$before" ] || fail "a new file does not change its folder's mtime"
cat >"$T/deeds.py" <<'PY'
# what each deed changes, mtime (m) or ctime (c), of a file f and its folder d
import ctypes, os, sys, time
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)

def allocate(mode, offset, length):
    if libc.fallocate(f, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), '')

def exchange(a, b):
    if libc.renameat2(-100, a, -100, b, 2):
        raise OSError(ctypes.get_errno(), '')

KEEP, PUNCH, ZERO = 1, 2, 16
TRUNC = os.O_WRONLY | os.O_TRUNC
os.mkdir('d')
os.mkdir('e')
f = os.open('d/f', os.O_CREAT | os.O_RDWR)
os.link('d/f', 'd/g')
deeds = {
    'write': lambda: os.pwrite(f, b'abc', 0),
    'write nothing': lambda: os.pwrite(f, b'', 0),
    'truncate to the same': lambda: os.truncate('d/f', 3),
    'ftruncate to the same': lambda: os.ftruncate(f, 3),
    'grow': lambda: os.truncate('d/f', 30000),
    'overwrite': lambda: os.close(os.open('d/f', TRUNC)),
    'overwrite what is empty': lambda: os.close(os.open('d/f', TRUNC)),
    'allocate': lambda: allocate(0, 0, 50000),
    'allocate again': lambda: allocate(0, 0, 50000),
    'allocate behind': lambda: allocate(KEEP, 60000, 50000),
    'allocate behind again': lambda: allocate(KEEP, 60000, 50000),
    'punch': lambda: allocate(KEEP | PUNCH, 4096, 4096),
    'punch again': lambda: allocate(KEEP | PUNCH, 4096, 4096),
    'punch behind': lambda: allocate(KEEP | PUNCH, 1000000, 4096),
    'zero': lambda: allocate(ZERO, 0, 5000),
    'zero behind': lambda: allocate(ZERO | KEEP, 1000000, 5000),
    'not allocate': lambda: allocate(PUNCH, 0, 5000),
    'chmod to the same': lambda: os.chmod('d/f', os.stat('d/f').st_mode & 0o7777),
    'chmod': lambda: os.chmod('d/f', 0o640),
    'chown to the same': lambda: os.chown('d/f', 0, 0),
    'chown to nobody': lambda: os.chown('d/f', -1, -1),
    'set an attribute': lambda: os.setxattr('d/f', 'user.a', b'1'),
    'set it again': lambda: os.setxattr('d/f', 'user.a', b'1'),
    'set another value': lambda: os.setxattr('d/f', 'user.a', b'12'),
    'remove it': lambda: os.removexattr('d/f', 'user.a'),
    'remove it again': lambda: os.removexattr('d/f', 'user.a'),
    'open to create': lambda: os.close(os.open('d/f', os.O_CREAT | os.O_WRONLY)),
    'link': lambda: os.link('d/f', 'd/h'),
    'link again': lambda: os.link('d/f', 'd/h'),
    'rename over the same': lambda: os.rename('d/h', 'd/g'),
    'unlink': lambda: os.unlink('d/h'),
    'rename there and back': lambda: (os.rename('d/f', 'd/f2'), os.rename('d/f2', 'd/f')),
    'exchange there and back': lambda: (exchange(b'd/f', b'e'), exchange(b'd/f', b'e')),
    'mkdir': lambda: os.mkdir('d/sub'),
    'rmdir': lambda: os.rmdir('d/sub'),
    'readlink': lambda: os.readlink('d/f'),
    'utime': lambda: os.utime('d/f', (1, 2)),
}
for name, deed in deeds.items():
    for path in ('d/f', 'd'):
        os.utime(path, (10**9, 10**9))
    before = [os.fstat(f), os.stat('d')]
    time.sleep(0.02)
    try:
        deed()
        result = ''
    except OSError as e:
        result = e.strerror
    after = [os.fstat(f), os.stat('d')]
    print(name, result, *[which + ('m' if a.st_mtime_ns != b.st_mtime_ns else '') + ('c' if a.st_ctime_ns != b.st_ctime_ns else '')
                          for which, a, b in zip('fd', after, before)])
PY
truncate -s 64M "$FAST/reference"
mkfs.ext4 -q -b 4096 "$FAST/reference"
mkdir "$T/reference"
mount -o loop "$FAST/reference" "$T/reference"
python3 "$T/deeds.py" "$T/reference" >"$T/deeds"
umount "$T/reference"
mkdir deeds
python3 "$T/deeds.py" "$M/deeds" | diff "$T/deeds" - || fail "on the kernel's ext4 other times change"
rm -r deeds
say "special files"
mknod pipe p
mknod char c 250 70000
mknod block b 8 17
say "extended attributes"
setfattr -n user.empty file
setfattr -n user.one -v "$(printf '%0100d' 1)" file
setfattr -n user.two -v "$(printf '%02000d' 2)" file
setfattr -n user.one -v changed file
setfattr -n security.thing -v s file
setfattr -n trusted.thing -v t group
setfattr -x user.two file
! setfattr -n user.too-big -v "$(printf '%09000d' 3)" file 2>/dev/null || fail "9000 bytes are too much for ext4"
getfattr -dm - file group >"$T/xattr"
say "statfs"
[ "$(stat -fc %s .)" = 4096 ] || fail "block size $(stat -fc %s .)"
[ "$(stat -fc %c .)" -ge 20000 ] || fail "inodes: $(stat -fc %c .)"
[ "$(stat -fc %l .)" = 255 ] || fail "length of names"
files='file group group/sub old late first last link pipe char block .'
format='%n %a %u %g %F %t %T %h %s %y %z'
# shellcheck disable=SC2086
stat -c "$format" $files >"$T/stat"
cd /
mnt_anew
cd "$M"
# shellcheck disable=SC2086
stat -c "$format" $files | diff "$T/stat" - || fail "other attributes after a fresh mount"
getfattr -dm - file group | diff "$T/xattr" - || fail "other extended attributes after a fresh mount"
cd /
umnt
check_disk
kernel_mount
cd "$T/loop"
# shellcheck disable=SC2086
stat -c "$format" $files | diff "$T/stat" - || fail "the kernel sees other attributes"
getfattr -dm - file group | diff "$T/xattr" - || fail "the kernel sees other extended attributes"
cd /
kernel_umount
