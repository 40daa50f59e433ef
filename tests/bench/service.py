# SPDX-License-Identifier: LGPL-2.1-or-later
"""./run bench service: encsan-target as a service of a real systemd, in a Debian that qemu emulates. It is installed as
encsan-target(8) says, reloaded, killed under a mount, and stopped until the watchdog ends it; its hardening is rated.
Some minutes, as the processor is emulated, too. The Debian comes from its mirror, into a folder that goes after it."""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench
import machine
from target import keygen

IQN = "iqn.2026-11.org.encsan:service"
PACKAGES = ("systemd", "systemd-sysv", "procps", "kmod", "libglib2.0-0", "libiscsi7", "libssl3", "libisal2",
            "libmicrohttpd12", "libfuse3-3", "libbsd0", "libjson-glib-1.0-0", "libext2fs2", "libiscsi-bin")
PATIENCE_S = 1800
EXPOSURE_MOST = 2.0  # by systemd-analyze security, of 10

CONFIGURATION = """[target]
listen=127.0.0.1:3260
name={iqn}
key=/etc/encsan-target.key
state-dir=/var/lib/encsan-target
[initiator here]
key={public}
[lun 1]
path=/srv/disk
"""
LUN_2 = "[lun 2]\npath=/var/lib/encsan-target/plain\nsize=16M\naccess=plain\n"

CHECK = """#!/bin/bash
exec >/dev/ttyS0 2>&1
end() { echo "result: $1"; journalctl -u encsan-target --no-pager -o cat | tail -n 40; systemctl poweroff -f; exit; }
is() { systemctl show encsan-target -p "$1" --value; }
until_true() { for _ in $(seq 600); do "$@" && return; sleep 0.5; done; end "not: $*"; }
restarted() { [ "$(is NRestarts)" = "$1" ] && [ "$(is ActiveState)" = active ]; }
luns() { iscsi-ls -s iscsi://127.0.0.1:3260 | grep -c ^Lun; }
logged() { journalctl -u encsan-target --no-pager -o cat | grep -q -- "$1"; }
synced() { echo "$1" >>/mnt/file && sync /mnt/file || end "no fsync: $1"; }
URL=iscsi://127.0.0.1:3260/IQN/1
OPTIONS=key=/root/my.key,target_key=$(cat /root/target.pub)

useradd --system encsan-target
chown encsan-target /etc/encsan-target.key /srv/disk
systemctl enable --now encsan-target || end "it does not start"
pid=$(is MainPID)
[ "$(is Type) $(stat -c %U /proc/$pid)" = "notify encsan-target" ] || end "whose is it?"
grep '^Cap\\|^NoNewPrivs\\|^Seccomp:' /proc/$pid/status
[ "$(luns)" = 1 ] || end "$(luns) LUNs"

cat /root/lun2 >>/etc/encsan-target.conf
systemctl reload encsan-target || end "reload"
until_true logged "LUN 2: added"
[ "$(is MainPID) $(luns)" = "$pid 2" ] || end "it is another one after the reload"
cp /etc/encsan-target.conf /root/conf
echo nonsense >>/etc/encsan-target.conf
! systemctl reload encsan-target || end "a reload with a broken file"
[ "$(is MainPID) $(is ActiveState) $(luns)" = "$pid active 2" ] || end "the broken file"
cp /root/conf /etc/encsan-target.conf

modprobe fuse
encsan mkfs $URL -o $OPTIONS -- -q || end "mkfs"
encsanfs $URL /mnt -o $OPTIONS || end "mount"
synced before
systemctl kill -s KILL encsan-target
until_true restarted 1
synced killed
encsan-target --status | grep '^  1.*held by here' || end "the lease is gone"
logged 'LUN 1: held by' || end "it says nothing of the lease"

pid=$(is MainPID)
pings=$(is WatchdogTimestampMonotonic)
pinged() { [ "$(is WatchdogTimestampMonotonic)" != "$pings" ]; }
until_true pinged
[ "$(is MainPID)" = "$pid" ] || end "it was restarted in between"
kill -STOP "$pid"
until_true restarted 2
logged 'Watchdog timeout' || end "not by the watchdog"
synced stopped
[ "$(cat /mnt/file)" = "$(printf 'before\\nkilled\\nstopped')" ] || end "other bytes"
encsan umount /mnt || end "umount"
systemctl stop encsan-target
[ "$(is Result) $(is ExecMainStatus)" = "success 0" ] || end "the stop"
systemd-analyze security encsan-target --no-pager | tail -n 1
end fine
"""
SERVICE = """[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/root/check
[Install]
WantedBy=multi-user.target
"""


def write(path, text, mode=0o644):
    path.write_text(text)
    path.chmod(mode)


def codename():
    return re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.M)[1]


def install(root):
    """As meson install would, of what is built."""
    for program in (bench.TARGET, bench.ENCSAN, bench.ENCSANFS):
        shutil.copy(program, root / "usr/local/bin")
    shutil.copy(bench.BUILD / "target/encsan-target.service", root / "etc/systemd/system")


def make_root(work):
    """Returns the kernel's release."""
    root = work / "root"
    machine.run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", codename(), root)
    release = machine.unpack(work)
    machine.copy_modules(work, root, release, "fuse")
    for folder in ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt"):
        shutil.rmtree(root / folder)
    install(root)
    public = keygen(root / "root/my.key")
    write(root / "root/target.pub", keygen(root / "etc/encsan-target.key"))
    write(root / "etc/encsan-target.conf", CONFIGURATION.format(iqn=IQN, public=public))
    write(root / "root/lun2", LUN_2)
    with open(root / "srv/disk", "wb") as disk:
        disk.truncate(64 << 20)
    write(root / "root/check", CHECK.replace("IQN", IQN), 0o755)
    write(root / "etc/systemd/system/check.service", SERVICE)
    machine.run("systemctl", "--root", root, "enable", "check.service", stderr=subprocess.DEVNULL)
    machine.run("systemctl", "--root", root, "mask", "getty.target", stderr=subprocess.DEVNULL)
    (root / "init").symlink_to("/lib/systemd/systemd")
    machine.pack(root, work / "initramfs")
    return release


def main():
    argparse.ArgumentParser(prog="./run bench service", description=__doc__).parse_args()
    bench.install(*machine.PACKAGES, "debootstrap")
    work = Path(tempfile.mkdtemp(prefix="encsan-service-"))
    try:
        release = make_root(work)
        start = time.monotonic()
        said = machine.emulate(work / f"all/boot/vmlinuz-{release}", work / "initramfs", 1536, PATIENCE_S,
                               "-smp", "2", "-nic", "none")
        print(said[-6000:].strip())
        exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
        fine = "result: fine" in said and exposure and float(exposure[1]) <= EXPOSURE_MOST
        print(f"{release}, systemd of Debian {codename()}, exposure {exposure[1] if exposure else 'unknown'}: "
              f"{'fine' if fine else 'NOT fine'}, {time.monotonic() - start:.0f} s")
        return 0 if fine else 1
    finally:
        shutil.rmtree(work)


sys.exit(bench.enter_room(main))
