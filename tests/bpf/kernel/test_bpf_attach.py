"""Attaching: each way counts what this test does, stops when it is detached, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from counters import RETURN_0, count_of, counter

from linscope.abi import bpf as b
from linscope.abi import perf_event as pe
from linscope.binfmt.usdt import UsdtProbe
from linscope.bpf.kernel import attach_perf, listing
from linscope.bpf.kernel.attach import attach_by_section, says_where
from linscope.bpf.kernel.attach_net import attach_cgroup
from linscope.bpf.kernel.detach import close_all
from linscope.bpf.kernel.links import Link
from linscope.bpf.kernel.programs import KernelProgram, load
from linscope.bpf.kernel.usdt import argument_spec
from linscope.bpf.program import Program
from linscope.errors import LinscopeError, NotInKernel, SystemCallError, UnsupportedError, UsageError
from linscope.sys import bpf as sys_bpf

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).resolve().parents[3]


def tracepoint_counter() -> KernelProgram:
    return load(counter(b.BPF_PROG_TYPE_TRACEPOINT, tgid=os.getpid()))


@pytest.fixture(params=["link", "ioctl"])
def perf_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to a perf event; the second is that of kernels before v5.15."""
    if request.param == "ioctl":

        def refuse(*_: object, **__: object) -> int:
            raise OSError(22, "Invalid argument")

        monkeypatch.setattr(sys_bpf, "link_create", refuse)
    return f"perf {request.param}"


def test_a_tracepoint(perf_way: str) -> None:
    with tracepoint_counter() as program:
        with attach_perf.attach_tracepoint(program, "syscalls", "sys_enter_getppid") as link:
            assert link.how == perf_way
            for _ in range(10):
                os.getppid()
            assert count_of(program) == 10
        os.getppid()
        assert count_of(program) == 10


def test_a_tracepoint_that_is_not_there() -> None:
    with tracepoint_counter() as program, pytest.raises(SystemCallError, match="no tracepoint of that name"):
        attach_perf.attach_tracepoint(program, "syscalls", "sys_enter_nothing")
    with tracepoint_counter() as program, pytest.raises(SystemCallError, match="did you mean sched:sched_switch"):
        attach_perf.attach_tracepoint(program, "sched", "sched_swich")


def test_links_say_what_they_are() -> None:
    with tracepoint_counter() as program, attach_perf.attach_tracepoint(
        program, "syscalls", "sys_enter_getppid", cookie=7
    ) as link:
        info = listing.link_info(link.fd)
        assert info.type == "perf_event" and info.program == program.id
        if info.details:  # since v6.6
            assert info.details["kind"] == "tracepoint" and info.details["tracepoint"] == "sys_enter_getppid"


def test_all_are_detached_at_once() -> None:
    """One call detaches all, in another process; that has nothing else of ours, and leaves no zombie."""
    with tracepoint_counter() as program:
        names = ("getppid", "getuid", "geteuid", "getgid", "getegid")
        links = [attach_perf.attach_tracepoint(program, "syscalls", f"sys_enter_{name}") for name in names]
        os.getppid()
        os.getuid()
        assert count_of(program) == 2
        close_all(links, wait=True)
        os.getppid()
        os.getuid()
        assert count_of(program) == 2
        assert all(link.fd < 0 and not link.more for link in links)
        close_all(links)  # harmless


def test_what_a_link_is_to_undo_is_done_elsewhere(tmp_path: Path) -> None:
    marker = tmp_path / "undone"
    read, write = os.pipe()
    close_all([Link(-1, "perf ioctl", more=[write], undo=marker.touch)], wait=True)
    assert marker.exists()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert os.read(read, 1) == b""  # nobody has the other end open
    os.close(read)


def test_a_clock(perf_way: str) -> None:
    """Software counters: every page fault of a process that the test starts."""
    code = "import sys; sys.stdin.read(1); b = bytearray(1 << 22)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    with load(counter(b.BPF_PROG_TYPE_PERF_EVENT)) as program:
        links = attach_perf.attach_counter(
            program, pe.PERF_TYPE_SOFTWARE, pe.PERF_COUNT_SW_PAGE_FAULTS, period=1, pid=child.pid
        )
        child.communicate(b"x")
        assert len(links) == 1 and links[0].how == perf_way
        close_all(links, wait=True)
        assert count_of(program) > 0


