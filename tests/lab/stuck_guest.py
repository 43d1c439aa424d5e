"""Runs in a guest: makes tasks that wait for locks, through a file system that answers nobody.

Source: include/uapi/linux/fuse.h.  Without FUSE_PARALLEL_DIROPS a directory's mutex is held while the daemon is asked
for a name, and its rw_semaphore is read.  Prints the numbers of the processes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

_INIT = 26  # FUSE_INIT
_FUTEX, _LOCK_PI = 202, 6  # x86-64; FUTEX_LOCK_PI


def mounted(libc: ctypes.CDLL, folder: str) -> int:
    """A file system over a folder whose first question alone is answered; gives the daemon's file."""
    daemon = os.open("/dev/fuse", os.O_RDWR)
    os.set_inheritable(daemon, True)
    options = f"fd={daemon},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"stuck", folder.encode(), b"fuse", 0, options):
        sys.exit(f"mount: errno {ctypes.get_errno()}")
    question = os.read(daemon, 1 << 17)
    _, code, unique = struct.unpack_from("<IIQ", question)
    assert code == _INIT
    answer = struct.pack("<IIIIHHII", 7, 31, 0, 0, 12, 9, 4096, 1).ljust(64, b"\0")
    os.write(daemon, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
    return daemon


def started(*words: str) -> int:
    """A process of its own session."""
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(words, start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet)
    child.returncode = 0  # nobody waits for it
    return child.pid


def until(pid: int, state: str) -> int:
    """Until a process is in a state (a letter of ps); exits with an error after ten seconds."""
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != state:
        if time.monotonic() > end:
            sys.exit(f"{pid} does not come into state {state}: {Path(f'/proc/{pid}/stat').read_text()}")
        os.sched_yield()
    return pid


def alone() -> None:
    """In a child: of its own session, without the command's output, which would not end."""
    os.setsid()
    for fd in (0, 1, 2):
        os.close(fd)


def pi_waiter(libc: ctypes.CDLL) -> tuple[int, int]:
    """(who holds a futex with priority inheritance, who waits for it)."""
    import mmap

    word = mmap.mmap(-1, 4096)
    place = ctypes.addressof(ctypes.c_uint32.from_buffer(word))
    ready, done = os.pipe()
    pids = []
    for _ in range(2):
        pid = os.fork()
        if not pid:
            alone()
            libc.syscall(_FUTEX, ctypes.c_void_p(place), _LOCK_PI, 0, None)
            os.write(done, b"x")
            signal.pause()
        pids.append(pid)
        if len(pids) == 1:
            os.read(ready, 1)
    return pids[0], until(pids[1], "S")


def main() -> None:
    """Start them and leave them alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = sys.argv[1]
    Path(folder).mkdir(exist_ok=True)
    subprocess.run(["modprobe", "fuse"], check=False)
    daemon = mounted(libc, folder)
    keeper = os.fork()
    if not keeper:
        alone()
        signal.pause()
    os.close(daemon)
    holder = until(started("stat", f"{folder}/a"), "S")  # holds the mutex, reads the rw_semaphore, asks the daemon
    second = until(started("stat", f"{folder}/b"), "D")  # reads the rw_semaphore, waits for the mutex
    writer = until(started("mkdir", f"{folder}/c"), "D")  # waits for the rw_semaphore
    reader = until(started("stat", f"{folder}/d"), "D")  # the same, behind the one that writes
    owner, waiter = pi_waiter(libc)
    print(f"holder={holder} second={second} writer={writer} reader={reader} owner={owner} waiter={waiter}")


if __name__ == "__main__":
    main()
