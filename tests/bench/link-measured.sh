#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# rate|loss FOLDER: what ping and iperf3 see of the link that this runs in.
set -eu
export LC_ALL=C
T=$2

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

within() { # VALUE LOW HIGH
    awk -v v="$1" -v low="$2" -v high="$3" 'BEGIN { exit !(v >= low && v <= high) }'
}

listen() { # iperf3 for one measurement; $! is its process
    : >"$T/iperf3.far"
    $FAR iperf3 -s -1 --forceflush >"$T/iperf3.far" 2>&1 &
    tries=50
    until grep -q listening "$T/iperf3.far"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "iperf3 does not listen"
        sleep 0.1
    done
}

rtt_ms() { # of ping, the median of its times
    sed -n 's/.*time=\([0-9.]*\) ms/\1/p' "$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

received_mbit() { # iperf3's options
    listen
    $NEAR iperf3 -c 10.87.0.2 -t 1 -J "$@" >"$T/iperf3" 2>&1 || fail "iperf3: $(cat "$T/iperf3")"
    wait $!
    sed -n '/"sum_received"/,/}/ s/.*"bits_per_second":[^0-9]*\([0-9.e+]*\).*/\1/p' "$T/iperf3" | awk '{ print $1 / 1e6 }'
}

# Up to six times, here and below: other work may run on this machine.
rate_is() { # LOW HIGH iperf3's options
    low=$1
    high=$2
    shift 2
    for i in 1 2 3 4 5 6; do
        mbit=$(received_mbit "$@")
        ! within "$mbit" "$low" "$high" || return 0
    done
    fail "the link carries $mbit Mbit/s, not $low to $high"
}

rtt_is() { # LOW HIGH
    for i in 1 2 3 4 5 6; do
        $NEAR ping -c 11 -i 0.05 10.87.0.2 >"$T/ping" || fail "ping: $(cat "$T/ping")"
        ! within "$(rtt_ms "$T/ping")" "$1" "$2" || return 0
    done
    fail "the round trip is $(rtt_ms "$T/ping") ms, not $1 to $2"
}

rate() { # at a link of 5 ms and 200 Mbit/s
    rtt_is 7 20
    rate_is 100 200
    rate_is 100 200 -R # from far to near
}

loss() { # of 10 % of the packets
    $NEAR ping -q -c 1000 -i 0.002 10.87.0.2 >"$T/ping" || :
    lost=$(sed -n 's/.* \([0-9.]*\)% packet loss.*/\1/p' "$T/ping")
    within "$lost" 13 25 || fail "$lost % of the pings were lost on their two ways, not 19"
    listen
    # TCP repairs it: all of what was sent arrives, in segments cut out of TSO frames
    $NEAR iperf3 -c 10.87.0.2 -n 2M >"$T/near" || fail "iperf3: $(cat "$T/near")"
    wait $!
}

"$1"
