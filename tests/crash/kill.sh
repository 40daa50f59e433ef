#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# kill.sh encsanfs|target KILLS: killed while a tree is copied; what was fsynced is there, and nothing to repair.
# A target comes back every other time, and the copy goes on.
. "$(dirname "$0")/../system/common.sh"

victim=$1
kills=$2
TREE=/usr/include/linux
FILES=$T/files   # of the tree
SYNCED=$T/synced # those whose fsync has returned

(cd "$TREE" && find . -type f | head -n 150) >"$FILES"

# Every fifth file is fsynced. It ends when the mount does, with a failure.
copy_tree() {
    n=0
    cd "$TREE"
    while read -r file; do
        cp --parents "$file" "$1/" || return 1
        n=$((n + 1))
        [ $((n % 5)) -eq 0 ] || continue
        sync "$1/$file" || return 1
        echo "$file" >>"$SYNCED"
    done <"$FILES"
}

synced_enough() {
    [ "$(wc -l <"$SYNCED")" -ge "$enough" ] || ! kill -0 "$copier" 2>/dev/null
}

kill_target() {
    kill -9 "$TARGET_PID"
    wait "$TARGET_PID" || :
    TARGET_PID=
}

target_comes_back() {
    kill_target
    start_target
    wait "$copier" || fail "round $round: the copy met an error: $(cat "$T/copy.err")"
    cp "$FILES" "$SYNCED"
    umnt
    wait "$FS_PID" || fail "encsanfs ended badly"
    stop_target
}

mount_ends() {
    [ "$victim" = encsanfs ] || kill_target
    kill -9 "$FS_PID"
    wait "$FS_PID" || :
    wait "$copier" || :
    umount -l "$M" 2>/dev/null || :
    gone encsanfs
    [ "$victim" = target ] || stop_target
}

start_target
mkfs
round=0
while [ $round -lt "$kills" ]; do
    round=$((round + 1))
    enough=$((1 + round * 7 % 20))
    : >"$SYNCED"
    mnt_logged
    mkdir "$M/copy"
    copy_tree "$M/copy" 2>"$T/copy.err" &
    copier=$!
    until_true 60 synced_enough || fail "the copy does not go on"
    if [ "$victim" = target ] && [ $((round % 2)) -eq 1 ]; then
        target_comes_back
    else
        mount_ends
    fi
    cp --sparse=always "$DISK" "$FAST/after"
    "$SOUND" "$FAST/after" || fail "round $round: the disk had to be repaired"
    start_target
    mnt
    while read -r file; do
        same "$M/copy/$file" "$TREE/$file"
    done <"$SYNCED"
    rm -r "$M/copy"
    umnt
    check_disk
done
say "$kills kills of $victim"
