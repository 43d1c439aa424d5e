"""The same names as perf 6.1: address by address over whole files, and on recordings of real programs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from oracle import MISSING, PERF, Mapping, ask_perf

from linscope.binfmt.elf import PF_X, PT_LOAD, ElfFile
from linscope.symbols.objects import ObjectKey, Symbolizer

pytestmark = [pytest.mark.peer, pytest.mark.skipif(not PERF, reason=MISSING)]
BASE = 0x7F0000000000
UNKNOWN = "[unknown]"

CPP = """\
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>
namespace ns {
template <class T> struct Box {
  T v;
  __attribute__((noinline)) T work(T a, int n) const {
    for (int i = 0; i < n; i++) a = a * v + i;
    return a;
  }
};
}
extern "C" {
__attribute__((noinline)) int strong_one(int x) {
  int s = 0;
  for (int i = 0; i < x; i++) s += i * x;
  return s;
}
int weak_alias_of_it(int) __attribute__((weak, alias("strong_one")));
int _under(int) __attribute__((alias("strong_one")));
int strong_one_longer(int) __attribute__((alias("strong_one")));
}
struct S {
  std::string s;
  S(const char *c);
  ~S();
  bool operator<(const S &o) const;
};
__attribute__((noinline)) S::S(const char *c) : s(c) {}
__attribute__((noinline)) S::~S() { if (s.size() > 1000000) puts("x"); }
__attribute__((noinline)) bool S::operator<(const S &o) const { return s < o.s; }
asm(".text\\n.globl bare_label\\nbare_label: nop\\nnop\\n.size_less: nop\\nnop\\n");
int main(int c, char **v) {
  int n = c > 1 ? atoi(v[1]) : 200;
  volatile double d = 0;
  ns::Box<long> b{3};
  ns::Box<double> bd{1.0001};
  std::map<std::string, int> m;
  for (int i = 0; i < n; i++) {
    d += b.work(i, 2000);
    d += bd.work(i, 2000); d += strong_one(3000) + weak_alias_of_it(10);
    std::vector<int> x;
    for (int j = 0; j < 2000; j++) x.push_back((j * 7919) % 1000);
    std::sort(x.begin(), x.end(), [](int a, int b) { return a > b; });
    for (int j = 0; j < 200; j++) m[std::to_string(j * i)]++;
    S one("abc"), two("abd");
    d += one < two;
  }
  printf("%g %zu\\n", (double)d, m.size());
}
"""


def compare(folder: Path, path: str, step: int = 16) -> tuple[int, Counter[tuple[str, str]]]:
    """Ask both about every step-th byte of a file's code: how many agree, and who says what elsewhere."""
    with ElfFile(path) as elf:
        code = [one for one in elf.segments if one.kind == PT_LOAD and one.flags & PF_X]
    segment = max(code, key=lambda one: one.file_size)
    page = segment.offset & ~0xFFF
    length = segment.file_size + segment.offset - page
    addresses = list(range(BASE, BASE + length, step))
    theirs = ask_perf(folder, [Mapping(path, BASE, length, page)], addresses)
    table, rule = Symbolizer(plt_like_perf=True).table(ObjectKey(path))
    found = table.find(rule.apply(np.array(addresses, np.uint64), BASE, page)).tolist()
    ours = [table.name(index) if index >= 0 else UNKNOWN for index in found]
    same = sum(their.name == our for their, our in zip(theirs, ours, strict=True))
    return same, Counter((t.name, o) for t, o in zip(theirs, ours, strict=True) if t.name != o)


def explained(their: str, our: str) -> bool:
    """perf 6.1 has no .plt.got and .plt.sec; a symbol without a size before .plt covers some of it."""
    return (our.endswith("@plt") or our == UNKNOWN) and their in (UNKNOWN, "_init", "_fini")


LIBRARIES = [
    path
    for path in (
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/libm.so.6",
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/usr/lib/x86_64-linux-gnu/libz.so.1",
        "/usr/bin/perl",
        "/usr/bin/gzip",
    )
    if Path(path).exists()
]


