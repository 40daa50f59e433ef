#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Wrong command lines: exit status 2 and a line that names what is wrong.
. "$(dirname "$0")/common.sh"

usage() { # usage PATTERN command…
    pattern=$1
    shift
    got=0
    timeout 20 "$@" >"$T/usage.out" 2>"$T/usage.err" </dev/null || got=$?
    [ $got -eq 2 ] || fail "exit status $got instead of 2: $*"
    [ -s "$T/usage.err" ] || fail "nothing on standard error: $*"
    grep -qi -- "$pattern" "$T/usage.err" || fail "$* says: $(cat "$T/usage.err")"
}
url=iscsi://127.0.0.1:9/$IQN/1
usage . "$ENCSAN"
usage no-such-command "$ENCSAN" no-such-command
usage . "$ENCSAN" keygen
usage . "$ENCSAN" umount
usage no-such-option "$ENCSANFS" "$url" "$M" -o no-such-option=1
usage view "$ENCSANFS" "$url" "$M" -o view=nonsense
usage . "$ENCSANFS"
usage . "$ENCSANFS" a b c
usage . "$ENCSAN_TARGET"
usage --no-such "$ENCSAN_TARGET" --no-such
usage allow "$ENCSAN_TARGET" --listen 127.0.0.1:0 --name "$IQN" --key "$KEY" --allow nonsense --lun "$DISK,size=1G"
usage lun "$ENCSAN_TARGET" --listen 127.0.0.1:0 --name "$IQN" --key "$KEY" --allow "$PUBLIC"
usage size "$ENCSAN_TARGET" --listen 127.0.0.1:0 --name "$IQN" --key "$KEY" --allow "$PUBLIC" --lun "$DISK,size=x"
say "help and version"
for program in "$ENCSAN" "$ENCSANFS" "$ENCSAN_TARGET"; do
    "$program" --help >"$T/help" || fail "$program --help"
    [ "$(wc -l <"$T/help")" -ge 3 ] || fail "$program --help says little"
    "$program" --version | grep -q '[0-9]\.[0-9]' || fail "$program --version"
done
gone encsanfs
gone encsan-target
