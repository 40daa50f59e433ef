#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# When set-user-id and set-group-id bits go: as on the kernel's ext4.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
truncate -s 64M "$FAST/reference"
mkfs.ext4 -q -b 4096 "$FAST/reference"
mkdir "$T/reference"
mount -o loop "$FAST/reference" "$T/reference"

cat >"$T/scene.py" <<'PY'
import os, sys
os.chdir(sys.argv[1])

def write(path):
    f = os.open(path, os.O_WRONLY)
    os.write(f, b'z')

def overwrite(path):
    os.open(path, os.O_WRONLY | os.O_TRUNC)

def allocate(path):
    os.posix_fallocate(os.open(path, os.O_WRONLY), 0, 100)

deeds = {
    'write': write,
    'overwrite': overwrite,
    'allocate': allocate,
    'truncate': lambda path: os.truncate(path, 1),
    'nothing': lambda path: os.truncate(path, 3),
    'chgrp': lambda path: os.chown(path, -1, 2002),
    'chown-none': lambda path: os.chown(path, -1, -1),
    'chmod': lambda path: os.chmod(path, 0o6777),
    'read': lambda path: open(path).read(),
    'utime': lambda path: os.utime(path),
}

def as_owner(deed, path):
    as_user(1001, [2001, 2002], deed, path)

def as_user(user, groups, deed, path):
    child = os.fork()
    if child == 0:
        os.setgroups(groups)
        os.setresgid(groups[0], groups[0], groups[0])
        os.setresuid(user, user, user)
        try:
            deed(path)
        except OSError as e:
            print(path, e.strerror, flush=True)
        os._exit(0)
    os.waitpid(child, 0)

def make(path, mode, group):
    with open(path, 'w') as f:
        f.write('abc')
    os.chown(path, 1001, group)
    os.chmod(path, mode)

for name, deed in deeds.items():
    for mode in (0o6755, 0o2745, 0o6644, 0o4755, 0o6777, 0o2666, 0o6666):
        for who, group in (('owner', 2001), ('owner', 2005), ('root', 2001), ('other', 2001), ('member', 2001)):
            if name == 'chown-none' and who == 'other' and mode in (0o2745, 0o2666):
                continue # ext4 says EPERM; FUSE does not tell a chown of nothing from a write to come
            path = '%s-%o-%s-%d' % (name, mode, who, group)
            make(path, mode, group)
            if who == 'root':
                deed(path)
            elif who == 'owner':
                as_owner(deed, path)
            else:
                as_user(1003, [2003, 2001] if who == 'member' else [2003], deed, path)
            st = os.stat(path)
            print(path, oct(st.st_mode), st.st_uid, st.st_gid, st.st_size, flush=True)

for mode in (0o6755, 0o2777):
    path = 'folder-%o' % mode
    os.mkdir(path)
    os.chown(path, 1001, 2001)
    os.chmod(path, mode)
    as_owner(deeds['chgrp'], path)
    print(path, oct(os.stat(path).st_mode), flush=True)
    for made in ('file', 'sub'): # set-group-id of a new file in such a folder
        os.umask(0)
        if made == 'sub':
            os.mkdir(path + '/sub', 0o755)
        else:
            as_owner(lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o2775)), path + '/file')
        st = os.stat(path + '/' + made)
        print(path, made, oct(st.st_mode), st.st_gid, flush=True)

make('capable', 0o755, 2001)
os.setxattr('capable', 'security.capability', bytes.fromhex('0100000200040000000000000000000000000000'))
write('capable')
print('capable', os.listxattr('capable'))
PY

say "the same scene on both"
python3 "$T/scene.py" "$T/reference" >"$T/scene"
python3 "$T/scene.py" "$M" | diff "$T/scene" - || fail "it is another scene on the kernel's ext4"
grep -q "0o100755" "$T/scene" || fail "no bit went"
say "a fresh mount"
list() {
    (cd "$1" && find . -path ./lost+found -o -printf '%p %m %U %G\n' | LC_ALL=C sort)
}
mnt_anew
list "$T/reference" >"$T/modes"
list "$M" | diff "$T/modes" - || fail "other modes after a fresh mount"
umnt
check_disk
umount "$T/reference"
