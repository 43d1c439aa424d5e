"""The objects of ``programs/`` in the running kernel: what they count and read of this process, beside what is known.

bpftool (libbpf) loads each too: the kernel's tag of every program, a hash of its instructions, must be the same.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.binfmt.btf_layout import member, size_of
from linscope.bpf.kernel.errors import TrampolineRefused, VerifierError
from linscope.bpf.kernel.objects import LoadedObject, load_object
from linscope.bpf.kernel.running import RunningKernel
from linscope.bpf.objects.reader import read_object
from linscope.errors import LinscopeError, NotInKernel, SystemCallError
from linscope.sys import bpf as sys_bpf

pytestmark = pytest.mark.kernel
Compiled = Callable[[str], Path]
ALL = ("callbacks", "core", "counter", "globals", "nested", "packets", "percpu", "ring", "stacks", "tasks", "user")
PACKET = bytes(12) + b"\x08\x00" + bytes(9) + b"\x11" + bytes(40)  # Ethernet, IPv4, UDP


@pytest.fixture(scope="module")
def kernel() -> RunningKernel:
    if os.geteuid() != 0:
        pytest.skip("needs CAP_BPF and CAP_PERFMON: run the tests as root")
    running = RunningKernel()
    if running.btf is None:
        pytest.skip("the running kernel has no types: CONFIG_DEBUG_INFO_BTF is off")
    return running


@pytest.fixture
def loaded(compiled: Compiled, kernel: RunningKernel) -> Iterator[Callable[..., LoadedObject]]:
    """Loads an object by name, with variables set first; all is closed after the test."""
    opened: list[LoadedObject] = []

    def load(name: str, only: list[str] | None = None, **variables: int) -> LoadedObject:
        source = read_object(str(compiled(name)), target=kernel)
        for variable, value in variables.items():
            source.set(variable, value)
        opened.append(load_object(source, only=only))
        return opened[-1]

    yield load
    for each in opened:
        each.close()


def number(value: bytes) -> int:
    return int.from_bytes(value, "little")


def tag(fd: int) -> str:
    info = bytearray(256)
    sys_bpf.obj_get_info_by_fd(fd, info)
    return info[8:16].hex()


def need_config(name: str, kernel: RunningKernel) -> None:
    if name == "globals" and kernel.config() is None:
        pytest.skip(f"needs /proc/config.gz or /boot/config-{platform.release()}: apt-get install linux-image-amd64")


@pytest.mark.parametrize("name", ALL)
def test_programs_are_those_that_libbpf_loads(
    name: str, compiled: Compiled, loaded: Callable[..., LoadedObject], kernel: RunningKernel, tmp_path: Path
) -> None:
    if shutil.which("bpftool") is None:
        pytest.skip("needs bpftool: apt-get install bpftool")
    need_config(name, kernel)
    path = compiled(name)
    ours = {each[:15]: tag(program.fd) for each, program in loaded(name).programs.items()}
    script = (
        f"mount -t bpf bpf {tmp_path}; bpftool prog loadall {path} {tmp_path} 2>&1\n"
        f"for f in {tmp_path}/*; do bpftool -j prog show pinned $f; echo; done"
    )
    words = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    theirs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {each["name"]: each["tag"] for each in theirs} == ours, done.stdout


def test_a_counter_on_a_raw_tracepoint(loaded: Callable[..., LoadedObject]) -> None:
    object_ = loaded("counter", wanted_tgid=os.getpid())
    object_.attach("count_calls")
    for _ in range(50):
        os.getppid()
    object_.links.pop().close()
    getppid = struct.pack("=II", os.getpid(), 110)
    counts = dict(object_.maps["calls"].items())
    if platform.machine() == "x86_64":
        assert number(counts[getppid]) == 50
    assert {struct.unpack("=II", key)[0] for key in counts} == {os.getpid()}
    assert number(object_.read("total")) == sum(number(value) for value in counts.values())


def test_core_reads_what_this_process_is(loaded: Callable[..., LoadedObject], kernel: RunningKernel) -> None:
    object_ = loaded("core", only=["look"], wanted_tgid=os.getpid())
    object_.attach("look")
    os.getppid()
    object_.links.pop().close()
    btf = kernel.btf
    assert isinstance(btf, Btf)

    def of(name: str) -> int:
        return number(object_.read(name))

    task = btf.find_one("task_struct", (bt.KIND_STRUCT,))
    place = {path: member(btf, task, path) for path in ("comm", "tasks.next", "tasks.prev")}
    assert of("done") == 1
    assert (of("tgid"), of("pid"), of("leader_pid")) == (os.getpid(), os.getpid(), os.getpid())
    with open("/proc/self/comm", "rb") as file:
        assert object_.read("comm").partition(b"\0")[0] == file.read().strip()
    with open("/proc/self/stat", "rb") as file:
        assert of("start_stack") == int(file.read().rpartition(b")")[2].split()[25])
    assert of("offset_of_comm") == place["comm"].bit_offset // 8 and of("size_of_comm") == 16
    assert of("offset_of_third") == of("offset_of_comm") + 3
    assert of("offset_of_next") == place["tasks.next"].bit_offset // 8
    assert of("offset_of_prev") == place["tasks.prev"].bit_offset // 8
    assert (of("pid_is_signed"), of("has_comm"), of("has_past")) == (1, 1, 0)
    assert (of("has_task"), of("has_none"), of("size_of_none")) == (1, 0, 0)
    assert of("size_of_task") == size_of(btf, task) and of("target_id") == task
    assert object_.source.btf is not None
    assert object_.source.btf.name(of("local_id")) == "task_struct"
    assert (of("has_pidtype"), of("pidtype_tgid"), of("has_wrong"), of("has_no_value")) == (1, 1, 0, 0)
    assert of("has_list") == 1 and of("reset_on_fork") == 0 and of("bitfield_size") in (1, 2, 4, 8)
    assert of("guarded") == 0


@pytest.mark.parametrize("name", ["wrong_size", "no_guard"])
def test_what_does_not_fit_is_refused(name: str, loaded: Callable[..., LoadedObject]) -> None:
    with pytest.raises(VerifierError) as caught:
        loaded("core_refused", only=[name])
    assert "unknown#195896080" in caught.value.log


def test_globals_settings_and_symbols(loaded: Callable[..., LoadedObject], kernel: RunningKernel) -> None:
    need_config("globals", kernel)
    object_ = loaded("globals", only=["add"])
    run = object_.programs["add"].test_run(PACKET)
    assert run.result == 0

    def of(name: str) -> int:
        return number(object_.read(name))

    assert of("sum") == 7 + 9 + 9 + 10 + 11 + ord("c") + 4 + 1 + 2
    assert (of("hidden_in_data"), of("in_bss")) == (9, 1)
    object_.write("in_data", (100).to_bytes(4, "little"))
    object_.programs["add"].test_run(PACKET)
    assert of("sum") == 100 + 10 + 9 + 10 + 11 + ord("c") + 4 + 1 + 2
    major, minor = (int("".join(filter(str.isdigit, part))) for part in platform.release().split(".")[:2])
    assert of("version_seen") >> 8 == major << 8 | minor
    config = kernel.config()
    assert config is not None
    assert of("hz_seen") == int(config["CONFIG_HZ"])
    assert (of("syscall_seen"), of("missing_seen"), of("cookie_seen")) == (1, 0, 1)
    compiler = config["CONFIG_CC_VERSION_TEXT"].strip('"').encode()[:15]
    assert object_.read("compiler_seen").partition(b"\0")[0] == compiler
    with open("/proc/kallsyms") as file:
        stext = next(int(line.split()[0], 16) for line in file if line.split()[2] == "_stext")
    assert (of("stext_seen"), of("missing_symbol_seen")) == (stext, 0)


def test_subprograms_and_callbacks(loaded: Callable[..., LoadedObject]) -> None:
    object_ = loaded("callbacks")
    numbers = object_.maps["numbers"]
    numbers.update_many((struct.pack("=I", n), struct.pack("=Q", n * n)) for n in range(8))
    first = object_.programs["first"].test_run(PACKET)
    assert first.result == len(PACKET) - 14 + 2 * (3 * 5)  # a socket filter sees what follows Ethernet's header
    second = object_.programs["second"].test_run(PACKET)
    assert second.result == 3 * 7 + 1
    assert number(object_.read("looped")) == sum(2 * n for n in range(10))
    assert number(object_.read("visited")) == sum(n * n for n in range(8))
    assert [number(value) for _, value in numbers.items()] == [n * n + n for n in range(8)]


def test_maps_and_programs_in_maps(loaded: Callable[..., LoadedObject]) -> None:
    object_ = loaded("nested")
    branch = object_.programs["branch"]
    lengths = {size & 3: size for size in range(40, 44)}  # as the program sees them, behind Ethernet's 14 bytes
    results = {which: branch.test_run(PACKET[: 14 + size]).result for which, size in lengths.items()}
    assert results == {0: 111, 1: 5, 2: 222, 3: 5}
    assert number(object_.maps["first"].lookup(bytes(4)) or b"") == lengths[1]
    assert number(object_.maps["second"].lookup(bytes(4)) or b"") == lengths[3]
    # the kernel shows maps of maps as ids
    ids = {key: number(value) for key, value in object_.maps["outer"].items() if number(value)}
    assert ids == {struct.pack("=I", 1): object_.maps["first"].id, struct.pack("=I", 3): object_.maps["second"].id}


def test_packets(loaded: Callable[..., LoadedObject]) -> None:
    object_ = loaded("packets")
    drop, mark = object_.programs["drop_udp"], object_.programs["mark"]
    run = drop.test_run(PACKET, repeat=1000)
    assert run.result == 1 and 0 < run.duration_ns < 1_000_000
    assert number(object_.read("udp_bytes")) == 1000 * len(PACKET)
    tcp = PACKET[:23] + b"\x06" + PACKET[24:]
    assert drop.test_run(tcp).result == 2
    context = mark.test_run(PACKET[:14] + b"\x45" + PACKET[15:], context=bytes(192)).context
    assert struct.unpack_from("=I", context, 8)[0] == 0x45  # skb->mark


def test_iterators(loaded: Callable[..., LoadedObject]) -> None:
    from linscope.bpf.kernel.iterators import attach_iterator, read_iterator

    object_ = loaded("tasks", wanted_tgid=os.getpid())
    link = object_.attach("show_tasks")
    lines = read_iterator(link).decode().splitlines()
    threads = {int(each.name) for each in Path("/proc/self/task").iterdir()}
    assert {tuple(map(int, line.split()[:2])) for line in lines} == {(os.getpid(), tid) for tid in threads}
    table = object_.maps["table"]
    table.update_many((struct.pack("=I", n), struct.pack("=Q", 10 * n)) for n in range(5))
    with attach_iterator(object_.programs["show_entries"], map=table) as entries:
        assert sorted(read_iterator(entries).decode().split()) == [f"{n}={10 * n}" for n in range(5)]


def test_probes_in_a_program(loaded: Callable[..., LoadedObject], probed: ctypes.CDLL) -> None:
    from linscope.bpf.kernel.attach_perf import attach_uprobe
    from linscope.bpf.kernel.usdt import attach_usdt
    from linscope.bpf.kernel.user_functions import find_function, find_usdt

    object_ = loaded("user")
    path = str(probed._name)
    offset = find_function(path, "add_up")
    programs = object_.programs
    links = [
        attach_uprobe(programs["on_entry"], path, offset, pid=os.getpid(), cookie=77),
        attach_uprobe(programs["on_return"], path, offset, retprobe=True, pid=os.getpid()),
        attach_usdt(programs["on_probe"], path, find_usdt(path, "mine", "added"), object_.maps, pid=os.getpid()),
    ]
    object_.links += links
    assert ctypes.c_ushort.in_dll(probed, "mine_added_semaphore").value == 1
    for count in range(10):
        probed.add_up(1000 + count)
    values = ("entered", "returned", "last_argument", "last_result", "cookie", "probed", "first_value", "second_value")
    found = {name: number(object_.read(name)) for name in values}
    assert found == {
        "entered": 10, "returned": 10, "last_argument": 1009, "last_result": 2018, "cookie": 77, "probed": 10,
        "first_value": 1009, "second_value": (1 << 64) - 5,
    }  # fmt: skip
    for link in links:
        link.close()
    assert ctypes.c_ushort.in_dll(probed, "mine_added_semaphore").value == 0
    probed.add_up(1)
    assert number(object_.read("entered")) == 10


def test_many_places_with_one_link(loaded: Callable[..., LoadedObject], probed: ctypes.CDLL) -> None:
    from linscope.bpf.kernel.attach_multi import attach_uprobe_multi
    from linscope.bpf.kernel.user_functions import match_functions

    path = str(probed._name)
    places = match_functions(path, "add_*")
    assert [name for name, _ in places] == ["add_one", "add_up"]
    try:
        object_ = loaded("multi")
        link = attach_uprobe_multi(
            object_.programs["on_many"], path, [offset for _, offset in places], cookies=[1, 100], pid=os.getpid()
        )
    except LinscopeError as error:
        pytest.skip(f"{error}; use a kernel of v6.6 or newer")
    with link:
        probed.add_up(1)
        probed.add_one(1)
        probed.add_one(1)
    assert (number(object_.read("entered")), number(object_.read("cookies"))) == (3, 102)


@pytest.mark.parametrize("multi", [True, False])
def test_sections_of_many_functions(
    multi: bool, loaded: Callable[..., LoadedObject], probed: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one link, or function by function where the kernel (before v6.6) has no such links."""
    from linscope.bpf.kernel import attach_multi

    if not multi:

        def refuse(*_: object, **__: object) -> None:
            raise NotInKernel("uprobe_multi")

        monkeypatch.setattr(attach_multi, "attach_uprobe_multi", refuse)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(Path(probed._name).parent))
    object_ = loaded("many", only=["on_entry", "on_return"], wanted_tgid=os.getpid())
    hows = {object_.attach(name, pid=os.getpid()).how for name in ("on_entry", "on_return")}
    assert hows <= ({"uprobe_multi", "one by one"} if multi else {"one by one"})
    for _ in range(5):
        probed.add_up(1)
        probed.add_one(1)
    assert (number(object_.read("entered")), number(object_.read("returned"))) == (10, 10)
    while object_.links:
        object_.links.pop().close()
    probed.add_up(1)
    assert number(object_.read("entered")) == 10


