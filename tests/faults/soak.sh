#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# All kinds of work at once over a bad line, for a long time: every byte right, memory and file descriptors of both
# ends as in the beginning, a clean file system. MINUTES: how long (1). Prints the memory over time.
. "$(dirname "$0")/common.sh"

SAMPLES=30
# Both ends keep as many buffers as they ever had in use at once, the target up to 32 MiB (memory.c): that is
# settled after some minutes.
[ "${MINUTES:-1}" -ge 10 ] && GROWTH='5 4096' || GROWTH='10 8192' # of the second half: %, and KiB
seconds=$((${MINUTES:-1} * 60))

start_target 1G
mkfs
bad_line
mnt_logged cache=16M,sessions=4
random_file "$T/data" 16
make_tree "$T/tree"

tree() { # made, compared, renamed, removed
    cp -a "$T/tree" "$M/tree.new" || return 1
    compare "$T/tree" "$M/tree.new"
    rm -rf "$M/tree"
    mv "$M/tree.new" "$M/tree"
}

stream() { # written, read from the far disk, cut, written again
    cp "$T/data" "$M/stream" || return 1
    sync "$M/stream" || return 1
    dd if="$M/stream" iflag=direct bs=1M status=none | cmp "$T/data" - || return 1
    truncate -s 5000000 "$M/stream" && fallocate -p -o 1000000 -l 2000000 "$M/stream"
}

counter() { # small fsyncs, replaced by a rename
    for i in $(seq 20); do
        echo "$i" >"$M/counter.new" && sync "$M/counter.new" && mv "$M/counter.new" "$M/counter" || return 1
        [ "$(cat "$M/counter")" = "$i" ] || return 1
    done
}

random() { # ENGINE SIZE: each block with its checksum
    fio --name=random --filename="$M/random-$1" --size="$2" --rw=randwrite --bsrange=4k-64k --fsync=64 \
        --verify=crc32c --verify_fatal=1 --verify_state_save=0 --ioengine="$1" --output="$T/fio-$1.log"
}

database() { # some are in, as many go
    sqlite3 "$M/db" "PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS t (i INTEGER PRIMARY KEY, v BLOB);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
        INSERT INTO t (v) SELECT randomblob(500) FROM n;
        DELETE FROM t WHERE i < (SELECT max(i) FROM t) - 1000;" || return 1
    [ "$(sqlite3 "$M/db" 'PRAGMA integrity_check')" = ok ]
}

# again_and_again NAME command…: until it is enough; $T/rounds-NAME counts
again_and_again() {
    name=$1
    shift
    n=0
    while [ ! -e "$T/enough" ]; do
        "$@" || exit 1
        n=$((n + 1))
        echo $n >"$T/rounds-$name"
    done
}

WORKERS=
start() { # NAME command…
    echo 0 >"$T/rounds-$1"
    again_and_again "$@" >"$T/work-$1.log" 2>&1 &
    WORKERS="$WORKERS $!"
    HELPERS="$HELPERS $!"
}

all_work() {
    for worker in $WORKERS; do
        kill -0 "$worker" 2>/dev/null || fail "one of those who work failed"
    done
}

rounds() {
    for rounds_of in tree stream counter random mapped database; do
        printf '%s %s  ' "$rounds_of" "$(cat "$T/rounds-$rounds_of")"
    done
}

warm() { # everything has been done twice
    all_work
    [ "$(cat "$T"/rounds-* | sort -n | head -n 1)" -ge 2 ]
}

memory() { # of a process, KiB
    awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"
}

descriptors() {
    find "/proc/$1/fd" -type l | wc -l
}

all_sessions() {
    "$ENCSAN" status "$M" | awk '$1 == "sessions" { if ($2 == "wanted") wanted = $3; else there = $2 }
        END { exit !(there == wanted) }'
}

as_before() { # nothing is open that was not open in the beginning
    all_sessions || return 1
    FS_NOW=$(descriptors "$FS_PID")
    TARGET_NOW=$(descriptors "$TARGET_PID")
    [ "$FS_NOW" -le "$FS_BEFORE" ] && [ "$TARGET_NOW" -le "$TARGET_BEFORE" ]
}

until_true 60 all_sessions || fail "not all sessions come up"
FS_BEFORE=$(descriptors "$FS_PID")
TARGET_BEFORE=$(descriptors "$TARGET_PID")
seed=${SEED:-$(date +%N | sed 's/^0*//')}
say "seed $seed"
tell "random $seed"
start tree tree
start stream stream
start counter counter
start random random psync 16M
start mapped random mmap 4M
start database database
until_true 300 warm || fail "too slow: $(rounds)"

begin=$(date +%s)
printf '%8s %16s %16s %12s %12s\n' seconds "encsanfs (KiB)" "target (KiB)" descriptors "of target"
for sample in $(seq $SAMPLES); do
    while [ $(($(date +%s) - begin)) -lt $((seconds * sample / SAMPLES)) ]; do
        all_work
        sleep 0.5
    done
    printf '%8s %16s %16s %12s %12s\n' $(($(date +%s) - begin)) "$(memory "$FS_PID")" "$(memory "$TARGET_PID")" \
        "$(descriptors "$FS_PID")" "$(descriptors "$TARGET_PID")" | tee -a "$T/samples"
done
: >"$T/enough"
ask_line
tell quiet
for worker in $WORKERS; do
    wait "$worker" || fail "one of those who work failed"
done
say "rounds: $(rounds)"
say "$("$ENCSAN" status "$M" | grep '^retries')"
until_true 60 as_before || fail "descriptors: $FS_NOW, of the target $TARGET_NOW; they were $FS_BEFORE and $TARGET_BEFORE"
awk -v half=$((SAMPLES / 2)) -v percent="${GROWTH% *}" -v kib="${GROWTH#* }" '
    { for (i = 2; i <= 3; i++) if (NR <= half) { if ($i > first[i]) first[i] = $i } else if ($i > second[i]) second[i] = $i }
    END { for (i = 2; i <= 3; i++) if (second[i] > first[i] * (1 + percent / 100) + kib) exit 1 }' "$T/samples" ||
    fail "the memory grows"
umnt
wait "$FS_PID" || fail "encsanfs failed"
no_line
say "$FAULTS faults"
check_disk
mnt
compare "$T/tree" "$M/tree"
umnt
check_disk
