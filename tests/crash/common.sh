# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
#
# Recorded runs, for the tests with crashes. From meson also: TARGET_RECORD, WORKLOAD, CHECK.
. "$(dirname "$0")/../system/common.sh"

RUN=$FAST/run # the recorded run
ENCSAN_RECORD=$RUN/log
export ENCSAN_RECORD
ENCSAN_TARGET=$TARGET_RECORD

# Small, so that the journal goes round and blocks are used again soon.
make_disk() {
    rm -f "$DISK"
    truncate -s 64M "$DISK"
    mke2fs -q -t ext4 -b 4096 -N 4096 "$DISK"
}

# record SEED [option of workload…]: a run of the workload, on a new disk
record() {
    rm -rf "$RUN"
    mkdir "$RUN"
    make_disk
    cp --sparse=always "$DISK" "$RUN/base"
    run_target --allow "$PUBLIC" --lun "$DISK"
    mnt_logged
    "$WORKLOAD" --seed "$@" "$M" "$ENCSAN_RECORD" "$RUN" || fail "the workload met an error"
    umnt
    wait "$FS_PID" || fail "encsanfs ended badly"
    stop_target
}
