"""Folded stacks: a line a stack, its frames from the root on joined by ";", a blank, its weight.

The form of FlameGraph's stackcollapse programs; the first frame is the task's name where the recorder knew one.
Names may end in _[k] (kernel), _[j] (JIT), _[i] (inlined).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import BinaryIO

from linscope.columns.profile import Profile
from linscope.contracts import ReadOptions
from linscope.errors import FormatError
from linscope.formats._named import NO_NUMBER, NamedProfileBuilder, clean_text
from linscope.formats.perf_script import iter_blocks

FOLDED_MARK = "FOLDED"  # feature of a profile that was read from folded stacks: its names are final
SUFFIXES = {"kernel": "_[k]", "jit": "_[j]", "inlined": "_[i]"}
_KINDS = {suffix.encode(): kind for kind, suffix in SUFFIXES.items()}
_NUMBER = re.compile(rb"\d{1,19}$")
_FRACTION = re.compile(rb"(?=\.?\d)\d{0,19}\.\d{0,30}(?:[eE][-+]?\d{1,2})?$|\d{1,19}[eE][-+]?\d{1,2}$")
_LINES_OF_HEAD = 400
_LARGEST = (1 << 63) - 1  # sums are signed
_LINES_AT_ONCE = 4096
_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), " ")


def frame_text(name: str) -> str:
    """A name as it can stand in a folded line: without what ends a frame or a line."""
    if not name.isprintable():  # line ends of all kinds are among what is not
        name = name.translate(_CONTROLS)
    return name.replace(";", ":") if ";" in name else name


def write_folded(stacks: Iterable[tuple[str, int]], out: BinaryIO) -> None:
    """Write (frames joined by ";", weight), a line each, in the order they come.  Raises OSError."""
    block: list[str] = []
    for text, weight in stacks:
        block.append(f"{text} {weight}\n")
        if len(block) >= _LINES_AT_ONCE:
            out.write("".join(block).encode("utf-8", "replace"))
            block.clear()
    out.write("".join(block).encode("utf-8", "replace"))


def _weight_of(text: bytes) -> tuple[int, bool] | None:
    """(weight, True if it was rounded); None for what is no weight."""
    if _NUMBER.match(text):
        value = int(text)
        return (value, False) if value <= _LARGEST else None
    if _FRACTION.match(text) and text != b".":
        number = float(text)
        return (round(number), True) if number <= _LARGEST // 2 else None
    return None


class _Parser:
    def __init__(self, where: str) -> None:
        self.where = where
        self.made = NamedProfileBuilder()
        self.event = self.made.event("samples")
        self.rounded = 0
        self.bad = 0
        self.first_bad = (0, 0, "")
        self.two_columns = False
        self._frames: dict[bytes, int] = {}
        self._comms: dict[bytes, int] = {}

    def line(self, line: bytes, number: int, offset: int) -> None:
        """Take one line."""
        line = line.removesuffix(b"\r")
        if not line or line.isspace():
            return
        stack, blank, last = line.rpartition(b" ")
        found = _weight_of(last) if blank else None
        if found is None:
            if line[:1] != b"#":
                self._complain(number, offset, "it does not end in a blank and a weight")
            return
        weight, rounded = found
        self.rounded += rounded
        if self.two_columns:
            stack = stack.rpartition(b" ")[0]
        names = stack.split(b";")
        comm = self._comms.get(names[0])
        if comm is None:
            comm = self._comms[names[0]] = self.made.comm(clean_text(names[0]))
        frames, known = [], self._frames
        for name in reversed(names[1:]):
            frame = known.get(name)
            if frame is None:
                frame = known[name] = self._add(name)
            frames.append(frame)
        self.made.sample(comm, NO_NUMBER, NO_NUMBER, NO_NUMBER, 0, self.event, weight, self.made.stack(frames))

    def _add(self, name: bytes) -> int:
        kind = _KINDS.get(name[-4:])
        return self.made.frame(clean_text(name[:-4] if kind else name), "", kind or "user")

    def _complain(self, number: int, offset: int, why: str) -> None:
        if not self.bad:
            self.first_bad = (number, offset, why)
        self.bad += 1

    def end(self) -> Profile:
        """The tables, and what is to be said of them."""
        profile = self.made.build(self.where)
        for event in profile.events:
            event.period_unit = "samples"
        profile.features = {FOLDED_MARK: True}
        if self.two_columns:
            what = "two weights a line (before and after): the last one is taken"
            profile.problems.append(FormatError(what, where=self.where))
        if self.rounded:
            what = f"{self.rounded:,} weights are fractions and were rounded"
            profile.problems.append(FormatError(what, where=self.where))
        if self.bad:
            line, offset, why = self.first_bad
            what = f"{self.bad:,} line{'s' * (self.bad > 1)} not understood, the first is line {line}"
            profile.problems.append(FormatError(what, where=self.where, offset=offset, why=why))
        return profile


def _has_two_columns(lines: list[bytes]) -> bool:
    """True if every line ends in two weights, as difffolded's do."""
    seen = False
    for line in lines[:_LINES_OF_HEAD]:
        words = line.removesuffix(b"\r").rsplit(b" ", 2)
        if not line or line.isspace():
            continue
        if len(words) < 3 or _weight_of(words[1]) is None or _weight_of(words[2]) is None:
            return False
        seen = True
    return seen


class Folded:
    """Folded stacks, as flamegraph.pl reads them."""

    @staticmethod
    def detect(head: bytes) -> bool:
        """True if head, the first bytes of a file, holds folded stacks: every line ends in a weight, one has a ";"."""
        if b"\0" in head or not head:
            return False
        lines = head.split(b"\n")
        if len(lines) > 1:
            lines.pop()  # empty, or cut off
        lines = [line for line in lines[:_LINES_OF_HEAD] if line and not line.isspace() and line[:1] != b"#"]
        for line in lines:
            stack, _, last = line.removesuffix(b"\r").rpartition(b" ")
            if not stack or line[:1] in b" \t;" or _weight_of(last) is None:
                return False
        return any(b";" in line for line in lines)

    @staticmethod
    def read(source: BinaryIO, options: ReadOptions) -> Profile:
        """A sample a line, of weight as the line says; its first frame is taken as the task's name.

        Lines that were not understood are told in the profile's problems.
        """
        parser = _Parser(options.where)
        number = 0
        for lines, at, _ in iter_blocks(source):
            if not number:
                parser.two_columns = _has_two_columns(lines)
            for line in lines:
                number += 1
                parser.line(line, number, at)
                at += len(line) + 1
            if options.progress is not None:
                options.progress(at)
        return parser.end()


FOLDED = Folded()
