#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Creation, links and renames with all their refusals.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
cd "$M"
no() { # no command…: it must fail
    ! "$@" 2>"$T/no.err" || fail "succeeded: $*"
}
mkdir a b a/sub
echo 1 >a/one
say "hard links"
ln a/one b/uno
[ "$(stat -c %h a/one) $(stat -c %i a/one)" = "2 $(stat -c %i b/uno)" ] || fail "no hard link"
echo 2 >>b/uno
[ "$(tr '\n' ' ' <a/one)" = "1 2 " ] || fail "two files"
no ln a/sub b/hard
no ln a/one b/uno
rm a/one
[ "$(stat -c %h b/uno)" = 1 ] || fail "the number of links"
say "folders"
no rmdir a
no rmdir b/uno
no mkdir a
no rm a
[ "$(stat -c %h a)" = 3 ] || fail "links of a folder: $(stat -c %h a)"
no mv a a/sub/
no mv -T b a
mv -T a/sub b/moved
[ "$(stat -c %h a) $(stat -c %h b)" = "2 3" ] || fail "links after a folder moved"
ls -a b/moved >/dev/null
[ "$(cd b/moved && cd .. && ls)" = "$(ls b)" ] || fail ".. of a moved folder"
mkdir target
mv -T b target
no mv -nT nothing target
say "rename over a file, with the same inode, without replacing, in exchange"
echo x >x
echo y >y
mv x y
[ "$(cat y)" = x ] || fail "rename over"
ln y same
mv y same 2>/dev/null || :
python3 - <<'PY'
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def rename(a, b, flags):
    r = libc.renameat2(-100, a, -100, b, flags)
    return ctypes.get_errno() if r else 0
open('p', 'w').write('p'); open('q', 'w').write('q'); os.mkdir('d'); open('d/in', 'w').write('in')
assert rename(b'p', b'q', 1) == 17, 'RENAME_NOREPLACE'
assert rename(b'p', b'q', 2) == 0, 'RENAME_EXCHANGE of files'
assert open('p').read() == 'q' and open('q').read() == 'p'
assert rename(b'p', b'd', 2) == 0, 'RENAME_EXCHANGE of a file and a folder'
assert open('p/in').read() == 'in' and open('d').read() == 'q'
PY
say "names"
no touch "$(printf '%0256d' 0)"
touch "$(printf '%0255d' 0)"
no cat nothing
no touch y/under-a-file
say "6,000 in one folder, read while they are removed"
mkdir many
(cd many && seq -f 'a-name-of-some-length-%.0f' 6000 | xargs touch)
[ "$(ls many | wc -l)" = 6000 ] || fail "not 6000"
find many -type f -name '*7*' -delete
left=$(seq 6000 | grep -vc 7)
[ "$(ls many | wc -l)" = "$left" ] || fail "not $left"
cd /
mnt_anew
[ "$(ls "$M/many" | sort -u | wc -l)" = "$left" ] || fail "not $left after a fresh mount"
[ "$(tr '\n' ' ' <"$M/target/uno")" = "1 2 " ] || fail "the file in the moved folder"
rm -r "$M/many"
umnt
check_disk
