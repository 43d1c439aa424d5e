"""Dumped user stacks, end to end: beside perf script, from a pipe, and where they cannot be unwound."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pytest

from linscope.abi import perf_event as pe
from linscope.binfmt.perf_records import KIND_EXACT, KIND_MODE
from linscope.formats.perf_data.attrs import EventAttr
from linscope.formats.perf_data.reader import open_perf_data
from linscope.formats.perf_data.user_stacks import Spool, why_not
from linscope.recording import Recording, open_recording

PERF, CC = shutil.which("perf"), shutil.which("gcc")
needs_perf = [
    pytest.mark.kernel,
    pytest.mark.peer,
    pytest.mark.skipif(PERF is None or CC is None, reason="apt-get install linux-perf gcc"),
]

# Library calls through the PLT, a callback from the C library, a signal handler, a frame of a size known only when it
# runs, recursion: no frame pointer leads through any of them.
PROGRAM = r"""
#include <alloca.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
static volatile long sink;
__attribute__((noinline)) static void spin(long n) { for (long i = 0; i < n; i++) sink += i; }
static void handler(int number) { spin(500000); sink += number; }
static int compare(const void *a, const void *b) { spin(300); return *(const int *)a - *(const int *)b; }
__attribute__((noinline)) static long varying(int n) {
    char *bytes = alloca(16 + n % 700);
    memset(bytes, n, 16 + n % 700);
    spin(3000);
    return bytes[n % 16];
}
__attribute__((noinline)) static long deep(int n) {
    char text[64];
    int values[40];
    for (int i = 0; i < 40; i++) values[i] = (i * 7919 + n) % 101;
    qsort(values, 40, sizeof *values, compare);
    snprintf(text, sizeof text, "%d %g", n, sin(n));
    return n ? deep(n - 1) + varying(n * 31) + atoi(text) : values[3];
}
int main(void) {
    struct sigaction action = {.sa_handler = handler};
    struct itimerval every = {{0, 4000}, {0, 4000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    clock_t end = clock() + CLOCKS_PER_SEC * 3 / 4;
    while (clock() < end) sink += deep(10);
    return 0;
}
"""
WHOLE = {"_start", "_dl_start_user", "clone3", "__clone3"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unwind")
    (folder / "program.c").write_text(PROGRAM)
    out = folder / "program"
    flags = ["-O2", "-fomit-frame-pointer", "-w", str(folder / "program.c"), "-o", str(out), "-lm"]
    subprocess.run([str(CC), *flags], check=True)
    return out


def record(program: Path, output: str, *options: str) -> bytes:
    """Standard output of perf record: the recording for "-"."""
    # -d: with mappings of data; without, perf does not find .eh_frame in objects that keep it apart from code
    command = [str(PERF), "record", "-q", "-d", "-F", "997", "-e", "cpu-clock", "--call-graph", "dwarf"]
    done = subprocess.run([*command, "-o", output, *options, "--", str(program)], capture_output=True, check=True)
    return done.stdout


def stacks_of(recording: Recording) -> list[list[tuple[int, str]]]:
    """(address as perf prints it, symbol) of all frames, of all samples in time order."""
    profile, frames = recording.profile, recording.resolved
    found = []
    for sample in profile.samples.time_ns.argsort(kind="stable").tolist():
        numbers = profile.stacks.frames_of(int(profile.samples.stack[sample]))
        numbers = [n for n in numbers if n < len(profile.frames)]
        stack = []
        for n in numbers:
            kernel = profile.frames.kind[n] & KIND_MODE == pe.PERF_RECORD_MISC_KERNEL
            address = profile.frames.address[n] if kernel else frames.address[n]
            stack.append((int(address), frames.name(n)))
        found.append(stack)
    return found


def perf_stacks(path: Path) -> list[list[tuple[int, str]]]:
    command = [str(PERF), "script", "-i", str(path), "--no-inline", "--max-stack", "1000", "-F", "tid,time,ip,sym"]
    text = subprocess.run(command, capture_output=True, check=True).stdout.decode(errors="replace")
    found = []
    for block in text.split("\n\n"):
        lines = [re.match(r"\s+([0-9a-f]+) (.*)$", line) for line in block.strip("\n").splitlines()[1:]]
        if block.strip():
            found.append([(int(line[1], 16), line[2]) for line in lines if line])
    return found


class TestBesidePerf:
    pytestmark = needs_perf

    def test_stacks_are_those_of_perf_script(self, program: Path, tmp_path: Path) -> None:
        """Where perf's own stack is whole (it is not before it knows the dynamic loader's mappings)."""
        path = tmp_path / "perf.data"
        record(program, str(path))
        recording = open_recording(str(path))
        ours, theirs = stacks_of(recording), perf_stacks(path)
        assert len(ours) == len(theirs) > 300
        whole = [pair for pair in zip(ours, theirs, strict=True) if pair[1] and pair[1][-1][1] in WHOLE]
        assert len(whole) > 0.97 * len(ours)
        for mine, perf in whole:
            # perf takes the signal trampoline's first instruction for one after a call, and looks before it
            seen = [address - (name == "__restore_rt") for address, name in mine]
            assert seen == [address for address, _ in perf]
        names = {name for stack in ours for _, name in stack}
        assert {"handler", "__restore_rt", "compare", "varying", "deep", "main"} <= names
        endings = recording.profile.stack_endings
        assert endings["outermost"] > 0.97 * sum(endings.values())

    def test_mappings_of_code_are_enough(self, program: Path, tmp_path: Path) -> None:
        path = tmp_path / "perf.data"
        record(program, str(path), "--no-data")
        endings = open_recording(str(path)).profile.stack_endings
        assert endings["outermost"] > 0.97 * sum(endings.values())

    def test_a_pipe_gives_the_same_as_a_file(self, program: Path) -> None:
        data = record(program, "-")
        with open_perf_data(cast(BinaryIO, Stream(data))) as opened:
            assert opened.source.seekable() is False
            piped = opened.read()
        with open_perf_data(io.BytesIO(data)) as opened:
            read = opened.read()
        assert piped.stack_endings == read.stack_endings
        assert piped.stack_endings["outermost"] > 0.97 * len(piped.samples)
        assert (piped.samples.stack == read.samples.stack).all()
        assert (piped.stacks.frame == read.stacks.frame).all()

    def test_the_interrupted_instruction_is_exact(self, program: Path, tmp_path: Path) -> None:
        path = tmp_path / "perf.data"
        record(program, str(path))
        recording = open_recording(str(path))
        profile, seen = recording.profile, 0
        for stack in set(profile.samples.stack.tolist()):
            frames = [n for n in profile.stacks.frames_of(stack) if n < len(profile.frames)]
            names = [recording.resolved.name(n) for n in frames]
            if "__restore_rt" in names[:-1]:
                below = frames[names.index("__restore_rt") + 1]
                assert profile.frames.kind[below] & KIND_EXACT
                seen += 1
        assert seen


class Stream(io.RawIOBase):
    """Bytes that can be read once, in pieces of odd sizes."""

    def __init__(self, data: bytes) -> None:
        self._source = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        return self._source.readinto(memoryview(view)[:65521])


def test_a_spool_reads_twice() -> None:
    data = bytes(range(256)) * 1000
    spool = Spool(cast(BinaryIO, Stream(data)))
    head = spool.read(10)
    rest = bytearray(len(data))
    size = 0
    while got := spool.readinto(memoryview(rest)[size:]):
        size += got
    assert head + rest[:size] == data
    again = spool.again()
    assert again is not None and again.read() == data
    spool.forget()
    assert spool.again() is None
    spool.close()


def attr(mask: int) -> EventAttr:
    made = SimpleNamespace(sample_type=pe.PERF_SAMPLE_REGS_USER | pe.PERF_SAMPLE_STACK_USER, sample_regs_user=mask)
    return cast(EventAttr, made)


@pytest.mark.parametrize(
    ("architecture", "mask", "works"),
    [
        ("x86_64", 0xFF0FFF, True),
        ("", 0xFF0FFF, True),
        ("aarch64", (1 << 33) - 1, False),
        ("", (1 << 33) - 1, False),
        ("riscv64", (1 << 32) - 1, False),
    ],
)
def test_other_architectures_are_told(architecture: str, mask: int, works: bool) -> None:
    problem = why_not([attr(mask)], architecture, "perf.data")
    assert (problem is None) is works
    assert works or "not unwound" in str(problem)
