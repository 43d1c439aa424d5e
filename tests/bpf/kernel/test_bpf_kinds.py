"""Programs of kinds that other files do not run: iterators, trampolines, test runs without packets; pinned ones."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from counters import RETURN_0, count_of, counter

from linscope.abi import bpf as b
from linscope.abi import perf_event as pe
from linscope.bpf.instructions import Instruction
from linscope.bpf.kernel import attach_perf
from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint, attach_tracing
from linscope.bpf.kernel.bpffs import PrivatePins
from linscope.bpf.kernel.errors import TrampolineRefused
from linscope.bpf.kernel.iterators import attach_iterator, read_iterator
from linscope.bpf.kernel.links import Link
from linscope.bpf.kernel.maps import KernelMap
from linscope.bpf.kernel.programs import KernelProgram, load
from linscope.bpf.program import Map, Program
from linscope.errors import LinscopeError, NotInKernel, PermissionDenied, SystemCallError, UnknownNameError
from linscope.sys import perf_event_open as sys_perf

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "target",
    ["task", "task_file", "task_vma", "bpf_map", "bpf_prog", "bpf_link", "ksym", "tcp", "udp", "unix", "netlink"],
)
def test_iterators_of_each_kind(target: str) -> None:
    """Each visits something; no more than that is kept."""
    server = subprocess.Popen([sys.executable, "-c", _SOCKETS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout is not None and server.stdout.readline() == b"ready\n"
    try:
        program = load(counter(b.BPF_PROG_TYPE_TRACING, target=target, attach_type=b.BPF_TRACE_ITER))
    except UnknownNameError:
        pytest.skip(f"the kernel has no iterator {target}: it is older, or that part is a module")
    finally:
        server.communicate(timeout=20)
    with program, attach_iterator(program) as link:
        assert read_iterator(link) == b""
        assert count_of(program) >= 1  # at the least the call after the last


_SOCKETS = """
import socket, sys
held = [socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)]
print("ready", flush=True)
sys.stdin.read()
"""


def test_an_iterator_of_one_process() -> None:
    with load(counter(b.BPF_PROG_TYPE_TRACING, target="task_file", attach_type=b.BPF_TRACE_ITER)) as program:
        try:
            link = attach_iterator(program, pid=os.getpid())
        except NotInKernel as error:
            assert "v6.1" in error.why
            return
        with link:
            read_iterator(link)
            held = len(list(os.scandir("/proc/self/fd"))) - 1  # without the one that lists
            assert held <= count_of(program) <= held + 4  # the iterator itself, and the call after the last


@pytest.mark.parametrize(
    ("kind", "attach_type", "target"),
    [
        (b.BPF_PROG_TYPE_TRACING, b.BPF_TRACE_FENTRY, "vfs_read"),
        (b.BPF_PROG_TYPE_TRACING, b.BPF_TRACE_FEXIT, "vfs_read"),
        (b.BPF_PROG_TYPE_TRACING, b.BPF_MODIFY_RETURN, "security_file_permission"),
        (b.BPF_PROG_TYPE_LSM, b.BPF_LSM_MAC, "file_permission"),
    ],
)
def test_trampolines_or_why_not(kind: int, attach_type: int, target: str) -> None:
    """They count this process's reads; LSM programs only where the kernel was booted with lsm=...,bpf."""
    try:
        program = load(counter(kind, tgid=os.getpid(), target=target, attach_type=attach_type))
    except TrampolineRefused as error:
        assert "tracepoint" in error.next_step
        return
    with program, open("/proc/self/comm", "rb", buffering=0) as file:
        try:
            link = attach_tracing(program)
        except SystemCallError as error:
            assert kind == b.BPF_PROG_TYPE_LSM, error
            return
        file.read(1)
        modules = Path("/sys/kernel/security/lsm")
        if kind != b.BPF_PROG_TYPE_LSM or (modules.exists() and "bpf" in modules.read_text().split(",")):
            assert count_of(program) >= 1
        link.close()
        before = count_of(program)
        file.read(1)
        assert count_of(program) == before


