"""In the guest: a process with files, sockets, mapped and paged-out memory, and IPC, that stays; then what /proc says.

Prints one JSON object: the text of files of /proc, and what only the process knows.  /dev/vda becomes a swap area.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import select
import signal
import socket
import subprocess
from pathlib import Path

PAGE = 4096
PAGEOUT, PROT_NONE = 21, 0  # MADV_PAGEOUT
COMMANDS = """
modprobe virtio_blk; modprobe dummy
mkswap /dev/vda; swapon -p 5 /dev/vda
ip link set lo up; ip link add dum0 type dummy; ip addr add 10.7.0.1/24 dev dum0
ip -6 addr add fd00:7::1/64 dev dum0 nodad; ip link set dum0 up
ip neigh add 10.7.0.9 lladdr 02:00:00:00:00:09 dev dum0; ip -6 neigh add fd00:7::9 lladdr 02:00:00:00:00:69 dev dum0
echo 2 > /proc/sys/vm/nr_hugepages
mkdir -p '/tmp/mnt a'; mount -t tmpfs -o size=1M 'my tmp' '/tmp/mnt a'; mkdir -p /tmp/bind
mount --bind '/tmp/mnt a' /tmp/bind
"""
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
kept: list[object] = []


def address_of(area: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


def anonymous(pages: int) -> mmap.mmap:
    area = mmap.mmap(-1, pages * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    kept.append(area)
    return area


def make_ipc() -> None:
    segment = libc.shmget(0x1234, 100000, 0o1640)
    ctypes.memset(libc.shmat(segment, 0, 0), 65, 5000)
    libc.semget(0x77, 3, 0o1600)
    queue = libc.msgget(0x99, 0o1622)
    for size in (10, 20, 30):
        libc.msgsnd(queue, ctypes.create_string_buffer(b"\1" + bytes(7) + b"x" * size), size, 0)


def make_sockets() -> None:
    listening = socket.create_server(("127.0.0.1", 7777))
    near = socket.create_connection(("127.0.0.1", 7777))
    far, _ = listening.accept()
    six = socket.create_server(("::1", 7778), family=socket.AF_INET6)
    datagram = socket.socket(type=socket.SOCK_DGRAM)
    datagram.bind(("10.7.0.1", 5353))
    local = socket.socket(socket.AF_UNIX)
    local.bind("/tmp/mnt a/sock")
    hidden = socket.socket(socket.AF_UNIX)
    hidden.bind("\0hidden")
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    kept.extend((listening, near, far, six, datagram, local, hidden, route))


def make_files() -> None:
    poll = select.epoll()
    kept.extend((poll, os.pipe(), os.eventfd(3), os.memfd_create("mem fd")))
    deep = os.open("/tmp/bind/deep file", os.O_CREAT | os.O_RDWR)
    os.write(deep, b"hello " * 1000)
    mapped = mmap.mmap(deep, 6000)
    assert mapped[0] == ord("h")
    gone = os.open("/tmp/gone", os.O_CREAT | os.O_RDWR)
    os.unlink("/tmp/gone")
    kept.extend((deep, mapped, gone, os.open("/usr/lib", os.O_RDONLY), os.dup2(os.open("/dev/null", os.O_RDWR), 700)))
    os.chdir("/usr/share")


def make_memory() -> dict[str, int]:
    """Pages with a text each, half of them paged out; one that nobody may read."""
    pages = anonymous(32)
    for place in range(32):
        pages[place * PAGE : place * PAGE + 16] = b"page of test %03d" % place
    guarded = anonymous(4)
    guarded[:5] = b"guard"
    libc.mprotect(ctypes.c_void_p(address_of(guarded)), 4 * PAGE, PROT_NONE)
    libc.madvise(ctypes.c_void_p(address_of(pages)), 16 * PAGE, PAGEOUT)
    return {"pages": address_of(pages), "guarded": address_of(guarded)}


def pagemap(pid: int) -> dict[int, int]:
    """What /proc/PID/pagemap has for the pages of all areas."""
    found = {}
    with open(f"/proc/{pid}/pagemap", "rb") as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if end >> 63:
                continue
            file.seek(start // PAGE * 8)
            data = file.read((end - start) // PAGE * 8)
            found.update(zip(range(start, end, PAGE), memoryview(data).cast("Q"), strict=True))
    return found


def stay(ready: int) -> None:
    """Make all, tell the places of memory, and wait for the end."""
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    libc.prctl(15, b"workload", 0, 0, 0)
    make_ipc()
    make_sockets()
    make_files()
    os.write(ready, json.dumps(make_memory()).encode() + b"\n")
    signal.pause()


def main() -> None:
    for line in COMMANDS.splitlines():
        subprocess.run(line, shell=True, check=False, stdout=subprocess.DEVNULL)
    mine, ready = os.pipe()
    pid = os.fork()
    if not pid:
        os.setsid()
        stay(ready)
    with open(mine) as file:
        facts: dict[str, object] = dict(json.loads(file.readline()))
    facts["pid"] = pid
    facts["fds"] = {one.name: str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}
    for name in (
        f"{pid}/maps", f"{pid}/mountinfo", "swaps", "sysvipc/shm", "sysvipc/sem", "sysvipc/msg", "devices", "ioports",
        "iomem", "diskstats", "meminfo", "slabinfo", "net/tcp",
    ):  # fmt: skip
        facts[name.removeprefix(f"{pid}/")] = Path("/proc", name).read_text()
    facts["pagemap"] = pagemap(pid)
    print(json.dumps(facts))


main()
