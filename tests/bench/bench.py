# SPDX-License-Identifier: LGPL-2.1-or-later
"""What all benchmarks share: a room of processes and mounts that ends with the
benchmark, the link between its two ends, figures and progress.

A benchmark runs as init of a PID namespace, in a mount namespace of its own,
with a /run and a /dev/shm of its own: when it ends, in whatever way, the kernel
ends its processes, mounts, files, loop devices (autoclear) and network
namespaces with it. Two can run side by side."""

import ctypes
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
BUILD = Path(os.environ.get("ENCSAN_BUILD", TOP / "build"))
ENCSANFS = str(BUILD / "fuse/encsanfs")
ENCSAN = str(BUILD / "tools/encsan")
TARGET = str(BUILD / "target/encsan-target")
ENCSAN_BENCH = str(BUILD / "tests/bench/encsan-bench")
NULLFUSE = str(BUILD / "tests/bench/nullfuse")
OUT = BUILD / "bench"
LINK = str(BUILD / "tests/bench/link/encsan-link")

NEAR_ADDRESS = "10.87.0.1"
FAR_ADDRESS = "10.87.0.2"


class Unavailable(Exception):
    """A peer cannot run here; the text says why, in one line."""


def note(text):
    print(text, file=sys.stderr, flush=True)


# ---- the room ----

FAST = "/dev/shm"
CLONE_NEWNS, CLONE_NEWPID = 0x00020000, 0x20000000
PR_SET_PDEATHSIG = 1


def enter_room(main):
    """Runs main() as init of namespaces of its own; returns its exit status."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0:
        note("the benchmark mounts file systems and makes network namespaces: run it as root")
        return 1
    if libc.unshare(CLONE_NEWPID | CLONE_NEWNS) != 0:
        note(f"no namespaces here: {os.strerror(ctypes.get_errno())}")
        return 1
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os._exit(_inside(main))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: os.kill(child, signal.SIGTERM))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _interrupted(number, _):
    os._exit(128 + number)  # nobody is waited for: the namespaces take everything with them


def _inside(main):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent passes it on
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777,size=75%", "tmpfs", FAST], check=True)
        for folder in ("/run", "/etc/encsan", "/var/lib/encsan"):
            os.makedirs(folder, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder], check=True)
        return main() or 0
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 1
    except Exception:  # pylint: disable=broad-except
        import traceback

        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


# ---- the link and what runs at its ends ----


class Place:
    """Two ends, NEAR and FAR, joined by a link, and the processes at them."""

    def __init__(self, delay_ms=0.0, rate_mbit=0, loss_percent=0.0):
        self.work = Path(tempfile.mkdtemp(prefix="work.", dir=FAST))
        self.fast = Path(tempfile.mkdtemp(prefix="far.", dir=FAST))
        self.processes = []
        self.link = None
        self.delay_ms, self.rate_mbit, self.loss_percent = delay_ms, rate_mbit, loss_percent

    def __enter__(self):
        try:
            self._open_link()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open_link(self):
        self.link = subprocess.Popen(
            [LINK, f"--delay={self.delay_ms}", f"--rate={self.rate_mbit}", f"--loss={self.loss_percent}",
             "--", "sh", "-c", 'echo "$NEAR"; echo "$FAR"; exec cat'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        near, far = self.link.stdout.readline().split(), self.link.stdout.readline().split()
        if not near or not far:
            raise Unavailable("the link does not come up")
        self.prefix = {"near": near, "far": far}

    def __exit__(self, *_):
        for process in reversed(self.processes):
            self.stop(process)
        if self.link:
            self.link.stdin.close()
            self.link.wait()
        for folder in (self.work, self.fast):
            shutil.rmtree(folder, ignore_errors=True)

    def at(self, end, argv):
        return [*self.prefix[end], *map(str, argv)]

    def start(self, end, argv, log, **more):
        """A daemon in the foreground at "near" or "far"; its output goes to work/LOG."""
        with open(self.work / log, "ab") as out:
            process = subprocess.Popen(self.at(end, argv), stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.STDOUT, **more)
        self.processes.append(process)
        return process

    def stop(self, process, seconds=20):
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def run(self, end, argv, timeout=60, **more):
        """A command at one end; its standard output. Raises where it fails or takes too long."""
        done = subprocess.run(self.at(end, argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=timeout, check=False, **more)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, argv))}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def log(self, name):
        return (self.work / name).read_text(errors="replace")


def wait_until(what, condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Unavailable(f"{what}: not ready after {seconds:g} s")
        time.sleep(0.02)


def install(*packages):
    """Installs what is missing, without starting services."""
    missing = [p for p in packages
               if subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", p], check=False,
                                 capture_output=True, text=True).stdout != "installed"]
    if not missing:
        return
    note(f"installing: {' '.join(missing)}")
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        for command in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *missing]):
            done = subprocess.run(["apt-get", *command], check=False, capture_output=True, text=True,
                                  env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
            if done.returncode != 0:
                raise Unavailable(f"apt-get install {' '.join(missing)}: {done.stderr.strip().splitlines()[-1]}")
    except FileNotFoundError:
        raise Unavailable(f"missing: {' '.join(missing)}") from None
    finally:
        if ours:
            policy.unlink()


def drop_caches():
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


# ---- figures ----

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pids):
    """Processor seconds that these processes have used so far."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) * TICK_S
    return total


def spread(values):
    """(median, lowest, highest)"""
    return statistics.median(values), min(values), max(values)


def machine():
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), os.uname().machine)
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii").strip()
    commit = subprocess.run(["git", "-C", str(TOP), "describe", "--always", "--dirty"], check=False,
                            capture_output=True, text=True).stdout.strip() or "no commit"
    return (f"{time.strftime('%F %H:%M UTC', time.gmtime())}, {os.cpu_count()} x {cpu}, "
            f"Linux {os.uname().release}, TCP {congestion}, {commit}")


def write_machine(out, name):
    """A line in machine.txt for this benchmark; the other one's stays."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "machine.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    kept = [line for line in lines if not line.startswith(f"{name}: ")]
    file.write_text("\n".join(sorted([*kept, f"{name}: {machine()}"])) + "\n", encoding="utf-8")


class Progress:
    """A line for each step, with the time that is left if the rest goes on like this."""

    def __init__(self, steps):
        self.steps, self.done, self.start = steps, 0, time.monotonic()

    def step(self, text):
        self.done += 1
        spent = time.monotonic() - self.start
        left = spent / self.done * (self.steps - self.done)
        note(f"[{self.done} of {self.steps}, {spent / 60:.1f} min, about {left / 60:.1f} left] {text}")
