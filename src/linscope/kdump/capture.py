"""Capture: what the crashed kernel left in memory becomes a dump and its log."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from linscope.errors import InputError, LinscopeError, OutputError
from linscope.memory import open_memory
from linscope.memory.kdump_writer import WriteOptions, Written, write_kdump
from linscope.memory.physical import FRAME_SHIFT
from linscope.units import format_bytes

VMCORE = "/proc/vmcore"


class Captured(NamedTuple):
    """What there is now."""

    dump: Path
    size_bytes: int
    written: Written | None  # None: by makedumpfile
    log: Path | None  # the crashed kernel's messages; None: not asked for, or not readable
    problem: str  # why there is no log, "" when there is


def capture(
    source: str, target: str, options: WriteOptions, *, output: str = "", makedumpfile: bool = False,
    say: Callable[[str], None],
) -> Captured:  # fmt: skip
    """Write a dump of source: to output, or with the log into a new folder of target, named after the time.

    Raises LinscopeError; a dump that is not whole has another name then.
    """
    if not os.path.exists(source):
        if source == VMCORE:
            what = "this kernel has not been started by a crash"
            raise InputError(what, where=source, next_step="linscope kdump load, then it will be when this one crashes")
        raise InputError("cannot open the dump", where=source, why="No such file or directory")
    folder = Path(output).parent if output else Path(target) / time.strftime("crash-%Y%m%d-%H%M%S")
    log, problem = None, ""
    try:
        if not output:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise OutputError("cannot make the folder", where=str(folder), why=error.strerror or "") from None
    if not output:  # first, because it is small and tells most
        log = folder / "dmesg.txt"
        problem = _write_log(source, log)
        log = None if problem else log
        say(f"no log: {problem}" if problem else f"the log is in {log}")
    dump = Path(output) if output else folder / "vmcore"
    if makedumpfile:
        _run_makedumpfile(source, dump, options)
        written = None
    else:
        with open_memory(source) as memory:
            written = write_kdump(memory, str(dump), options)
    return Captured(dump, dump.stat().st_size, written, log, problem)


def describe(done: Captured) -> str:
    """One line for people."""
    written = done.written
    if written is None:
        return f"{format_bytes(done.size_bytes)} to {done.dump}, by makedumpfile"
    parts = [f"{name} {format_bytes(count << FRAME_SHIFT)}" for name, count in written.excluded.items()]
    left = f"; left out: {', '.join(parts)}" if parts else ""
    lost = f"; LOST, because they cannot be read: {written.lost} pages" if written.lost else ""
    stored = format_bytes(written.stored << FRAME_SHIFT)
    total = format_bytes(written.memory_bytes)
    return f"{stored} of {total} of memory to {done.dump}: {format_bytes(done.size_bytes)}{left}{lost}"


def _write_log(source: str, target: Path) -> str:
    """Write the crashed kernel's messages; returns why not, "" when it worked.

    By another process: should it fail in any way, or use up the memory, the dump is still to be written.
    """
    part = target.with_name(target.name + ".part")
    command = [sys.executable, "-m", "linscope", "crash", source, "-c", "log"]
    try:
        with part.open("wb") as file:
            done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
        if done.returncode == 0:
            part.rename(target)
            return ""
        part.unlink()
    except OSError as error:
        return error.strerror or str(error)
    words = done.stderr.decode(errors="replace").strip().splitlines()
    return words[0].removeprefix("linscope: ") if words else f"it ended with {done.returncode}"


_FLAGS = {"zlib": ["-c"], "lzo": ["-l"], "zstd": ["-z"], "none": []}


def _run_makedumpfile(source: str, dump: Path, options: WriteOptions) -> None:
    """Raises LinscopeError with its last words; what it has written then keeps the name *.part."""
    program = shutil.which("makedumpfile")
    if program is None:
        raise LinscopeError("there is no makedumpfile", next_step="apt-get install makedumpfile")
    part = dump.with_name(dump.name + ".part")
    command = [program, "-f", "-d", str(options.level), *_FLAGS[options.compression], source, str(part)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not part.exists():
        words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise LinscopeError("makedumpfile failed", where=source, why="; ".join(words[-3:]))
    part.rename(dump)
