# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ways from near to far for a plain TCP service: in the clear, or through what
people protect such a service with. The service listens at `listen`, near
reaches it at `connect`, pids(end) are the tunnel's own processes."""

import subprocess

import bench

PORT = 3260  # the service's; only stunnel needs to know it
ENDS = ("near", "far")
OTHER = {"near": "far", "far": "near"}
ADDRESS = {"near": bench.NEAR_ADDRESS, "far": bench.FAR_ADDRESS}


class Tunnel:
    packages = ()

    def __init__(self, place):
        self.place, self.processes = place, {}

    def start(self):
        try:
            self.open()
        except (OSError, RuntimeError, subprocess.SubprocessError) as why:
            raise bench.Unavailable(f"{self.name}: {str(why).strip().splitlines()[-1]}") from why

    def open(self):
        pass

    def stop(self):
        for process in self.processes.values():
            self.place.stop(process)
        self.processes = {}

    def pids(self, end):
        return [self.processes[end].pid] if end in self.processes else []

    def wait_for_way(self):
        """A TCP answer of any kind from the other end: a refused connection will do."""
        probe = ("import socket, sys\ns = socket.socket()\ns.settimeout(1)\n"
                 "sys.exit(s.connect_ex((sys.argv[1], 1)) not in (0, 111))")

        def answers():
            for end in ENDS:
                if end in self.processes and self.processes[end].poll() is not None:
                    raise bench.Unavailable(self.last_line(end))
            return subprocess.run(self.place.at("near", ["python3", "-c", probe, self.connect]), check=False).returncode == 0

        bench.wait_until(self.name, answers, 20)

    def last_line(self, end):
        lines = self.place.log(f"{self.name}.{end}.log").strip().splitlines() or ["it ended at once"]
        return f"{self.name}: {lines[-1]}"

    def daemon(self, end, argv, **more):
        self.processes[end] = self.place.start(end, argv, f"{self.name}.{end}.log", **more)


class Direct(Tunnel):
    name = "direct"
    listen = connect = bench.FAR_ADDRESS


class WireGuard(Tunnel):
    """wireguard-go, unless the kernel has WireGuard."""

    name = "wireguard"
    packages = ("wireguard-go", "wireguard-tools")
    inner = {"near": "10.89.0.1", "far": "10.89.0.2"}
    listen = connect = inner["far"]

    def open(self):
        keys = {end: self.place.run(end, ["wg", "genkey"]).strip() for end in ENDS}
        for end in ENDS:
            key = self.place.work / f"wireguard.{end}.key"
            key.write_text(keys[end], encoding="ascii")
            self.device(end)
            public = subprocess.run(["wg", "pubkey"], input=keys[OTHER[end]], check=True, capture_output=True,
                                    text=True).stdout.strip()
            self.place.run(end, ["wg", "set", f"wg-{end}", "private-key", key, "listen-port", "51820", "peer", public,
                                 "allowed-ips", f"{self.inner[OTHER[end]]}/32", "endpoint", f"{ADDRESS[OTHER[end]]}:51820"])
            self.place.run(end, ["ip", "address", "add", f"{self.inner[end]}/24", "dev", f"wg-{end}"])
            self.place.run(end, ["ip", "link", "set", f"wg-{end}", "mtu", "1420", "up"])
        self.wait_for_way()

    def device(self, end):
        try:
            self.place.run(end, ["ip", "link", "add", f"wg-{end}", "type", "wireguard"])
        except RuntimeError:  # no kernel WireGuard
            self.daemon(end, ["wireguard-go", "-f", f"wg-{end}"])
            bench.wait_until(self.name, lambda: self.up(end))

    def up(self, end):
        if self.processes[end].poll() is not None:
            raise bench.Unavailable(self.last_line(end))
        return subprocess.run(self.place.at(end, ["wg", "show", f"wg-{end}"]), check=False,
                              capture_output=True).returncode == 0

    def stop(self):
        super().stop()
        for end in ENDS:  # the kernel's devices
            subprocess.run(self.place.at(end, ["ip", "link", "del", f"wg-{end}"]), check=False, capture_output=True)


class Stunnel(Tunnel):
    """TLS 1.3 with AES-256-GCM for one TCP port."""

    name = "stunnel"
    packages = ("stunnel4", "openssl")
    listen = connect = "127.0.0.1"
    tls_port = PORT + 40

    def open(self):
        work = self.place.work
        self.place.run("far", ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                               "-nodes", "-subj", "/CN=encsan-bench", "-days", "2", "-keyout", work / "stunnel.key",
                               "-out", work / "stunnel.crt"])
        self.configure("far", f"accept = {bench.FAR_ADDRESS}:{self.tls_port}\nconnect = 127.0.0.1:{PORT}\n"
                              f"cert = {work}/stunnel.crt\nkey = {work}/stunnel.key\n")
        self.configure("near", f"client = yes\naccept = 127.0.0.1:{PORT}\n"
                               f"connect = {bench.FAR_ADDRESS}:{self.tls_port}\n"
                               f"CAfile = {work}/stunnel.crt\nverifyPeer = yes\n")
        for end in ENDS:
            self.daemon(end, ["stunnel", work / f"stunnel.{end}.conf"])
            bench.wait_until(self.name, lambda end=end: self.up(end))

    def configure(self, end, service):
        (self.place.work / f"stunnel.{end}.conf").write_text(
            "foreground = yes\npid =\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
            f"sslVersion = TLSv1.3\nciphersuites = TLS_AES_256_GCM_SHA384\n[iscsi]\n{service}", encoding="ascii")

    def up(self, end):
        if self.processes[end].poll() is not None:
            raise bench.Unavailable(self.last_line(end))
        return "Configuration successful" in self.place.log(f"{self.name}.{end}.log")


