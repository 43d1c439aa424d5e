"""Damaged input: the native code under AddressSanitizer and UBSan, then the whole reader of perf.data, then dumps.

Builds fuzz/native.cpp (clang with libFuzzer, else g++ with the harness's own loop), makes seeds from the recordings
in ../shared/conformance and from this machine's ELF files, runs, prints executions and findings.  Exits with 1
after a finding; the input that made it stays in build/fuzz/findings.  Dumps: see fuzz/dumps.py.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "fuzz"
NATIVE = ROOT / "src" / "linscope" / "_native"
RECORDINGS = ROOT.parent / "shared" / "conformance" / "perf-data"
SANITIZE = "-fsanitize=address,undefined"
MAX_SEED = 16 << 10  # bytes: short inputs run often
CFI_FILES = ("/bin/ls", "/usr/lib/x86_64-linux-gnu/libc.so.6", sys.executable)


def build() -> tuple[Path, bool]:
    """(the harness, whether libFuzzer drives it)."""
    BUILD.mkdir(parents=True, exist_ok=True)
    out = BUILD / "native"
    sources = [str(ROOT / "fuzz" / name) for name in ("native.cpp", "bpf_maps.cpp")]
    sources += [str(NATIVE / f"{name}.cpp") for name in ("scan", "fold", "unwind", "cfi", "ring", "lines", "bpf_maps")]
    common = ["-std=c++20", "-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
    clang = shutil.which("clang++")
    if clang:
        command = [clang, *common, f"{SANITIZE},fuzzer", *sources, "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return out, True
        print(f"no libFuzzer (apt-get install clang libclang-rt-14-dev):\n{done.stderr[-2000:]}")
    command = ["g++", *common, SANITIZE, "-DFUZZ_BY_ITSELF", *sources, "-o", str(out)]
    subprocess.run(command, check=True)
    return out, False


def scan_input(choice: int, layouts: list[tuple[int, ...]], ids: list[int], records: bytes, split: int) -> bytes:
    """An input of native.cpp's scan(): layouts as of EventAttr.layout(), one id each."""
    made = bytes((choice & ~1, len(layouts), split, 0))
    for layout, one in zip(layouts, ids, strict=True):
        sample_type, read_format, branches, user, interrupt, trailer, _, per_thread = layout
        made += struct.pack(
            "<IIQBBBBI",
            sample_type & 0xFFFFFFFF,
            user & 0xFFFFFFFF,
            one & (2**64 - 1),
            read_format & 0xFF,
            branches >> 13 & 0xFF,
            interrupt & 0xFF,
            trailer,
            per_thread,
        )
    return made + records


