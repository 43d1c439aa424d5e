"""Damaged recordings: an error or a problem with an offset, the rows before it, in bounded time and memory."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
from pathlib import Path

import damage
import pytest
import zstandard

from linscope.errors import FormatError, InputError, UnsupportedError
from linscope.formats.perf_data.reader import open_perf_data
from linscope.formats.perf_data.tracing_data import parse_tracing_data

needs_files = pytest.mark.skipif(
    not damage.FOLDER.is_dir(), reason="no ../shared/conformance beside the checkout; clone it there"
)


def run_program(*words: str) -> None:
    """damage.py in its own process, whose memory is bounded."""
    program = str(Path(damage.__file__))
    done = subprocess.run([sys.executable, program, *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "NO findings" in done.stdout


@needs_files
def test_some_damage_to_every_recording() -> None:
    run_program("--flips", "210", "--cuts", "4", "--seed", "3")


@needs_files
@pytest.mark.slow
def test_more_damage_to_every_recording() -> None:
    run_program("--flips", "3000", "--cuts", "30", "--seed", "4")


@needs_files
@pytest.mark.slow
def test_cut_at_200_places() -> None:
    for name in ("perf.data.piped.target.throttled-3.4", "sleep.compressed.data", "perf.data.callgraph-3.4"):
        done, _ = damage.run(damage.cuts(damage.FOLDER / name, 200))
        assert done == 200


def pipe(*records: bytes) -> io.BytesIO:
    """A pipe recording of one event with IP, TID and TIME, and these records."""
    attr = struct.pack("<IIQQQQQ", 1, 64, 0, 1, 1 | 2 | 4, 0, 1 << 18) + bytes(16)
    described = struct.pack("<IHH", 64, 0, 8 + 64 + 8) + attr + struct.pack("<Q", 5)
    return io.BytesIO(struct.pack("<8sQ", b"PERFILE2", 16) + described + b"".join(records))


def record(kind: int, body: bytes, size: int | None = None) -> bytes:
    return struct.pack("<IHH", kind, 2, 8 + len(body) if size is None else size) + body


SAMPLE = record(9, struct.pack("<QIIQ", 0x1000, 7, 7, 1000))
START = 16 + 80


def problems(source: io.BytesIO) -> tuple[int, list[InputError]]:
    """(samples, problems)."""
    with open_perf_data(source, where="made up") as opened:
        profile = opened.read()
    return len(profile.samples), profile.problems  # type: ignore[return-value]


def test_offsets_point_at_the_damaged_record() -> None:
    for bad in (
        record(9, b"", size=4),  # shorter than its header
        record(9, bytes(8)),  # shorter than its fields
        record(81, b"not zstandard"),
        record(83, bytes(4)),
        record(66, struct.pack("<II", 2**31, 0)),  # two gigabytes of tracing data
        record(71, struct.pack("<Q", 2**60) + bytes(32)),  # an exabyte of AUX data
    ):
        rows, found = problems(pipe(SAMPLE * 3, bad, SAMPLE))
        assert rows == 3
        assert [problem.offset for problem in found] == [START + 3 * len(SAMPLE)]
        assert isinstance(found[0], FormatError) and hex(START + 3 * len(SAMPLE)) in str(found[0])


def test_damaged_descriptions_leave_the_samples() -> None:
    for bad in (
        record(80, struct.pack("<Q", 12) + b"\xff" * 8),  # an EVENT_DESC of 4 billion events
        record(80, struct.pack("<QI", 3, 2**32 - 1)),  # a host name of 4 GB
        record(67, bytes(8)),
        record(78, bytes(4)),
        record(64, bytes(16)),
        record(66, struct.pack("<II", 8, 0)) + b"nonsense",
    ):
        rows, found = problems(pipe(SAMPLE, bad, SAMPLE))
        assert rows == 2
        assert len(found) == 1 and found[0].offset is not None
        assert START + len(SAMPLE) <= found[0].offset <= START + len(SAMPLE) + len(bad)


def test_a_damaged_mapping_is_passed_over_and_told() -> None:
    rows, found = problems(pipe(SAMPLE, record(1, bytes(8)), SAMPLE))
    assert rows == 2
    assert [problem.offset for problem in found] == [START + len(SAMPLE)]


def test_a_compressed_record_cannot_fill_the_memory() -> None:
    packer = zstandard.ZstdCompressor(level=3)
    bomb = packer.compress(bytes(1 << 30))
    assert len(bomb) < 60_000
    rows, found = problems(pipe(SAMPLE, record(81, bomb), SAMPLE))
    assert rows == 1
    assert isinstance(found[0], UnsupportedError) and found[0].offset == START + len(SAMPLE)


def test_a_compressed_record_inside_of_one_is_refused() -> None:
    inner = record(81, zstandard.compress(SAMPLE))
    rows, found = problems(pipe(SAMPLE, record(81, zstandard.compress(SAMPLE + inner))))
    assert rows == 2
    assert len(found) == 1 and found[0].offset == START + len(SAMPLE)


def test_many_events_in_a_pipe_are_told_to_the_scanner_once() -> None:
    attr = struct.pack("<IIQQQQQ", 1, 64, 0, 1, 1 | 4 | 64, 0, 1 << 18) + bytes(16)
    events = b"".join(record(64, attr + struct.pack("<Q", n)) for n in range(1, 3000))
    source = io.BytesIO(pipe().getvalue() + events)
    with open_perf_data(source) as opened:
        calls = []
        describe = opened.scanner.set_events
        opened.scanner.set_events = lambda *words: (calls.append(1), describe(*words))[1]  # type: ignore[method-assign]
        assert len(opened.read().events) == 3000
    assert len(calls) <= 1


def tracing_section() -> bytes:
    """Tracing data with one event, as trace-event-info.c writes them."""
    text = (
        b"name: sample\nID: 42\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n"
        b"\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\tfield:__data_loc char[] name;\toffset:24;\tsize:4;"
        b'\tsigned:0;\n\nprint fmt: "%s", REC->comm\n'
    )
    blob = b"\x17\x08\x44tracing0.5\0" + b"\0\x08" + struct.pack("<I", 4096)
    blob += b"header_page\0" + struct.pack("<Q", 3) + b"abc" + b"header_event\0" + struct.pack("<Q", 3) + b"abc"
    blob += struct.pack("<I", 0) + struct.pack("<I", 1) + b"group\0" + struct.pack("<I", 1)
    return blob + struct.pack("<Q", len(text)) + text + struct.pack("<I", 0) + struct.pack("<I", 0)


def test_damaged_tracing_data() -> None:
    whole = tracing_section()
    form = parse_tracing_data(whole, offset=0).events.get(42)
    assert form is not None and form.name == "sample"
    chance = random.Random(5)
    for n in range(3000):
        data = bytearray(whole[: chance.randrange(len(whole))] if n % 3 == 0 else whole)
        for _ in range(chance.randrange(1, 4)):
            if data:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            list(parse_tracing_data(bytes(data), offset=1000).events.values())
        except FormatError as error:
            assert error.offset is not None and 1000 <= error.offset <= 1000 + len(data)
