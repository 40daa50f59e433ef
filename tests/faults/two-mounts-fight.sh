#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Two users take one disk from each other (-o steal), each time in the middle of the other's work: no write of a
# mount that was fenced reaches the disk after the takeover (the target counts), such a mount says so and writes
# nothing any more, what it had fsynced is there, and the file system is clean. TAKEOVERS makes it longer.
. "$(dirname "$0")/common.sh"

ENCSAN_TARGET=$TARGET_WATCH
other=$("$ENCSAN" keygen "$T/other.key")
run_target --allow "$PUBLIC" --allow "$other" --lun "$DISK,size=400M"
mkfs
random_file "$T/data" 24

# take NUMBER KEY: a mount of its own, on $T/NUMBER; its log, its process
take() {
    M=$T/$1
    mkdir "$M"
    mount -t tmpfs -o mode=700 tmpfs /var/lib/encsan # as from another machine: no state in common
    "$ENCSANFS" "$URL" "$M" -f -o "key=$2,target_key=$TARGET_KEY,steal,commit=1" >"$T/mount-$1.log" 2>&1 &
    FS_PID=$!
    HELPERS="$HELPERS $FS_PID"
    until_true 60 mnt_is_up || fail "encsanfs does not mount"
    mounted "$M" || fail "mount $1 ended: $(cat "$T/mount-$1.log")"
}

# work FOLDER NUMBER: until it fails; $T/done-NUMBER is never ahead of what was fsynced
work() {
    mkdir "$1/$2" || exit 1
    i=0
    while i=$((i + 1)) && echo $i | dd of="$1/$2/$i" conv=fsync status=none; do
        echo $i >"$T/done.new"
        mv "$T/done.new" "$T/done-$2"
        [ $((i % 8)) -ne 0 ] || cp "$T/data" "$1/$2/data" || break
    done 2>"$T/work-$2.err"
}

has_worked() { # NUMBER
    [ "$(cat "$T/done-$1")" -ge 10 ] || ! kill -0 $WORKER 2>/dev/null
}

check_work() { # NUMBER, as the mount that has the disk now sees it
    for i in $(seq "$(cat "$T/done-$1")"); do
        [ "$(cat "$M/$1/$i")" = "$i" ] || fail "mount $1 had fsynced $i: $(ls "$M/$1" | wc -l) files"
    done
}

refuses() { # command…
    ! "$@" 2>"$T/late.err" || fail "after the takeover: $*"
    grep -q 'Read-only file system' "$T/late.err" || fail "$*: $(cat "$T/late.err")"
}

# lose FOLDER NUMBER PID of what was taken over: it says so, and from then on nothing is changed there
lose() {
    until_true 60 grep -q 'another mount has taken the disk over' "$T/mount-$2.log" || fail "mount $2 says nothing"
    refuses mkdir "$1/late"
    refuses touch "$1/late"
    refuses ln -s x "$1/late"
    refuses chmod 700 "$1"
    ! "$ENCSAN" umount "$1" 2>"$T/umount.err" || fail "the unmount of $2 says that everything is on the far disk"
    wait "$3" || :
}

last=0
for number in $(seq "${TAKEOVERS:-5}"); do
    loser=$M
    loser_pid=${FS_PID:-}
    loser_worker=${WORKER:-}
    [ $((number % 2)) -eq 0 ] && key=$T/other.key || key=$KEY
    echo 0 >"$T/done-$number"
    take "$number" "$key"
    work "$M" "$number" &
    WORKER=$!
    HELPERS="$HELPERS $WORKER"
    if [ $last -gt 0 ]; then
        wait $loser_worker
        lose "$loser" $last "$loser_pid"
        check_work $last
    fi
    last=$number
    until_true 60 has_worked "$number" || fail "mount $number does not work"
    kill -0 $WORKER || fail "mount $number failed: $(cat "$T/work-$number.err")"
done
kill $WORKER
wait $WORKER || :

say "one that has nothing to do hears of it, too"
for number in $((last + 1)) $((last + 2)); do
    loser=$M
    loser_pid=$FS_PID
    take "$number" "$KEY"
    ls "$M" >/dev/null # it can read nothing any more, either
    lose "$loser" $((number - 1)) "$loser_pid"
done
for i in $(seq $last); do
    check_work "$i"
done
umnt
wait "$FS_PID" || fail "the last mount failed"
check_disk
stop_target
grep '^watch: ' "$T/target.log"
[ "$(grep -c '^watch: generation [0-9]*: [0-9]* writes, 0 fenced$' "$T/target.log")" -gt "$last" ] ||
    fail "not every generation wrote, or one that was fenced did"
! grep '^watch: .*[1-9][0-9]* fenced$' "$T/target.log" || fail "a fenced generation wrote"
for i in $(seq "$number"); do
    umount /var/lib/encsan
done