def seeds_of_recording(path: Path) -> list[bytes]:
    """Slices of a recording's records, with its events."""
    from linscope.errors import InputError
    from linscope.formats.perf_data.reader import open_perf_data

    made = []
    try:
        with open_perf_data(str(path)) as opened:
            for item in opened.records():
                scanned = getattr(item, "scanned", None)
                if scanned is None or not opened.attrs:
                    continue
                attrs = opened.attrs[:4]
                layouts = [attr.layout() for attr in attrs]
                ids = [attr.ids[0] if attr.ids else 0 for attr in attrs]
                starts = scanned.samples["offset"].tolist()
                for number, start in enumerate(starts[:: max(1, len(starts) // 3)][:3]):
                    piece = bytes(item.buffer[item.base + start :][:MAX_SEED])
                    choice = (2 if opened.header.big_endian else 0) | (8 if number % 2 else 0)
                    made.append(scan_input(choice, layouts, ids, piece, number * 20))
    except InputError as error:
        print(f"no seeds of {path.name}: {error}")
    return made


def seeds_of_every_type() -> list[bytes]:
    """A few samples of each sample_type alone and of all together, in both byte orders."""
    made = []
    for type_ in [1 << n for n in range(25)] + [(1 << 25) - 1, 0x3000 | 1]:
        for order in "<>":
            body = struct.pack(order + "30Q", *(n % 4 for n in range(30)))
            record = struct.pack(order + "IHH", 9, 2, 8 + len(body)) + body
            chain = struct.pack(order + "4Q", 3, 2**64 - 640, 7, 0x1234)
            deferred = struct.pack(order + "IHH3Q", 9, 1, 8 + 24, *(1, 2, 3)) + chain
            late = struct.pack(order + "IHH4Q", 22, 2, 8 + 32, 7, 2, 0x5678, 0x9ABC)
            layout = (type_, 0x1F, 0xA0 << 13, 3, 2, 1, 1, 0)
            choice = (2 if order == ">" else 0) | 8
            made.append(scan_input(choice, [layout], [1], record * 4 + deferred + late, 0))
            made.append(scan_input(choice, [layout, layout], [1, 2], record * 4, 1))
    return made


def seeds_of_cfi() -> list[bytes]:
    """Pieces of .eh_frame sections behind a made-up stack."""
    from linscope.binfmt.elf import ElfFile

    made = []
    for name in CFI_FILES:
        with ElfFile(os.path.realpath(name)) as elf:
            for section in elf.sections:
                if section.name in (".eh_frame", ".debug_frame"):
                    data = elf.section_bytes(section)
                    for size in (200, 2000, 12_000):
                        head = bytes(range(28)) + b"\x08\0\0\0" + bytes(64)
                        made.append(b"\x01" + head + bytes(size // 8) + data[:size])
    return made


def seeds_of_maps() -> list[bytes]:
    """Operations in turn on a map of every kind."""
    operations = bytes(n * 37 % 256 for n in range(400))
    return [bytes((32, kind, 1, 5, 3, 7)) + operations for kind in range(12)]


def seeds_of_pages() -> list[bytes]:
    """Pages of trace.dat files, and made-up ones of every kind of event, in both byte orders and sizes of long."""
    made = []
    for order, big in (("<", 0), (">", 2)):
        for long_size, code in ((8, "Q"), (4, "I")):
            for kinds in ((1, 2, 3), (0, 1), (30, 1, 31, 2), (29, 1), (28,)):
                events = b"".join(
                    struct.pack(order + "5I", kind << 27 | 5 if big else kind | 5 << 5, 12, 7, 8, 9) for kind in kinds
                )
                page = struct.pack(order + "Q" + code, 1000, len(events) | 3 << 30) + events
                choice = bytes((16 | big, (4 if long_size == 8 else 0) | 1, 16))
                made.append(choice + page.ljust(128, b"\1") * 2)
    for path in sorted((RECORDINGS.parent / "trace-dat").glob("*.dat")):
        data = path.read_bytes()
        made += [b"\x10\x07\x10" + data[at : at + 4096] for at in range(len(data) - 8 * 4096, len(data) - 4095, 4096)]
    return made


def write_seeds() -> Path:
    """The folder of seeds."""
    folder = BUILD / "seeds"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seeds = seeds_of_every_type() + seeds_of_cfi() + seeds_of_maps() + seeds_of_pages()
    for path in sorted(RECORDINGS.iterdir()) if RECORDINGS.is_dir() else []:
        seeds += seeds_of_recording(path)
    for number, seed in enumerate(seeds):
        (folder / f"{number:04}").write_bytes(seed)
    print(f"{len(seeds)} seeds, {sum(map(len, seeds)) // 1024} KiB")
    return folder


def run(harness: Path, by_libfuzzer: bool, seconds: int, seeds: Path) -> int:
    """Exit code of the harness; prints what it did."""
    findings, corpus = BUILD / "findings", BUILD / "corpus"
    for folder in (findings, corpus):
        folder.mkdir(exist_ok=True)
    if by_libfuzzer:
        command = [
            str(harness),
            f"-max_total_time={seconds}",
            f"-max_len={2 * MAX_SEED}",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            f"-artifact_prefix={findings}/",
            str(corpus),
            str(seeds),
        ]
    else:
        command = [str(harness), str(seconds), "1", *map(str, sorted(seeds.iterdir()))]
    options = "abort_on_error=0:detect_leaks=1:allocator_may_return_null=0"
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=os.environ | {"ASAN_OPTIONS": options}
    )
    text = done.stdout + done.stderr
    executions = re.search(r"number_of_executed_units: (\d+)|Done (\d+) runs", text)
    if done.returncode:
        print(text[-6000:])
    count = next((int(n) for n in executions.groups() if n), 0) if executions else 0
    coverage = re.findall(r"cov: (\d+)", text)
    print(
        f"native: {count:,} executions in {seconds} s, {coverage[-1] if coverage else '?'} edges covered, "
        f"{'NO findings' if done.returncode == 0 else f'a finding in {findings}'}"
    )
    return done.returncode


def main() -> int:
    """Fuzz the native code, then damage whole recordings."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("seconds", type=int, nargs="?", default=600, help="for the native code (600)")
    parser.add_argument("--flips", type=int, default=10_000, help="bits to flip in recordings, damaged dumps (10000)")
    arguments = parser.parse_args()
    harness, by_libfuzzer = build()
    failed = run(harness, by_libfuzzer, arguments.seconds, write_seeds())
    if arguments.flips and RECORDINGS.is_dir():
        damage = ROOT / "tests" / "formats" / "damage.py"
        failed |= subprocess.run([sys.executable, str(damage), "--flips", str(arguments.flips)]).returncode
    if arguments.flips:
        dumps = ROOT / "fuzz" / "dumps.py"
        failed |= subprocess.run([sys.executable, str(dumps), str(arguments.flips)]).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
