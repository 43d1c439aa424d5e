"""Large recordings, made once into a temporary folder and used again by every benchmark."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MIN_BYTES = 200_000_000  # what the figures are promised for, together with 750,000 samples: it is the stricter one
SAMPLE_RATE = 25_000  # Hz; the kernel's limit may be lower: kernel.perf_event_max_sample_rate


def folder() -> Path:
    """Where inputs are kept until the machine restarts; of this user alone."""
    path = Path(tempfile.gettempdir()) / f"linscope-bench-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user")
    return path


def deep_program() -> Path:
    """bench/deep.c, compiled."""
    program = folder() / "deep"
    source = HERE / "deep.c"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(
            ["cc", "-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", str(source), "-o", str(program)],
            check=True,
        )
    return program


def _record(name: str, seconds: int, arguments: str, rate: int, processes: int) -> Path:
    path = folder() / name
    if path.exists():
        return path
    program = deep_program()
    runs = " & ".join(f"{program} {seconds} {n + 1} {arguments}" for n in range(processes))
    partial = path.with_suffix(".partial")
    command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(rate), "-g", "-m", "16M", "-o", str(partial)]
    subprocess.run([*command, "--", "sh", "-c", f"{runs} & wait"], check=True, stderr=subprocess.DEVNULL)
    partial.rename(path)
    return path


def deep_recording(seconds: int) -> Path:
    """perf record's file of two processes with deep call chains of 300 kinds.

    From 30 s on of at least 200 MB and a million samples: on a busy machine the program runs longer for it.
    """
    name = f"deep-{seconds}.data"
    path = _record(name, seconds, "", SAMPLE_RATE, 2)
    if seconds >= 30 and path.stat().st_size < MIN_BYTES:
        longer = int(seconds * 1.2 * MIN_BYTES / path.stat().st_size)
        path.unlink()
        path = _record(name, longer, "", SAMPLE_RATE, 2)
    return path


def distinct_recording(seconds: int) -> Path:
    """The same program where every walk is another one: hardly two samples have the same stack."""
    return _record(f"distinct-{seconds}.data", seconds, "unlimited", SAMPLE_RATE, 2)
