# SPDX-License-Identifier: LGPL-2.1-or-later
"""encsan-target at the far end, with one LUN on /dev/shm."""

import subprocess

import bench


def keygen(file):
    """The public key of the new private key in `file`."""
    return subprocess.run([bench.ENCSAN, "keygen", str(file)], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


class Target:
    """`lun`: the LUN's options. `touched`: its memory is there before it is measured."""

    def __init__(self, place, name, address, size_bytes, *options, lun="", touched=False):
        disk = place.fast / f"{name}.disk"
        subprocess.run(["fallocate" if touched else "truncate", "-l" if touched else "-s", str(size_bytes), disk],
                       check=True)
        keygen(place.work / f"target.{name}.key")
        self.log = place.work / f"target.{name}.log"
        self.process = place.start("far", [bench.TARGET, "--listen", address, "--name",
                                           f"iqn.2026-11.org.encsan:{name}", "--key", place.work / f"target.{name}.key",
                                           "--lun", f"{disk}{lun}", *options], self.log.name)
        bench.wait_until("encsan-target", self._ready)
        words = self._line().split()
        self.url = words[0]
        self.key = words[-1].removeprefix("target_key=")
        self.pid = self.process.pid

    def _line(self):
        """What it prints once it accepts connections: the URL to mount it with."""
        return next((line for line in self.log.read_text().splitlines() if line.startswith("iscsi:")), None)

    def _ready(self):
        if self.process.poll() is not None:
            raise bench.Unavailable("encsan-target: " + self.log.read_text().strip())
        return self._line()

    def url_at(self, address):
        """Its URL where it is reached at another address."""
        return "iscsi://" + address + self.url[self.url.index("/", len("iscsi://")):]
