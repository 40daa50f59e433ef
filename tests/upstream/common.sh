# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
#
# For the tests with another target's disk behind ours: tgtd has it, at UPSTREAM. In a network of
# their own, so that every port is free, and with a folder of tgtd's own.
if [ -z "${ENCSAN_TEST_NET:-}" ]; then
    # shellcheck disable=SC2016
    ENCSAN_TEST_NET=1 exec unshare --net -- sh -c 'ip link set lo up && exec sh "$0" "$@"' "$0" "$@"
fi
. "$(dirname "$0")/../system/common.sh"

UP_IQN=iqn.2026-11.org.encsan:upstream
UPSTREAM=iscsi://127.0.0.1:3260/$UP_IQN/1
TGTD_PID=
for folder in /run/tgtd /var/lib/encsan-target; do
    mkdir -p "$folder"
    mount -t tmpfs -o mode=700 tmpfs "$folder"
done

tgt() {
    tgtadm -C 0 --lld iscsi "$@" 2>>"$T/tgtadm.out"
}

# start_tgtd FILE [BLOCK BYTES [thick]]: FILE is LUN 1
start_tgtd() {
    tgtd -f -C 0 --iscsi portal=127.0.0.1:3260 >>"$T/tgtd.log" 2>&1 &
    TGTD_PID=$!
    LAST="$TGTD_PID $LAST" # with a target it does not take SIGTERM for an answer
    until_true 60 tgt --mode target --op new --tid 1 -T "$UP_IQN" || fail "tgtd does not start"
    tgt --mode logicalunit --op new --tid 1 --lun 1 -b "$1" --blocksize "${2:-512}" || fail "tgtadm: no LUN"
    [ "${3:-}" = thick ] || tgt --mode logicalunit --op update --tid 1 --lun 1 --params thin_provisioning=1 ||
        fail "tgtadm: not thin"
    tgt --mode target --op bind --tid 1 -I ALL || fail "tgtadm: nobody may come"
}

kill_tgtd() {
    kill -9 "$TGTD_PID"
    wait "$TGTD_PID" 2>/dev/null || :
    TGTD_PID=
}

# lossy_disk FILE: the same with a cache, as $LOST/disk; what is written to $LOST/control: lossy.c
lossy_disk() {
    LOST=$T/lossy
    mkdir "$LOST"
    "$LOSSY" "$1" "$LOST" &
    LOSSY_PID=$!
    LAST="$LAST $LOSSY_PID"
    until_true 30 mounted "$LOST" || fail "no lossy disk"
}

no_lossy_disk() {
    umount "$LOST"
    wait "$LOSSY_PID" || fail "the lossy disk failed"
}

target_says() { # how often, at least; what
    [ "$(grep -c "$2" "$T/target.log")" -ge "$1" ]
}
