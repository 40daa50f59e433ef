# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
#
# For the tests with someone on the path: flip.py between the mount and the target.
. "$(dirname "$0")/../system/common.sh"

proxy_ready() {
    [ -s "$T/proxy.out" ]
}

# proxy [argument…]: from now on URL leads through flip.py; DIRECT is the way without it
proxy() {
    DIRECT=${DIRECT:-$URL}
    : >"$T/proxy.out"
    python3 "$FLIP" "127.0.0.1:$PORT" "$@" >"$T/proxy.out" 2>"$T/proxy.log" &
    PROXY_PID=$!
    HELPERS="$HELPERS $PROXY_PID"
    until_true 30 proxy_ready || fail "the proxy does not start"
    URL=iscsi://127.0.0.1:$(sed 's/port //' "$T/proxy.out")/$IQN/1
}

# without_proxy: the proxy ends, URL is the direct way again
without_proxy() {
    kill "$PROXY_PID"
    wait "$PROXY_PID" || :
    URL=$DIRECT
}

flips() {
    grep -c '^flipped' "$T/proxy.log" || :
}

# Each kind of message: data goes there and back while every few of that kind
# have a flipped bit. Never wrong data; each operation works or fails with EIO.
flip_test() { # KIND [first] [count]
    start_target 600M
    mkfs
    random_file "$T/data" 16
    mnt
    cp "$T/data" "$M/before"
    umnt
    proxy --flip "$1" --first "${2:-3}" --count "${3:-2}"
    mnt_logged
    say "writes and fsyncs with flipped bits: $1"
    for i in 1 2 3; do
        cp "$T/data" "$M/file$i"
        sync "$M/file$i"
    done
    drop_caches
    for i in file1 file2 file3 before; do
        cmp "$T/data" "$M/$i" || fail "wrong data in $i, or it cannot be read"
    done
    umnt
    gone encsanfs
    say "$(flips) bits flipped"
    [ "$(flips)" -gt 0 ] || fail "nothing was flipped"
    without_proxy
    check_disk
    mnt
    for i in file1 file2 file3 before; do
        same "$T/data" "$M/$i"
    done
    umnt
    check_disk
}
