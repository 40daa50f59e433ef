#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Ten times we and the kernel write the file system in turns; each leaves its journal to the other now and then.
. "$(dirname "$0")/../system/common.sh"

TREE=$T/tree # what has to be there

# The next state of the tree: some files and directories of every kind come, change, move and go.
change() {
    mkdir -p "$TREE/round-$1/below"
    for i in $(seq 40); do
        head -c $((i * i * 50)) /dev/urandom >"$TREE/round-$1/file-$i"
    done
    ln -s "round-$1/file-3" "$TREE/round-$1/symlink"
    ln "$TREE/round-$1/file-4" "$TREE/round-$1/below/hard"
    setfattr -n user.round -v "$1" "$TREE/round-$1/file-5"
    setfattr -n user.long -v "$(printf '%0900d' "$1")" "$TREE/round-$1/file-6"
    truncate -s 3M "$TREE/round-$1/file-7"
    head -c 5000 /dev/urandom | dd of="$TREE/long" bs=1000 seek=$(($1 * 33)) conv=notrunc status=none
    [ "$1" -lt 3 ] || mv "$TREE/round-$(($1 - 1))/below" "$TREE/round-$1/moved"
    [ "$1" -lt 4 ] || rm -r "$TREE/round-$(($1 - 3))"
}

# The file system is brought to the state of the tree, every file fsynced.
write_to() {
    rsync -aHX --checksum --modify-window=-1 --inplace --no-whole-file --delete "$TREE/" "$1/tree/"
    find "$1/tree" -type f -exec sync {} +
    find "$1/tree" -type d -exec sync {} +
}

ours() {
    start_target
    mnt_logged
    [ "$1" -eq 1 ] || compare "$TREE" "$M/tree"
    change "$1"
    write_to "$M"
    if [ $(($1 % 4)) -eq 1 ]; then
        say "round $1: encsanfs is killed, the kernel replays the journal"
        kill -9 "$FS_PID"
        wait "$FS_PID" || :
        umount -l "$M"
        gone encsanfs
    else
        umnt
        wait "$FS_PID"
        check_disk
    fi
    stop_target
}

kernels() {
    mount -t ext4 -o loop "$DISK" "$T/loop"
    compare "$TREE" "$T/loop/tree"
    change "$1"
    write_to "$T/loop"
    if [ $(($1 % 4)) -eq 2 ]; then
        say "round $1: a copy of the disk in use, encsanfs replays the journal"
        sync -f "$T/loop"
        cp --sparse=always "$DISK" "$FAST/copy"
        umount "$T/loop"
        mv "$FAST/copy" "$DISK"
        dumpe2fs -h "$DISK" 2>/dev/null | grep -q needs_recovery || fail "there is no journal to replay"
    else
        umount "$T/loop"
        check_disk
    fi
}

mkdir "$T/loop" "$TREE"
start_target
mkfs
stop_target
round=0
while [ $round -lt 10 ]; do
    round=$((round + 1))
    if [ $((round % 2)) -eq 1 ]; then
        ours $round
    else
        kernels $round
    fi
done
start_target
mnt
compare "$TREE" "$M/tree"
umnt
check_disk
