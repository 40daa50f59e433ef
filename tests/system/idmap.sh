#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# idmap=user: the disk's owner and who mounts change places, in owners and in ACLs, and nobody else.
. "$(dirname "$0")/common.sh"

# owned OWNER FILE…: "user:group" of each
owned() {
    want=$1
    shift
    for file in "$@"; do
        [ "$(stat -c %u:%g "$file")" = "$want" ] || fail "$file is $(stat -c %u:%g "$file")'s, not $want's"
    done
}

# acl_has ENTRY FILE
acl_has() {
    getfacl -pn "$2" | grep -qx "$1" || fail "no $1 in the ACL of $2: $(getfacl -pn "$2")"
}

start_target
mkfs
say "a disk of 1234:4321"
mnt
echo theirs >"$M/theirs"
echo third >"$M/third"
echo root >"$M/root"
chown 1234:4321 "$M" "$M/theirs"
chown 77:88 "$M/third"
setfacl -m u:1234:r,u:77:rw,g:4321:rwx "$M/third"
umnt
say "is ours"
mnt idmap=user
owned 0:0 "$M" "$M/theirs"
owned 77:88 "$M/third"
owned 1234:4321 "$M/root"
acl_has user:0:r-- "$M/third"
acl_has user:77:rw- "$M/third"
acl_has group:0:rwx "$M/third"
echo new >"$M/new"
mkdir "$M/folder"
owned 0:0 "$M/new" "$M/folder"
setfacl -m u:0:x,u:5:w "$M/new"
acl_has user:0:--x "$M/new"
chown 0:0 "$M/root"
chown 5:1 "$M/third"
say "and stays theirs"
mnt_anew
owned 1234:4321 "$M" "$M/theirs" "$M/new" "$M/folder" "$M/root"
owned 5:1 "$M/third"
acl_has user:1234:--x "$M/new"
acl_has user:5:-w- "$M/new"
umnt
check_disk
refused 2 "idmap=all is neither" "$ENCSANFS" "$URL" "$M" -o "key=$KEY,target_key=$TARGET_KEY,idmap=all"
