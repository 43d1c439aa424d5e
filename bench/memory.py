"""Dumps: all pages read, and filtered dumps written, beside drgn, makedumpfile and crash in the same run.

usage: bench/memory.py [--drgn PYTHON-WITH-DRGN] [--vmlinux FILE] [--dump FILE]
What is read is compared by a checksum, what is written page by page: a difference ends it.  The dump to write from is
an ELF core, as /proc/vmcore is one, made of the dump's pages, with zeros for those that were filtered out.
Goals: reading <= 1.0x of drgn's CPU time; writing zstd <= 1.0x of makedumpfile's with zlib, in <= 64 MB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from itertools import zip_longest
from multiprocessing import Process
from pathlib import Path

from measure import LINSCOPE, ROOT, compare, median, run

sys.path.insert(0, str(ROOT / "tests" / "memory"))
from made_dumps import PAGE, elf, note

SHARED = ROOT.parent / "shared" / "dumps" / "debian-6.1-lzo.kdump"
OURS = """
import json, sys, zlib
from linscope.memory import open_memory
ranges = json.load(open(sys.argv[2]))
with open_memory(sys.argv[1]) as memory:
    total = 0
    for first, behind in ranges:
        for address, chunk in memory.iter_chunks(first, behind):
            total = zlib.crc32(chunk, total)
print(total)
"""
THEIRS = """
import json, sys, zlib
import drgn
ranges = json.load(open(sys.argv[2]))
program = drgn.Program()
program.set_core_dump(sys.argv[1])
total = 0
for first, behind in ranges:
    for at in range(first, behind, 1 << 20):
        total = zlib.crc32(program.read(at, min(1 << 20, behind - at), physical=True), total)
print(total)
"""


def make_inputs(dump: Path, made: dict[str, Path]) -> None:
    """The dump in other compressions, as an ELF core, and the list of its ranges."""
    from linscope.memory import open_memory
    from linscope.memory.kdump_writer import WriteOptions, write_kdump

    with open_memory(str(dump)) as memory:
        for name in ("zlib", "lzo", "zstd"):
            write_kdump(memory, str(made[name]), WriteOptions(level=0, compression=name))
        ranges = list(memory.iter_present())
        made["ranges"].write_text(json.dumps(ranges))
        segments = []
        direct = _direct_map(memory.vmcoreinfo or b"")
        for first, behind in memory.ranges:
            content = bytearray(behind - first)
            for address, chunk in memory.iter_chunks(first, behind):
                content[address - first : address - first + len(chunk)] = chunk
            segments.append((direct + first, first, bytes(content), behind - first))
        notes = b"".join(note(one.name, one.kind, one.description) for one in memory.notes)
        made["elf"].write_bytes(elf(segments, notes))


def _direct_map(text: bytes) -> int:
    """Where makedumpfile looks for the direct map: the mask of the address of mem_section tells it."""
    from linscope.memory.vmcoreinfo import VmcoreInfo

    return (VmcoreInfo(text).symbol("mem_section") or 0) & ~((1 << 30) - 1)


def output_of(words: list[str]) -> str:
    """Standard output of a command that must succeed."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def reading(made: dict[str, Path], drgn: str) -> None:
    """All pages."""
    for name in ("lzo", "zlib", "zstd"):
        ours = [sys.executable, "-c", OURS, str(made[name]), str(made["ranges"])]
        if not drgn:
            cost = median(ours)
            print(f"read all pages, {name:<18} ours {cost.cpu_s:6.2f} s {cost.peak_mb:6.0f} MB", flush=True)
            continue
        theirs = [drgn, "-c", THEIRS, str(made[name]), str(made["ranges"])]
        if output_of(ours) != output_of(theirs):
            sys.exit(f"drgn reads something else out of {name}")
        compare(f"read all pages, {name}, drgn", median(theirs), median(ours), "1.0x")


def writing(made: dict[str, Path], folder: Path) -> None:
    """From ELF to kdump, -d 31."""
    from linscope.memory import open_memory

    peer = shutil.which("makedumpfile")
    for name, flag in (("zlib", "-c"), ("lzo", "-l"), ("zstd", "-c")):
        target = folder / "ours"
        ours = [LINSCOPE, "kdump", "capture", str(made["elf"]), "-o", str(target), "-c", name]
        if peer is None:
            cost = run(ours)
            print(f"write -d 31, {name:<21} ours {cost.cpu_s:6.2f} s {cost.peak_mb:6.0f} MB", flush=True)
            continue
        theirs = [peer, "-f", "-d", "31", flag, str(made["elf"]), str(folder / "theirs")]
        run(ours)
        run(theirs)
        with open_memory(str(target)) as one, open_memory(str(folder / "theirs")) as other:
            if any(a != b for a, b in zip_longest(one.iter_chunks(), other.iter_chunks())):
                sys.exit(f"makedumpfile {flag} writes other pages than ours with {name}")
        sizes = f"{(folder / 'theirs').stat().st_size >> 10:,} and {target.stat().st_size >> 10:,} KB"
        compare(f"write -d 31, {name}, makedumpfile {flag}", median(theirs), median(ours), f"1.0x with zstd; {sizes}")


def searching(made: dict[str, Path], vmlinux: str) -> None:
    """crash goes through all of physical memory for a word that is not there."""
    crash = shutil.which("crash")
    if not crash or not vmlinux:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".crash") as file:
        file.write("search -p deadbeefcafef00d\nquit\n")
        file.flush()
        peer = median([crash, "-s", "-i", file.name, vmlinux, str(made["lzo"])], 1)
    ours = median([LINSCOPE, "crash", str(made["lzo"]), "-c", "search -p deadbeefcafef00d"], 1)
    compare("search -p, lzo, crash", peer, ours, "8x")


def main() -> None:
    """Compare, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--drgn", default="", help="a Python that has drgn")
    parser.add_argument("--vmlinux", default="", help="with DWARF, for crash")
    parser.add_argument("--dump", default=str(SHARED))
    arguments = parser.parse_args()
    if not Path(arguments.dump).exists():
        sys.exit("no ../shared/dumps beside the checkout; clone it there, or --dump FILE")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = {name: folder / name for name in ("zlib", "lzo", "zstd", "elf", "ranges")}
        # In another process: what this one had in memory, its children would be said to have had.
        maker = Process(target=make_inputs, args=(Path(arguments.dump), made))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the dump cannot be read")
        pages = sum(behind - first for first, behind in json.loads(made["ranges"].read_text())) // PAGE
        print(f"{pages:,} pages of {made['elf'].stat().st_size >> 20} MB")
        reading(made, arguments.drgn)
        writing(made, folder)
        searching(made, arguments.vmlinux)


if __name__ == "__main__":
    main()
