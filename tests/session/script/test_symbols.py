"""Names of addresses without numpy: the kernel's, those of files, of processes that are gone."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from linscope.lang import types as t
from linscope.session.script.elf_table import open_table, vdso_table
from linscope.session.script.kernel_symbols import KernelSymbols
from linscope.session.script.resolver import Resolver
from linscope.session.script.stack_places import pid_places
from linscope.session.script.user_symbols import UserSymbols, read_jit_map

KALLSYMS = """ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000010 T first
ffffffff81000080 t second
ffffffffc0002000 t inside\t[late]
ffffffffc0001000 t begin\t[early]
"""


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (0xFFFFFFFF81000000, ("_stext", 0, "")),
        (0xFFFFFFFF8100000F, ("_stext", 15, "")),
        (0xFFFFFFFF81000010, ("first", 0, "")),
        (0xFFFFFFFF8100007F, ("first", 0x6F, "")),
        (0xFFFFFFFF81000080, ("second", 0, "")),
        (0xFFFFFFFFC0001FFF, ("begin", 0xFFF, "early")),
        (0xFFFFFFFFC0002001, ("inside", 1, "late")),
        (0xFFFFFFFF80FFFFFF, None),
        (0, None),
    ],
)
def test_kernel_symbols(tmp_path: Path, address: int, found: object) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(KALLSYMS)
    assert KernelSymbols(str(path)).find(address) == found


def test_hidden_addresses_have_no_names(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("0000000000000000 T _text\n0000000000000000 t other\n")
    assert KernelSymbols(str(path)).find(0xFFFFFFFF81000000) is None


def test_every_kernel_symbol_is_found() -> None:
    """Beside a reading of the whole file."""
    lines = Path("/proc/kallsyms").read_text().splitlines()
    symbols = KernelSymbols()
    rows = [line.split(maxsplit=3) for line in lines[:: max(len(lines) // 500, 1)] if "\t" not in line]
    if not any(int(row[0], 16) for row in rows):
        pytest.skip("the kernel hides its addresses: run as root")
    first: dict[str, str] = {}
    for line in lines:
        first.setdefault(line.split()[0], line.split()[2])
    for address, *_ in rows:
        found = symbols.find(int(address, 16))
        assert found is not None and (found[0], found[1]) == (first[address], 0)


def test_functions_of_a_library() -> None:
    """getppid of this process's libc is where dlsym says."""
    address = ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p).value
    assert address is not None
    frames = UserSymbols(lines=False).frames(address + 4, os.getpid())
    assert frames[-1].name in ("getppid", "__getppid") and frames[-1].distance == 4


def test_functions_are_those_of_nm(tmp_path: Path) -> None:
    if shutil.which("gcc") is None or shutil.which("nm") is None:
        pytest.skip("apt install gcc binutils")
    source = tmp_path / "a.c"
    functions = "int inner(int n){return n+1;} static int hidden(int n){return inner(n);} int main(){return hidden(1);}"
    source.write_text(functions)
    program = tmp_path / "a"
    subprocess.run(["gcc", "-O0", "-no-pie", "-o", program, source], check=True)
    table = open_table(str(program))
    assert table is not None
    listed = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        fields = line.split()
        if fields[-1] in ("inner", "hidden", "main"):
            offset = table.file_offset(int(fields[0], 16))
            assert offset is not None and table.find(offset + 1) == (fields[-1], 1)


def test_the_vdso_has_names() -> None:
    table = vdso_table()
    assert table is not None
    assert any(b"clock_gettime" in table.strings[name : name + 40] for _, _, name in table.symbols)


def test_mappings_outlive_their_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    user = UserSymbols(lines=False)
    try:
        entries = user.see(child.pid).entries
    finally:
        child.communicate(b"\n")
    assert entries and user.see(child.pid, again=True).entries == entries
    assert user.seen(child.pid)


def test_maps_of_jit_compilers() -> None:
    pid = 2**22 + os.getpid()  # no process has it
    path = Path(f"/tmp/perf-{pid}.map")
    path.write_text("1000 20 lambda:a b\nnonsense\n2000 10 second\n")
    try:
        starts, entries = read_jit_map(pid)
    finally:
        path.unlink()
    assert starts == [0x1000, 0x2000] and entries == [(0x1020, "lambda:a b"), (0x2010, "second")]


def test_where_processes_stand_in_keys() -> None:
    stack = t.Stack(t.USER, "bpftrace", 127)
    assert pid_places(t.Tuple((t.INT64, stack, t.UserSymbol()))) == [12, 24]
    assert pid_places(t.Stack(t.KERNEL, "bpftrace", 127)) == []


class Stacks:
    """A map of stacks with one in it."""

    def __init__(self, addresses: list[int]) -> None:
        self.data = b"".join(address.to_bytes(8, "little") for address in addresses) + bytes(16)

    def lookup(self, key: bytes) -> bytes | None:
        return self.data if key == b"\3\0\0\0" else None


def test_stacks_as_text(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(KALLSYMS)
    resolver = Resolver({})
    resolver.stacks = {"stk_127_1": Stacks([0xFFFFFFFF81000084, 0xFFFFFFFF81000011, 16])}  # type: ignore[dict-item]
    resolver.kernel.path = str(path)
    texts = {mode: resolver.stack_text(t.Stack(t.KERNEL, mode, 127))(3) for mode in ("bpftrace", "perf", "raw")}
    assert texts["bpftrace"] == f"\n{' ' * 8}second+4\n{' ' * 8}first+1\n{' ' * 8}0x10\n"
    assert texts["perf"] == "\n\tffffffff81000084 second+4\n\tffffffff81000011 first+1\n\t10 0x10\n"
    assert texts["raw"] == "\nffffffff81000084\nffffffff81000011\n10\n"
    assert resolver.stack_text(t.Stack(t.KERNEL, "raw", 127))(0xFFFFFFF2) == ""  # -EFAULT: there was none
