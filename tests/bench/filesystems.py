# SPDX-License-Identifier: LGPL-2.1-or-later
"""The file systems that are compared. Each has start(), which makes the far end
with an empty store, mount(folder) and umount(), which leave nothing cached at
the near end, and stop()."""

import secrets
import subprocess
from pathlib import Path

import bench
import tunnels
from target import Target, keygen

DISK_BYTES = 8 << 30
PORT = 3260


def mounted(folder):
    """Also where the daemon has died, which stat(2), and so mountpoint(1), fails on."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return str(folder) in (line.split()[4] for line in lines)


def shell(*argv):
    done = subprocess.run([*map(str, argv)], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise bench.Unavailable(f"{argv[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def last_line(text):
    return (text.strip().splitlines() or ["it ended without a word"])[-1]


class Peer:
    packages = ()
    near = far = None  # the processes of either end

    def __init__(self, place):
        self.place, self.folder = place, None

    def clear(self, folder):
        """Empties the store again; it is not mounted."""
        self.mount(folder)
        shell("sh", "-c", f"rm -rf {folder}/[!l]*")  # all but lost+found
        self.umount()

    def stop(self):
        if self.folder and mounted(self.folder):
            subprocess.run(["umount", "-l", str(self.folder)], check=False)
        if self.near:
            self.place.stop(self.near)
        if self.far:
            self.end_far()
        self.near = self.far = self.folder = None

    def end_far(self):
        self.place.stop(self.far)

    def wait_for_mount(self, process, log):
        bench.wait_until(self.name, lambda: mounted(self.folder) or process.poll() is not None, 30)
        if process.poll() is not None:
            raise bench.Unavailable(f"{self.name}: {last_line(self.place.log(log))}")

    def wait_for_end(self, process, log):
        if process.wait(300) != 0:
            raise bench.Unavailable(f"{self.name}: {last_line(self.place.log(log))}")

    def wait_for_port(self, port, log):
        bench.wait_until(self.name, lambda: port in listening(self.place) or self.far.poll() is not None)
        if self.far.poll() is not None:
            raise bench.Unavailable(f"{self.name}: {last_line(self.place.log(log))}")


class Encsanfs(Peer):
    name = "encsanfs"

    def start(self):
        key = self.place.work / "user.key"
        self.target = Target(self.place, "disk", f"{bench.FAR_ADDRESS}:{PORT + 1}", DISK_BYTES, "--allow", keygen(key))
        self.far = self.target.process
        self.options = f"key={key},target_key={self.target.key}"
        self.place.run("near", [bench.ENCSAN, "mkfs", self.target.url, "-o", self.options, "--", "-q"], 120)

    def mount(self, folder):
        self.folder = folder
        self.near = self.place.start("near", [bench.ENCSANFS, self.target.url, folder, "-f", "-o", self.options],
                                     "encsanfs.log")
        self.wait_for_mount(self.near, "encsanfs.log")

    def umount(self):
        self.place.run("near", [bench.ENCSAN, "umount", self.folder], 300)
        self.wait_for_end(self.near, "encsanfs.log")
        self.near = None


class Nullfuse(Peer):
    """It keeps its names while it runs, so it stays mounted."""

    name = "nullfuse"

    def start(self):
        pass

    def mount(self, folder):
        self.folder = folder
        if not self.near:
            self.near = self.place.start("near", [bench.NULLFUSE, folder, "-f"], "nullfuse.log")
            self.wait_for_mount(self.near, "nullfuse.log")

    def umount(self):
        bench.drop_caches()


class Sshfs(Peer):
    name = "sshfs"
    packages = ("sshfs", "openssh-client", "openssh-server")

    def start(self):
        work = self.place.work
        self.store = self.place.fast / "sshfs"
        self.store.mkdir()
        for key in ("host", "user"):
            shell("ssh-keygen", "-qt", "ed25519", "-N", "", "-f", work / key)
        (work / "sshd_config").write_text(
            f"ListenAddress {bench.FAR_ADDRESS}\nPort {PORT + 2}\nHostKey {work}/host\n"
            f"AuthorizedKeysFile {work}/user.pub\nPidFile none\nStrictModes no\nUsePAM yes\n"
            "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n", encoding="ascii")
        (work / "known_hosts").write_text(
            f"[{bench.FAR_ADDRESS}]:{PORT + 2} {(work / 'host.pub').read_text()}", encoding="ascii")
        shell("mkdir", "-p", "/run/sshd")
        self.far = self.place.start("far", [shell("sh", "-c", "command -v sshd || echo /usr/sbin/sshd"), "-D", "-e",
                                            "-f", work / "sshd_config"], "sshd.log")
        bench.wait_until("sshd", lambda: "listening" in self.place.log("sshd.log"))

    def mount(self, folder):
        work = self.place.work
        options = (f"Ciphers=aes256-gcm@openssh.com,IdentityFile={work}/user,UserKnownHostsFile={work}/known_hosts,"
                   "StrictHostKeyChecking=yes,BatchMode=yes,IdentitiesOnly=yes")
        self.folder = folder
        self.near = self.place.start("near", ["sshfs", "-f", "-p", PORT + 2, "-o", options,
                                              f"root@{bench.FAR_ADDRESS}:{self.store}", folder], "sshfs.log")
        self.wait_for_mount(self.near, "sshfs.log")

    def umount(self):
        shell("umount", self.folder)
        self.wait_for_end(self.near, "sshfs.log")
        self.near = None

    def clear(self, folder):
        """At the far end: through the mount it would take minutes."""
        shell("find", self.store, "-mindepth", "1", "-delete")


class BlockPeer(Peer):
    """A far block device as a file of qemu-storage-daemon's FUSE export, the
    kernel's ext4 on a loop device over it."""

    def format(self, disk):
        """At the far end, where it takes no time; it is not measured."""
        shell("truncate", "-s", DISK_BYTES, disk)
        shell("mke2fs", "-q", "-t", "ext4", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", disk)

    def mount(self, folder):
        self.folder = folder
        self.image = image = self.place.work / f"{self.name}.image"
        image.touch()
        log = f"{self.name}.qemu.log"
        objects, blockdev = self.qemu()
        self.near = self.place.start(
            "near", ["qemu-storage-daemon", *objects, "--blockdev", f"{blockdev},node-name=disk",
                     "--export", f"type=fuse,id=export,node-name=disk,mountpoint={image},writable=on"], log)
        bench.wait_until(self.name, lambda: mounted(image) or self.near.poll() is not None, 30)
        if self.near.poll() is not None:
            raise bench.Unavailable(f"{self.name}: {last_line(self.place.log(log))}")
        shell("mount", "-o", "loop,noinit_itable", image, folder)

    def umount(self):
        shell("umount", self.folder)  # the kernel writes all of it back first; the loop device goes with it
        self.place.stop(self.near, 120)
        self.near = None

    def stop(self):
        """ext4 first: it writes to the far end while it is unmounted, and without
        one qemu would try again and again, and umount wait for ever. Where the far
        end is gone already, the end of qemu turns that into an I/O error."""
        if self.folder and mounted(self.folder):
            with subprocess.Popen(["umount", "-l", str(self.folder)]) as umount:
                try:
                    umount.wait(20)
                except subprocess.TimeoutExpired:
                    self.near.kill()
        if self.near:
            self.place.stop(self.near)
        if self.image and mounted(self.image):
            subprocess.run(["umount", "-l", str(self.image)], check=False)
        self.near = None
        super().stop()


class Nbdkit(BlockPeer):
    name = "nbdkit"
    packages = ("nbdkit", "qemu-system-common")

    def start(self):
        disk, keys = self.place.fast / "nbd.disk", self.place.work / "psk"
        keys.mkdir()
        (keys / "keys.psk").write_text(f"encsan:{secrets.token_hex(32)}\n", encoding="ascii")
        self.format(disk)
        self.far = self.place.start("far", ["nbdkit", "-f", "-i", bench.FAR_ADDRESS, "-p", PORT + 3, "--tls=require",
                                            f"--tls-psk={keys}/keys.psk", "file", disk], "nbdkit.log")
        self.wait_for_port(PORT + 3, "nbdkit.log")

    def qemu(self):
        return (["--object", f"tls-creds-psk,id=tls,endpoint=client,dir={self.place.work}/psk,username=encsan"],
                f"driver=nbd,server.type=inet,server.host={bench.FAR_ADDRESS},server.port={PORT + 3},tls-creds=tls")


def start_tgtd(place, name, listen, number, iqn, disk):
    """tgtd, the number-th on this machine, with `disk` as LUN 1. With a target defined it does not heed SIGTERM."""
    shell("mkdir", "-p", "/run/tgtd")
    log = f"{name}.tgtd.log"
    process = place.start("far", ["tgtd", "-f", "-C", number, "--iscsi", f"portal={listen}"], log)
    port = int(listen.rsplit(":", 1)[1])
    bench.wait_until("tgtd", lambda: port in listening(place) or process.poll() is not None)
    if process.poll() is not None:
        raise bench.Unavailable(f"{name}: {last_line(place.log(log))}")
    for words in (["--mode", "target", "--op", "new", "--tid", "1", "-T", iqn],
                  ["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b", disk],
                  ["--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"]):
        shell("tgtadm", "-C", number, "--lld", "iscsi", *words)
    return process


class Iscsi(BlockPeer):
    """tgtd, in the clear or through a tunnel."""

    packages = ("tgt", "qemu-system-common", "qemu-block-extra")
    iqn = "iqn.2026-11.org.encsan:tgt"

    def __init__(self, place, tunnel=None):
        super().__init__(place)
        self.tunnel = tunnel(place) if tunnel else tunnels.Direct(place)
        self.name = f"iscsi-{self.tunnel.name}" if tunnel else "iscsi"
        self.packages = (*self.packages, *self.tunnel.packages)

    def start(self):
        disk = self.place.fast / f"{self.name}.disk"
        self.format(disk)
        self.tunnel.start()
        self.number = 100 + sum(map(ord, self.name)) % 900
        self.port = PORT + 4 + self.number
        self.far = start_tgtd(self.place, self.name, f"{self.tunnel.listen}:{self.port}", self.number, self.iqn, disk)

    def qemu(self):
        return [], (f"driver=iscsi,transport=tcp,portal={self.tunnel.connect}:{self.port},"
                    f"target={self.iqn},lun=1")

    def end_far(self):
        self.far.kill()  # with a target defined, tgtd does not heed SIGTERM
        super().end_far()

    def stop(self):
        super().stop()
        self.tunnel.stop()


def listening(place):
    """The TCP ports at far that accept connections."""
    lines = place.run("far", ["ss", "-Hltn"]).splitlines()
    return {int(line.split()[3].rsplit(":", 1)[1]) for line in lines}


PEERS = {
    "encsanfs": Encsanfs,
    "sshfs": Sshfs,
    "nbdkit": Nbdkit,
    "iscsi": Iscsi,
    "iscsi-wireguard": lambda place: Iscsi(place, tunnels.WireGuard),
    "iscsi-ipsec": lambda place: Iscsi(place, tunnels.IPsec),
    "nullfuse": Nullfuse,
}
