# SPDX-License-Identifier: LGPL-2.1-or-later
"""./run bench target: encsan-target against tgtd, as plain targets: sequential reads and writes through
libiscsi, over loopback, disks on /dev/shm. Fails where we are not 1.5 times as fast."""

import argparse
import json
import statistics
import subprocess
import sys

import bench
from filesystems import start_tgtd
from target import Target

DISK_BYTES = 512 << 20
LOADS = {"128 KiB x 32": (128 << 10, 32, 256 << 20), "4 KiB x 64": (4 << 10, 64, 64 << 20)}
IQN = "iqn.2026-11.org.encsan:tgt"
NUMBER = 77
WANTED = 1.5


def measure(place, pid, url, op, load):
    """MB/s, and processor seconds of the target for each GB."""
    block, depth, size = LOADS[load]
    before = bench.cpu_s([pid])
    said = place.run("far", [bench.ENCSAN_BENCH, "--plain", "--op", op, "--block", block, "--depth", depth, "--size",
                             size, "--warm-up", size // 8, "--json", url])
    return json.loads(said)["mb_per_s"], (bench.cpu_s([pid]) - before) / size * 1e9


def report(figures):
    """False: somewhere it is not fast enough."""
    enough = True
    for (op, load), rounds in figures.items():
        ours, tgtd, our_cpu, tgtd_cpu = (statistics.median(r[i][j] for r in rounds)
                                         for i, j in ((0, 0), (1, 0), (0, 1), (1, 1)))
        ratio = statistics.median(r[0][0] / r[1][0] for r in rounds)
        print(f"{op:5} {load:12}  encsan-target {ours:7.1f} MB/s ({our_cpu:5.2f} CPU-s/GB)  "
              f"tgtd {tgtd:7.1f} MB/s ({tgtd_cpu:5.2f} CPU-s/GB)  ratio {ratio:.2f}")
        enough = enough and ratio >= WANTED
    return enough


def main():
    parser = argparse.ArgumentParser(prog="./run bench target", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured (7)")
    rounds = parser.parse_args().rounds
    bench.install("tgt")
    with bench.Place() as place:
        ours = Target(place, "plain", f"{bench.FAR_ADDRESS}:3260", DISK_BYTES, lun=",access=plain", touched=True)
        disk = place.fast / "tgtd.disk"
        subprocess.run(["fallocate", "-l", str(DISK_BYTES), disk], check=True)
        tgtd = start_tgtd(place, "tgtd", f"{bench.FAR_ADDRESS}:3261", NUMBER, IQN, disk)
        targets = ((ours.pid, ours.url), (tgtd.pid, f"iscsi://{bench.FAR_ADDRESS}:3261/{IQN}/1"))
        figures = {(op, load): [] for load in LOADS for op in ("write", "read")}
        for _ in range(rounds):
            for (op, load), results in figures.items():
                results.append([measure(place, pid, url, op, load) for pid, url in targets])
        tgtd.kill()
    return 0 if report(figures) else 1


sys.exit(bench.enter_room(main))
