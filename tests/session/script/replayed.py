"""A recording that is made up, and scripts over it."""

from __future__ import annotations

import os
import struct
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from linscope.lang.bpftrace.options import Options
from linscope.session.script.output import Output
from linscope.session.script.replay.contents import Origin, StackTable, Wanted, Window
from linscope.session.script.replay.main import open_contents
from linscope.session.script.replay.ordering import ordered
from linscope.session.script.replay.plan import compile_for
from linscope.session.script.replay.recorded_names import TraceResolver
from linscope.session.script.replay.runner import Replay
from linscope.session.script.replay.to_parquet import export_parquet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from linscope.session.script.resolver import Resolver

FORMAT = """name: {name}
ID: {number}
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:u64 number;\toffset:8;\tsize:8;\tsigned:0;
\tfield:int small;\toffset:16;\tsize:4;\tsigned:1;
\tfield:__data_loc char[] text;\toffset:20;\tsize:4;\tsigned:0;
\tfield:const char * pointer;\toffset:24;\tsize:8;\tsigned:0;

print fmt: ""
"""


class Made(NamedTuple):
    """One event."""

    time_ns: int
    event: str = "test:one"
    number: int = 0
    small: int = 0
    text: bytes = b""
    pointer: int = 0
    pid: int = 100
    tid: int = 100
    cpu: int = 0
    comm: bytes = b"worker"

    def record(self) -> bytes:
        """The raw record."""
        place = (len(self.text) + 1) << 16 | 32
        head = struct.pack("<HBBiQiIQ", 1, 0, 0, self.tid, self.number, self.small, place, self.pointer)
        return head + self.text + b"\0"


class MadeContents:
    """A recording of made-up events; samples have no record."""

    where = "made"
    has_cpu = (True, True)
    kernel_stacks = True
    user_stacks = False
    cpus = 2
    release = ""
    same_kernel = False
    origin = Origin()
    kallsyms = "0000000000001000 T first\n0000000000002000 T second\n"
    tables: Path | None = None  # a new folder: what is replayed are its tables

    def __init__(
        self, made: Sequence[Made], *, window: int = 1000, has_process: bool = True, ahead_ns: int | None = None
    ) -> None:
        """window: events in each."""
        self.made = sorted(made, key=lambda one: one.time_ns)
        self.window = window
        self.session: dict[str, Any] = {}
        self.has_process = has_process
        self.ahead_ns = ahead_ns
        self.events = list(dict.fromkeys(one.event for one in made)) or ["test:one"]
        self.is_tracepoint = [":" in name for name in self.events]
        self.start_ns: int | None = self.made[0].time_ns if made else 0
        self.changes: list[Any] = []
        self.losses: list[Any] = []

    def read_format(self, system: str, event: str) -> str | None:
        """All tracepoints have the same fields."""
        return FORMAT.format(name=event, number=1) if f"{system}:{event}" in self.events else None

    def windows(self, wanted: Wanted) -> Iterator[Window]:
        """The wanted events."""
        of = [one for one in self.made if wanted.events[self.events.index(one.event)]]
        for first in range(0, len(of), self.window):
            some = of[first : first + self.window]
            records = [one.record() if ":" in one.event else b"" for one in some]
            sizes = np.array([len(record) for record in records], np.uint32)
            time = np.array([one.time_ns for one in some], np.uint64)
            assert ordered(time) is None
            table = StackTable(np.array([0, 2], np.uint64), np.array([0x1000, 0x2000], np.uint64))
            stack, none = np.zeros(len(some), np.uint32), np.full(len(some), 0xFFFFFFFF, np.uint32)
            yield Window(
                b"".join(records), time, np.array([one.cpu for one in some], np.uint32),
                np.array([one.pid for one in some], np.uint32), np.array([one.tid for one in some], np.uint32),
                np.array([self.events.index(one.event) for one in some], np.uint16),
                (np.cumsum(sizes) - sizes).astype(np.uint64), sizes, np.array([one.comm for one in some], "S16"),
                np.full(len(some), 2, np.uint16), np.array([one.number for one in some], np.uint64),
                (stack, none, table) if wanted.stacks else None,
            )  # fmt: skip

    def resolver(self, settings: Any) -> Resolver:
        """Two kernel symbols."""
        return TraceResolver(self.kallsyms, settings, self.ahead_ns)

    def own_captures(self, program: int) -> None:
        """There are none."""

    def problems(self) -> list[str]:
        """Nothing is wrong."""
        return []


def replay(script: str, contents: Any, *, json: bool = False, parameters: Sequence[str] = ()) -> tuple[str, int]:
    """(output, exit code) of a script over a recording; stderr is the caller's."""
    if getattr(contents, "tables", None) is not None:
        folder = tempfile.mkdtemp(dir=contents.tables)
        export_parquet(contents, folder)
        contents = open_contents(folder)
    options = Options(start_ns=contents.start_ns or 0, parameters=parameters)
    plan = compile_for(contents, script, "test", options)
    with tempfile.TemporaryFile() as file:
        output = Output(file.fileno())
        code = Replay(plan, contents, output, json=json, quiet=True).run()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        return file.read().decode("utf-8", "surrogateescape"), code
