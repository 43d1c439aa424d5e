"""In the guest: tools of bpftrace's package under linscope and bpftrace at once, over one workload.

Each round of the workload is a process named round-N that opens, connects, sleeps ...; the lines that a tool shows of a
round must be the same under both.  Rounds go on until both have shown three in a row, so nothing depends on how long a
tracer takes to start.  A JSON line a tool: its name, the rounds compared, the lines of ours, those of the peer.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEADLINE_S = 240.0
ROUNDS = 3
AT_ONCE = 5  # tools: bpftrace takes 90 MB each
# columns that tell of time, which differs by nature
TIMED = {
    "opensnoop": (), "statsnoop": (), "execsnoop": (0,), "killsnoop": (0,), "syncsnoop": (0,), "setuids": (0,),
    "naptime": (0,), "gethostlatency": (0, 3), "tcpconnect": (0,), "tcpaccept": (0,), "tcplife": (8,), "capable": (0,),
    "undump": (0,), "dcsnoop": (0,),
}  # fmt: skip
ENVIRONMENT = os.environ | {"BPFTRACE_STRLEN": "200"}  # the peer's alone: it would cut strings after 64 bytes
libc = ctypes.CDLL(None)


def one_round(number: int) -> None:
    """What the tools see, in a process of its own."""
    name = f"round-{number}"
    libc.prctl(15, name.encode(), 0, 0, 0)  # PR_SET_NAME
    path = Path(f"/tmp/{name}.txt")
    path.write_text("x")  # openat
    with path.open("r+") as file:
        os.fsync(file.fileno())
    path.unlink()
    with contextlib.suppress(OSError):
        os.statvfs(f"/tmp/{name}.none")
    with contextlib.suppress(OSError):
        os.kill(400_000 + number, 0)  # there is no such process
    timespec = (ctypes.c_long * 2)(0, 1_000_000 * (number % 900 + 1))
    libc.syscall(35, timespec, None)  # nanosleep
    with contextlib.suppress(OSError):
        socket.getaddrinfo("127.0.0.1", "80")
    with socket.create_server(("127.0.0.1", 20_000 + number)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        client.sendall(b"x" * 3000)
        accepted.recv(4096)
        accepted.close()
    with contextlib.suppress(OSError), socket.socket() as client:
        client.connect(("127.0.0.1", 9))  # refused
    left, right = socket.socketpair()
    with left, right:
        left.sendall(f"data of {name}".encode())
        right.recv(100)
    subprocess.run(["/bin/echo", name], stdout=subprocess.DEVNULL, check=False)
    os.setuid(20_000 + number)


def lines_of(tool: str, text: str) -> dict[int, list[str]]:
    """Lines by round, without the columns of time."""
    found: dict[int, list[str]] = {}
    for line in text.splitlines():
        match = re.search(r"round-(\d+)", line)
        if match:
            words = [word for at, word in enumerate(line.split()) if at not in TIMED[tool]]
            found.setdefault(int(match[1]), []).append(" ".join(words))
    return found


class Pair:
    """A tool under both."""

    def __init__(self, tool: str, folder: Path) -> None:
        self.tool = tool
        self.paths = [folder / f"{tool}.ours", folder / f"{tool}.peer"]
        script = f"/usr/sbin/{tool}.bt"
        commands = [[sys.executable, "-m", "linscope", "trace", script], ["bpftrace", script]]
        self.children = [
            subprocess.Popen(
                words, stdout=path.open("wb"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=ENVIRONMENT
            )
            for words, path in zip(commands, self.paths, strict=True)
        ]

    def read(self) -> list[dict[int, list[str]]]:
        """What each has shown, by round."""
        return [lines_of(self.tool, path.read_text(errors="replace")) for path in self.paths]

    def common(self, last: int) -> list[int]:
        """The rounds that were whole for both: not the first that either saw, not the one that may still be shown."""
        seen = self.read()
        first = max((min(one, default=last) for one in seen), default=last)
        return [number for number in range(first + 1, last) if any(number in one for one in seen)]

    def end(self) -> None:
        """Ask both to end, and wait."""
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT)
        for child in self.children:
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def compare(tools: list[str], folder: Path, number: int) -> int:
    """Run some tools at once; returns the number of the next round."""
    pairs = [Pair(tool, folder) for tool in tools]
    begin = time.monotonic()
    try:
        while time.monotonic() - begin < DEADLINE_S:
            if all(len(pair.common(number)) > ROUNDS for pair in pairs):
                break
            if any(child.poll() is not None for pair in pairs for child in pair.children):
                break
            child = os.fork()
            if not child:
                try:
                    one_round(number)
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            number += 1
    finally:
        for pair in pairs:
            pair.end()
    for pair in pairs:
        rounds = pair.common(number)[-ROUNDS - 1 : -1]
        ours, peer = ([line for at in rounds for line in one.get(at, [])] for one in pair.read())
        if not rounds:
            ours, peer = (path.read_text(errors="replace").splitlines()[-5:] for path in pair.paths)
        print(json.dumps([pair.tool, len(rounds), ours, peer]), flush=True)
    return number


def main() -> None:
    tools = sys.argv[1:] or list(TIMED)
    with tempfile.TemporaryDirectory() as name:
        number = 1
        for at in range(0, len(tools), AT_ONCE):
            number = compare(tools[at : at + AT_ONCE], Path(name), number)


if __name__ == "__main__":
    main()