@pytest.mark.parametrize("path", LIBRARIES)
def test_every_address_of_a_library(tmp_path: Path, path: str) -> None:
    same, different = compare(tmp_path, path)
    assert same > 100
    assert [pair for pair in different if not explained(*pair)] == []


@pytest.mark.skipif(not shutil.which("g++"), reason="g++ is not installed: apt-get install g++")
@pytest.mark.parametrize("options", [[], ["-no-pie"], ["-static"], ["-fcf-protection=full"]])
def test_every_address_of_a_cpp_program(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "a.cpp").write_text(CPP)
    subprocess.run(["g++", "-O2", "-g", *options, "-o", tmp_path / "a", tmp_path / "a.cpp"], check=True)
    same, different = compare(tmp_path, str(tmp_path / "a"), 1)
    assert same > 100
    assert [pair for pair in different if not explained(*pair)] == []
    # the same after the symbols moved to a separate file
    program, debug = tmp_path / "a", tmp_path / "a.debug"
    if "-static" in options:
        return  # without .dynsym perf takes the debug file for the mapped one, and its offsets are others
    subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True)
    subprocess.run(["strip", "-s", program], check=True)
    subprocess.run(["objcopy", f"--add-gnu-debuglink={debug}", program], check=True)
    again, different = compare(tmp_path, str(program), 1)
    assert again >= same - 64
    assert [pair for pair in different if not explained(*pair)] == []


def symbols_readable() -> bool:
    with open("/proc/kallsyms", "rb") as file:
        return bool(file.readline()[:16].strip(b"0 "))