def test_a_clock_on_all_cpus() -> None:
    with load(counter(b.BPF_PROG_TYPE_PERF_EVENT, tgid=os.getpid())) as program:
        links = attach_perf.attach_counter(
            program, pe.PERF_TYPE_SOFTWARE, pe.PERF_COUNT_SW_CPU_CLOCK, frequency_hz=999
        )
        assert len(links) == len(attach_perf.online_cpus())
        for _ in range(1000):
            sum(range(100_000))
            if count_of(program):
                break
        close_all(links)
        assert count_of(program) > 0


def test_counters_that_the_machine_lacks_are_named() -> None:
    with load(counter(b.BPF_PROG_TYPE_PERF_EVENT)) as program:
        with pytest.raises(UsageError):
            attach_perf.attach_counter(program, pe.PERF_TYPE_SOFTWARE, 0)
        try:
            links = attach_perf.attach_counter(program, pe.PERF_TYPE_HARDWARE, 0, period=1 << 40)
        except NotInKernel as error:
            assert "cpu-clock" in error.why
        else:
            close_all(links)


def test_kprobes_or_why_not() -> None:
    with load(counter(b.BPF_PROG_TYPE_KPROBE, tgid=os.getpid())) as program:
        try:
            link = attach_perf.attach_kprobe(program, "vfs_read")
        except NotInKernel as error:
            assert "CONFIG_KPROBE" in error.why
            return
        with link, open("/proc/self/comm", "rb", buffering=0) as file:
            file.read()
            assert count_of(program) >= 1
        with pytest.raises(SystemCallError, match="no such function"):
            attach_perf.attach_kprobe(program, "no_such_function")
        with pytest.raises(SystemCallError, match=r"did you mean .*vfs_read"):
            attach_perf.attach_kprobe(program, "vfs_raed")


def test_kprobes_by_tracefs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no PMU for probes (before v4.17), a definition in tracefs is made, and goes with the link."""
    from linscope.sys.tracefs import find_tracefs

    monkeypatch.setattr(attach_perf, "pmu_type", lambda name: None)
    path = str(Path(sys.executable).resolve())
    with load(counter(b.BPF_PROG_TYPE_KPROBE, tgid=os.getpid())) as program:
        try:
            link = attach_perf.attach_uprobe(program, path, 0x1000 + elf_header_size(path))
        except LinscopeError as error:
            pytest.skip(f"no uprobe events here ({error}); run it in the lab")
        definitions = Path(f"{find_tracefs()}/uprobe_events")
        group = f"linscope_{os.getpid()}"
        assert group in definitions.read_text()
        close_all([link], wait=True)
        assert group not in definitions.read_text()


def elf_header_size(path: str) -> int:
    """Some place in a file's code: where its entry is, from the begin of the second page on."""
    from linscope.binfmt.elf import ElfFile
    from linscope.binfmt.usdt import file_offset

    with ElfFile(path) as elf:
        return (file_offset(elf, elf.entry) or 0x1000) - 0x1000


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A new cgroup (version 2), removed afterwards."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2"]
    if not roots:
        pytest.skip("no cgroup2 mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
    folder = roots[0] / f"linscope-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a cgroup ({error}): run the tests as root")
    yield folder
    folder.rmdir()


