#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# POSIX ACLs: what the kernel's ext4 makes of them, we make, too; each reads what the other wrote.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
truncate -s 64M "$FAST/reference"
mkfs.ext4 -q -b 4096 "$FAST/reference"
mkdir "$T/reference"
mount -o loop "$FAST/reference" "$T/reference"

as() { # as UID GID GROUPS command…
    as_uid=$1 as_gid=$2 as_groups=$3
    shift 3
    setpriv --reuid "$as_uid" --regid "$as_gid" --groups "$as_groups" --inh-caps=-all --bounding-set=-all "$@"
}

may() { # may UID command…: says if it may
    user=$1
    shift
    as "$user" 3000 3000 "$@" >/dev/null 2>&1 && echo "$user may: $*" || echo "$user may not: $*"
}

# The same things happen here and there; what was said is compared.
scene() (
    cd "$1"
    umask 022
    echo "-- an access ACL and the mode"
    echo text >file
    chmod 640 file
    setfacl -m u:1001:rw,u:1002:rwx,g:2001:r,m::r file
    stat -c '%a' file
    chmod 664 file
    getfacl -cn file
    chmod 600 file
    for user in 1001 1002 1003; do may $user cat file; done
    chmod 660 file
    for user in 1001 1002 1003; do may $user cat file; may $user sh -c 'echo >>file'; done
    setfacl -x u:1001 file
    setfacl -b file
    getfattr -dm system. file
    stat -c '%a' file
    echo "-- no more than a mode: not stored"
    setfacl --set u::rwx,g::rx,o::- file
    getfattr -dm system. file
    stat -c '%a' file
    echo "-- set-group-id, when others set an ACL"
    for owner in 0:0 1001:2001 1001:2002 1001:2003; do
        touch "sgid-$owner"
        chown $owner "sgid-$owner"
        chmod 2755 "sgid-$owner"
        as "${owner%:*}" 2001 2001,2002 setfacl -m u:1005:rwx "sgid-$owner"
        stat -c '%n %a' "sgid-$owner"
    done
    echo "-- inheritance"
    number=0
    for acl in d:u::rwx,d:g::rx,d:o::- d:u:1001:rwx,d:g:2001:rx,d:m::rwx d:u:1001:rwx,d:m::x \
        d:u::-,d:g::-,d:o::- d:u::rw,d:u:1004:rwx,d:g::rwx,d:m::rw,d:o::rwx; do
        number=$((number + 1))
        mkdir "parent-$number"
        setfacl -m "$acl" "parent-$number"
        for mask in 000 027 077; do
            umask $mask
            touch "parent-$number/file-$mask"
            mkdir "parent-$number/folder-$mask" "parent-$number/folder-$mask/in-it"
            mkdir -m 2700 "parent-$number/mode-$mask"
            mkfifo -m 606 "parent-$number/fifo-$mask"
            mknod "parent-$number/device-$mask" c 1 3
            ln -s file "parent-$number/link-$mask"
        done
        umask 022
    done
    setfacl -k parent-1
    mkdir -m 777 parent-1/no-longer
    mkdir parent-1/no-longer/umask
    chmod 2775 parent-2
    mkdir parent-2/sgid
    find . | LC_ALL=C sort | xargs stat -c '%n %A %u %g'
    echo "-- what is refused"
    setfacl -m d:u:1001:r file || :
    as 1003 3000 3000 setfacl -m u:1003:rwx file || :
    setfattr -n system.posix_acl_access -v 0x0200 file || :
    setfattr -n system.posix_acl_access -v 0x02000000010007000000000004000700ffffffff file || :
    setfattr -n system.posix_acl_access -v 0x01000000010007000400070020000700 file || :
    setfattr -n system.something -v x file || :
    echo "-- as many as fit"
    for count in 80 400; do
        touch "many-$count"
        seq -f 'u:%.0f:rw' $count | paste -sd, | xargs -I{} setfacl -m {} "many-$count" && echo stored
    done
    echo "-- attributes, for users who may not see all"
    setfattr -n trusted.hidden -v 1 file
    setfattr -n user.seen -v 2 file
    chmod 644 file
    as 1003 3000 3000 getfattr -dm - file
)

all() (
    cd "$1"
    find . ! -name lost+found ! -type l | LC_ALL=C sort | xargs getfacl -n 2>&1
)

say "the same scene on both"
scene "$T/reference" >"$T/scene" 2>&1
scene "$M" >"$T/ours" 2>&1
diff "$T/scene" "$T/ours" || fail "it is another scene on the kernel's ext4"
all "$T/reference" >"$T/acls"
all "$M" | diff "$T/acls" - || fail "other ACLs"

say "a fresh mount; saved and restored"
mnt_anew
all "$M" | diff "$T/acls" - || fail "other ACLs after a fresh mount"
(cd "$M" && getfacl -nR . >"$T/saved" && setfacl -Rbk . && setfacl --restore="$T/saved")
all "$M" | diff "$T/acls" - || fail "other ACLs after setfacl --restore"

say "tar and rsync, both ways"
mkdir "$M/tar" "$M/rsync" "$T/reference/tar" "$T/reference/rsync"
tar -C "$T/reference" --acls --xattrs --xattrs-include='*' --exclude=./lost+found --exclude=./tar --exclude=./rsync \
    -cf "$T/tar" .
tar -C "$M/tar" --acls --xattrs --xattrs-include='*' -xpf "$T/tar" --numeric-owner
all "$M/tar" | diff "$T/acls" - || fail "other ACLs after tar"
rsync -aAX --exclude=/lost+found --exclude=/tar --exclude=/rsync "$T/reference/" "$M/rsync/"
all "$M/rsync" | diff "$T/acls" - || fail "other ACLs after rsync"
rsync -aAX "$M/rsync/" "$T/reference/rsync/"
all "$T/reference/rsync" | diff "$T/acls" - || fail "other ACLs after rsync back"
difference=$(rsync -naAXi --delete "$M/rsync/" "$T/reference/rsync/")
[ -z "$difference" ] || fail "rsync -A sees a difference: $difference"

say "the kernel reads ours, we read the kernel's"
rm -r "$M/tar"
umnt
check_disk
kernel_mount
all "$T/loop/rsync" | diff "$T/acls" - || fail "the kernel sees other ACLs"
kernel_umount
mount -o loop "$DISK" "$T/loop"
cp -a "$T/loop/rsync" "$T/loop/copied"
umount "$T/loop"
mnt
all "$M/copied" | diff "$T/acls" - || fail "other ACLs than the kernel wrote"
chmod -R g-w,o+r "$M/copied" "$T/reference/rsync"
all "$T/reference/rsync" >"$T/acls"
all "$M/copied" | diff "$T/acls" - || fail "chmod makes other masks of the kernel's ACLs"
umnt
check_disk
umount "$T/reference"
