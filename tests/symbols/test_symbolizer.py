"""Finding an object's symbols: debug files, build-ids, containers, the kernel, JIT maps, the cache."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import random
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from elf_writer import Symbol, write_elf
from hypothesis import given
from hypothesis import strategies as st

from linscope.errors import FormatError
from linscope.symbols.cache import SymbolCache
from linscope.symbols.kallsyms import parse_kallsyms
from linscope.symbols.objects import ObjectKey, SearchPath, Symbolizer
from linscope.symbols.perf_map import parse_perf_map
from linscope.symbols.table import SymbolTable

ID = bytes(range(20))
TEXT = [Symbol("run", 0x401010, 0x20), Symbol("walk", 0x401040, 0x10)]
BASE = 0xFFFFFFFF9A000000
KALLSYMS = f"""\
0000000000000000 A fixed_percpu_data
{BASE:016x} T _stext
{BASE:016x} T _text
{BASE + 0x100:016x} T do_work
{BASE + 0x200:016x} t alias_one
{BASE + 0x200:016x} T alias_two
{BASE + 0x300:016x} r not_code
{BASE + 0x400:016x} D some_data
ffffffffc0001000 t helper\t[nf_tables]
ffffffffc0001080 T nft_do\t[nf_tables]
ffffffffc0009000 t bpf_prog_6deef7357e7b4530_sd_fw\t[bpf]
"""


@pytest.fixture
def search(tmp_path: Path) -> SearchPath:
    """A world of its own: nothing of this machine is looked at."""
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "kallsyms").write_text(KALLSYMS)
    (proc / "modules").write_text("nf_tables 16384 0 - Live 0xffffffffc0001000\n")
    head = (4).to_bytes(4, "little") + (20).to_bytes(4, "little") + (3).to_bytes(4, "little")
    (tmp_path / "notes").write_bytes(head + b"GNU\0" + ID)
    return SearchPath(
        debug_roots=(str(tmp_path / "debug"),),
        perf_cache=str(tmp_path / "perf"),
        proc=str(proc),
        temporary=str(tmp_path),
        kernel_notes=str(tmp_path / "notes"),
    )


def name_at(table: SymbolTable, address: int) -> str | None:
    index = int(table.find(np.array([address], np.uint64))[0])
    return None if index < 0 else table.name(index)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_file_of_the_same_build_only(tmp_path: Path, search: SearchPath) -> None:
    path = write(tmp_path / "bin/prog", write_elf(TEXT, build_id=ID))
    mine = Symbolizer(search=search)
    table, rule = mine.table(ObjectKey(str(path), ID.hex()))
    found = rule.apply(np.array([0x55501018], np.uint64), 0x55501000, 0x1000)
    assert name_at(table, int(found[0])) == "run"
    assert mine.notes == []
    key = ObjectKey(str(path), "ff" * 20)
    assert len(mine.table(key)[0]) == 0
    mine.table(ObjectKey(str(path), "ff" * 20, pid=1))
    assert mine.notes == [f"{path}: changed since the recording (its build-id differs), not used"]


def test_short_build_ids_are_padded_in_recordings(tmp_path: Path, search: SearchPath) -> None:
    path = write(tmp_path / "prog", write_elf(TEXT, build_id=ID[:8]))
    assert len(Symbolizer(search=search).table(ObjectKey(str(path), ID[:8].hex() + "00" * 12))[0]) == 2


def test_separate_debug_files(tmp_path: Path, search: SearchPath) -> None:
    full = write_elf(TEXT, build_id=ID)
    places = [
        tmp_path / "debug/.build-id/00" / f"{ID[1:].hex()}.debug",
        tmp_path / "perf/.build-id/00" / ID[1:].hex() / "debug",
        tmp_path / "bin/.debug/prog.dbg",
        tmp_path / f"debug{tmp_path}/bin/prog.dbg",
    ]
    for place in places:
        path = write(tmp_path / "bin/prog", write_elf([], build_id=ID, debug_link="prog.dbg"))
        path.write_bytes(path.read_bytes().replace(b".symtab", b".nothin").replace(b"\2\0\0\0", b"\1\0\0\0"))
        write(place, full)
        mine = Symbolizer(search=search)
        key = ObjectKey(str(path), ID.hex())
        assert name_at(mine.table(key)[0], 0x1018) == "run", (place, mine.notes)
        place.unlink()
    write(places[0], write_elf(TEXT, build_id=ID[::-1]))  # another build's
    mine = Symbolizer(search=search)
    assert len(mine.table(ObjectKey(str(path), ID.hex()))[0]) == 0
    assert mine.notes == [f"no symbols for {path} (stripped)"]


def test_mini_debug_info(tmp_path: Path, search: SearchPath) -> None:
    packed = lzma.compress(write_elf(TEXT))
    image = write_elf([], debugdata=packed, build_id=ID).replace(b".symtab", b".nothin")
    image = image.replace(b"\2\0\0\0\0\0\0\0", b"\1\0\0\0\0\0\0\0")  # no SHT_SYMTAB any more
    path = write(tmp_path / "prog", image)
    assert name_at(Symbolizer(search=search).table(ObjectKey(str(path)))[0], 0x1048) == "walk"
    broken = write(tmp_path / "broken", image.replace(packed[20:40], bytes(20)))
    mine = Symbolizer(search=search)
    assert len(mine.table(ObjectKey(str(broken)))[0]) == 0
    assert "damaged .gnu_debugdata" in mine.notes[0]


def test_file_in_a_container_through_proc(tmp_path: Path, search: SearchPath) -> None:
    write(tmp_path / "proc/77/root/app/prog", write_elf(TEXT, build_id=ID))
    mine = Symbolizer(search=search)
    assert name_at(mine.table(ObjectKey("/app/prog", ID.hex(), pid=77))[0], 0x1010) == "run"
    assert len(mine.table(ObjectKey("/app/prog", ID.hex(), pid=78))[0]) == 0
    assert mine.notes == ["/app/prog: no such file, so no symbols"]


def test_not_a_file(tmp_path: Path, search: SearchPath) -> None:
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path / "empty", b"")
    mine = Symbolizer(search=search)
    for name in ("pipe", "empty", "proc", "missing"):
        assert len(mine.table(ObjectKey(str(tmp_path / name)))[0]) == 0
    assert len(mine.notes) == 4
    os.mkfifo(tmp_path / "perf-7.map")
    assert len(mine.table(ObjectKey("//anon", kind="jit", pid=7))[0]) == 0
    assert mine.notes[4] == f"{tmp_path}/perf-7.map is not a regular file: not used"
    assert len(mine.table(ObjectKey("//anon", kind="anon"))[0]) == 0
    assert len(mine.table(ObjectKey("[heap]"))[0]) == 0


def test_kernel_modules_and_bpf_from_kallsyms(search: SearchPath) -> None:
    mine = Symbolizer(search=search)
    key = ObjectKey("[kernel.kallsyms]_text", ID.hex(), "kernel")
    table, rule = mine.table(key)
    ips = np.array([BASE + 0x1FF, BASE + 0x200, BASE + 0x3FF, BASE + 0x2000], np.uint64)
    found = table.find(rule.apply(ips, BASE, BASE)).tolist()
    assert [table.name(i) if i >= 0 else None for i in found] == ["do_work", "alias_two", "alias_two", None]
    # the same kernel at another boot lies elsewhere
    moved = rule.apply(ips + np.uint64(0x4000000), BASE + 0x4000000, BASE + 0x4000000)
    assert table.find(moved).tolist() == found
    module, rule = mine.table(ObjectKey("/lib/modules/6.1/net/nf-tables.ko.xz", kind="module"))
    at = rule.apply(np.array([0xFFFFFFFFC0001090], np.uint64), 0xFFFFFFFFC0001000, 0)
    assert name_at(module, int(at[0])) == "nft_do"
    program, rule = mine.table(ObjectKey("bpf_prog_6deef7357e7b4530_sd_fw", kind="bpf"))
    assert name_at(program, int(rule.apply(np.array([99], np.uint64), 90)[0])) == program.name(0)
    assert mine.notes == []


def test_kernel_of_another_build(search: SearchPath) -> None:
    mine = Symbolizer(search=search)
    assert len(mine.table(ObjectKey("[kernel.kallsyms]_text", "ee" * 20, "kernel"))[0]) == 0
    assert "neither the running one nor a vmlinux" in mine.notes[0]
    copy = Path(search.perf_cache) / "[kernel.kallsyms]" / ("ee" * 20) / "kallsyms"
    write(copy, KALLSYMS.encode())
    table, _ = Symbolizer(search=search).table(ObjectKey("[kernel.kallsyms]_text", "ee" * 20, "kernel"))
    assert name_at(table, 0x100) == "do_work"


def test_hidden_kernel_addresses_are_told(tmp_path: Path, search: SearchPath) -> None:
    zeros = "".join("0" * 16 + line[16:] + "\n" for line in KALLSYMS.splitlines())
    (tmp_path / "proc/kallsyms").write_text(zeros)
    mine = Symbolizer(search=search)
    assert len(mine.table(ObjectKey("[kernel.kallsyms]_text", "", "kernel"))[0]) == 0
    assert "kptr_restrict" in mine.notes[0]


def test_vmlinux_given_by_hand(tmp_path: Path, search: SearchPath) -> None:
    symbols = [
        Symbol("_text", 0x401000, kind=0),
        Symbol("start_kernel", 0x401080, 0x40),
        Symbol("_stext", 0x401020, kind=0),
    ]
    path = write(tmp_path / "vmlinux", write_elf(symbols, build_id=ID))
    mine = Symbolizer(search=search, vmlinux=str(path))
    table, rule = mine.table(ObjectKey("[kernel.kallsyms]_stext", ID.hex(), "kernel"))
    at = rule.apply(np.array([BASE + 0x20 + 0x70], np.uint64), BASE, BASE + 0x20)
    assert name_at(table, int(at[0])) == "start_kernel"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_module_file(tmp_path: Path, search: SearchPath, pack: type[bytes]) -> None:
    (tmp_path / "proc/modules").write_text("")
    path = write(tmp_path / "lib/driver.ko", pack(write_elf([Symbol("probe", 0x10, 8)], address=0)))
    table, rule = Symbolizer(search=search).table(ObjectKey(str(path), kind="module"))
    assert name_at(table, int(rule.apply(np.array([0x9012], np.uint64), 0x9000)[0])) == "probe"


def test_kallsyms_that_is_none() -> None:
    assert parse_kallsyms(b"0000000000000000 T a\n") is None
    table = parse_kallsyms(b"c0100000 T _text\nc0100010 t f\n")
    assert table and name_at(table.kernel, 0x10) == "f"


@given(st.binary(max_size=300), st.sampled_from([b"", KALLSYMS.encode()[:200], b"00000000c0100000 T a\n"]))
def test_any_bytes_as_kallsyms(data: bytes, start: bytes) -> None:
    with contextlib.suppress(FormatError):
        parsed = parse_kallsyms(start + data)
        if parsed:
            for index in range(len(parsed.kernel)):
                parsed.kernel.name(index)


@given(st.binary(max_size=300), st.sampled_from([b"", b"1000 10 a\n", b"ffffffffffffffff 1 x\n"]))
def test_any_bytes_as_a_perf_map(data: bytes, start: bytes) -> None:
    table = parse_perf_map(start + data)
    assert np.all(table.ends[:-1] <= table.starts[1:])
    for index in range(len(table)):
        assert table.name(index)


def test_flipped_bits_in_a_cache_file(tmp_path: Path, search: SearchPath) -> None:
    path = write(tmp_path / "prog", write_elf(TEXT, build_id=ID))
    cache = SymbolCache(tmp_path / "cache")
    key = ObjectKey(str(path), ID.hex())
    Symbolizer(search=search, cache=cache).table(key)
    stored = next((tmp_path / "cache").glob("*.sym"))
    whole = stored.read_bytes()
    chance = random.Random(3)
    for _ in range(300):
        image = bytearray(whole)
        image[chance.randrange(len(image))] ^= 1 << chance.randrange(8)
        stored.write_bytes(image)
        table, _ = Symbolizer(search=search, cache=cache).table(key)
        assert table.starts.tolist() == [0x1010, 0x1040]  # names are not summed: a flip there shows as it is
        assert [len(table.name(index)) <= 8 for index in range(2)] == [True, True]


def test_guest_kernels_are_not_taken_for_this_one(search: SearchPath) -> None:
    mine = Symbolizer(search=search)
    assert len(mine.table(ObjectKey("[guest.kernel.kallsyms.7]", kind="kernel"))[0]) == 0
    assert len(mine.notes) == 1


def test_perf_map_last_line_wins(tmp_path: Path, search: SearchPath) -> None:
    lines = (
        b"1000 100 old\n1080 40 LazyCompile:~new file.js:1\nbad line\n0x2000 10 py::main:/a b.py\n3000 0 no\n"
    )
    table = parse_perf_map(lines)
    assert [name_at(table, a) for a in (0x1000, 0x1080, 0x10BF, 0x10C0, 0x10FF, 0x1100, 0x2001)] == [
        *("old", "LazyCompile:~new file.js:1", "LazyCompile:~new file.js:1", "old", "old", None),
        "py::main:/a b.py",
    ]
    write(tmp_path / "perf-77.map", lines)
    mine = Symbolizer(search=search)
    table, rule = mine.table(ObjectKey("//anon", kind="jit", pid=77))
    assert name_at(table, int(rule.apply(np.array([0x2008], np.uint64))[0])) == "py::main:/a b.py"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away: sudo make test")
def test_perf_map_of_a_stranger(tmp_path: Path, search: SearchPath) -> None:
    path = write(tmp_path / "perf-77.map", b"1000 100 evil\n")
    os.chown(path, 12345, 12345)
    mine = Symbolizer(search=search)
    assert len(mine.table(ObjectKey("//anon", kind="jit", pid=77))[0]) == 0
    assert mine.notes == [f"{path} belongs to user 12345, who did not run the process: not used"]


def test_perf_map_in_a_container(tmp_path: Path, search: SearchPath) -> None:
    write(tmp_path / "proc/77/status", b"Name:\tnode\nNStgid:\t77\t5\n")
    write(tmp_path / "proc/77/ns/mnt", b"")
    write(tmp_path / "proc/self/ns/mnt", b"")
    write(tmp_path / "proc/77/root/tmp/perf-5.map", b"1000 100 inside\n")
    table, _ = Symbolizer(search=search).table(ObjectKey("//anon", kind="jit", pid=77))
    assert name_at(table, 0x1000) == "inside"


def test_cache_serves_gone_files_and_survives_damage(tmp_path: Path, search: SearchPath) -> None:
    path = write(tmp_path / "prog", write_elf(TEXT, build_id=ID))
    key = ObjectKey(str(path), ID.hex())
    cache = SymbolCache(tmp_path / "cache")
    Symbolizer(search=search, cache=cache).table(key)
    stored = next((tmp_path / "cache").glob("*.sym"))
    whole = stored.read_bytes()
    path.rename(tmp_path / "away")
    assert name_at(Symbolizer(search=search, cache=cache).table(key)[0], 0x1018) == "run"
    for damaged in (whole[:-1], whole[:10], b"", whole[:90] + b"\xff" + whole[91:], whole + b"x"):
        stored.write_bytes(damaged)
        assert len(Symbolizer(search=search, cache=cache).table(key)[0]) == 0
    (tmp_path / "away").rename(path)
    assert name_at(Symbolizer(search=search, cache=cache).table(key)[0], 0x1018) == "run"
    assert stored.read_bytes() == whole  # rebuilt


def test_cached_kernel_is_used_without_reading_kallsyms(tmp_path: Path, search: SearchPath) -> None:
    cache = SymbolCache(tmp_path / "cache")
    key = ObjectKey("[kernel.kallsyms]_text", ID.hex(), "kernel")
    Symbolizer(search=search, cache=cache).table(key)
    (tmp_path / "proc/kallsyms").unlink()
    mine = Symbolizer(search=search, cache=cache)
    assert name_at(mine.table(key)[0], 0x100) == "do_work"
    assert mine.notes == []


def test_cache_stays_within_its_limit_and_needs_no_folder(tmp_path: Path, search: SearchPath) -> None:
    cache = SymbolCache(tmp_path / "cache", limit_bytes=4000)
    for number in range(30):
        path = write(tmp_path / f"prog{number}", write_elf(TEXT, build_id=bytes([number] * 20)))
        Symbolizer(search=search, cache=cache).table(ObjectKey(str(path)))
    files = list((tmp_path / "cache").iterdir())
    assert 0 < sum(file.stat().st_size for file in files) <= 4000
    blocked = SymbolCache(write(tmp_path / "file", b"") / "cache")
    assert len(Symbolizer(search=search, cache=blocked).table(ObjectKey(str(path)))[0]) == 2


def test_two_writers_at_once(tmp_path: Path, search: SearchPath) -> None:
    path = write(tmp_path / "prog", write_elf(TEXT, build_id=ID))
    cache = SymbolCache(tmp_path / "cache")
    names: list[str | None] = []

    def work() -> None:
        for _ in range(20):
            for file in (tmp_path / "cache").glob("*.sym"):
                file.unlink(missing_ok=True)
            names.append(
                name_at(Symbolizer(search=search, cache=cache).table(ObjectKey(str(path)))[0], 0x1018)
            )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == ["run"] * 80
    assert not list((tmp_path / "cache").glob(".new-*"))


SOURCE = """\
static inline __attribute__((always_inline)) int inner(int x) {
  return x * x + 3;
}
__attribute__((noinline)) int outer(int x) {
  int s = 0;
  for (int i = 0; i < x; i++)
    s += inner(i) ^ x;
  return s;
}
int main(int c, char **v) { return outer(c); }
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed: apt-get install gcc")
@pytest.mark.parametrize("options", [[], ["-no-pie"]])
def test_inlined_frames_equal_addr2line(tmp_path: Path, search: SearchPath, options: list[str]) -> None:
    (tmp_path / "a.c").write_text(SOURCE)
    program = tmp_path / "a"
    subprocess.run(["gcc", "-O2", "-g", *options, "-o", program, tmp_path / "a.c"], check=True)
    cache = SymbolCache(tmp_path / "cache")
    for mine in (Symbolizer(search=search, cache=cache), Symbolizer(search=search, cache=cache)):
        key = ObjectKey(str(program))
        table, _ = mine.table(key)
        index = next(i for i in range(len(table)) if table.name(i) == "outer")
        addresses = np.arange(table.starts[index], table.ends[index], dtype=np.uint64)
        headers = subprocess.run(
            ["readelf", "-lW", program], capture_output=True, text=True, check=True
        ).stdout
        loads = [line.split() for line in headers.splitlines() if line.split()[:1] == ["LOAD"]]
        offset, virtual = next((int(f[1], 16), int(f[2], 16)) for f in loads if "E" in f[6:8])
        shown = subprocess.run(
            ["addr2line", "-afie", program, *(hex(int(a) - offset + virtual) for a in addresses)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        theirs = []
        for block in shown.split("0x0")[1:]:
            lines = block.splitlines()[1:]
            theirs.append(list(zip(lines[::2], lines[1::2], strict=True)))
        ours = mine.inlines(key, addresses)
        agree = sum(
            [(f.function, f"{f.file}:{f.line}") for f in one]
            == [(function, place.partition(" (")[0]) for function, place in other]
            for one, other in zip(ours, theirs, strict=True)
        )
        assert agree >= 0.9 * len(addresses)
        assert any([f.function for f in one] == ["inner", "outer"] for one in ours)
        first = mine.source_line(key, int(addresses[0]))
        assert first is not None and first[0].endswith("a.c")
    assert list((tmp_path / "cache").glob("*.symcache"))
    assert Symbolizer(search=search).inlines(ObjectKey("/missing"), addresses) == [[] for _ in addresses]


def test_a_missing_map_of_a_jit_is_told(tmp_path: Path) -> None:
    mine = Symbolizer(search=SearchPath(temporary=str(tmp_path)))
    table, _ = mine.table(ObjectKey("/tmp/perf-4194305.map", kind="jit", pid=4194305))
    assert len(table) == 0
    assert mine.notes == [
        "/tmp/perf-4194305.map: no such file, so no names in code that process 4194305 made as it ran"
    ]
