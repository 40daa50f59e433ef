# SPDX-License-Identifier: LGPL-2.1-or-later
"""./run bench paper: the paper's experiment. Sequential writes to the raw LUN,
without FUSE, over a link of 1 Gbit/s and 0 to 64 ms: without encryption, with
encryption but no optimisation, with n blocks sealed ahead or in flight (OP-n),
and without encryption of ours over IPsec, WireGuard and TLS.

Throughput and processor time at both ends are taken once memory has been
touched and TCP has found its window (a third of each run goes before the clock).
OP-n counts blocks; a block above the segment's size is several segments."""

import argparse
import csv
import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import bench
import report
import tunnels
from target import Target, keygen

RATE_MBIT = 1000
SEGMENT_BYTES = 128 << 10
SEGMENTS_MOST = 64  # that the library has at once
DELAYS_MS = (0, 1, 2, 4, 8, 16, 32, 64)
BLOCKS = tuple(16 << (10 + i) for i in range(8))
BLOCK_BY_DELAY = 128 << 10  # the figures by delay
DELAYS_BY_BLOCK = (8, 64)   # the figures by block size
DEPTHS = {"sync": 1, "op2": 2, "op4": 4, "op6": 6, "op8": 8, "op10": 10, "auto": None}
PLAIN = {"none": "direct", "ipsec": "ipsec", "wireguard": "wireguard", "stunnel": "stunnel"}
SUITES = ("aes-256-gcm", "3des")
PORT = 3260
COLUMNS = ("suite", "system", "block_bytes", "delay_ms", "round", "bytes", "seconds", "near_cpu_s", "far_cpu_s")


