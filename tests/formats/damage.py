"""Damages recordings and reads them: bits flipped, ends cut off.  Also a program: damage.py --flips N --cuts N.

Each reading must end in time, with tables or an InputError; problems carry offsets; rows before the damage are there.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from slow_reader import plain_records

from linscope.columns.profile import Profile
from linscope.errors import InputError, UnsupportedError
from linscope.formats.perf_data.reader import open_perf_data

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "perf-data"
MAX_BYTES = 40_000  # a longer recording is cut off there: each trial is to be fast
MAX_SECONDS = 10
MAX_MEMORY = 3 << 30  # of addresses: numpy and the thread pools of others take most of it


class TooSlow(BaseException):
    """A reading did not end."""


@dataclass
class Trial:
    """One damaged recording."""

    name: str
    what: str
    data: bytes
    rows: int  # samples that must be there at least


def _alarm(*_: Any) -> None:
    raise TooSlow


def read(data: bytes, *, pipe: bool = False) -> Profile | None:
    """The tables, None if the recording was refused.  Raises what must not happen."""
    source: Any = io.BytesIO(data)
    if pipe:
        source.seekable = lambda: False
    try:
        with open_perf_data(source, where="damaged") as opened:
            profile = opened.read(tables=True)
    except InputError as error:
        assert error.offset is not None or isinstance(error, UnsupportedError), error
        return None
    for problem in profile.problems:
        assert isinstance(problem, InputError), problem
        assert problem.offset is not None, problem
        assert str(problem.offset) in str(problem)
    for column in vars(profile.samples).values():
        assert len(column) == len(profile.samples)
    assert not len(profile.samples) or int(profile.samples.stack.max()) < len(profile.stacks.parent)
    return profile


def data_section(blob: bytes) -> tuple[int, int]:
    """(start, end) of the records."""
    (size,) = struct.unpack_from("<Q", blob, 8)
    if size == 16:
        return 16, len(blob)
    start, length = struct.unpack_from("<QQ", blob, 40)
    return start, min(start + length, len(blob))


def samples_before(blob: bytes, offset: int) -> int:
    """Samples in records that end at or before offset, when all of them are plain."""
    at, _ = data_section(blob)
    count = 0
    for record in plain_records(blob[:offset]):
        at += 8 + len(record.body)
        if record.type in (66, 71, 81, 83) or at > offset:
            break
        count += record.type == 9
    return count


def shortened(path: Path) -> bytes:
    """The recording, or its first part."""
    return path.read_bytes()[:MAX_BYTES]


def cuts(path: Path, count: int) -> Iterator[Trial]:
    """The recording, cut off at count places, also within each of its first records."""
    blob = path.read_bytes() if path.stat().st_size < 10 * MAX_BYTES else shortened(path)
    plain = "compressed" not in path.name and "READ" not in path.name
    for n in range(count):
        size = len(blob) * n // count
        yield Trial(path.name, f"cut at {size}", blob[:size], samples_before(blob, size) if plain and size > 104 else 0)


def flips(path: Path, count: int, seed: int) -> Iterator[Trial]:
    """The recording with one bit (every fourth: up to five bytes) changed; half of them in the front."""
    blob = shortened(path)
    chance = random.Random(f"{seed} {path.name}")
    start, _ = data_section(blob)
    plain = "compressed" not in path.name and ".piped." not in path.name
    for n in range(count):
        damaged = bytearray(blob)
        limit = min(len(blob), 600) if n % 2 else len(blob)
        places = [chance.randrange(limit)]
        if n % 4 == 3:
            places = [min(len(blob) - 1, places[0] + i) for i in range(chance.randrange(1, 6))]
            for at in places:
                damaged[at] = chance.randrange(256)
        else:
            damaged[places[0]] ^= 1 << chance.randrange(8)
        rows = samples_before(blob, places[0]) if plain and places[0] > start else 0
        yield Trial(path.name, f"changed at {places}", bytes(damaged), rows)


def run(trials: Iterator[Trial]) -> tuple[int, int]:
    """(readings, those that were refused); raises AssertionError with the trial that went wrong."""
    done = refused = 0
    before = signal.signal(signal.SIGALRM, _alarm)
    try:
        for trial in trials:
            signal.alarm(MAX_SECONDS)
            try:
                profile = read(trial.data, pipe=".pipe" in trial.name)
            except BaseException as error:
                raise AssertionError(f"{trial.name}, {trial.what}: {error!r}") from error
            finally:
                signal.alarm(0)
            done += 1
            refused += profile is None
            rows = 0 if profile is None else len(profile.samples)
            assert rows >= trial.rows, f"{trial.name}, {trial.what}: {rows} rows of {trial.rows} before the damage"
    finally:
        signal.signal(signal.SIGALRM, before)
    return done, refused


def main() -> None:
    """Damage all recordings, in bounded memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--cuts", type=int, default=200, help="places in each file")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = sorted(FOLDER.iterdir())
    each = -(-arguments.flips // len(files))
    done = refused = 0
    for path in files:
        for trials in (cuts(path, arguments.cuts), flips(path, each, arguments.seed)):
            more, no = run(trials)
            done, refused = done + more, refused + no
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"reader: {done:,} damaged recordings read, {refused:,} of them refused, peak memory {peak} MB, NO findings")


if __name__ == "__main__":
    main()
