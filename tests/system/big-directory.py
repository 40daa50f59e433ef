# SPDX-License-Identifier: LGPL-2.1-or-later
"""big-directory.py make | listed | halve | check FOLDER COUNT: a folder of COUNT names.

Names that stay are "stay-N"; those with an even N go when it is halved.
"""
import ctypes
import os
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
SYS_GETDENTS64 = {"x86_64": 217}.get(os.uname().machine, 61)


def stay(n):
    return f"stay-{n}-" + "x" * (190 + n % 50)


def listing(folder, size):
    """The names as getdents64 gives them, into a buffer of `size` bytes."""
    buf = ctypes.create_string_buffer(size)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    while True:
        got = libc.syscall(SYS_GETDENTS64, fd, buf, size)
        if got < 0:
            raise OSError(ctypes.get_errno(), "getdents64")
        if got == 0:
            break
        at = 0
        while at < got:
            length = struct.unpack_from("H", buf, at + 16)[0]
            yield os.fsdecode(buf.raw[at + 19:at + length].split(b"\0")[0])
            at += length
    os.close(fd)


def make_name(folder, name, n):
    if n % 5 or n < 5:
        os.mknod(f"{folder}/{name}")
    elif n % 10:
        os.link(f"{folder}/{stay(n - 1)}", f"{folder}/{name}")
    else:
        os.symlink(name, f"{folder}/{name}")


def make(folder, count):
    for n in range(count):
        make_name(folder, stay(n), n)


def listed_once(folder, size, present, change):
    """Whatever change() does meanwhile, each of `present` is listed exactly once."""
    seen = {}
    for i, name in enumerate(listing(folder, size)):
        seen[name] = seen.get(name, 0) + 1
        change(i)
    wrong = [name for name in present if seen.get(name, 0) != 1]
    assert not wrong, f"{len(wrong)} names not listed exactly once: {wrong[:5]} {[seen.get(w) for w in wrong[:5]]}"
    twice = [name for name in seen if seen[name] != 1]
    assert not twice, f"listed more than once: {twice[:5]}"


def listed(folder, count):
    def come_and_go(i):
        if i < count:
            os.mknod(f"{folder}/come-{i}-{'y' * (i % 50)}")
            if i % 2:
                os.unlink(f"{folder}/come-{i - 1}-{'y' * ((i - 1) % 50)}")

    listed_once(folder, 65536, [stay(n) for n in range(count)], come_and_go)
    for name in os.listdir(folder):
        if name.startswith("come-"):
            os.unlink(f"{folder}/{name}")

    # one that has but a block when the listing begins, and many when it ends
    small = f"{folder}.small"
    os.mkdir(small)
    make(small, 14)
    listed_once(small, 640, [stay(n) for n in range(14)],
                lambda i: [os.mknod(f"{small}/new-{i}-{k}") for k in range(40)] if i < 14 else None)


def halve(folder, count):
    for n in range(0, count, 2):
        os.unlink(f"{folder}/{stay(n)}")


def check(folder, count):
    wanted = {stay(n) for n in range(1, count, 2)}
    names = os.listdir(folder)
    assert len(names) == len(set(names)), "names are listed twice"
    assert wanted <= set(names), f"missing: {list(wanted - set(names))[:5]}"
    for n in range(count):
        assert os.path.lexists(f"{folder}/{stay(n)}") == (n % 2 == 1), stay(n)


globals()[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
