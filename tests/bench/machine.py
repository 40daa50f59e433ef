# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine of its own with a stock Debian kernel, emulated by qemu: all of it is in memory."""

import re
import shutil
import subprocess

PACKAGES = ("qemu-system-x86", "cpio", "kmod")  # that this needs here


def run(*argv, **more):
    return subprocess.run([*map(str, argv)], check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def kernel_package():
    """The one that linux-image-amd64 stands for."""
    return re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", "linux-image-amd64"))[1]


def unpack(folder, *packages):
    """The kernel and these packages, in `folder`/all. Returns the kernel's release."""
    kernel = kernel_package()
    debs = folder / "debs"
    debs.mkdir()
    run("apt-get", "download", "-q", kernel, *packages, cwd=debs, stderr=subprocess.DEVNULL)
    for deb in debs.iterdir():
        run("dpkg-deb", "-x", deb, folder / "all")
    shutil.rmtree(debs)
    return kernel.removeprefix("linux-image-")


def copy_modules(folder, root, release, *modules):
    """Those that are needed, and what they need, from `folder`/all."""
    everything = folder / "all"
    run("depmod", "-b", everything, release)
    for module in modules:
        for line in run("modprobe", "-d", everything, "-S", release, "--show-depends", module).splitlines():
            if line.startswith("insmod "):
                source = everything / line.split()[1].removeprefix(f"{everything}/")
                to = root / source.relative_to(everything)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, to)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(everything / "lib/modules" / release / name, root / "lib/modules" / release / name)
    run("depmod", "-b", root, release)


def pack(root, initramfs):
    names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
    with open(initramfs, "wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), stdout=out, cwd=root, check=True)


def emulate(kernel, initramfs, mib, patience_s, *options):
    """What the machine says on its console until it is switched off."""
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", mib, "-nographic", "-no-reboot",
               "-kernel", kernel, "-initrd", initramfs, "-append", "console=ttyS0 quiet panic=-1", *options]
    return subprocess.run([*map(str, command)], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=patience_s).stdout.decode(errors="replace")
