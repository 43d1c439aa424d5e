"""The text of perf script -> Profile.

A sample is a line with the task, CPU, time, period and event, then a line a frame (the sampled one first), then an
empty line; without call chains, one line with the place at its end.  Which fields are there, in which width, depends
on perf's version and on its -F.  Source: tools/perf/builtin-script.c, process_event and perf_sample__fprintf_start;
tools/perf/util/evsel_fprintf.c, sample__fprintf_callchain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from linscope.columns.profile import Profile
from linscope.contracts import ReadOptions
from linscope.errors import FormatError
from linscope.formats._named import NO_NUMBER, NamedProfileBuilder, clean_text

_BLOCK = 1 << 20  # bytes read at once
_LONGEST = 1 << 20  # bytes of a line; no field of perf's comes near
_LONGEST_HEADER = 1024  # bytes up to the event; its fields may be longer
_LONGEST_OBJECT = 4096  # bytes; PATH_MAX
_LINES_OF_HEAD = 400  # lines that detection looks at

_TASK = rb"[ \t]*+(\S.*?|)[ \t]++(-?\d{1,10}+)(?:/(-?\d{1,10}+))?[ \t]++"  # comm, pid or tid, tid
_CPU = rb"(?:\[(\d{1,9}+)\][ \t]++)?"
_FLAGS = rb"(?:[^\s\d:\[][^\s:]{0,8}[ \t]++)?"  # -F +misc; the irq and preemption flags of ftrace's output
_TIME = rb"(?:(\d{1,12}+\.\d{1,9}+):(?:[ \t]++|$))?"
_PERIOD = rb"(?:(\d{1,20}+)[ \t]++)?"
_EVENT = rb"(\S+):(?=\s|$)"
_HEADER = re.compile(_TASK + _CPU + _FLAGS + _TIME + _PERIOD + _EVENT)
_TASKLESS = re.compile(  # -F comm,event,ip
    rb"[ \t]*+(\S.*?)()()[ \t]++" + _CPU + _TIME + _PERIOD + rb"(\S+):[ \t]*+\r?$"
)
_ADDRESS = re.compile(rb"[ \t]*([0-9a-f]{1,16})(?:[ \t](.*))?$", re.S)
_SOURCE_LINE = re.compile(rb"[ \t]++\S.*(?::\d+|\[[0-9a-f]+\])(?: \(inlined\))?\s*$")  # -F +srcline
_OFFSET_IN_OBJECT = re.compile(rb"\+0x[0-9a-f]+$")  # -F +dsoff
_JIT = re.compile(r"(^|/)(perf-\d+\.map|jitted-\d+-\d+\.so)$")
_MODULE = re.compile(r"\.ko(\.(gz|xz|zst|bz2))?$")
_TO_NS = tuple(10 ** (9 - digits) for digits in range(10))  # by the number of digits of a fraction of a second
_REMEMBERED = 100_000  # tasks on CPUs
_FEATURES = {b"hostname": "HOSTNAME", b"os release": "OSRELEASE", b"arch": "ARCH", b"cmdline": "CMDLINE"}
_INLINED = b"inlined"


def kind_of_object(name: str) -> str:
    """ "kernel", "jit" or "user", told by the object's name as perf script prints it."""
    if _JIT.search(name):
        return "jit"
    if name.startswith("["):
        others = ("[unknown]", "[vdso", "[vsyscall", "[heap", "[stack", "[anon", "[uprobes")
        return "user" if name.startswith(others) else "kernel"
    kernel = name.endswith("vmlinux") or _MODULE.search(name) or name.startswith(("bpf_prog_", "bpf_trampoline_"))
    return "kernel" if kernel else "user"


def split_object(rest: bytes) -> tuple[bytes, bytes]:
    """("name", "object") of "name (object)"; both may hold blanks and parentheses.  No object: (rest, "")."""
    if not rest.endswith(b")"):
        return rest, b""
    if len(rest) > _LONGEST_OBJECT:
        name, place = split_object(rest[-_LONGEST_OBJECT:])
        return rest[:-_LONGEST_OBJECT] + name, place
    depth, at = 0, len(rest)
    while at:
        closing, opening = rest.rfind(b")", 0, at), rest.rfind(b"(", 0, at)
        if opening < 0:
            break
        if closing > opening:
            depth, at = depth + 1, closing
            continue
        depth, at = depth - 1, opening
        if depth <= 0:
            break
    if at == 0 or rest[at : at + 1] != b"(" or rest[at - 1 : at] not in b" \t" or depth:
        at = rest.rfind(b" (") + 1  # parentheses that do not match: the last ones are the object's
        if at <= 0 and not rest.startswith(b"("):
            return rest, b""
    return rest[: max(at - 1, 0)], rest[at + 1 : -1]


