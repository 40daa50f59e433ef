# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
#
# For the tests with a bad line: proxy between the mount and the target.
. "$(dirname "$0")/../system/common.sh"

proxy_is_there() {
    [ -s "$T/line.out" ]
}

# bad_line: from now on URL leads over it; tell gives it commands (proxy.c has them)
bad_line() {
    mkfifo "$T/line.in"
    "$ENCSAN_PROXY" "$PORT" <"$T/line.in" >"$T/line.out" 2>"$T/line.err" &
    LINE_PID=$!
    HELPERS="$HELPERS $LINE_PID"
    exec 7>"$T/line.in"
    until_true 30 proxy_is_there || fail "the line does not start"
    DIRECT=$URL
    URL=iscsi://127.0.0.1:$(sed -n 's/port //p' "$T/line.out")/$IQN/1
}

tell() {
    echo "$*" >&7
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

line_has_said() { # LINES
    [ "$(wc -l <"$T/line.out")" -gt "$1" ]
}

# FAULTS and OUTAGES_MS so far
ask_line() {
    lines=$(wc -l <"$T/line.out")
    tell say
    until_true 60 line_has_said "$lines" || fail "the line says nothing"
    FAULTS=$(sed -n '$s/ faults.*//p' "$T/line.out")
    OUTAGES_MS=$(sed -n '$s/.* faults, \([0-9]*\) ms.*/\1/p' "$T/line.out")
}

no_line() {
    exec 7>&-
    wait "$LINE_PID" || fail "the line broke: $(cat "$T/line.err")"
    URL=$DIRECT
}

kill_target() {
    kill -9 "$TARGET_PID"
    wait "$TARGET_PID" || :
    TARGET_PID=
}

status_says() { # PATTERN
    "$ENCSAN" status "$M" | grep -q "$1"
}