def test_sections_of_many_kernel_functions(loaded: Callable[..., LoadedObject]) -> None:
    """vfs_read and vfs_readlink, vfs_readv...; without CONFIG_FPROBE one by one."""
    object_ = loaded("many", only=["on_kernel_entry", "on_kernel_return"], wanted_tgid=os.getpid())
    if not Path("/sys/bus/event_source/devices/kprobe").exists():  # the lab's kernel has them
        with pytest.raises(SystemCallError, match="which kernel functions match"):
            object_.attach("on_kernel_entry")
        return
    links = [object_.attach(name) for name in ("on_kernel_entry", "on_kernel_return")]
    assert {each.how for each in links} <= {"kprobe_multi", "one by one"}
    with open("/proc/self/comm", "rb", buffering=0) as file:
        before = number(object_.read("in_kernel")), number(object_.read("out_of_kernel"))
        for _ in range(5):
            file.read(1)
    after = number(object_.read("in_kernel")), number(object_.read("out_of_kernel"))
    assert all(late - early == 5 for early, late in zip(before, after, strict=True))


def test_functions_of_the_kernel_or_why_not(loaded: Callable[..., LoadedObject]) -> None:
    """Where there are no kprobes, loading fentry programs says so by a type that callers can catch."""
    try:
        object_ = loaded("kernel_functions", wanted_tgid=os.getpid())
    except TrampolineRefused as error:
        assert "kprobe" in error.next_step
        return
    try:
        object_.attach_all()
    except LinscopeError as error:
        pytest.skip(f"{error}; run it in the lab")
    with open("/proc/self/comm", "rb", buffering=0) as file:
        file.read()
    os.getppid()
    for name in ("by_kprobe", "by_kretprobe", "by_fentry", "by_fexit", "by_syscall"):
        assert number(object_.read(name)) >= 1, name


def test_a_socket_filter(loaded: Callable[..., LoadedObject]) -> None:
    from linscope.bpf.kernel.attach_net import attach_socket

    object_ = loaded("packets", only=["keep_ten"])
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        with attach_socket(object_.programs["keep_ten"], right):
            left.send(b"x" * 100)
            assert len(right.recv(200)) == 10
        left.send(b"x" * 100)
        assert len(right.recv(200)) == 100


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """A library with functions and a USDT probe, in this process."""
    if shutil.which("gcc") is None or platform.machine() != "x86_64":
        pytest.skip("needs gcc on x86-64: apt-get install gcc")
    path = tmp_path_factory.mktemp("probed") / "libprobed.so"
    source = Path(__file__).parent / "programs" / "probed.c"
    subprocess.run(["gcc", "-O1", "-g", "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    return ctypes.CDLL(str(path))
