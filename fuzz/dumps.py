"""Damaged dumps: each opens or is refused by an error of ours, and every page of it reads or gives a fault, in bounded
time and memory.

Seeds are small dumps of every form out of tests/memory, and the heads of ../shared's real one.  A case is a seed with
bits flipped in its heads, bitmaps, descriptors or notes, with a piece cut out, doubled or filled, or with a number
replaced by one at a border; then it is opened, its ranges and all its pages are read, and a kernel is looked for.
Prints what was found, grouped; exits with 1 after a finding.

    .venv/bin/python fuzz/dumps.py 10000 --seed 1
"""

from __future__ import annotations

import argparse
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "memory"))

from made_dumps import PAGE, elf, flatten, kdump, lime, note, page_of, prstatus, qemu  # noqa: E402
from test_kdump_writer import kernel_memory  # noqa: E402

from linscope.errors import LinscopeError, MemoryFault  # noqa: E402
from linscope.memory import open_memory  # noqa: E402
from linscope.memory.kdump_writer import WriteOptions, write_kdump  # noqa: E402
from linscope.memory.kernel_image import kernel_space  # noqa: E402
from linscope.memory.page_kinds import PageKinds  # noqa: E402
from linscope.memory.vmcoreinfo import VmcoreInfo  # noqa: E402

SHARED = ROOT.parent / "shared" / "dumps" / "debian-6.1-lzo.kdump"
SLOW_S = 2.0  # of CPU time
MOST_BYTES = 700 << 20  # of address space, above what is there in the beginning
MOST_READ = 4 << 20  # bytes of each memory that are read
NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFFF, 0x1000, 0x1001, 0xFFFF, 0x1_0000, 1 << 31, (1 << 32) - 1, 1 << 52,
           (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1)  # fmt: skip


class TooSlow(BaseException):
    """A case that takes more than a few seconds; nobody else catches it."""


def give_up(*_: object) -> None:
    """The handler of SIGVTALRM."""
    raise TooSlow


def seeds() -> dict[str, bytes]:
    """By name."""
    kernel, text = kernel_memory()
    pages = {n: page_of(n, dull=n % 2 == 0) for n in [*range(1, 9), 30, 700]}
    pages |= {n: page for n, page in kernel.items() if n in range(0x100, 0x110) or n in range(0x200, 0x203)}
    pages |= {n: kernel[n] for n in range(0x300, 0x320)}
    notes = prstatus(1, {"rip": 5}) + qemu({"cr3": 0x100000})
    segments = [(0, n << 12, page, PAGE) for n, page in pages.items()]
    made = {f"kdump {c}": kdump(pages, compression=c, notes=notes, vmcoreinfo=text, excluded=[9, 31])
            for c in ("zlib", "lzo", "snappy", "zstd", "none")}  # fmt: skip
    made |= {f"kdump v{v}": kdump(pages, version=v, excluded=[9]) for v in range(6)}
    made["kdump split"] = kdump(pages, split=(0, 20), notes=notes)
    made["elf"] = elf(segments, notes + note(b"VMCOREINFO", 0, text))
    made["elf overlapping"] = elf([(0, 0, pages[1] * 3, 9 * PAGE), (1, PAGE, pages[2] * 2, 4 * PAGE)], notes, many=True)
    made["kcore"] = elf([(n, n, page, PAGE) for n, page in enumerate(pages.values())], note(b"CORE", 4, bytes(64)))
    made["lime"] = lime([(0x1000, pages[1] * 2), (0x9000, pages[2])])
    flat = made["kdump zlib"]
    made["flattened"] = flatten([(at, flat[at : at + 3000]) for at in range(0, len(flat), 2900)])
    made["guest RAM"] = b"".join(pages.get(n, bytes(PAGE)) for n in range(0x320)) + text.ljust(PAGE, b"\0")
    if SHARED.exists():
        with SHARED.open("rb") as file:
            made["real head"] = file.read(400_000)
    return made


