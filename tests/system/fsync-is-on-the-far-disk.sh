#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# When fsync returns, the bytes are in the target's file; also with dd conv=fsync, O_SYNC and sync(1) of a folder,
# and when anything returns that the mount options dirsync and sync speak of.
. "$(dirname "$0")/common.sh"

start_target 64M
mkfs
mnt
in_file() {
    grep -qaF "$1" "$DISK"
}
one=a-marker-$$-one-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
two=b-marker-$$-two-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
three=c-marker-three-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
echo "$one" >"$M/one"
sync "$M/one"
in_file "$one" || fail "sync FILE returned too early"
echo "$two" | dd of="$M/two" conv=fsync status=none
in_file "$two" || fail "dd conv=fsync returned too early"
echo "$three" | dd of="$M/three" oflag=sync status=none
in_file "$three" || fail "O_SYNC returned too early"
: >"$M/an-empty-file-$two"
sync "$M"
in_file "an-empty-file-$two" || fail "sync FOLDER returned too early"
umnt

# far COMMAND PATTERN: debugfs's answer on the far disk as it is now, its journal replayed
far() {
    cp --sparse=always "$DISK" "$T/copy"
    e2fsck -E journal_only -y "$T/copy" >"$T/replay.log" 2>&1 || [ $? -eq 1 ] || fail "$(cat "$T/replay.log")"
    debugfs -R "$1" "$T/copy" 2>&1 | grep -q -- "$2" || fail "after it returned, the far disk does not say '$2' to '$1'"
}

names() {
    say "$1: names"
    mnt "$1,commit=300"
    mkdir "$M/folder"
    far 'stat folder' 'Type: directory'
    : >"$M/folder/made"
    far 'stat folder/made' 'Type: regular'
    ln "$M/folder/made" "$M/folder/linked"
    far 'stat folder/linked' 'Links: 2'
    ln -s there "$M/folder/symbolic"
    far 'stat folder/symbolic' 'there'
    mkfifo "$M/folder/fifo"
    far 'stat folder/fifo' 'Type: FIFO'
    mv "$M/folder/made" "$M/moved"
    far 'stat moved' 'Type: regular'
    far 'stat folder/made' 'not found'
    rm "$M/moved"
    far 'stat moved' 'not found'
    mkdir "$M/empty"
    rmdir "$M/empty"
    far 'stat empty' 'not found'
    rm -r "$M/folder"
    far 'stat folder' 'not found'
}
names dirsync
umnt
names sync
say "sync: all else"
echo something >"$M/file"
far 'cat file' something
printf '%04096d' 4711 | dd of="$M/direct" oflag=direct bs=4096 status=none
far 'cat direct' 004711
chmod 4711 "$M/file"
far 'stat file' 'Mode: *04711'
truncate -s 4 "$M/file"
far 'stat file' 'Size: 4$'
setfattr -n user.name -v value "$M/file"
far 'ea_list file' 'user.name'
setfattr -x user.name "$M/file"
far 'stat file' 'Size: 4$'
! debugfs -R 'ea_list file' "$T/copy" 2>&1 | grep user.name || fail "the attribute is still there"
fallocate -l 50000 "$M/file"
far 'stat file' 'Size: 50000$'
umnt
check_disk