class _Parser:
    """One pass over the lines; what comes again is looked up, not parsed."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.made = NamedProfileBuilder()
        self.features: dict[str, Any] = {}
        self.problems: list[Exception] = []
        self._known: dict[bytes, int] = {}  # line -> frame
        self._same: dict[tuple[int, bytes, bytes], int] = {}  # frame of what the lines say
        self._tasks: dict[tuple[bytes, bytes | None, bytes | None, bytes | None], tuple[int, int, int, int]] = {}
        self._events: dict[bytes, int] = {}
        self._open: tuple[int, int, int, int, int, int, int | None] | None = None
        self._stack: list[int] = []
        self._one_line = False  # the open sample has its place in its first line: nothing follows
        self._bad = 0
        self._first_bad = (0, 0, "")  # line number, offset, why

    def complain(self, number: int, offset: int, why: str) -> None:
        """Count a line that was not understood; the first is told."""
        if not self._bad:
            self._first_bad = (number, offset, why)
        self._bad += 1

    def lines(self, lines: list[bytes], number: int, offset: int) -> None:
        """Take whole lines without their ends; number, offset: of the first one in the file."""
        known, stack = self._known.get, self._stack
        append = stack.append
        for at, line in enumerate(lines):
            frame = known(line)
            if frame is not None:
                append(frame)
            elif not line or line.isspace():
                self.finish()
            else:
                why = self._take(line)
                if why:
                    where = 0 if self._bad else offset + sum(len(before) + 1 for before in lines[:at])
                    self.complain(number + at, where, why)

    def _take(self, line: bytes) -> str:
        """Use one line; returns what is wrong with it, "" when nothing is."""
        if line[:1] == b"#":
            self._comment(line)
            return ""
        start = self._open is None and not self._stack
        found = _HEADER.match(line, 0, _LONGEST_HEADER) or _TASKLESS.match(line, 0, _LONGEST_HEADER)
        # A task's name may look like an address, and a function's name like a header: go by place, indent and time.
        if found is not None and (start or line[:1] not in b" \t" or found[5] is not None):
            self._header(line, found)
            return ""
        if self._add_frame(line):
            return "a frame without the line of its sample" if start else ""
        if found is not None:
            self._header(line, found)
            return ""
        return "" if self._stack and _SOURCE_LINE.match(line) else "neither a sample nor a frame"

    def _comment(self, line: bytes) -> None:
        """Take from perf script --header what says where the recording is from."""
        name, colon, value = line[1:].partition(b":")
        feature = _FEATURES.get(name.strip())
        if colon and feature and feature not in self.features:
            text = clean_text(value).strip()
            self.features[feature] = text.split() if feature == "CMDLINE" else text

    def _header(self, line: bytes, found: re.Match[bytes]) -> None:
        """Begin a sample; one that is open ends here."""
        comm, first, second, cpu, time, period, event = found.groups()
        if self._open is not None or self._stack:
            self.finish()
        words = (comm, first, second, cpu)
        task = self._tasks.get(words)
        if task is None:
            pid, tid = (int(first), int(second)) if second else (NO_NUMBER, int(first) if first else NO_NUMBER)
            task = (self.made.comm(clean_text(comm)), pid, tid, int(cpu) if cpu else NO_NUMBER)
            if len(self._tasks) < _REMEMBERED:
                self._tasks[words] = task
        kind = self._events.get(event)
        if kind is None:
            kind = self._events[event] = self.made.event(clean_text(event))
        at = 0
        if time:
            seconds, _, fraction = time.partition(b".")
            at = int(seconds + fraction) * _TO_NS[len(fraction)]
        self._open = (*task, at, kind, int(period) if period else None)
        self._one_line = False
        rest = line[found.end() :].strip()
        if rest.endswith(b")"):  # the place of a sample without a call chain; fields of a tracepoint are none
            frame = self._known.get(rest)
            if frame is not None:
                self._stack.append(frame)
                self._one_line = True
            else:
                self._one_line = self._add_frame(rest)

    def _add_frame(self, line: bytes) -> bool:
        found = _ADDRESS.match(line)
        if found is None:
            return False
        address, rest = found.groups()
        rest = (rest or b"").rstrip()
        if not rest and len(address) < 4:  # a lone number is no frame
            return False
        symbol, place = split_object(rest)
        key = (int(address, 16), symbol.strip(), _OFFSET_IN_OBJECT.sub(b"", place))
        frame = self._same.get(key)
        if frame is None:
            frame = self._same[key] = self._make_frame(*key)
        self._known[line] = frame
        self._stack.append(frame)
        return True

    def _make_frame(self, address: int, symbol: bytes, place: bytes) -> int:
        if place == _INLINED:
            return self.made.frame(clean_text(symbol), "", "inlined", address)
        name = clean_text(place)
        return self.made.frame(clean_text(symbol), name, kind_of_object(name), address)

    def finish(self) -> None:
        """The sample that is open is whole."""
        if self._open is None:
            if not self._stack:
                return
            # Frames whose header was not understood: counted as a problem already, kept without a task.
            event = min(self._events.values(), default=None)
            number = self.made.event("unknown") if event is None else event
            self._open = (self.made.comm("[unknown]"), NO_NUMBER, NO_NUMBER, NO_NUMBER, 0, number, None)
        self.made.sample(*self._open, self.made.stack(self._stack))
        self._open = None
        self._stack.clear()

    def end(self, number: int, size: int, *, whole_line: bool) -> Profile:
        """The file ends behind line number, at offset size; whole_line: its last line has its end."""
        if self._open is not None or self._stack:
            if self._open is not None and whole_line and (self._one_line or not self._stack):
                self.finish()
            else:
                self.problems.append(
                    FormatError(
                        f"the text ends within a sample, which is left out (line {number})",
                        where=self.where,
                        offset=size,
                        why="no empty line behind its stack",
                    )
                )
        if self._bad:
            line, offset, why = self._first_bad
            what = f"{self._bad:,} line{'s' * (self._bad > 1)} not understood, the first is line {line}"
            self.problems.append(FormatError(what, where=self.where, offset=offset, why=why))
        profile = self.made.build(self.where)
        profile.features = self.features
        profile.problems = self.problems
        return profile


def iter_blocks(source: BinaryIO) -> Iterator[tuple[list[bytes], int, bool]]:
    """Blocks of lines without their ends: (lines, offset of the first, True if the last one has its end).

    A line longer than a mebibyte is cut there.
    """
    rest, offset = b"", 0
    while block := source.read(_BLOCK):
        block = rest + block
        cut = block.rfind(b"\n") + 1
        if not cut and len(block) > _LONGEST:
            cut = len(block)
        if not cut:
            rest = block
            continue
        whole, rest = block[:cut], block[cut:]
        yield whole.removesuffix(b"\n").split(b"\n"), offset, True
        offset += cut
    if rest:
        yield [rest], offset, False


class PerfScript:
    """The text that perf script prints."""

    @staticmethod
    def detect(head: bytes) -> bool:
        """True if head, the first bytes of a file, has samples as perf script prints them."""
        if b"\0" in head:
            return False
        lines = head.split(b"\n")[:_LINES_OF_HEAD]
        comments = [line for line in lines if line.startswith(b"#")]
        for line, after in zip(lines, [*lines[1:], b""], strict=True):
            if not line or line[:1] == b"#" or len(line) > _LONGEST:
                continue
            found = _HEADER.match(line, 0, _LONGEST_HEADER)
            if found is not None and found[5] is not None:
                return True
            if found is not None or _TASKLESS.match(line, 0, _LONGEST_HEADER):
                frame = _ADDRESS.match(after)
                if frame and frame[2] and (after[:1] in b" \t" or frame[2].rstrip().endswith(b")")):
                    return True
        only_comments = len(comments) >= len([line for line in lines if line]) - 1 and head[:1] == b"#"
        return only_comments and any(line.startswith((b"# captured on", b"# perf version")) for line in comments)

    @staticmethod
    def read(source: BinaryIO, options: ReadOptions) -> Profile:
        """All samples of the text; what was not understood is told in the profile's problems.

        The text of tracepoints' fields is not taken apart.  The last sample is left out, and told, when the empty line
        behind its stack is missing: the text may be cut off there.
        """
        parser = _Parser(options.where)
        number, size, whole = 1, 0, True
        for lines, offset, whole in iter_blocks(source):
            parser.lines(lines, number, offset)
            number += len(lines)
            size = offset + sum(map(len, lines)) + len(lines) - (not whole)
            if options.progress is not None:
                options.progress(size)
        return parser.end(number - 1, size, whole_line=whole)


PERF_SCRIPT = PerfScript()
