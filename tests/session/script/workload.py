"""What the scripts of test_replay_live.py watch: files, processes, threads, sleeps, memory.  Writes nothing."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading
import time


def main() -> None:
    """Do a bit of everything."""
    for name in ("/etc/hostname", "/etc/passwd", "/nowhere/at/all", "/etc/hostname"):
        with contextlib.suppress(OSError):
            os.close(os.open(name, os.O_RDONLY))
    for _ in range(3):
        time.sleep(0.004)
    memory = mmap.mmap(-1, 1 << 20)
    for at in range(0, 1 << 20, 4096):
        memory[at] = 1
    ctypes.CDLL(None).prctl(15, b"renamed", 0, 0, 0)
    threads = [threading.Thread(target=os.stat, args=("/etc",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for words in (["true", "one", "two words"], ["true"]):
        if not (pid := os.fork()):
            os.execvp(words[0], words)
        os.waitpid(pid, 0)
    end = time.monotonic() + 0.25
    while time.monotonic() < end:
        os.getppid()


main()
