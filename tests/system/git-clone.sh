#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# git clone, commit, gc and fsck on the mount.
. "$(dirname "$0")/common.sh"

export HOME="$T" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git -c init.defaultBranch=main init -q "$T/origin"
cp -r /usr/include/linux "$T/origin/"
git -C "$T/origin" add .
git -C "$T/origin" commit -qm first
start_target
mkfs
mnt
git clone -q "file://$T/origin" "$M/clone"
diff -r "$T/origin/linux" "$M/clone/linux" || fail "the files differ"
echo change >>"$M/clone/linux/fs.h"
git -C "$M/clone" commit -qam second
git -C "$M/clone" gc -q
[ -z "$(git -C "$M/clone" status --porcelain)" ] || fail "git sees changes"
mnt_anew
git -C "$M/clone" fsck --strict 2>"$T/git.err" || fail "git fsck"
[ -z "$(git -C "$M/clone" status --porcelain)" ] || fail "git sees changes after a fresh mount"
git -C "$T/origin" pull -q --ff-only "$M/clone" HEAD
umnt
check_disk