def arguments():
    parser = argparse.ArgumentParser(prog="./run bench paper", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer points, once each: some minutes")
    parser.add_argument("--smallest", action="store_true", help="a few points of ours alone: for the tests")
    parser.add_argument("--rounds", type=int, default=3, help="how often each point is measured (3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="least time of a measurement (1)")
    parser.add_argument("--out", type=Path, default=bench.OUT, help="folder for the results")
    a = parser.parse_args()
    if a.quick or a.smallest:
        a.rounds = 1
    if a.smallest:
        a.seconds = 0.2
    if a.rounds < 1 or a.seconds <= 0:
        parser.error("--rounds and --seconds are above 0")
    return a


class Plan:
    """Which points are measured: (suite, system, block_bytes) by delay."""

    def __init__(self, quick, smallest):
        self.delays, blocks, by_block = DELAYS_MS, BLOCKS, DELAYS_BY_BLOCK
        self.suites, self.systems = SUITES, [*PLAIN, *DEPTHS]
        if quick:
            self.delays, blocks = (0, 2, 8, 64), (32 << 10, 128 << 10, 512 << 10)
            self.systems = ["none", "sync", "op2", "op10", "auto", "ipsec", "wireguard", "stunnel"]
        if smallest:
            self.delays, blocks, by_block = (1,), (), ()
            self.systems = ["none", "sync", "op2", "op10", "auto"]
        self.blocks = {d: sorted({BLOCK_BY_DELAY, *(blocks if d in by_block else ())}) for d in self.delays}

    def points(self, delay_ms, missing):
        for suite, system, block in itertools.product(self.suites, self.systems, self.blocks[delay_ms]):
            if system in missing or (system in PLAIN and suite != SUITES[0]):
                continue
            yield suite, system, block

    def steps(self, missing):
        return sum(len(list(self.points(d, missing))) for d in self.delays)


# ---- the model ----


class Model:
    """What `encsan model` predicts; the ciphers' speed is measured once."""

    def __init__(self):
        self.speed = {}

    def ask(self, suite, block_bytes, delay_ms):
        known = [f"--{k}={v}" for k, v in self.speed.get(suite, {}).items()]
        text = subprocess.run([bench.ENCSAN, "model", "--json", f"--suite={suite}", f"--block={block_bytes}",
                               f"--delay={delay_ms}", f"--rate={RATE_MBIT}", *known],
                              check=True, stdout=subprocess.PIPE, text=True).stdout
        answer = json.loads(text)
        self.speed[suite] = {"seal": answer["seal_mb_per_s"], "open": answer["open_mb_per_s"]}
        return answer

    def mb_per_s(self, suite, block_bytes, delay_ms, depth):
        """depth None: all that the line and the processors give."""
        answer = self.ask(suite, block_bytes, delay_ms)
        shown = {d["n"]: d["mb_per_s"] for d in answer["depths"]}
        if depth is None or depth >= answer["n_star"]:
            return shown[answer["n_star"]]
        return shown[depth]

    def write(self, path, plan):
        with open(path, "w", newline="", encoding="ascii") as file:
            out = csv.writer(file)
            out.writerow(("suite", "block_bytes", "delay_ms", "depth", "mb_per_s", "n_star"))
            for delay, suite in itertools.product(plan.delays, plan.suites):
                for block in plan.blocks[delay]:
                    best = self.ask(suite, block, delay)["n_star"]
                    for depth in (1, 2, 4, 6, 8, 10):
                        out.writerow((suite, block, delay, depth, self.mb_per_s(suite, block, delay, depth), best))


# ---- the two ends ----


class Ends:
    """All targets and tunnels of one delay. `missing` collects what cannot run."""

    def __init__(self, place, plan, missing):
        self.place, self.tunnels, self.plain = place, {}, {}
        self.key = place.work / "initiator.key"
        suites = [word for suite in SUITES for word in ("--suite", suite)]
        self.sealed = Target(place, "sealed", f"{bench.FAR_ADDRESS}:{PORT + 1}", 768 << 20,
                             "--allow", keygen(self.key), *suites, touched=True)
        for system in plan.systems:
            if system in PLAIN and system not in missing:
                self._open_plain(system, missing)

    def _open_plain(self, system, missing):
        tunnel = tunnels.TUNNELS[PLAIN[system]](self.place)
        self.tunnels[system] = tunnel
        try:
            bench.install(*tunnel.packages)
            tunnel.start()
            self.plain[system] = Target(self.place, system, f"{tunnel.listen}:{PORT}", 256 << 20,
                                        lun=",access=plain", touched=True)
        except bench.Unavailable as why:
            bench.note(f"{system} is left out: {why}")
            missing.add(system)
            tunnel.stop()

    def close(self):
        for tunnel in self.tunnels.values():
            tunnel.stop()

    def command(self, suite, system, block, total, warm_up):
        common = [bench.ENCSAN_BENCH, "--json", "--op", "write", "--block", block, "--size", total,
                  "--warm-up", warm_up]
        if system in PLAIN:
            url = self.plain[system].url_at(f"{self.tunnels[system].connect}:{PORT}")
            return [*common, "--plain", url]
        segments = max(1, block // SEGMENT_BYTES)
        depth = DEPTHS[system]
        return [*common, "--key", self.key, "--target-key", self.sealed.key, "--suite", suite,
                "--segment", min(block, SEGMENT_BYTES),
                "--depth", min(depth * segments, SEGMENTS_MOST) if depth else "auto",
                *(["--sync"] if system == "sync" else []), self.sealed.url]

    def cpu(self, end, system):
        pids = self.tunnels[system].pids(end) if system in PLAIN else []
        if end == "far":
            pids = [*pids, (self.plain[system] if system in PLAIN else self.sealed).pid]
        return bench.cpu_s(pids)

    def measure(self, suite, system, block, total):
        """The row's last four columns."""
        warm_up = max(total // 2 // block, 1) * block
        near, far = self.cpu("near", system), self.cpu("far", system)
        answer = json.loads(self.place.run("near", self.command(suite, system, block, total, warm_up), 120))
        timed = total / (total + warm_up)  # the daemons' share of the time after the warm-up
        near, far = self.cpu("near", system) - near, self.cpu("far", system) - far
        return answer["bytes"], answer["seconds"], answer["cpu_s"] + near * timed, far * timed


def bytes_of(model, suite, system, block, delay_ms, seconds):
    """Enough for `seconds` and for 20 round trips, if the model is right; of auto, that it is as deep as 32."""
    depth = 32 if system == "auto" else DEPTHS.get(system, 1)
    rate = model.mb_per_s(suite, block, delay_ms, depth) * 1e6
    return max(round(rate * max(seconds, 20 * 2 * delay_ms / 1e3) / block), 8) * block


def measure_delay(delay_ms, plan, model, missing, progress, options, out):
    with bench.Place(delay_ms, RATE_MBIT) as place:
        ends = Ends(place, plan, missing)
        try:
            for number in range(1, options.rounds + 1):
                points = list(plan.points(delay_ms, missing))
                random.Random(number).shuffle(points)  # so that drift hits all alike
                for suite, system, block in points:
                    if system in missing:
                        continue
                    total = bytes_of(model, suite, system, block, delay_ms, options.seconds)
                    try:
                        row = ends.measure(suite, system, block, total)
                    except (RuntimeError, subprocess.TimeoutExpired) as why:
                        if system not in PLAIN:
                            raise
                        bench.note(f"{system} is left out from here on: {why}")
                        missing.add(system)
                        continue
                    out(suite, system, block, delay_ms, number, *row)
                    progress.step(f"{delay_ms} ms, {system}, {suite}, {block >> 10} KiB: "
                                  f"{row[0] / 1e6 / row[1]:.1f} MB/s")
        finally:
            ends.close()


def main():
    options = arguments()
    plan, model, missing = Plan(options.quick, options.smallest), Model(), set()
    bench.write_machine(options.out, "paper")
    model.write(options.out / "model.csv", plan)
    progress = bench.Progress(plan.steps(missing) * options.rounds)
    with open(options.out / "paper.csv", "w", newline="", encoding="ascii") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)

        def out(*row):
            rows.writerow([f"{x:.4f}" if isinstance(x, float) else x for x in row])
            file.flush()

        for delay_ms in plan.delays:
            measure_delay(delay_ms, plan, model, missing, progress, options, out)
    report.write(options.out)


if __name__ == "__main__":
    sys.exit(bench.enter_room(main))