def damage(data: bytes, random: Random) -> bytes:
    """One to four changes, most of them in the first 40 KB, where heads, bitmaps and descriptors are."""
    made = bytearray(data)
    for _ in range(random.randint(1, 4)):
        end = min(len(made), 40_000) if random.random() < 0.8 else len(made)
        if end < 16:
            break
        at = random.randrange(end - 8)
        if random.random() < 0.3:
            at &= ~7
        kind = random.randrange(7)
        size = min(random.choice((1, 8, 64, 512, PAGE)), len(made) - at)
        if kind <= 1:
            made[at] ^= 1 << random.randrange(8)
        elif kind == 2:
            layout = random.choice("<Q <I >Q <H".split())
            width = struct.calcsize(layout)
            struct.pack_into(layout, made, at, random.choice(NUMBERS) & (1 << 8 * width) - 1)
        elif kind == 3:
            del made[at : at + size]
        elif kind == 4:
            made[at:at] = made[at : at + size]
        elif kind == 5:
            made[at : at + size] = random.choice((b"\0", b"\xff", random.randbytes(1))) * size
        else:
            del made[random.randrange(len(made)) :]
    return bytes(made)


def use(path: Path) -> str:
    """Open it and read what it has; says how that ended."""
    with open_memory(str(path)) as memory:
        ranges = memory.ranges[:2000]
        assert all(first < behind for first, behind in ranges)
        assert memory.is_incomplete in (True, False)
        read = pages = 0
        for address, chunk in memory.iter_chunks():
            assert chunk
            assert memory.has(address)
            read += len(chunk)
            if read > MOST_READ:
                break
        for first, behind in ranges[:50]:
            for address in (first, behind - 4, (first + behind) // 2):
                pages += _reads(lambda at=address: memory.read(at, 8))
        try:
            space = kernel_space(memory)
        except LinscopeError:
            return "opened"
        for address in (0xFFFFFFFF81000000, 0xFFFF888000000000, 0):
            _reads(lambda at=address: space.read(at, 64))
        _count(space.ranges(max_tables=500))
        try:
            PageKinds(space, VmcoreInfo(memory.vmcoreinfo or b"")).of(0, 1 << 15)
        except LinscopeError:
            return "opened, with tables"
        if memory.size <= 1 << 32:
            _reads(lambda: write_kdump(memory, str(path) + ".out", WriteOptions(compression="zlib")))
        return "opened, with tables and kinds of pages"


def _reads(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except LinscopeError:
        return False
    return True


def _count(ranges: object) -> None:
    try:
        for number, _ in enumerate(ranges):  # type: ignore[arg-type]
            if number > 5000:
                break
    except MemoryFault:
        pass


def main() -> int:
    """Damage and use; 1 after a finding."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", type=int, nargs="?", default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = Random(arguments.seed)
    originals = list(seeds().items())
    with open("/proc/self/statm") as file:
        present = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (present + MOST_BYTES, -1))
    signal.signal(signal.SIGVTALRM, give_up)
    ends: Counter[str] = Counter()
    findings: dict[str, Path] = {}
    slowest = 0.0
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.cases):
            name, data = originals[number % len(originals)]
            path = Path(folder) / "dump"
            path.write_bytes(damage(data, random) if number >= len(originals) else data)
            start = time.process_time()
            signal.setitimer(signal.ITIMER_VIRTUAL, 2 * SLOW_S)
            try:
                end = use(path)
            except LinscopeError as error:
                str(error)
                end = f"refused: {type(error).__name__}"
            except TooSlow as error:
                end = f"FINDING: more than {2 * SLOW_S} s of CPU time in {name}, at\n"
                end += "".join(traceback.format_tb(error.__traceback__)[-4:])
            except Exception as error:  # noqa: BLE001 - whatever is no error of ours is a finding
                end = "FINDING: " + "".join(traceback.format_exception(error)[-3:])
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            taken = time.process_time() - start
            slowest = max(slowest, taken)
            if taken > SLOW_S and not end.startswith("FINDING"):
                end = f"FINDING: {taken:.1f} s of CPU time ({name})"
            if end.startswith("FINDING") and end not in findings:
                kept = ROOT / "build" / "fuzz" / f"dump-{arguments.seed}-{number}"
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(path.read_bytes())
                findings[end] = kept
            ends[end] += 1
    for end, count in ends.most_common():
        print(f"{count:7,} {end}" + (f"\n        {findings[end]}" if end in findings else ""))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    taken = time.monotonic() - begin
    print(f"{arguments.cases:,} cases in {taken:.0f} s, the slowest {slowest:.2f} s, peak {peak} MB; "
          f"{len(findings) or 'NO'} findings")  # fmt: skip
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
