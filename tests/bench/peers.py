# SPDX-License-Identifier: LGPL-2.1-or-later
"""./run bench peers: encsanfs and its peers through a mounted directory, on this
machine without a limit and over links of 1 Gbit/s with 8 and 64 ms one way.

The line's own limit is iperf3 with one and eight streams, FUSE's is nullfuse.
What needs more than 60 s is cut off."""

import argparse
import csv
import os
import random
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path

import bench
import filesystems
import report

SETTINGS = {  # name: one-way delay in ms (0: what a veth pair has, some 0.05), Mbit/s (0: no limit)
    "0.05 ms, no limit": (0, 0),
    "8 ms, 1 Gbit/s": (8, 1000),
    "64 ms, 1 Gbit/s": (64, 1000),
}
STEPS = {"write": "MB/s", "read": "MB/s", "untar": "s", "tree-read": "s", "ls": "s", "fsync": "ms"}
CUT_OFF_S = 60
FSYNCS = 50
SMALL_FILE = 64 << 20  # where the large one would be cut off
# one-way delay in ms from which a peer gets the small file
HOPELESS_FROM_MS = {"sshfs": 64, "nbdkit": 8, "iscsi": 8, "iscsi-wireguard": 8, "iscsi-ipsec": 8}
COLUMNS = ("setting", "peer", "round", "step", "value", "unit")


def arguments():
    parser = argparse.ArgumentParser(prog="./run bench peers", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="once, small, without the longest link: under five minutes")
    parser.add_argument("--smallest", action="store_true", help="encsanfs and nullfuse alone: for the tests")
    parser.add_argument("--rounds", type=int, default=3, help="how often each step is measured (3)")
    parser.add_argument("--size", type=int, default=256, help="MiB of the large file (256)")
    parser.add_argument("--peers", help="only these, by name, with commas between: " + ",".join(filesystems.PEERS))
    parser.add_argument("--out", type=Path, default=bench.OUT, help="folder for the results")
    a = parser.parse_args()
    if a.rounds < 1 or a.size < 1:
        parser.error("--rounds and --size are above 0")
    a.names = a.peers.split(",") if a.peers else [*filesystems.PEERS]
    if unknown := set(a.names) - set(filesystems.PEERS):
        parser.error(f"--peers: {', '.join(sorted(unknown))}: unknown; there are {', '.join(filesystems.PEERS)}")
    a.settings, a.files, a.iperf_s = SETTINGS, 2000, 5
    if a.quick or a.smallest:
        a.rounds = 1 if a.quick else 2
    if a.quick:
        a.size, a.files, a.iperf_s = min(a.size, 32), 100, 2
        a.settings = {k: v for k, v in SETTINGS.items() if v[0] < 64}
    if a.smallest:
        a.size, a.files, a.iperf_s = 8, 80, 1
        a.settings = {"1 ms, 1 Gbit/s": (1, 1000)}
        a.names = ["encsanfs", "nullfuse"]
    return a


# ---- what is copied ----


class Material:
    """Made once: a file of noise and an archive of small files in 40 folders."""

    def __init__(self, folder, size_bytes, files):
        noise = random.Random(1)
        self.file, self.tar = folder / "source", folder / "tree.tar"
        with open(self.file, "wb") as out:
            for _ in range(0, size_bytes, 1 << 20):
                out.write(noise.randbytes(1 << 20))
        with tarfile.open(self.tar, "w") as archive:
            for i in range(files):
                member = tarfile.TarInfo(f"tree/{i * 40 // files:02}/file{i:04}")
                member.size = noise.randrange(512, 20 << 10)
                archive.addfile(member, BytesIO(noise.randbytes(member.size)))


# ---- the steps: each gets a mounted folder and returns its value ----


class CutOff(Exception):
    pass


