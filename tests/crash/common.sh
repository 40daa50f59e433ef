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

# Serves the disk, and mounts it; a log begins.
begin_run() {
    rm -rf "$RUN"
    mkdir "$RUN"
    cp --sparse=always "$DISK" "$RUN/base"
    run_target --allow "$PUBLIC" --lun "$DISK"
    mnt_logged
}

end_run() {
    umnt
    wait "$FS_PID" || fail "encsanfs ended badly"
    stop_target
}

# record SEED [option of workload…]: a run of the workload, on a new disk
record() {
    make_disk
    begin_run
    "$WORKLOAD" --seed "$@" "$M" "$ENCSAN_RECORD" "$RUN" || fail "the workload met an error"
    end_run
}

# record_after_crash SEED: the same in $M/again, on a disk that a crash left with a journal
record_after_crash() {
    make_disk
    begin_run
    mkdir "$M/again" "$M/junk"
    cp -r /usr/include/linux/netfilter* "$M/junk/"
    sync "$M/again"
    kill -9 "$FS_PID"
    wait "$FS_PID" || :
    umount -l "$M"
    gone encsanfs
    stop_target
    dumpe2fs -h "$DISK" 2>/dev/null | grep -q needs_recovery || fail "there is no journal to replay"
    begin_run
    "$WORKLOAD" --seed "$1" "$M/again" "$ENCSAN_RECORD" "$RUN" || fail "the workload met an error"
    end_run
}
