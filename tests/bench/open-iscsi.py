# SPDX-License-Identifier: LGPL-2.1-or-later
"""./run bench open-iscsi: a stock Debian kernel with open-iscsi, emulated by qemu, logs in to encsan-target with
mutual CHAP and both digests, makes an ext4 on its LUN, writes, reads cold and unmounts; e2fsck judges what is on
the disk here. Some minutes, as the processor is emulated, too. Kernel and tools come from Debian's packages, into a
folder that goes afterwards."""

import argparse
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench
import machine
from target import keygen

IQN = "iqn.2026-11.org.encsan:stock"
PACKAGES = ("busybox-static", "open-iscsi", "e2fsprogs", "libopeniscsiusr", "libisns0", "libmount1", "libblkid1",
            "libuuid1", "libc6", "libselinux1", "libpcre2-8-0", "libkmod2", "libsystemd0", "libssl3", "libcap2",
            "libzstd1", "liblzma5", "liblz4-1", "libgcrypt20", "libgpg-error0", "libext2fs2", "libcom-err2", "libss2")
MODULES = ("virtio_pci", "virtio_net", "iscsi_tcp", "sd_mod", "ext4", "crc32c_generic", "crc32c_intel")
PATIENCE_S = 1200
FILE_MIB = 48

INIT = """#!/bin/busybox sh
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
end() {{ echo "result: $1"; sync; poweroff -f; }}
for module in {modules}; do modprobe $module; done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
iscsistart -i iqn.1993-08.org.debian:01:stock -t {iqn} -g 1 -a 10.0.2.2 -p {port} \\
    -u alice -w wonderland-12 -U {iqn} -W looking-glass \\
    -P node.conn[0].iscsi.HeaderDigest=CRC32C -P node.conn[0].iscsi.DataDigest=CRC32C || end "no session"
for i in $(seq 600); do [ -b /dev/sda ] && break; sleep 0.1; done
grep -H . /sys/class/iscsi_connection/*/header_digest /sys/class/iscsi_connection/*/data_digest \\
    /sys/class/iscsi_session/*/username_in
/sbin/mke2fs -q -F -t ext4 /dev/sda || end "mke2fs"
mount -t ext4 /dev/sda /mnt || end "mount"
dd if=/dev/urandom of=/mnt/file bs=1M count={mib} 2>/dev/null || end "write"
mkdir /mnt/many; for i in $(seq 200); do echo $i >/mnt/many/$i; done
before=$(sha256sum </mnt/file)
umount /mnt || end "umount"
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 /dev/sda /mnt || end "second mount"
[ "$(sha256sum </mnt/file)" = "$before" ] || end "other bytes"
[ "$(ls /mnt/many | wc -l)" = 200 ] || end "other names"
umount /mnt || end "umount"
end fine
"""


def make_root(work, port):
    release = machine.unpack(work, *PACKAGES)
    root = work / "root"
    shutil.copytree(work / "all", root, symlinks=True,
                    ignore=lambda folder, names: [n for n in names if n in ("boot", "modules", "share", "systemd")])
    for folder in ("proc", "sys", "dev", "mnt", "tmp", "run", "etc/iscsi"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    machine.copy_modules(work, root, release, *MODULES)
    init = root / "init"
    init.write_text(INIT.format(modules=" ".join(MODULES), iqn=IQN, port=port, mib=FILE_MIB))
    init.chmod(init.stat().st_mode | stat.S_IXUSR)
    machine.pack(root, work / "initramfs")
    return work / f"all/boot/vmlinuz-{release}"


def start_target(work):
    keygen(work / "key")
    (work / "conf").write_text(f"[target]\nlisten=127.0.0.1:0\nname={IQN}\nkey={work}/key\n"
                               "[user alice]\npassword=wonderland-12\ntarget-password=looking-glass\n"
                               f"[lun 1]\npath={work}/disk\nsize=256M\naccess=plain\nusers=alice\n")
    process = subprocess.Popen([bench.TARGET, "--config", str(work / "conf")], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    return process, int(re.match(r"iscsi://127.0.0.1:(\d+)/", line)[1])


def main():
    argparse.ArgumentParser(prog="./run bench open-iscsi", description=__doc__).parse_args()
    bench.install(*machine.PACKAGES, "e2fsprogs")
    work = Path(tempfile.mkdtemp(prefix="encsan-stock-"))
    target = None
    try:
        target, port = start_target(work)
        kernel = make_root(work, port)
        start = time.monotonic()
        said = machine.emulate(kernel, work / "initramfs", 512, PATIENCE_S,
                               "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile=")
        print(said[-4000:].strip())
        target.terminate()
        ended = target.wait()
        checked = subprocess.run(["e2fsck", "-fn", work / "disk"], check=False).returncode
        fine = "result: fine" in said and ended == 0 and checked == 0
        print(f"{kernel.name}, mutual CHAP, CRC32C digests, {FILE_MIB} MiB and 200 files: "
              f"{'fine' if fine else 'NOT fine'}, {time.monotonic() - start:.0f} s")
        return 0 if fine else 1
    finally:
        if target and target.poll() is None:
            target.kill()
        shutil.rmtree(work)


sys.exit(bench.enter_room(main))