def test_a_cgroup(cgroup: Path) -> None:
    """A program that counts what a process in the cgroup sends to itself."""
    code = (
        "import socket, sys\n"
        "sys.stdin.read(1)\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind(('127.0.0.1', 0))\n"
        "for _ in range(5): s.sendto(b'x' * 100, s.getsockname())\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    (cgroup / "cgroup.procs").write_text(str(child.pid))
    wanted = counter(b.BPF_PROG_TYPE_CGROUP_SKB, attach_type=b.BPF_CGROUP_INET_EGRESS, result=1)
    with load(wanted) as program, attach_cgroup(program, str(cgroup)) as link:
        assert link.how == "cgroup" and listing.link_info(link.fd).details["attach_type"] == b.BPF_CGROUP_INET_EGRESS
        folder = os.open(cgroup, os.O_RDONLY)
        assert sys_bpf.prog_query(folder, b.BPF_CGROUP_INET_EGRESS) == [program.id]
        child.communicate(b"x")
        assert child.returncode == 0 and count_of(program) == 5
        link.detach()
        assert sys_bpf.prog_query(folder, b.BPF_CGROUP_INET_EGRESS) == []
        os.close(folder)
    with load(wanted) as program, pytest.raises(SystemCallError):
        attach_cgroup(program, "/proc")


_XDP = """
import os, socket, sys
sys.path.insert(0, "tests/bpf/kernel")
from counters import count_of, counter
from linscope.abi import bpf as b
from linscope.bpf.kernel import listing
from linscope.bpf.kernel.attach_net import XDP_FLAGS_SKB_MODE, attach_xdp
from linscope.bpf.kernel.programs import load
import fcntl, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS: up
s.bind(("127.0.0.1", 0))
lo = socket.if_nametoindex("lo")
with load(counter(b.BPF_PROG_TYPE_XDP, attach_type=b.BPF_XDP, result=2)) as program:
    with attach_xdp(program, lo, flags=XDP_FLAGS_SKB_MODE) as link:
        for _ in range(5):
            s.sendto(b"x" * 100, s.getsockname())
        assert listing.link_info(link.fd).details == {"ifindex": lo}
        print("counted", count_of(program))
    s.sendto(b"x" * 100, s.getsockname())
    print("then", count_of(program))
"""


def test_xdp_in_a_network_namespace() -> None:
    words = ["unshare", "--net", sys.executable, "-c", _XDP]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout == "counted 5\nthen 5\n", done.stderr


def test_sections_that_do_not_say_where() -> None:
    assert says_where("kprobe/vfs_read") and says_where("raw_tp/sys_enter") and says_where("iter/task")
    assert not any(map(says_where, ("kprobe", "xdp", "cgroup_skb/egress", "socket", "perf_event", "mine", "tc")))
    with load(Program(RETURN_0, type=b.BPF_PROG_TYPE_XDP, attach_type=b.BPF_XDP)) as program:
        with pytest.raises(UsageError, match="does not say where") as caught:
            attach_by_section(program, "xdp")
        assert "attach_xdp" in caught.value.next_step


@pytest.mark.parametrize(
    ("argument", "spec"),
    [
        ("-4@%edi", (0, 1, 112, True, 32)),
        ("8@-8(%rbp)", ((1 << 64) - 8, 2, 32, False, 0)),
        ("4@$5", (5, 0, 0, False, 32)),
        ("-1@$-7", ((1 << 64) - 7, 0, 0, True, 56)),
        ("2@(%rsp)", (0, 2, 152, False, 48)),
        ("8@%r15", (0, 1, 0, False, 0)),
    ],
)
def test_arguments_of_usdt_probes(argument: str, spec: tuple[int, ...]) -> None:
    import struct

    if os.uname().machine != "x86_64":
        pytest.skip("operands of x86-64: run it there")
    packed = argument_spec(UsdtProbe("p", "n", 0, 0, argument), cookie=9)
    assert len(packed) == 208 and struct.unpack_from("=QIh?b", packed) == spec
    assert struct.unpack_from("=Qh", packed, 192) == (9, 1)


@pytest.mark.parametrize("argument", ["8@symbol(%rip)", "8@%xmm0", "3@%rax", "8@(%rax,%rbx,4)", "%rax"])
def test_arguments_that_cannot_be_read_are_named(argument: str) -> None:
    with pytest.raises(UnsupportedError, match="USDT probe p:n"):
        argument_spec(UsdtProbe("p", "n", 0, 0, argument))


def test_a_killed_process_leaves_nothing() -> None:
    """Links end with who holds them, however that ends."""
    code = (
        "import os, sys, time\n"
        "sys.path.insert(0, 'tests/bpf/kernel')\n"
        "from counters import counter\n"
        "from linscope.bpf.kernel.programs import load\n"
        "from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint\n"
        "program = load(counter(17, tgid=os.getpid()))\n"
        "link = attach_raw_tracepoint(program, 'sys_enter')\n"
        "print(program.id, flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    number = int(child.stdout.readline())
    assert number in {each.id for each in listing.iter_programs()}
    child.send_signal(signal.SIGKILL)
    child.communicate()
    # the kernel frees programs after a grace period, so that one may still be listed; no link is
    assert number not in {each.program for each in listing.iter_links()}
