#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Files by their handles, as an NFS server keeps them: over a restart, and not for the next file with that number.
. "$(dirname "$0")/common.sh"

# handle get|open NAME FILE: takes a handle of NAME into FILE, or says what the one in FILE is of
handle() {
    python3 - "$M" "$@" <<'PY'
import ctypes, os, sys
mount, what, name, kept = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('data', ctypes.c_ubyte * 128)]
def check(result):
    if result < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return result
if what == 'get':
    handle = Handle(128)
    check(libc.name_to_handle_at(-100, os.fsencode(mount + '/' + name), ctypes.byref(handle),
                                 ctypes.byref(ctypes.c_int()), 0))
    open(kept, 'wb').write(bytes(handle))
else:
    handle = Handle.from_buffer_copy(open(kept, 'rb').read())
    folder = os.open(mount, os.O_RDONLY)
    opened = check(libc.open_by_handle_at(folder, ctypes.byref(handle), 0))
    print(os.readlink('/proc/self/fd/%d' % opened))
PY
}

same_file() { # same_file HANDLE NAME
    got=$(handle open - "$T/$1") || fail "$2 cannot be opened by its handle"
    [ "$got" = "$M/$2" ] || fail "the handle of $2 opens $got"
}

stale() {
    ! handle open - "$T/$1" >"$T/out" 2>&1 || fail "a stale handle opens $(cat "$T/out")"
    grep -q "Stale file handle" "$T/out" || fail "not stale: $(cat "$T/out")"
}

start_target
mkfs
mnt
mkdir -p "$M/folder/in it"
echo content >"$M/folder/in it/file"
handle get "folder/in it/file" "$T/file"
handle get "folder/in it" "$T/folder"
say "while it is known, and after a fresh mount"
same_file folder "folder/in it"
mnt_anew
same_file folder "folder/in it"
mnt_anew
handle open - "$T/file" >/dev/null || fail "a file cannot be opened by its handle"
say "a removed file, and the next one with its number"
number=$(stat -c %i "$M/folder/in it/file")
rm "$M/folder/in it/file"
stale file
umnt
mnt
for i in $(seq 100); do
    echo other >"$M/folder/$i"
    [ "$(stat -c %i "$M/folder/$i")" != "$number" ] || break
done
[ "$(stat -c %i "$M/folder/$i")" = "$number" ] || fail "the number is not used again"
stale file
mnt_anew
stale file
umnt
check_disk
