"""Attach points -> probes of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from linscope.binfmt.elf_view import ElfView
from linscope.errors import FormatError, LinscopeError, SourceError
from linscope.lang.definitions.tracepoints import tracing_folder
from linscope.lang.probe import Probe
from linscope.lang.probes import expand, kernel_names, parse_attach_point
from linscope.lang.probes.files import find_files, find_library

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="apt-get install gcc")
ROOT = Path(__file__).resolve().parents[3]


def probes(text: str, pid: int | None = None) -> list[Probe]:
    return expand(parse_attach_point(text, pid=pid), pid=pid)


def names(text: str, pid: int | None = None) -> list[str]:
    return [probe.name for probe in probes(text, pid)]


def wrong(text: str, pid: int | None = None) -> tuple[str, str]:
    with pytest.raises(SourceError) as caught:
        probes(text, pid)
    return caught.value.diagnostics[0].what, caught.value.diagnostics[0].hint


@pytest.fixture
def events() -> None:
    try:
        next(Path(tracing_folder(), "events").iterdir())
    except (LinscopeError, OSError) as error:
        pytest.skip(f"run as root: {error}")


@pytest.mark.parametrize(("text", "expected"), [
    ("interval:s:1", 1_000_000_000), ("i:ms:10", 10_000_000), ("i:hz:4", 250_000_000), ("interval:1s", 1_000_000_000),
    ("profile:hz:99", 10_101_010), ("p:us:100", 100_000), ("p:10ms", 10_000_000),
])  # fmt: skip
def test_periods(text: str, expected: int) -> None:
    (found,) = probes(text)
    assert found.count == expected


def test_events() -> None:
    (found,) = probes("software:faults")
    assert (found.name, found.target, found.count) == ("software:faults", "page-faults", 100)
    (found,) = probes("hardware:cycles:5")
    assert (found.name, found.target, found.count) == ("hardware:cycles:5", "cpu-cycles", 5)
    what, hint = wrong("software:fault")
    assert what == "fault is not a software probe"
    assert hint.startswith("did you mean software:faults")
    assert wrong("hardware:*")[0] == "wildcards are not allowed for hardware probe type"
    assert wrong("interval:min:1")[0] == "min is not an accepted unit of time"
    assert wrong("profile:hz:0")[0] == "profile frequency should be a positive integer"
    assert wrong("iter:task*")[0] == "iter probe type does not support wildcards"


def test_watchpoints() -> None:
    (found,) = probes("watchpoint:0x1000:8:rw")
    assert (found.address, found.count, found.target) == (0x1000, 8, "rw")
    if os.uname().machine == "x86_64":
        assert wrong("watchpoint:0x1000:8:r")[1] == "supported modes: rw,w,x"


def test_special_ones() -> None:
    assert [probe.kind for text in ("BEGIN", "END", "test:a") for probe in probes(text)] == ["begin", "end", "test"]
    (found,) = probes("self:signal:SIGUSR1")
    assert (found.target, found.name) == ("SIGUSR1", "self:signal:SIGUSR1")


# -- the kernel


def test_tracepoints(events: None) -> None:
    (found,) = probes("t:sched:sched_switch")
    assert (found.name, found.module, found.target) == ("tracepoint:sched:sched_switch", "sched", "sched_switch")
    several = names("tracepoint:sched:sched_w*")
    assert "tracepoint:sched:sched_wakeup" in several
    assert several == sorted(several)
    assert "tracepoint:sched:sched_switch" in names("tracepoint:s[c]hed:sched_switch")
    assert names("tracepoint:sched_switc*") == ["tracepoint:sched:sched_switch"]
    what, hint = wrong("tracepoint:sched:sched_swich")
    assert what == "tracepoint not found: sched:sched_swich"
    assert "sched:sched_switch" in hint
    assert wrong("tracepoint:nope:*")[0] == "No matches for tracepoint nope:*"
    assert wrong("tracepoint:sched/..:x")[0].startswith("tracepoint not found")


def test_functions_of_kprobes_are_not_looked_for() -> None:
    assert names("k:no_such_function") == ["kprobe:no_such_function"]
    (found,) = probes("kprobe:vmlinux:vfs_read+4")
    assert (found.module, found.target, found.offset) == ("", "vfs_read", 4)


def test_functions_of_fentry_are_described_by_btf() -> None:
    assert names("fentry:vmlinux:vfs_read") == ["fentry:vmlinux:vfs_read"]
    for text in ("fentry:mod:f", "fentry:no_such_function", "fexit:vmlinux:no_such_function"):
        with pytest.raises(SourceError, match="No BTF found for f"):
            probes(text)


def test_kernel_functions_by_wildcard() -> None:
    found = names("kprobe:vfs_*")
    assert "kprobe:vfs_read" in found
    assert len(found) == len(set(found))
    assert all(name.startswith("kprobe:vfs_") for name in found)
    assert "kprobe:vmlinux:vfs_read" in names("kprobe:vmlinux:vfs_rea*")
    assert "kretprobe:vfs_read" in names("kr:vfs_rea*")
    assert wrong("kprobe:no_such_function_*")[0] == "No matches for kprobe no_such_function_*"


@pytest.mark.skipif(not os.path.exists("/sys/kernel/btf/vmlinux"), reason="the kernel has no BTF")
def test_what_btf_tells() -> None:
    assert names("f:vfs_read") == ["fentry:vmlinux:vfs_read"]
    assert "fexit:vmlinux:vfs_read" in names("fr:vfs_rea*")
    assert names("rawtracepoint:sched_switch") == ["rawtracepoint:vmlinux:sched_switch"]
    assert "rawtracepoint:vmlinux:sched_switch" in names("rt:sched_s*")
    assert names("iter:task") == ["iter:task"]
    what, hint = wrong("iter:tusk")
    assert what == "iter tusk not available for your kernel version."
    assert "iter:task" in hint


def test_traceable_functions_by_ftrace_s_list() -> None:
    data = b"vfs_read\nvfs_write\next4_read [ext4]\nvfs_x.part.0\nvfs_y [ext4]\n"
    match = kernel_names._match_traceable
    assert match("", "vfs_*", data) == {
        ("vmlinux", "vfs_read"), ("vmlinux", "vfs_write"), ("vmlinux", "vfs_x.part.0"), ("ext4", "vfs_y"),
    }  # fmt: skip
    assert match("ext4", "*", data) == {("ext4", "ext4_read"), ("ext4", "vfs_y")}
    assert match("ext*", "vfs_*", data) == {("ext4", "vfs_y")}
    assert match("", "*", b"") is None


def test_functions_by_the_kernel_s_symbols() -> None:
    data = (
        b"ffff0000 T vfs_read\nffff0010 t vfs_lock\nffff0020 D vfs_data\nffff0030 t __pfx_vfs_read\n"
        b"ffff0040 t vfs_read.cold\nffff0050 t vfs_mod\t[ext4]\nffff0060 t vfs_prog\t[bpf]\n"
    )
    match = kernel_names._match_symbols
    assert match("", "vfs_*", data) == {("vmlinux", "vfs_read"), ("vmlinux", "vfs_lock"), ("ext4", "vfs_mod")}
    assert match("ext4", "*", data) == {("ext4", "vfs_mod")}


def test_a_plain_name_reads_no_large_file(events: None) -> None:
    """What is looked at for a tracepoint, an interval and a kprobe: nothing of size, and no heavy module."""
    code = (
        "import sys, builtins\n"
        "before = set(sys.modules)\n"
        "from linscope.lang.probes import expand, parse_attach_point\n"
        "opened = []\n"
        "sys.addaudithook(lambda name, a: opened.append(str(a[0])) if name == 'open' else None)\n"
        "for text in ('tracepoint:syscalls:sys_enter_openat', 'interval:s:1', 'kprobe:vfs_read', 'BEGIN'):\n"
        "    expand(parse_attach_point(text))\n"
        "print([one for one in opened if not one.endswith(('.py', '.pyc'))])\n"
        "print(*(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    opened, modules = done.stdout.splitlines()
    assert opened == "[]"
    heavy = {"re", "typing", "collections", "dataclasses", "functools", "enum", "inspect", "pathlib", "ctypes", "numpy"}
    assert not set(modules.split()) & heavy


# -- user space

PROGRAM = r"""
#include <stdio.h>
__attribute__((noinline)) int first(int a) { puts("first"); return a + 1; }
__attribute__((noinline)) int second(int a) { puts("second"); return a + 2; }
static __attribute__((noinline, used)) int hidden(int a) { puts("hidden"); return a + 3; }
int main(int argc, char **argv) {
  return first(argc) +
         second(argc) + hidden(argc);
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    (folder / "prog.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-g", "-O1", "-o", str(folder / "prog"), str(folder / "prog.c")], check=True)
    return folder / "prog"