class IPsec(Tunnel):
    """strongSwan: the kernel's ESP, or kernel-libipsec's where it has none."""

    name = "ipsec"
    packages = ("strongswan-swanctl", "charon-systemd", "libcharon-extra-plugins",
                "libstrongswan-standard-plugins", "libstrongswan-extra-plugins")
    inner = {"near": "10.88.0.1", "far": "10.88.0.2"}
    listen = connect = inner["far"]

    def open(self):
        plugin = "kernel-netlink" if self.kernel_has_esp() else "kernel-libipsec kernel-netlink"
        for end in ENDS:
            self.place.run(end, ["ip", "address", "add", f"{self.inner[end]}/32", "dev", "lo"])
            folder = self.place.work / f"ipsec.{end}"
            folder.mkdir()
            (folder / "strongswan.conf").write_text(STRONGSWAN_CONF.format(plugin=plugin, folder=folder), encoding="ascii")
            (folder / "swanctl.conf").write_text(SWANCTL_CONF.format(
                local=ADDRESS[end], remote=ADDRESS[OTHER[end]], inner=self.inner[end],
                other_inner=self.inner[OTHER[end]], end=end, other=OTHER[end]), encoding="ascii")
            # a /run of its own for each, as the pid file's place is compiled in
            self.daemon(end, ["env", f"STRONGSWAN_CONF={folder}/strongswan.conf", "unshare", "--mount", "sh", "-c",
                              "mount -t tmpfs tmpfs /run && exec charon-systemd"])
            bench.wait_until(self.name, lambda end=end: self.loaded(end))
        self.swanctl("near", "--initiate", "--child", "bench")
        self.wait_for_way()

    def kernel_has_esp(self):
        add = ["ip", "xfrm", "state", "add", "src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "spi", "1",
               "mode", "tunnel", "aead", "rfc4106(gcm(aes))", "0x" + "00" * 36, "128"]
        if subprocess.run(self.place.at("near", add), check=False, capture_output=True).returncode != 0:
            return False
        self.place.run("near", ["ip", "xfrm", "state", "flush"])
        return True

    def swanctl(self, end, *words):
        folder = self.place.work / f"ipsec.{end}"
        return self.place.run(end, ["env", f"STRONGSWAN_CONF={folder}/strongswan.conf", "swanctl", *words,
                                    "--uri", f"unix://{folder}/vici"])

    def loaded(self, end):
        if self.processes[end].poll() is not None:
            raise bench.Unavailable(self.last_line(end))
        try:
            self.swanctl(end, "--load-all", "--noprompt", "--file", self.place.work / f"ipsec.{end}/swanctl.conf")
        except RuntimeError:
            return False
        return True

    def stop(self):
        super().stop()
        for end in ENDS:
            subprocess.run(self.place.at(end, ["ip", "address", "del", f"{self.inner[end]}/32", "dev", "lo"]),
                           check=False, capture_output=True)


STRONGSWAN_CONF = """
charon-systemd {{
    load = random nonce openssl gcm aes sha1 sha2 hmac kdf pem pkcs1 x509 {plugin} socket-default vici
    plugins {{
        vici {{
            socket = unix://{folder}/vici
        }}
        kernel-libipsec {{
            allow_peer_ts = yes
        }}
    }}
    journal {{
        default = -1
    }}
    filelog {{
        stderr {{
            default = 1
        }}
    }}
}}
swanctl {{
    load = random nonce openssl gcm aes sha1 sha2 hmac kdf pem pkcs1 x509
}}
"""

SWANCTL_CONF = """
connections {{
    bench {{
        version = 2
        local_addrs = {local}
        remote_addrs = {remote}
        proposals = aes256gcm16-prfsha256-ecp256
        encap = yes
        local {{
            auth = psk
            id = {end}
        }}
        remote {{
            auth = psk
            id = {other}
        }}
        children {{
            bench {{
                local_ts = {inner}/32
                remote_ts = {other_inner}/32
                esp_proposals = aes256gcm16
            }}
        }}
    }}
}}
secrets {{
    ike-bench {{
        secret = encsan-benchmark
    }}
}}
"""

TUNNELS = {tunnel.name: tunnel for tunnel in (Direct, WireGuard, Stunnel, IPsec)}
