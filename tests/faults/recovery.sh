#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# For ./run bench faults, inside encsan-link: how long it takes until all goes on (recovery.c).
set -eu
bin=$(dirname "$ENCSAN_PROXY")
T=$(mktemp -d "${TMPDIR:-/tmp}/encsan-recovery.XXXXXX")
FAST=$T
[ ! -w /dev/shm ] || FAST=$(mktemp -d /dev/shm/encsan-recovery.XXXXXX)
trap 'kill $helpers 2>/dev/null || :; wait || :; rm -rf "$T" "$FAST"' EXIT
helpers=
public=$("$ENCSAN" keygen "$T/key")
target_key=$("$ENCSAN" keygen "$T/target.key")

said() { # FILE: what it says first
    tries=300
    until [ -s "$1" ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { cat "$T/target.log" >&2; exit 1; }
        sleep 0.1
    done
    head -n 1 "$1"
}

# shellcheck disable=SC2154 # FAR and NEAR come from encsan-link
$FAR "$ENCSAN_TARGET" --listen 127.0.0.1:3260 --name iqn.2026-11.org.encsan:test --key "$T/target.key" \
    --allow "$public" --lun "$FAST/disk,size=256M" >"$T/target.out" 2>"$T/target.log" &
helpers=$!
said "$T/target.out" >"$T/said"
mkfifo "$T/proxy.in"
$FAR "$ENCSAN_PROXY" 3260 10.87.0.2 <"$T/proxy.in" >"$T/proxy.out" &
helpers="$helpers $!"
exec 7>"$T/proxy.in"
said "$T/proxy.out" >"$T/said"
$NEAR "$bin/recovery" "iscsi://10.87.0.2:$(sed 's/port //' "$T/said")/iqn.2026-11.org.encsan:test/1" "$T/key" "$target_key" "$T/proxy.in"