def symbol(path: Path, name: str) -> int:
    for line in subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout.splitlines():
        words = line.split()
        if words[-1] == name:
            return int(words[0], 16)
    raise AssertionError(name)


@needs_gcc
def test_functions_of_a_program(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = probes(f"uprobe:{program}:first")
    assert (found.name, found.path, found.target) == (f"uprobe:{program}:first", str(program), "first")
    assert found.address == symbol(program, "first")  # of a program with its code at the same offset and address
    (found,) = probes(f"u:{program}:first+4")
    assert (found.name, found.offset, found.address) == (
        f"uprobe:{program}:first+4", 4, symbol(program, "first") + 4,
    )  # fmt: skip
    assert names(f"ur:{program}:*i*st") == [f"uretprobe:{program}:first"]
    assert names(f"u:{program}:hidden") == [f"uprobe:{program}:hidden"]
    address = symbol(program, "second") + 2
    (found,) = probes(f"u:{program}:{address:#x}")
    assert (found.name, found.target, found.offset) == (f"uprobe:{program}:{address}", "second", 2)
    monkeypatch.chdir(program.parent)
    assert names("uprobe:./prog:first") == ["uprobe:./prog:first"]
    monkeypatch.setenv("PATH", str(program.parent))
    assert names("uprobe:prog:second") == ["uprobe:prog:second"]  # the working directory comes first
    monkeypatch.chdir("/")
    assert names("uprobe:prog:second") == [f"uprobe:{program}:second"]
    assert names(f"uprobe:{program.parent}/pr*:first") == [f"uprobe:{program}:first"]


@needs_gcc
def test_lines_of_a_program(program: Path) -> None:
    line = next(number for number, text in enumerate(PROGRAM.splitlines(), 1) if "first(int a)" in text)
    (found,) = probes(f"uprobe:{program}@prog.c:{line}")
    assert (found.target, found.offset) == ("first", 0)
    assert found.name == f"uprobe:{program}:{found.address}"
    (found,) = probes(f"uprobe:{program}@prog.c:7")
    assert found.target == "main"
    what, hint = wrong(f"uprobe:{program}@prog.c:700")
    assert what == f"No code at prog.c:700 in {program}"
    assert "gcc -g" in hint
    assert wrong(f"uprobe:{program}@other.c:5")[0].startswith("No code at other.c:5")


@needs_gcc
def test_what_is_not_there(program: Path, tmp_path: Path) -> None:
    what, hint = wrong(f"uprobe:{program}:firts")
    assert what == f"Could not resolve symbol: {program}:firts"
    assert "first" in hint
    assert wrong(f"uprobe:{program}:nope*")[0] == f"No matches for uprobe {program}:nope*"
    assert wrong(f"uprobe:{program}:0x99999999")[0] == f"0x99999999 lies in no segment of {program}"
    what, hint = wrong(f"uprobe:{program}x:first")
    assert what == f"uprobe target file '{program}x' does not exist or is not executable"
    assert str(program) in hint
    assert wrong("uprobe:c:malloc")[1].startswith("libc is the library ")
    text = tmp_path / "text"
    text.write_text("not a program")
    assert "does not exist or is not executable" in wrong(f"uprobe:{text}:f")[0]
    damaged = tmp_path / "damaged"
    damaged.write_bytes(program.read_bytes()[:2000])
    assert "cannot be read" in wrong(f"uprobe:{damaged}:first")[0]
    stripped = tmp_path / "stripped"
    subprocess.run(["strip", "-o", str(stripped), str(program)], check=True)
    assert "stripped" in wrong(f"uprobe:{stripped}:first")[1]


def test_libraries() -> None:
    path = find_library("libc")
    if not path:
        pytest.skip("no libc found")
    assert ".so" in path
    (found,) = probes("uprobe:libc:malloc")
    assert found.name == f"uprobe:{path}:malloc"
    assert found.address > 0
    assert find_library("libc.so.6") in (path, os.path.realpath(path), path.replace("/usr", ""))
    assert find_library("libno_such_library") == ""
    assert "libc" in wrong("uprobe:libcc:malloc")[1]
    assert find_files("libno_such_library") == []


def test_files_of_a_process() -> None:
    pid = os.getpid()
    (found,) = probes("uprobe:libc:malloc", pid)
    assert found.pid == pid
    assert "libc" in found.path
    assert any("python" in path or path == os.path.realpath("/proc/self/exe") for path in find_files("*", pid))
    found_all = names("uprobe:*:malloc_usable_size", pid)
    assert any(name.endswith(":malloc_usable_size") for name in found_all)


@pytest.mark.skipif(not shutil.which("g++"), reason="apt-get install g++")
def test_functions_of_cpp(tmp_path: Path) -> None:
    (tmp_path / "a.cc").write_text(
        "namespace A { struct B { int get(int a); }; int B::get(int a) { return a; } int get(long a) { return a; } }\n"
        "int over(int a) { return a; } int over(char *a) { return *a; }\n"
        "int main() { A::B b; return b.get(1) + A::get(2L) + over(3); }\n"
    )
    path = tmp_path / "a"
    subprocess.run(["g++", "-O0", "-o", str(path), str(tmp_path / "a.cc")], check=True)
    (found,) = probes(f'uprobe:{path}:cpp:"A::B::get"')
    assert found.target == "_ZN1A1B3getEi"
    assert found.name == f"uprobe:{path}:cpp:_ZN1A1B3getEi"
    assert len(names(f"uprobe:{path}:cpp:over")) == 2
    assert names(f'uprobe:{path}:cpp:"over(char*)"') == [f"uprobe:{path}:cpp:_Z4overPc"]
    assert len(names(f"uprobe:{path}:cpp:A::*")) == 2


@needs_gcc
def test_usdt(probed_program: Path) -> None:
    with ElfView(str(probed_program)) as elf:
        notes = list(elf.usdt_probes())
    assert notes
    provider, name, offset, semaphore, operands = notes[0]
    found = probes(f"usdt:{probed_program}:{provider}:{name}")
    assert found[0].name == f"usdt:{probed_program}:{provider}:{name}"
    assert offset in [one.address for one in found]
    assert (found[0].module, found[0].target) == (provider, name)
    assert any((one.arguments, one.semaphore) == (operands, semaphore) for one in found)
    assert [one.name for one in probes(f"usdt:{probed_program}:{name}")] == [one.name for one in found]
    assert len(probes(f"usdt:{probed_program}:*")) == len(notes)
    what, hint = wrong(f"usdt:{probed_program}:{provider}:{name}x")
    assert what == f"No matches for usdt {probed_program}:{provider}:{name}x"
    assert f"{provider}:{name}" in hint


@needs_gcc
def test_a_library_in_an_archive(tmp_path: Path) -> None:
    """As in an Android package: stored, not compressed."""
    import zipfile

    (tmp_path / "a.c").write_text("int in_archive(int a) { return a; }\n")
    library = tmp_path / "liba.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "a.c")], check=True)
    archive = tmp_path / "x.apk"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr("first.txt", "some bytes in front")
        file.write(library, "lib/liba.so")
    (found,) = probes(f"uprobe:{archive}!/lib/liba.so:in_archive")
    (plain,) = probes(f"uprobe:{library}:in_archive")
    assert found.path == str(archive)
    code = library.read_bytes()[plain.address : plain.address + 8]
    assert archive.read_bytes()[found.address : found.address + 8] == code
    assert found.address != plain.address
    assert "cannot be read" in wrong(f"uprobe:{archive}!/lib/no.so:f")[0]


def test_elf_files_that_are_damaged(tmp_path: Path) -> None:
    """Cut anywhere, or with bytes changed: an answer or FormatError."""
    source = Path(os.path.realpath("/bin/true"))
    whole = source.read_bytes()
    path = tmp_path / "cut"
    for size in (0, 10, 63, 64, 100, 1000, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        try:
            with ElfView(str(path)) as elf:
                list(elf.symbols())
                list(elf.usdt_probes())
                elf.find_symbol("main")
        except FormatError:
            pass
    for at in range(0x10, 0x40):
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        try:
            with ElfView(str(path)) as elf:
                list(elf.symbols())
                assert isinstance(elf.build_id, str)
        except FormatError:
            pass
