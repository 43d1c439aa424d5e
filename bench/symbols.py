"""Symbol tables: CPU time to load them, beside perf and nm, which load the same.

Prints: name, peer's CPU time, ours, ratio.  perf's is that of ``perf script`` on a recording with one sample
in the object, less the same with a sample nowhere; nm's is the whole run.  Medians of several.
Run: .venv/bin/python bench/symbols.py [ELF FILE]...
"""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from linscope.binfmt.elf import PF_X, PT_LOAD, ElfFile
from linscope.symbols.cache import SymbolCache
from linscope.symbols.kallsyms import parse_kallsyms
from linscope.symbols.objects import ObjectKey, Symbolizer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "symbols"))
from oracle import PERF, Mapping, write_recording

BASE = 0x7F0000000000
FILES = ("/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus", "/usr/bin/node")


def own_cpu(work: Callable[[], object], times: int = 7) -> float:
    """Median CPU time of this process in ms."""
    measured = []
    for _ in range(times):
        begin = time.process_time()
        work()
        measured.append(time.process_time() - begin)
    return 1e3 * statistics.median(measured)


def child_cpu(command: list[str], times: int = 5) -> float:
    """Median CPU time of a command in ms."""
    measured = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        measured.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return 1e3 * statistics.median(measured)


def perf_cpu(folder: Path, mapping: Mapping, address: int) -> float:
    """What the symbols of one object cost perf, in ms."""
    if not PERF:
        return float("nan")
    costs = []
    for asked in (address, 0x1000):
        write_recording(folder / "asked.data", [mapping], [asked])
        command = [PERF, "script", "-i", str(folder / "asked.data"), "-F", "ip,sym", "--no-inline"]
        costs.append(child_cpu(command))
    return costs[0] - costs[1]


def show(name: str, peer: float, ours: float) -> None:
    """One line of the result."""
    print(f"{name:48} {peer:9.2f} ms {ours:9.2f} ms {ours / peer:7.3f}x")


def measure_file(folder: Path, path: str) -> None:
    """Cold (parsed) and warm (from the cache)."""
    name = Path(path).name
    with ElfFile(path) as elf:
        segment = max(
            (s for s in elf.segments if s.kind == PT_LOAD and s.flags & PF_X), key=lambda s: s.file_size
        )
    page = segment.offset & ~0xFFF
    mapping = Mapping(path, BASE, segment.file_size + segment.offset - page, page)
    perf = perf_cpu(folder, mapping, BASE + 0x2000)
    key = ObjectKey(path)
    show(f"{name}, cold, perf", perf, own_cpu(lambda: Symbolizer().table(key)))
    nm = shutil.which("nm")
    if nm:
        table = "-D" if subprocess.run([nm, path], capture_output=True).stderr else "-a"
        show(
            f"{name}, cold, nm {table}",
            child_cpu([nm, table, path]),
            own_cpu(lambda: Symbolizer().table(key)),
        )
    cache = SymbolCache(folder / "cache")
    Symbolizer(cache=cache).table(key)
    show(f"{name}, from the cache, perf", perf, own_cpu(lambda: Symbolizer(cache=cache).table(key)))


def measure_kernel(folder: Path) -> None:
    """kallsyms: parsed without the kernel's own time to print it, and from the cache."""
    data = Path("/proc/kallsyms").read_bytes()
    parsed = parse_kallsyms(data)
    if parsed is None:
        print("kernel: /proc/kallsyms hides its addresses (run as root)")
        return
    kernel = Mapping("[kernel.kallsyms]_text", parsed.text, 0x1000000, parsed.text, kernel=True)
    perf = perf_cpu(folder, kernel, parsed.text + 0x1000)
    show("kallsyms, parsed (text in memory), perf", perf, own_cpu(lambda: parse_kallsyms(data)))
    key = ObjectKey("[kernel.kallsyms]_text", kind="kernel")
    show("kallsyms, read and parsed, perf", perf, own_cpu(lambda: Symbolizer().table(key)))
    cache = SymbolCache(folder / "cache")
    Symbolizer(cache=cache).table(key)
    show("kallsyms, from the cache, perf", perf, own_cpu(lambda: Symbolizer(cache=cache).table(key)))
    asked = np.random.default_rng(1).integers(0, 0x1000000, 1_000_000).astype(np.uint64)
    print(f"find: {own_cpu(lambda: parsed.kernel.find(asked)):.0f} ms for 1,000,000 addresses at random")


def main() -> None:
    """Measure the files named, or those that are here of the usual ones."""
    print(f"{'name':48} {'peer':>12} {'ours':>12} {'ratio':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for path in sys.argv[1:] or [path for path in FILES if Path(path).exists()]:
            measure_file(Path(folder), path)
        measure_kernel(Path(folder))


if __name__ == "__main__":
    main()
