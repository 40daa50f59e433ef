#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# ./run bench loopback: a file of 1 GiB on loopback, written with fsync and read
# cold, beside sshfs with the same cipher in the same run; memory before and after.
# The far ends of both keep their data on /dev/shm. ROUNDS (5) and MEGABYTES
# (1024) may be set for a quick look.
set -eu
export LC_ALL=C
HERE=$(cd "$(dirname "$0")/../.." && pwd)
ROUNDS=${ROUNDS:-5}
MEGABYTES=${MEGABYTES:-1024}

if [ -z "${ENCSAN_BENCH_INSIDE:-}" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "the benchmark mounts file systems: run it as root" >&2
        exit 1
    fi
    ENCSAN_BENCH_INSIDE=1 exec env --default-signal=INT,TERM,HUP unshare --mount -- sh "$0"
fi

PATH=$HERE/build/fuse:$HERE/build/target:$HERE/build/tools:/usr/sbin:$PATH
W=$(mktemp -d "${TMPDIR:-/tmp}/encsan-bench.XXXXXX")
FAST=$(mktemp -d /dev/shm/encsan-bench.XXXXXX)
TARGET=
ENCSANFS=
SSHD=

die() {
    echo "FAILED: $*" >&2
    exit 1
}

end() { # a process of ours, by its id
    [ -n "$1" ] || return 0
    kill "$1" 2>/dev/null || :
    wait "$1" 2>/dev/null || :
}

finish() {
    status=$?
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    for mnt in "$W/ours" "$W/sshfs"; do
        mountpoint -q "$mnt" && umount -l "$mnt"
    done
    end "$ENCSANFS"
    end "$TARGET"
    end "$SSHD"
    rm -rf "$W" "$FAST"
    exit $status
}
trap finish EXIT
trap 'exit 143' INT TERM HUP

# Its own sshd is all that we want: the package must not start the service.
install_sshfs() {
    if command -v sshfs >/dev/null && command -v sshd >/dev/null; then
        return
    fi
    policy=/usr/sbin/policy-rc.d
    [ ! -e $policy ] || policy=
    [ -z "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy; }
    installed=0
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
        sshfs openssh-client openssh-server || installed=$?
    [ -z "$policy" ] || rm $policy
    return $installed
}

wait_until() { # command…
    tries=100
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || die "waited in vain: $*"
        sleep 0.1
    done
}

start_target() {
    PUBLIC=$(encsan keygen "$W/key")
    encsan keygen "$W/target.key" >/dev/null
    encsan-target --listen 127.0.0.1:0 --name iqn.2026-11.org.encsan:bench --key "$W/target.key" \
        --allow "$PUBLIC" --lun "$FAST/disk,size=8G" >"$W/target.out" 2>"$W/target.log" &
    TARGET=$!
    wait_until grep -q '^iscsi:' "$W/target.out"
    URL=$(sed -n '1s/ .*//p' "$W/target.out")
    OPTIONS=key=$W/key,target_key=$(sed -n '1s/.*target_key=//p' "$W/target.out")
    encsan mkfs "$URL" -o "$OPTIONS" -- -q >"$W/mkfs.out" 2>&1 || die "$(cat "$W/mkfs.out")"
}

start_sshd() {
    ssh-keygen -qt ed25519 -N '' -f "$W/host"
    ssh-keygen -qt ed25519 -N '' -f "$W/user"
    SSH_PORT=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >"$W/sshd_config" <<END
ListenAddress 127.0.0.1
Port $SSH_PORT
HostKey $W/host
AuthorizedKeysFile $W/user.pub
PidFile none
StrictModes no
UsePAM yes
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
END
    mkdir -p /run/sshd
    "$(command -v sshd)" -D -f "$W/sshd_config" -E "$W/sshd.log" &
    SSHD=$!
    echo "[127.0.0.1]:$SSH_PORT $(cat "$W/host.pub")" >"$W/known_hosts"
    wait_until ssh-keyscan -p "$SSH_PORT" 127.0.0.1 >/dev/null 2>&1
}

ours_up() {
    mountpoint -q "$W/ours" || ! kill -0 "$ENCSANFS" 2>/dev/null
}

mount_ours() {
    encsanfs "$URL" "$W/ours" -f -o "$OPTIONS" 2>>"$W/encsanfs.log" &
    ENCSANFS=$!
    wait_until ours_up
    mountpoint -q "$W/ours" || die "encsanfs: $(tail -n 1 "$W/encsanfs.log")"
}

umount_ours() {
    encsan umount "$W/ours"
    wait "$ENCSANFS" || die "encsanfs: $(tail -n 1 "$W/encsanfs.log")"
    ENCSANFS=
}

mount_sshfs() {
    sshfs -p "$SSH_PORT" -o "Ciphers=aes256-gcm@openssh.com,IdentityFile=$W/user,UserKnownHostsFile=$W/known_hosts" \
        -o "StrictHostKeyChecking=yes,BatchMode=yes,IdentitiesOnly=yes" "root@127.0.0.1:$FAST/sshfs" "$W/sshfs" ||
        die "sshfs: $(cat "$W/sshd.log")"
}

umount_sshfs() {
    fusermount3 -u "$W/sshfs"
}

now() {
    date +%s%N
}

mbs() { # START: MB/s since then
    awk -v b="$((MEGABYTES * 1048576))" -v s="$1" -v e="$(now)" 'BEGIN { printf "%.0f\n", b / 1e6 / ((e - s) / 1e9) }'
}

write_test() { # MOUNT
    rm -f "$1/file"
    sync
    start=$(now)
    dd if="$FAST/source" of="$1/file" bs=1M conv=fsync status=none
    mbs "$start"
}

read_test() { # MOUNT, just mounted: cold
    echo 3 >/proc/sys/vm/drop_caches
    start=$(now)
    dd if="$1/file" of=/dev/null bs=1M status=none
    mbs "$start"
}

median() { # FILE
    sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

rss() { # PID: resident memory now, and the most that it was
    awk '/^VmRSS/ { now = $2 } /^VmHWM/ { most = $2 } END { printf "%.1f MiB (at most %.1f)", now / 1024, most / 1024 }' "/proc/$1/status"
}

round() { # NUMBER; 0 warms up and is not counted
    mount_ours
    [ "$1" != 1 ] || BEFORE="encsanfs $(rss "$ENCSANFS"), encsan-target $(rss "$TARGET")"
    write_test "$W/ours" >"$W/write.ours"
    AFTER_WRITE="encsanfs $(rss "$ENCSANFS"), encsan-target $(rss "$TARGET")"
    umount_ours
    mount_sshfs
    write_test "$W/sshfs" >"$W/write.sshfs"
    umount_sshfs
    mount_ours
    read_test "$W/ours" >"$W/read.ours"
    AFTER_READ="encsanfs $(rss "$ENCSANFS"), encsan-target $(rss "$TARGET")"
    cmp "$FAST/source" "$W/ours/file" || die "the file came back changed"
    umount_ours
    mount_sshfs
    read_test "$W/sshfs" >"$W/read.sshfs"
    umount_sshfs
    [ "$1" != 0 ] || return 0
    for what in write.ours write.sshfs read.ours read.sshfs; do
        cat "$W/$what" >>"$W/all.$what"
    done
    echo "round $1: write $(cat "$W/write.ours"), sshfs $(cat "$W/write.sshfs"); read $(cat "$W/read.ours"), sshfs $(cat "$W/read.sshfs") MB/s"
}

line() { # write|read
    awk -v what="$1" -v a="$(median "$W/all.$1.ours")" -v b="$(median "$W/all.$1.sshfs")" \
        'BEGIN { printf "%-24s %6.0f MB/s   sshfs %6.0f MB/s   ratio %.2f\n", what, a, b, a / b }'
}

install_sshfs || die "sshfs and sshd are needed for the comparison"
for folder in /etc/encsan /var/lib/encsan /run/encsan; do
    mkdir -p "$folder"
    mount -t tmpfs -o mode=700 tmpfs "$folder"
done
mkdir "$W/ours" "$W/sshfs" "$FAST/sshfs"
openssl enc -aes-128-ctr -nosalt -pbkdf2 -pass pass:bench -in /dev/zero 2>/dev/null | head -c "${MEGABYTES}M" >"$FAST/source"
start_target
start_sshd

echo "$(date -u '+%F %H:%M UTC'), $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), Linux $(uname -r), $(git -C "$HERE" rev-parse --short HEAD 2>/dev/null || echo 'no commit')"
echo "$MEGABYTES MiB, loopback, far ends on /dev/shm, aes-256-gcm both, $ROUNDS rounds after one to warm up"
i=0
while [ $i -le "$ROUNDS" ]; do
    round $i
    i=$((i + 1))
done
echo "median of $ROUNDS:"
line write
line read
echo "memory just mounted: $BEFORE"
echo "after the last write: $AFTER_WRITE"
echo "after the last read: $AFTER_READ"