@pytest.mark.skipif(not symbols_readable(), reason="/proc/kallsyms hides its addresses: run as root")
def test_kernel_symbols_and_aliases(tmp_path: Path) -> None:
    anchors = {}
    addresses = []
    with open("/proc/kallsyms", encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            anchors.setdefault(fields[2], int(fields[0], 16))
            addresses.append(int(fields[0], 16))
    start, end = anchors["_text"], anchors["_etext"]
    asked = sorted({address for address in addresses if start <= address < end})
    asked = sorted({*asked[::20], *(a for a, b in pairwise(asked) if b - a < 8)})
    kernel = Mapping("[kernel.kallsyms]_text", start, end - start, start, kernel=True)
    theirs = ask_perf(tmp_path, [kernel], asked)
    table, rule = Symbolizer().table(ObjectKey("[kernel.kallsyms]_text", kind="kernel"))
    found = table.find(rule.apply(np.array(asked, np.uint64), start, start)).tolist()
    ours = [table.name(index) if index >= 0 else UNKNOWN for index in found]
    assert ours == [their.name for their in theirs]


def test_every_address_of_the_vdso(tmp_path: Path) -> None:
    addresses = list(range(BASE, BASE + 0x2000, 4))
    theirs = ask_perf(tmp_path, [Mapping("[vdso]", BASE, 0x2000, 0)], addresses)
    table, rule = Symbolizer().table(ObjectKey("[vdso]", kind="vdso"))
    found = table.find(rule.apply(np.array(addresses, np.uint64), BASE, 0)).tolist()
    ours = [table.name(index) if index >= 0 else UNKNOWN for index in found]
    assert ours == [their.name for their in theirs]


# Recordings of real programs

PYTHON = """\
import hashlib, json, re, sqlite3, zlib
data = b"".join(b"%d " % (i * i % 977) for i in range(60000))
for _ in range(6):
    zlib.compress(data, 9); hashlib.sha256(data * 4).digest(); hashlib.md5(data).digest()
    json.loads(json.dumps([{"a": i, "b": str(i)} for i in range(9000)]))
    re.findall(rb"(\\d+)7 ", data); sorted(data.split())
    base = sqlite3.connect(":memory:")
    base.execute("create table t (a, b)")
    base.executemany("insert into t values (?, ?)", ((i, str(i)) for i in range(12000)))
    base.execute("select count(*), b from t group by b order by b desc").fetchall()
"""
PERL = """\
my %h;
for my $i (1..3000000) { $h{$i % 977} .= chr(65 + $i % 26) }
print length(join '', sort values %h)
"""
WORKLOADS = {
    "python": [sys.executable, "-c", PYTHON],
    "perl": ["perl", "-e", PERL],
    "dd": ["dd", "if=/dev/zero", "of=/dev/null", "bs=512", "count=700000"],
    "sort": ["sh", "-c", "seq 1 200000 | sort -R | sort | gzip -9 >/dev/null"],
    "node": ["node", "--perf-basic-prof", "-e", "let s = 0, m = {}; for (let i = 0; i < 4e6; i++) "
             "{ s += Math.sin(i); m[i % 99] = JSON.stringify([i, s]) } console.log(s)"],
}  # fmt: skip
_KERNEL = re.compile(
    r"PERF_RECORD_MMAP -1/0: \[(0x[0-9a-f]+)\((0x[0-9a-f]+)\) @ (0x[0-9a-f]+|0)\]: \S+ (.*)$"
)
_FRAME = re.compile(r"^\s+([0-9a-f]+) (?:(.*) )?\(([^()]*(?:\([^()]*\)[^()]*)*)\)$")
_MAP = re.compile(r"/perf-(\d+)\.map$")


def record(folder: Path, command: list[str]) -> Path:
    """A recording of a command's user and kernel stacks."""
    assert PERF
    output = folder / "perf.data"
    subprocess.run(
        [PERF, "record", "-q", "-N", "-e", "cpu-clock", "-F", "999", "-g", "-o", output, "--", *command],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    return output


def replay(recording: Path) -> tuple[int, Counter[tuple[str, str, str]]]:
    """How many frames of ``perf script`` have our name; (dso, perf's, ours) of the others.

    perf prints kernel frames as they are, user frames as offsets in their file.
    """
    assert PERF
    command = [PERF, "script", "-i", recording, "-F", "pid,ip,sym,dso", "--no-inline", "--show-mmap-events"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kernel = next(found for line in text.splitlines() if (found := _KERNEL.search(line)))
    mine = Symbolizer(plt_like_perf=True)
    same, different = 0, Counter[tuple[str, str, str]]()
    for line in text.splitlines():
        frame = _FRAME.match(line)
        if not frame or "PERF_RECORD" in line:
            continue
        address, their, dso = int(frame[1], 16), frame[2] or UNKNOWN, frame[3]
        our = resolve(mine, address, dso, kernel)
        if our == their:
            same += 1
        else:
            different[dso, their, our] += 1
    return same, different


def resolve(mine: Symbolizer, address: int, dso: str, kernel: re.Match[str]) -> str:
    jit = _MAP.search(dso)
    if dso == "[kernel.kallsyms]":
        table, rule = mine.table(ObjectKey(kernel[4], kind="kernel"))
        at = int(rule.apply(np.array([address], np.uint64), int(kernel[1], 0), int(kernel[3], 0))[0])
    else:
        kind = "jit" if jit else "vdso" if dso == "[vdso]" else "user"
        table, _ = mine.table(ObjectKey(dso, kind=kind, pid=int(jit[1]) if jit else 0))
        at = address
    index = int(table.find(np.array([at], np.uint64))[0])
    return table.name(index) if index >= 0 else UNKNOWN


def remove_perf_maps(recording: Path) -> None:
    """Remove the maps that the recorded program left in /tmp."""
    assert PERF
    command = [PERF, "script", "-i", recording, "-F", "pid"]
    pids = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for pid in set(pids):
        Path(f"/tmp/perf-{int(pid)}.map").unlink(missing_ok=True)


def can_record() -> bool:
    return os.geteuid() == 0


@pytest.mark.slow
@pytest.mark.kernel
@pytest.mark.skipif(not can_record(), reason="recording the kernel needs root: sudo make test")
@pytest.mark.parametrize("name", WORKLOADS)
def test_recording(tmp_path: Path, name: str) -> None:
    if not shutil.which(WORKLOADS[name][0]):
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    recording = record(tmp_path, WORKLOADS[name])
    try:
        same, different = replay(recording)
    finally:
        remove_perf_maps(recording)
    total = same + sum(different.values())
    print(f"{name}: {same} of {total} frames ({100 * same / total:.3f} %)", different.most_common(8))
    assert total > 500
    assert same >= 0.995 * total
