# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
#
# What every system test begins with: its own folder, a target, a mount.
#
# A test runs again inside a mount and a PID namespace of its own. So it sees
# no process but those that it started, it leaves the machine's folders alone,
# and when its shell ends, or is killed, nothing of it can stay behind. The end
# of each test checks that nothing had to be cleared away like that.
#
# From meson: ENCSANFS, ENCSAN, ENCSAN_TARGET, FLIP.
# For the tests: T (a folder), DISK, KEY, PUBLIC, M (the mount point), and after
# start_target URL, TARGET_KEY, PORT, TARGET_PID.
set -eu
export LC_ALL=C.UTF-8

if [ -z "${ENCSAN_TEST_INSIDE:-}" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "the system tests mount file systems: run them as root" >&2
        exit 1
    fi
    ENCSAN_TEST_INSIDE=1 exec unshare --mount --pid --fork --kill-child --mount-proc -- sh "$0" "$@"
fi

NAME=$(basename "$0" .sh)
IQN=iqn.2026-11.org.encsan:test
T=$(mktemp -d "${TMPDIR:-/tmp}/encsan-$NAME.XXXXXX")
FAST=$T
[ ! -w /dev/shm ] || FAST=$(mktemp -d "/dev/shm/encsan-$NAME.XXXXXX")
DISK=$FAST/disk
KEY=$T/key
M=$T/mnt
TARGET_PID=
HELPERS= # further processes to end, by their ids
LAST=    # the same, when all others have ended, and by force

# A report of a sanitizer ends in a file, also a daemon's.
ASAN_OPTIONS=detect_leaks=1:log_path=$T/sanitizer
UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:log_path=$T/sanitizer
LSAN_OPTIONS=print_suppressions=0
export ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS

say() {
    echo "-- $*"
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# until_true SECONDS command…: tries it ten times a second
until_true() {
    tries=$(($1 * 10))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.1
    done
}

# The ids of the running processes of this name.
processes() {
    for p in /proc/[0-9]*; do
        if [ "$(cat "$p/comm" 2>/dev/null)" = "$1" ] && ! grep -q '^State:.Z' "$p/status" 2>/dev/null; then
            echo "${p#/proc/}"
        fi
    done
}

no_process() {
    [ -z "$(processes "$1")" ]
}

gone() {
    until_true 30 no_process "$1" || fail "a process of $1 stays behind"
}

mounted() {
    mountpoint -q "$1"
}

nothing_left() { # the list is made before the loop starts anything
    left=
    for p in /proc/[0-9]*; do
        [ "${p#/proc/}" != $$ ] || continue
        grep -qs '^State:.[^Z]' "$p/status" || continue
        left="$left $(tr '\0' ' ' 2>/dev/null <"$p/cmdline" || :)"
    done
    [ -z "$left" ]
}

check_nothing_left() {
    until_true 30 nothing_left || { echo "FAILED: a process stays behind: $left" >&2; return 1; }
    if grep -q "$T/" /proc/self/mountinfo; then
        echo "FAILED: a mount stays behind:" >&2
        grep "$T/" /proc/self/mountinfo >&2
        return 1
    fi
    if losetup -nO BACK-FILE 2>/dev/null | grep -q "$FAST/\|$T/"; then
        echo "FAILED: a loop device stays behind" >&2
        return 1
    fi
}

check_sanitizers() {
    for report in "$T"/sanitizer.*; do
        [ -e "$report" ] || continue
        echo "FAILED: a sanitizer found something:" >&2
        head -n 60 "$report" >&2
        return 1
    done
}

# The target counts what it did twice, and says so when it ends.
check_target() {
    ! grep -s "executed twice" "$T/target.log" >&2 || { echo "FAILED: not at most once" >&2; return 1; }
}

clear_away() {
    kill -CONT $TARGET_PID 2>/dev/null || : # one that a test stopped would be waited for
    awk -v t="$T/" 'index($5, t) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r where; do
        umount "$where" 2>/dev/null || umount -l "$where" 2>/dev/null || :
    done
    for id in $HELPERS $TARGET_PID; do
        kill "$id" 2>/dev/null || :
        wait "$id" 2>/dev/null || :
    done
    for id in $LAST; do
        kill -9 "$id" 2>/dev/null || :
        wait "$id" 2>/dev/null || :
    done
}

finish() {
    status=$?
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    cd /
    if [ $status -ne 0 ]; then
        for log in "$T"/*.log "$T"/*.err; do
            [ ! -s "$log" ] || { echo "---- $log"; tail -n 40 "$log"; } >&2
        done
    fi
    clear_away
    if [ $status -eq 0 ]; then
        check_nothing_left || status=1
        check_sanitizers || status=1
        check_target || status=1
    else
        check_sanitizers
    fi
    rm -rf "$T" "$FAST"
    [ $status -ne 0 ] || echo "ok: $NAME"
    exit $status
}
trap finish EXIT
trap 'exit 143' INT TERM HUP

for folder in /etc/encsan /var/lib/encsan /run/encsan; do
    mkdir -p "$folder"
    mount -t tmpfs -o mode=700 tmpfs "$folder"
done
mkdir "$M"
PUBLIC=$("$ENCSAN" keygen "$KEY")
"$ENCSAN" keygen "$T/target.key" >"$T/target.pub"

target_ready() {
    ! kill -0 "$TARGET_PID" 2>/dev/null || grep -q '^iscsi:' "$T/target.out"
}

# run_target [argument…]: an encsan-target with these arguments, on PORT if that is set
run_target() {
    : >"$T/target.out"
    "$ENCSAN_TARGET" --listen "127.0.0.1:${PORT:-0}" --name "$IQN" --key "$T/target.key" "$@" \
        >"$T/target.out" 2>>"$T/target.log" &
    TARGET_PID=$!
    until_true 30 target_ready || fail "encsan-target says nothing"
    grep -q '^iscsi:' "$T/target.out" || fail "encsan-target did not start"
    URL=$(sed -n '1s/ .*//p' "$T/target.out")
    TARGET_KEY=$(sed -n '1s/.*target_key=//p' "$T/target.out")
    PORT=$(echo "$URL" | sed 's,.*:\([0-9]*\)/.*,\1,')
}

# write_conf SIZE [extra lines]: $T/conf for run_config, on PORT if that is set; LUN 1 is DISK, of this size
write_conf() {
    cat >"$T/conf" <<END
[target]
listen=127.0.0.1:${PORT:-0}
name=$IQN
key=$T/target.key
[initiator test]
key=$PUBLIC
[lun 1]
path=$DISK
size=$1
initiators=test
${2:-}
END
}

# run_config FILE: an encsan-target that is told everything by it
run_config() {
    : >"$T/target.out"
    "$ENCSAN_TARGET" --config "$1" >"$T/target.out" 2>>"$T/target.log" &
    TARGET_PID=$!
    until_true 30 target_ready || fail "encsan-target says nothing"
    grep -q '^iscsi:' "$T/target.out" || fail "encsan-target did not start"
}

# start_target [size]: the usual one, with one LUN on DISK
start_target() {
    run_target --allow "$PUBLIC" --lun "$DISK,size=${1:-1G}"
}

stop_target() {
    kill "$TARGET_PID"
    wait "$TARGET_PID" || :
    TARGET_PID=
}

# The far file system, made anew: mkfs [mke2fs options]
mkfs() {
    "$ENCSAN" mkfs "$URL" -o "key=$KEY,target_key=$TARGET_KEY" -- -q "$@" >"$T/mkfs.log" 2>&1 ||
        fail "encsan mkfs: $(cat "$T/mkfs.log")"
}

# mnt [option,…]: mounts URL on M
mnt() {
    "$ENCSANFS" "$URL" "$M" -o "key=$KEY,target_key=$TARGET_KEY${1:+,$1}"
    mounted "$M" || fail "encsanfs returned, but $M is not mounted"
}

mnt_is_up() {
    mounted "$M" || ! kill -0 "$FS_PID" 2>/dev/null
}

# mnt_logged [option,…]: the same in the foreground; its log is $T/encsanfs.log, its process FS_PID
mnt_logged() {
    "$ENCSANFS" "$URL" "$M" -f -o "key=$KEY,target_key=$TARGET_KEY${1:+,$1}" >>"$T/encsanfs.log" 2>&1 &
    FS_PID=$!
    HELPERS="$HELPERS $FS_PID"
    until_true 60 mnt_is_up || fail "encsanfs does not mount"
    mounted "$M" || fail "encsanfs ended"
}

umnt() {
    "$ENCSAN" umount "$M"
    ! mounted "$M" || fail "$M is still mounted"
}

# The same files as another mount sees them: nothing can come from a cache.
mnt_anew() {
    umnt
    mnt "$@"
}

drop_caches() {
    echo 3 >/proc/sys/vm/drop_caches
}

check_disk() {
    gone encsanfs
    e2fsck -fn "$DISK" >"$T/e2fsck.log" 2>&1 || fail "e2fsck is not content with the far disk"
}

# The kernel's own ext4 on the far disk: on $T/loop
kernel_mount() {
    mkdir -p "$T/loop"
    mount -t ext4 -o loop,ro "$DISK" "$T/loop"
}

kernel_umount() {
    umount "$T/loop"
}

# compare A B: names, bytes, links, owners, modes, times, attributes, ACLs
compare() {
    difference=$(rsync -naHAXi --checksum --delete --modify-window=-1 "$1/" "$2/") ||
        fail "rsync cannot compare $1 and $2"
    [ -z "$difference" ] || fail "$1 and $2 differ: $(echo "$difference" | head -n 20)"
}

# refused STATUS PATTERN command…: it exits with STATUS and says one line, which matches
refused() {
    want=$1
    pattern=$2
    shift 2
    got=0
    timeout 60 "$@" >"$T/refused.out" 2>"$T/refused.err" </dev/null || got=$?
    [ $got -eq "$want" ] || fail "exit status $got instead of $want: $* ($(cat "$T/refused.err"))"
    [ ! -s "$T/refused.out" ] || fail "it said on standard output: $(cat "$T/refused.out")"
    [ "$(wc -l <"$T/refused.err")" -eq 1 ] || fail "not one line: $(cat "$T/refused.err")"
    grep -qi -- "$pattern" "$T/refused.err" || fail "not clear enough: $(cat "$T/refused.err")"
    say "$(cat "$T/refused.err")"
    rm "$T/refused.err"
}

# random_file FILE MEGABYTES
random_file() {
    openssl enc -aes-128-ctr -nosalt -pbkdf2 -pass "pass:$1" -in /dev/zero 2>/dev/null |
        head -c "$2M" >"$1"
}

sum() {
    sha256sum <"$1"
}

same() {
    cmp "$1" "$2" || fail "$1 and $2 differ"
}

# A small tree with all that a tree can hold.
make_tree() {
    mkdir -p "$1/deep/er/and/deeper" "$1/empty" "$1/many"
    cp -a /usr/include/linux "$1/"
    for size in 0 1 59 60 61 4095 4096 4097 131072 1048579; do
        head -c $size /dev/urandom >"$1/size-$size"
    done
    truncate -s 40M "$1/sparse"
    printf end | dd of="$1/sparse" bs=1 seek=30000000 conv=notrunc status=none
    for i in $(seq 300); do
        echo "$i" >"$1/many/a-file-with-a-rather-long-name-number-$i"
    done
    ln "$1/size-4097" "$1/hard"
    ln "$1/size-4097" "$1/deep/er/hard too"
    ln -s size-1 "$1/short link"
    ln -s "$(printf '%0100d' 7)" "$1/dangling link of 100 bytes"
    ln -s "$(printf '%04000d' 7)" "$1/dangling link of 4000 bytes"
    mkfifo "$1/fifo"
    mknod "$1/null" c 1 3
    mknod "$1/block" b 7 300
    printf x >"$1/$(printf 'line\nbreak')"
    printf x >"$1/Zeichen äöü 漢字"
    printf x >"$1/$(printf '%0255d' 0)"
    chown 1234:70000 "$1/size-59"
    chmod 6751 "$1/size-60"
    chmod 1777 "$1/empty"
    touch -d '1970-01-02 03:04:05.123456789 UTC' "$1/size-61"
    touch -d '2099-12-31 23:59:59.987654321 UTC' "$1/size-0"
    setfattr -n user.short -v value "$1/size-4096"
    setfattr -n user.long -v "$(printf '%01000d' 5)" "$1/size-4096"
    setfattr -n user.of-a-folder -v 1 "$1/deep"
    setfattr -n trusted.kept -v 2 "$1/size-1"
    touch -d '2001-02-03 04:05:06.070809 UTC' "$1/deep/er" "$1/deep"
}
