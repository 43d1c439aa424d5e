"""From a cold start to an attached counter on raw_tp/sys_enter, beside bpftrace in the same run; needs root.

Both are seen from outside: the time until the kernel tells of a program of the child's, its peak memory at that time,
and how long it takes to end when it is asked to.  Also, in this process: object files, ring buffers and maps in bulk,
detaching.  Every wait has a deadline, and what was started is ended by its pid.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from linscope.abi import bpf as b
from linscope.bpf.instructions import Instruction, wide
from linscope.bpf.kernel.maps import KernelMap
from linscope.bpf.program import Map, Program
from linscope.sys import bpf as sys_bpf

ROOT = Path(__file__).resolve().parent.parent
# what a command does that is made of this library
OURS = """
from linscope.abi import bpf as b
from linscope.bpf.instructions import Instruction as I, wide
from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint
from linscope.bpf.kernel.programs import load
from linscope.bpf.program import Map, Program
code = [
    I(0x62, 10, 0, -4, 0), *wide(1, 0, b.BPF_PSEUDO_MAP_IDX), I(0xBF, 2, 10, 0, 0), I(0x07, 2, 0, 0, -4),
    I(0x85, 0, 0, 0, 1), I(0x15, 0, 0, 2, 0), I(0xB7, 1, 0, 0, 1), I(0xDB, 0, 1, 0, 0), I(0xB7, 0, 0, 0, 0),
    I(0x95, 0, 0, 0, 0),
]
maps = [Map("counts", b.BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 1)]
with load(Program(code, type=b.BPF_PROG_TYPE_RAW_TRACEPOINT, maps=maps)) as program:
    with attach_raw_tracepoint(program, "sys_enter"):
        import os
        os.read(0, 1)
