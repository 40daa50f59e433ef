#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# ./run demo: the whole way on one machine. Real files to a disk behind an
# encsan-target and back, judged by diff, sha256sum, e2fsck and the kernel.
#
# It runs in a mount namespace of its own, so what it mounts and what EncSAN
# keeps in the system's folders is gone with it, however it ends. A shell that
# starts it with & ignores SIGINT, which only another program can undo (env).
set -eu
export LC_ALL=C.UTF-8
HERE=$(cd "$(dirname "$0")/../.." && pwd)

if [ -z "${ENCSAN_DEMO_INSIDE:-}" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "the demo mounts file systems: run it as root" >&2
        exit 1
    fi
    ENCSAN_DEMO_INSIDE=1 exec env --default-signal=INT,TERM,HUP unshare --mount -- sh "$0"
fi

PATH=$HERE/build/fuse:$HERE/build/target:$HERE/build/tools:$PATH
W=$(mktemp -d "${TMPDIR:-/tmp}/encsan-demo.XXXXXX")
DISK=$W/disk # what the target serves
M=$W/mnt
TARGET=
RECORDER=
STEP=

title() {
    if [ -t 1 ]; then
        printf '\n\033[1m%s\033[0m\n' "$*"
    else
        printf '\n%s\n' "$*"
    fi
}

show() {
    echo "    \$ $*" | sed "s,$W/,,g"
}

die() {
    echo "FAILED: $*" >&2
    exit 1
}

# A step that may take long: in the background, so that a signal ends it at once.
long() {
    "$@" &
    STEP=$!
    status=0
    wait $STEP || status=$?
    STEP=
    return $status
}

end() { # a process of ours, by its id
    [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null || :
    wait "$1" 2>/dev/null || :
}

leave() {
    if mountpoint -q "$M"; then
        timeout 20 encsan umount "$M" 2>/dev/null || umount -l "$M" || :
    fi
    mountpoint -q "$W/loop" && umount "$W/loop"
}

finish() {
    status=$?
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    cd /
    [ $status -ne 1 ] || tail -n 20 "$W"/*.log >&2
    end "$STEP"
    [ -d "$W/loop" ] && leave
    end "$RECORDER"
    end "$TARGET"
    rm -rf "$W"
    [ $status -eq 0 ] || echo "the demo did not come to its end (exit status $status); everything is cleared away" >&2
    exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

for folder in /etc/encsan /var/lib/encsan /run/encsan; do
    mkdir -p "$folder"
    mount -t tmpfs -o mode=700 tmpfs "$folder"
done
mkdir "$M" "$W/loop" "$W/data"

now() {
    date +%s%N
}

# rate BYTES START: megabytes a second since START
rate() {
    awk -v b="$1" -v s="$2" -v e="$(now)" 'BEGIN { printf "%.0f MB/s", b / 1e6 / ((e - s) / 1e9) }'
}

wait_for() { # PATTERN FILE
    tries=100
    until grep -q "$1" "$2" 2>/dev/null; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || die "$2 does not get as far as '$1'"
        sleep 0.1
    done
}

mount_it() { # URL
    show "encsanfs $1 mnt -o key=my.key,target_key=$TARGET_KEY"
    encsanfs "$1" "$M" -o "key=$W/my.key,target_key=$TARGET_KEY"
}

umount_it() {
    show "encsan umount mnt"
    long encsan umount "$M"
}

# same A B: bytes by diff -r; names, links, owners, modes and times by rsync
same() {
    long diff -r --no-dereference "$1" "$2" || die "diff found differences"
    long rsync -naHXi --checksum --delete "$1/" "$2/" >"$W/differences" || die "rsync cannot compare"
    [ ! -s "$W/differences" ] || die "rsync found differences: $(head -n 20 "$W/differences")"
}

check_all() { # FOLDER: the tree and the big file in it are what we copied
    same "$W/data/tree" "$1/tree"
    echo "    diff -r, rsync -naHX --checksum: no difference in $FILES files"
    long sh -c 'sha256sum <"$1" >"$2"' - "$1/big" "$W/sum"
    cmp -s "$W/sum" "$W/big.sum" || die "sha256 of the big file differs"
    echo "    sha256 of the 512 MiB file: the same"
}

title "1. Keys: one pair for the initiator (this side), one for the target (the far side)"
show "encsan keygen my.key"
PUBLIC=$(encsan keygen "$W/my.key")
echo "    $PUBLIC"
show "encsan keygen target.key"
echo "    $(encsan keygen "$W/target.key")"

title "2. The far side: encsan-target serves a sparse file of 4 GiB as a disk"
IQN=iqn.2026-11.org.encsan:demo
show "encsan-target --listen 127.0.0.1:0 --name $IQN --key target.key --allow $PUBLIC --lun disk,size=4G"
encsan-target --listen 127.0.0.1:0 --name "$IQN" --key "$W/target.key" --allow "$PUBLIC" \
    --lun "$DISK,size=4G" >"$W/target.out" 2>"$W/target.log" &
TARGET=$!
wait_for '^iscsi:' "$W/target.out"
sed 's/^/    /' "$W/target.out"
URL=$(sed -n '1s/ .*//p' "$W/target.out")
TARGET_KEY=$(sed -n '1s/.*target_key=//p' "$W/target.out")
PORT=$(echo "$URL" | sed 's,.*:\([0-9]*\)/.*,\1,')

title "3. An ordinary ext4 on it, made from here by mke2fs, and mounted"
show "encsan mkfs $URL -o key=my.key,target_key=$TARGET_KEY"
long encsan mkfs "$URL" -o "key=$W/my.key,target_key=$TARGET_KEY" 2>&1 | sed 's/^/    /'
mount_it "$URL"
df -h "$M" | sed 's/^/    /'

title "4. Real files: /usr/include, some of /usr/share/doc, hard links; and one file of 512 MiB"
mkdir "$W/data/tree"
long cp -a /usr/include "$W/data/tree/"
mkdir "$W/data/tree/doc"
find /usr/share/doc -mindepth 1 -maxdepth 1 | sort | head -n 500 >"$W/doc"
while read -r folder; do
    cp -a "$folder" "$W/data/tree/doc/"
done <"$W/doc"
mkdir "$W/data/tree/hard-links"
find "$W/data/tree/include" -type f | sort | head -n 100 | while read -r file; do
    ln "$file" "$W/data/tree/hard-links/$(basename "$file").$(stat -c %i "$file")"
done
ln -s ../include "$W/data/tree/hard-links/a-symbolic-link"
FILES=$(find "$W/data/tree" | wc -l)
BYTES=$(du -sb "$W/data/tree" | cut -f1)
long sh -c 'openssl enc -aes-128-ctr -nosalt -pbkdf2 -pass pass:demo -in /dev/zero 2>/dev/null |
    head -c 512M >"$1"; sha256sum <"$1" >"$1.sum"' - "$W/data/big"
mv "$W/data/big.sum" "$W/big.sum"
sync -f "$W"
echo "    $FILES files ($(find "$W/data/tree" -type l | wc -l) symbolic links), $((BYTES / 1000000)) MB"
show "cp -a tree mnt/ ; sync"
start=$(now)
long cp -a "$W/data/tree" "$M/"
long sync "$M/tree"
echo "    $FILES files, $(rate "$BYTES" "$start")"
show "dd if=big of=mnt/big bs=1M conv=fsync"
start=$(now)
long dd if="$W/data/big" of="$M/big" bs=1M conv=fsync status=none
echo "    written and on the far disk: $(rate 536870912 "$start")"

title "5. Unmounted, mounted anew, read back"
umount_it
mount_it "$URL"
show "cat mnt/big >/dev/null"
start=$(now)
long sh -c 'cat "$1" >/dev/null' - "$M/big"
echo "    read: $(rate 536870912 "$start")"
check_all "$M"

title "6. A secret, through a recorder on the connection"
umount_it
python3 "$HERE/tests/attack/flip.py" "127.0.0.1:$PORT" --record "$W/recording" >"$W/recorder.out" 2>"$W/recorder.err" &
RECORDER=$!
wait_for '^port' "$W/recorder.out"
MARKER=secret-$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
mount_it "iscsi://127.0.0.1:$(sed 's/port //' "$W/recorder.out")/$IQN/1"
show "yes $MARKER | head -n 100000 >mnt/secret"
yes "$MARKER" | head -n 100000 >"$M/secret"
umount_it
mount_it "iscsi://127.0.0.1:$(sed 's/port //' "$W/recorder.out")/$IQN/1"
yes "$MARKER" | head -n 100000 | cmp - "$M/secret" || die "the secret came back changed"
umount_it
end "$RECORDER"
RECORDER=
echo "    recorded: $(stat -c %s "$W/recording.out") bytes to the target, $(stat -c %s "$W/recording.in") back"
[ "$(stat -c %s "$W/recording.out")" -gt 3000000 ] || die "the recording is too small to say anything"
[ "$(stat -c %s "$W/recording.in")" -gt 3000000 ] || die "the recording is too small to say anything"
grep -qaF "$MARKER" "$DISK" || die "the secret is not on the far disk"
echo "    on the far disk the secret is there, as it should be"
! grep -qaF "$MARKER" "$W/recording.out" "$W/recording.in" || die "the secret crossed in the clear"
echo "    in the recording, either way: not once"

title "7. What stock tools say of the far disk"
show "e2fsck -fn disk"
long e2fsck -fn "$DISK" >"$W/e2fsck" 2>&1 || die "e2fsck: $(cat "$W/e2fsck")"
sed 's/^/    /' "$W/e2fsck"
show "mount -o loop,ro disk loop"
mount -t ext4 -o loop,ro "$DISK" "$W/loop"
check_all "$W/loop"
umount "$W/loop"

title "Every comparison held."
cat <<END
With a server of your own (the README says more):

  here    encsan keygen ~/my.key                       prints YOUR public key
  there   encsan keygen /etc/encsan-target.key
          encsan-target --listen 0.0.0.0:3260 --name iqn.2026-11.org.example:disk \\
              --key /etc/encsan-target.key --allow YOUR-PUBLIC-KEY --lun /srv/disk,size=100G
                                                       prints the URL and the target_key
  here    encsan mkfs iscsi://SERVER/iqn.2026-11.org.example:disk/1 -o key=\$HOME/my.key,target_key=KEY
          encsanfs iscsi://SERVER/iqn.2026-11.org.example:disk/1 /mnt -o key=\$HOME/my.key,target_key=KEY
          … copy files …
          encsan umount /mnt

The programs are in build/fuse, build/target and build/tools; meson install -C build installs them.
END