@pytest.mark.parametrize("retprobe", [False, True])
def test_kprobes_by_tracefs_or_why_not(retprobe: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of kernels before v4.17, which have no PMU for probes."""
    monkeypatch.setattr(attach_perf, "pmu_type", lambda name: None)
    with load(counter(b.BPF_PROG_TYPE_KPROBE, tgid=os.getpid())) as program:
        try:
            link = attach_perf.attach_kprobe(program, "vfs_read", retprobe=retprobe)
        except (NotInKernel, PermissionDenied) as error:
            assert error.why
            return
        with link, open("/proc/self/comm", "rb", buffering=0) as file:
            before = count_of(program)
            file.read(1)
            assert count_of(program) == before + 1


def test_a_watchpoint() -> None:
    """A hardware breakpoint on eight bytes of this process: a program at each write to them."""
    import ctypes

    watched = ctypes.c_uint64(0)
    attr = sys_perf.Attr(type=pe.PERF_TYPE_BREAKPOINT, sample_period=1)
    attr.bp_type, attr.config1, attr.config2 = 2, ctypes.addressof(watched), 8  # HW_BREAKPOINT_W
    try:
        fd = sys_perf.perf_event_open(attr, os.getpid(), -1)
    except OSError as error:
        pytest.skip(f"no breakpoint to be had ({error}): run it on a machine that lends its debug registers")
    with load(counter(b.BPF_PROG_TYPE_PERF_EVENT)) as program, attach_perf.attach_perf_event(program, fd):
        for value in range(5):
            watched.value = value
        assert count_of(program) == 5


def test_runs_of_programs_without_packets() -> None:
    """Raw tracepoint programs get two arguments and return what they like; those of system calls change theirs."""
    second = [Instruction(0x79, 0, 1, 8, 0), Instruction(0x95, 0, 0, 0, 0)]  # r0 = *(u64 *)(r1 +8)
    with load(Program(second, type=b.BPF_PROG_TYPE_RAW_TRACEPOINT)) as program:
        assert program.test_run(context=struct.pack("=QQ", 5, 77)).result == 77
    double = [
        Instruction(0x79, 2, 1, 0, 0), Instruction(0x0F, 2, 2, 0, 0), Instruction(0x7B, 1, 2, 0, 0), *RETURN_0,
    ]  # fmt: skip
    with load(Program(double, type=b.BPF_PROG_TYPE_SYSCALL, flags=b.BPF_F_SLEEPABLE)) as program:
        assert program.test_run(context=struct.pack("=Q", 21)).context == struct.pack("=Q", 42)
    with load(Program(RETURN_0, type=b.BPF_PROG_TYPE_KPROBE)) as program, pytest.raises(NotInKernel):
        program.test_run(context=bytes(8))


def test_pinned_programs_and_links() -> None:
    """A pinned link counts on when who attached it has closed it, and ends with its name."""
    try:
        pins = PrivatePins()
    except SystemCallError as error:
        pytest.skip(str(error))
    with pins, load(counter(b.BPF_PROG_TYPE_RAW_TRACEPOINT, tgid=os.getpid())) as program:
        program.pin(f"{pins.path}/program")
        with KernelProgram.open(f"{pins.path}/program") as again:
            assert again.id == program.id
        with pytest.raises(SystemCallError):
            KernelMap.open(f"{pins.path}/nothing")
        with attach_raw_tracepoint(program, "sys_enter") as link:
            try:
                link.pin(f"{pins.path}/link")
            except LinscopeError as error:
                pytest.skip(f"{error}: links can be pinned since v5.8")
            number = link.id
        before = count_of(program)
        os.getppid()
        assert count_of(program) > before
        with Link.open(f"{pins.path}/link") as again_link:
            assert again_link.id == number
        os.unlink(f"{pins.path}/link")
        deadline = time.monotonic() + 10  # the kernel frees what had the name after a grace period
        while (before := count_of(program)) != count_of(program):
            assert time.monotonic() < deadline
        os.getppid()
        assert count_of(program) == before


_WITHOUT_RIGHTS = """
import os
import resource  # now: later nobody may not read root's home
from linscope.abi import bpf as b
from linscope.bpf.instructions import Instruction
from linscope.bpf.kernel.maps import KernelMap
from linscope.bpf.kernel.programs import load
from linscope.bpf.program import Map, Program
from linscope.errors import PermissionDenied
nothing = [Instruction(0xB7, 0, 0, 0, 0), Instruction(0x95, 0, 0, 0, 0)]
open("/proc/self/status", encoding="ascii").close()
os.setresuid(65534, 65534, 65534)
for what in (
    lambda: load(Program(nothing, type=b.BPF_PROG_TYPE_RAW_TRACEPOINT)),
    lambda: KernelMap.create(Map("m", b.BPF_MAP_TYPE_LRU_HASH, 4, 4, 1)),
):
    try:
        what()
    except PermissionDenied as error:
        print(str(error).replace("\\n", " "))
"""


def test_who_has_no_rights_is_told_what_to_do() -> None:
    words = [sys.executable, "-c", _WITHOUT_RIGHTS]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, timeout=30)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert all("lacks CAP_BPF" in line and "try: run as root" in line for line in lines)


def test_maps_that_hold_programs_and_sockets() -> None:
    """Of what they hold, arrays of programs tell the id; what is not there is None."""
    with load(Program(RETURN_0, type=b.BPF_PROG_TYPE_RAW_TRACEPOINT)) as program, KernelMap.create(
        Map("calls", b.BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4)
    ) as calls:
        calls.update(struct.pack("=I", 2), struct.pack("=I", program.fd))
        assert calls.lookup(struct.pack("=I", 2)) == struct.pack("=I", program.id)
        assert calls.lookup(struct.pack("=I", 1)) is None
        assert calls.delete(struct.pack("=I", 2)) and calls.lookup(struct.pack("=I", 2)) is None