"""
# the first that this bpftrace knows is taken: raw tracepoints came after 0.17
PEERS = ("rawtracepoint:sys_enter { @ = count(); }", "tracepoint:raw_syscalls:sys_enter { @ = count(); }")
DEADLINE_S = 20.0  # of each start, and of each end
# as it is installed: with its bytecode, which the first run writes
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Start(NamedTuple):
    """One run of a tracer."""

    attached_ms: float
    peak_mb: float
    end_ms: float


def is_attached(pid: int) -> bool:
    """Whether the kernel tells of a program at one of a process's descriptors (BPF_TASK_FD_QUERY)."""
    try:
        descriptors = [int(entry.name) for entry in os.scandir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    for fd in descriptors:
        try:
            if fd > 2 and sys_bpf.task_fd_query(pid, fd)[2]:
                return True
        except OSError:  # neither link nor perf event, or without a program
            continue
    return False


def start(words: list[str], environment: Mapping[str, str] | None = None) -> Start:
    """Run until attached, then end it.  environment: what is added to ours.

    Raises RuntimeError when it ends before, TimeoutError when it never comes.
    """
    begin = time.perf_counter()
    child = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
        env=ENVIRONMENT | dict(environment or {}),
    )
    assert child.stdin is not None
    try:
        while not is_attached(child.pid):
            if child.poll() is not None:
                raise RuntimeError(f"{' '.join(words)}: ended before it was attached")
            if time.perf_counter() - begin > DEADLINE_S:
                raise TimeoutError(f"{words[0]} was not attached in {DEADLINE_S} s")
            time.sleep(0.0003)
        attached = time.perf_counter() - begin
        status = Path(f"/proc/{child.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
        begin = time.perf_counter()
        child.stdin.close()
        while child.poll() is None and time.perf_counter() - begin < DEADLINE_S:
            if "-e" in words:  # once in a hundred times it does not hear the first
                child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(2)
        return Start(1e3 * attached, peak / 1024, 1e3 * (time.perf_counter() - begin))
    finally:
        if child.poll() is None:
            child.kill()
            child.wait(DEADLINE_S)


def find_peer() -> list[str]:
    """The command of a bpftrace that attaches, [] when there is none."""
    for text in PEERS if shutil.which("bpftrace") else ():
        try:
            start(["bpftrace", "-e", text])
        except RuntimeError:
            continue
        return ["bpftrace", "-e", text]
    return []


def median(starts: list[Start]) -> Start:
    """Figure by figure."""
    return Start(*(statistics.median(values) for values in zip(*starts, strict=True)))


def cold_start(runs: int) -> None:
    python = str(ROOT / ".venv/bin/python")
    ours, peer = [], []
    words = find_peer()
    for _ in range(runs + 1):  # in turns; the first warms the caches
        ours.append(start([python, "-c", OURS]))
        if words:
            peer.append(start(words))
    mine = median(ours[1:])
    bare = []
    for _ in range(runs):
        begin = time.perf_counter()
        subprocess.run([python, "-c", "pass"], check=True, timeout=DEADLINE_S)
        bare.append(1e3 * (time.perf_counter() - begin))
    print(f"bare Python, start to end            {statistics.median(bare):7.1f} ms")
    line = f"raw_tp counter, cold start to attached{mine.attached_ms:6.1f} ms {mine.peak_mb:5.1f} MB, ends in "
    print(f"{line}{mine.end_ms:.1f} ms   goal <= 60 ms, <= 15 MB")
    if peer:
        other = median(peer[1:])
        ratio = mine.attached_ms / other.attached_ms
        print(f"bpftrace, {words[-1]}")
        line = f"                                     {other.attached_ms:7.1f} ms {other.peak_mb:5.1f} MB, ends in "
        print(f"{line}{other.end_ms:.1f} ms   ours {ratio:.2f}x   goal <= 0.5x")
    else:
        print("no bpftrace that attaches is here: apt-get install bpftrace")


def objects() -> None:
    if shutil.which("clang") is None:
        print("object files: apt-get install clang libbpf-dev")
        return
    source = ROOT / "tests/bpf/objects/programs/core.bpf.c"
    machine = subprocess.check_output(["gcc", "-print-multiarch"], text=True, timeout=DEADLINE_S).strip()
    code = (
        "import sys, time\n"
        "begin = time.perf_counter()\n"
        "from linscope.bpf.kernel.objects import load_object\n"
        "from linscope.bpf.kernel.running import RunningKernel\n"
        "from linscope.bpf.objects.reader import read_object\n"
        "middle = time.perf_counter()\n"
        "source = read_object(sys.argv[1], target=RunningKernel())\n"
        "read = time.perf_counter()\n"
        "load_object(source).close()\n"
        "end = time.perf_counter()\n"
        "print(f'core.bpf.o, 40 CO-RE relocations: import {1e3 * (middle - begin):.0f} ms, read and fitted '"
        "f'{1e3 * (read - middle):.0f} ms, loaded and closed {1e3 * (end - read):.1f} ms')\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        made = f"{folder}/core.bpf.o"
        words = ["clang", "-g", "-O2", "-target", "bpf", "-D__TARGET_ARCH_x86", f"-I/usr/include/{machine}"]
        subprocess.run([*words, "-c", str(source), "-o", made], check=True, timeout=60)
        for _ in range(2):  # the first warms the caches
            line = subprocess.check_output([sys.executable, "-c", code, made], text=True, timeout=60)
        print(line, end="")


def ring_buffer() -> None:
    """Records of 32 bytes, written by test runs of a packet program in a loop of its own."""
    from linscope.bpf.kernel.programs import load
    from linscope.bpf.kernel.ring_buffer import RingBuffer

    code = [
        *(Instruction(0x7A, 10, 0, -32 + 8 * n, n) for n in range(4)),
        *wide(1, 0, b.BPF_PSEUDO_MAP_IDX),
        Instruction(0xBF, 2, 10, 0, 0),
        Instruction(0x07, 2, 0, 0, -32),
        Instruction(0xB7, 3, 0, 0, 32),
        Instruction(0xB7, 4, 0, 0, b.BPF_RB_NO_WAKEUP),
        Instruction(0x85, 0, 0, 0, 130),
        Instruction(0xB7, 0, 0, 0, 0),
        Instruction(0x95, 0, 0, 0, 0),
    ]
    maps = [Map("ring", b.BPF_MAP_TYPE_RINGBUF, 0, 0, 1 << 24)]
    count = 400_000
    program = load(Program(code, type=b.BPF_PROG_TYPE_SOCKET_FILTER, maps=maps))
    with program, RingBuffer(program.maps[0]) as ring:
        for name in ("one by one", "as a chunk"):
            program.test_run(bytes(64), repeat=count)
            begin = time.process_time()
            if name == "one by one":
                found = len(ring.read())
            else:
                found = 0
                while chunk := ring.read_chunk(32):
                    found += chunk.records
            cost = (time.process_time() - begin) / max(found, 1)
            print(f"ring buffer, {found} records of 32 bytes, {name}: {1e9 * cost:6.1f} ns a record")


def maps_in_bulk() -> None:
    with KernelMap.create(Map("table", b.BPF_MAP_TYPE_HASH, 4, 8, 100_000)) as table:
        pairs = [(struct.pack("=I", n), struct.pack("=Q", n)) for n in range(100_000)]
        begin = time.perf_counter()
        table.update_many(pairs)
        written = time.perf_counter()
        total = sum(count for count, _, _ in table.chunks())
        read = time.perf_counter()
        print(f"hash of {total}: written in {1e3 * (written - begin):.0f} ms, read in {1e3 * (read - written):.0f} ms")


def detaching(number: int = 20) -> None:
    from linscope.bpf.kernel.attach_perf import attach_tracepoint
    from linscope.bpf.kernel.detach import close_all
    from linscope.bpf.kernel.programs import load
    from linscope.sys.tracefs import find_tracefs

    folder = Path(find_tracefs()) / "events/syscalls"
    names = sorted(each.name for each in folder.iterdir() if each.name.startswith("sys_enter_"))[:number]
    nothing = [Instruction(0xB7, 0, 0, 0, 0), Instruction(0x95, 0, 0, 0, 0)]
    with load(Program(nothing, type=b.BPF_PROG_TYPE_TRACEPOINT)) as program:
        for way in ("each closed", "close_all"):
            begin = time.perf_counter()
            links = [attach_tracepoint(program, "syscalls", name) for name in names]
            attached = time.perf_counter()
            if way == "close_all":
                close_all(links)
            else:
                for link in links:
                    link.close()
            end = time.perf_counter()
            line = f"{len(links)} tracepoints: attached in {1e3 * (attached - begin):.0f} ms"
            print(f"{line}, detached ({way}) in {1e3 * (end - attached):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("needs root")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    cold_start(arguments.runs)
    objects()
    ring_buffer()
    maps_in_bulk()
    detaching()


if __name__ == "__main__":
    main()