def output(command):
    """Of a shell command, which has CUT_OFF_S."""
    with subprocess.Popen(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            text, error = process.communicate(timeout=CUT_OFF_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            raise CutOff from None
        if process.returncode != 0:
            raise bench.Unavailable(f"{command}: {error.strip()}")
    return text


def timed(command):
    """Seconds that it took."""
    start = time.monotonic()
    output(f"{command} >/dev/null")
    return time.monotonic() - start


class Steps:
    def __init__(self, folder, material, file_bytes):
        self.folder, self.material, self.bytes = folder, material, file_bytes

    def write(self):
        return self.bytes / 1e6 / timed(f"head -c {self.bytes} {self.material.file} | "
                                        f"dd of={self.folder}/file bs=1M iflag=fullblock conv=fsync")

    def read(self):
        seconds = timed(f"dd if={self.folder}/file of=/dev/null bs=1M")
        return self.bytes / 1e6 / seconds

    def same(self):
        """What was read is what was written; it is in the page cache now, so this costs little."""
        timed(f"cmp -n {self.bytes} {self.folder}/file {self.material.file}")

    def untar(self):
        return timed(f"tar -xf {self.material.tar} -C {self.folder} && exec sync {self.folder}")

    def tree_read(self):
        return timed(f"find {self.folder}/tree -type f -exec cat {{}} +")

    def ls(self):
        return timed(f"ls -lR {self.folder}/tree")

    def fsync(self):
        """Milliseconds of a write of 4 KiB and its fsync, the mean of many."""
        return float(output(f"exec python3 -c '{APPEND}' {self.folder}/appended {FSYNCS}"))


APPEND = """
import os, sys, time
fd, times = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), int(sys.argv[2])
start = time.monotonic()
for i in range(times):
    os.pwrite(fd, bytes(4096), i * 4096)
    os.fsync(fd)
print(1e3 * (time.monotonic() - start) / times)
"""


class Visit:
    """One peer's round: its steps, cold where they shall be."""

    def __init__(self, peer, steps, cut_off, out):
        self.peer, self.steps, self.cut_off, self.out = peer, steps, cut_off, out

    def mount(self):
        bench.drop_caches()
        self.peer.mount(self.steps.folder)

    def step(self, name):
        """False where it was cut off, now or in an earlier round."""
        if name in self.cut_off:
            return False
        try:
            value = f"{getattr(self.steps, name.replace('-', '_'))():.3f}"
        except CutOff:
            self.cut_off.add(name)
            value = f">{CUT_OFF_S / (FSYNCS if name == 'fsync' else 1):g}"  # seconds, of one fsync
        self.out(name, value, STEPS[name])
        return name not in self.cut_off

    def round(self):
        self.mount()
        written = self.step("write")
        unpacked = self.step("untar")
        self.step("fsync")
        self.peer.umount()
        if written:
            self.mount()
            if self.step("read") and self.peer.name != "nullfuse":
                self.steps.same()
            self.peer.umount()
        for name in ("ls", "tree-read") if unpacked else ():
            self.mount()
            self.step(name)
            self.peer.umount()
        self.peer.clear(self.steps.folder)


# ---- the line ----


def iperf(place, streams, seconds, out):
    for step, more in (("write", []), ("read", ["-R"])):
        server = place.start("far", ["iperf3", "-s", "-1", "--forceflush"], "iperf3.log")
        bench.wait_until("iperf3", lambda: "listening" in place.log("iperf3.log"))
        text = place.run("near", ["iperf3", "-c", bench.FAR_ADDRESS, "-t", seconds, "-P", streams, "-f", "M", *more])
        place.stop(server)
        (place.work / "iperf3.log").unlink()
        total = next(line for line in reversed(text.splitlines()) if "receiver" in line and
                     (streams == 1 or "SUM" in line))
        out(step, f"{float(total.split('MBytes/sec')[0].split()[-1]) * 1.048576:.3f}", "MB/s")


# ---- all of it ----


class Run:
    def __init__(self, options, rows, material):
        self.options, self.rows, self.material = options, rows, material
        self.missing = set()
        self.progress = bench.Progress(len(options.settings) * options.rounds * (len(options.names) + 2))

    def setting(self, name):
        delay_ms, rate = self.options.settings[name]
        with bench.Place(delay_ms, rate) as place:
            peers = {}
            for peer in self.options.names:
                self.start(peer, peers, place)
            cut_off = {peer: set() for peer in peers}
            for number in range(1, self.options.rounds + 1):
                self.lines(place, name, number)
                for peer in random.Random(number).sample([*peers], len(peers)):
                    self.visit(place, name, peers, peer, number, cut_off[peer])
            for peer in peers.values():
                peer.stop()

    def start(self, name, peers, place):
        if name in self.missing:
            return
        peer = filesystems.PEERS[name](place)
        try:
            bench.install(*peer.packages)
            peer.start()
            peers[name] = peer
        except bench.Unavailable as why:
            self.leave_out(name, peer, why)

    def leave_out(self, name, peer, why):
        bench.note(f"{name} is left out: {why}")
        self.missing.add(name)
        peer.stop()

    def lines(self, place, setting, number):
        for streams in (1, 8):
            iperf(place, streams, self.options.iperf_s, self.out(setting, f"iperf3-{streams}", number))
            self.progress.step(f"{setting}: iperf3, {streams} streams")

    def out(self, setting, peer, number):
        return lambda step, value, unit: self.rows((setting, peer, number, step, value, unit))

    def visit(self, place, setting, peers, name, number, cut_off):
        delay_ms = self.options.settings[setting][0]
        size = self.options.size << 20
        if delay_ms >= HOPELESS_FROM_MS.get(name, delay_ms + 1):
            size = min(size, SMALL_FILE)
        folder = place.work / f"mnt-{name}"  # nullfuse stays mounted
        folder.mkdir(exist_ok=True)
        try:
            Visit(peers[name], Steps(folder, self.material, size), cut_off, self.out(setting, name, number)).round()
        except bench.Unavailable as why:
            self.leave_out(name, peers.pop(name), why)
        self.progress.step(f"{setting}: {name}")


def main():
    options = arguments()
    bench.write_machine(options.out, "peers")
    bench.install("iperf3", "gnuplot-nox")
    with open(options.out / "peers.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)

        def rows(row):
            writer.writerow(row)
            file.flush()

        run = Run(options, rows, Material(Path(bench.FAST), options.size << 20, options.files))
        for name in options.settings:
            run.setting(name)
    report.write(options.out)
    print(report.table(options.out))


if __name__ == "__main__":
    sys.exit(bench.enter_room(main))
