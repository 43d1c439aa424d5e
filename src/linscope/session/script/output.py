"""Where a session's text goes, and the two forms that it has: text, and lines of JSON.

Source: bpftrace 0.26 for the texts; its -f json for the types of lines.
"""

from __future__ import annotations

import os

from linscope.session.script.values import json_integer, json_string, string_text

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.errors import Diagnostic
    from linscope.session.script.map_values import ScriptMap

_FULL = 1 << 16  # bytes that -B full collects
MODES = ("line", "full", "none")


class Output:
    """Collects pieces and writes them together; ``pieces`` may be appended to directly."""

    def __init__(self, fd: int, mode: str = "line") -> None:
        """fd: stays the caller's.  mode: line and none write after each batch of events, full when there is much."""
        self.fd = fd
        self.mode = mode
        self.pieces: list[bytes] = []
        self.closed = False  # nobody reads on
        self._kept = bytearray()

    def flush(self, *, end: bool = False) -> None:
        """Write what was collected; end: also what -B full holds back."""
        if self.pieces:
            self._kept += b"".join(self.pieces)
            self.pieces.clear()
        if not self._kept or (self.mode == "full" and len(self._kept) < _FULL and not end):
            return
        data = memoryview(bytes(self._kept))
        self._kept.clear()
        if self.closed:
            return
        at = 0
        try:
            while at < len(data):
                at += os.write(self.fd, data[at:])
        except BrokenPipeError:
            self.closed = True
        except BlockingIOError:  # a terminal or pipe that somebody made non-blocking
            os.set_blocking(self.fd, True)
            self._kept += data[at:]
            self.flush(end=True)


class TextForm:
    """What each event looks like as text."""

    name = "text"

    def __init__(self, output: Output) -> None:
        self.output = output

    def raw(self, data: bytes) -> None:
        """Text as it is."""
        self.output.pieces.append(data)

    def put(self, kind: str, data: bytes) -> None:
        """The text of printf, time, cat, syscall."""
        self.output.pieces.append(data)

    def join(self, data: bytes) -> None:
        """The words of join()."""
        self.output.pieces.append(data + b"\n")

    def value(self, text: str) -> None:
        """print() of a value."""
        self.output.pieces.append(text.encode("utf-8", "surrogateescape") + b"\n")

    def map(self, script_map: ScriptMap, top: int = 0, div: int = 0) -> None:
        """print() of a map."""
        self.raw(script_map.text(top, div).encode("utf-8", "surrogateescape"))

    def attached(self, count: int) -> None:
        """All probes are attached."""
        self.raw(f"Attached {count} probe{'s' if count != 1 else ''}\n".encode())

    def lost(self, count: int) -> None:
        """Events for which there was no room; not among the results."""
        self.output.flush(end=True)
        error(f"Lost {count} events")

    def problem(self, kind: str, places: Sequence[Diagnostic], where: str) -> None:
        """errorf, warnf and runtime_error: the place itself, then the macro calls around it."""
        self.output.flush(end=True)
        error("\n".join([one.text(where) for one in places]))

    def helper_error(self, places: Sequence[Diagnostic], where: str, message: str, helper: str, code: int) -> None:
        """A helper that failed."""
        places[0].what = f"{message}\nAdditional Info - helper: {helper}, retcode: {code}"
        self.problem("helper_error", places, where)

    def benchmark(self, name: str, average_ns: int, count: int) -> None:
        """How long a bench probe takes."""
        self.raw(f"{name:<32} {average_ns:>10} ns {count:>10} runs\n".encode())

    def tested(self, name: str, *, passed: bool) -> None:
        """Whether a test probe passed."""
        self.raw(f"[{'PASSED' if passed else 'FAILED'}] {name}\n".encode())

    def end(self) -> None:
        """Between the events and the maps."""
        self.raw(b"\n\n")


class JsonForm(TextForm):
    """What each event looks like as a line of JSON."""

    name = "json"

    def _line(self, kind: str, data: str) -> None:
        self.output.pieces.append(f'{{"type": "{kind}", "data": {data}}}\n'.encode("utf-8", "replace"))

    def put(self, kind: str, data: bytes) -> None:
        """The text of printf, time, cat, syscall."""
        self._line(kind, json_string(string_text(data)))

    def join(self, data: bytes) -> None:
        """The words of join()."""
        self.put("join", data)

    def value(self, text: str) -> None:
        """print() of a value; text: already JSON."""
        self._line("value", text)

    def map(self, script_map: ScriptMap, top: int = 0, div: int = 0) -> None:
        """print() of a map."""
        from linscope.session.script.map_values import json_line

        self.raw(json_line(script_map, top, div).encode("utf-8", "replace"))

    def attached(self, count: int) -> None:
        """All probes are attached."""
        self.raw(f'{{"type": "attached_probes", "count": {count}, "data": {{"probes": {count}}}}}\n'.encode())

    def lost(self, count: int) -> None:
        """Events for which there was no room."""
        error(f"Lost {count} events")
        self.raw(f'{{"type": "lost_events", "count": {count}, "data": {{"events": {count}}}}}\n'.encode())

    def problem(self, kind: str, places: Sequence[Diagnostic], where: str) -> None:
        """errorf, warnf and runtime_error."""
        self.raw(f'{{"type": "{kind}", "msg": {json_string(places[0].what)}, {_place(places[0], where)}}}\n'.encode())

    def helper_error(self, places: Sequence[Diagnostic], where: str, message: str, helper: str, code: int) -> None:
        """A helper that failed."""
        self.raw(
            f'{{"type": "helper_error", "msg": {json_string(os.strerror(-code))}, "helper": {json_string(helper)}, '
            f'"retcode": {json_integer(code)}, {_place(places[0], where)}}}\n'.encode()
        )

    def benchmark(self, name: str, average_ns: int, count: int) -> None:
        """How long a bench probe takes."""
        self._line("benchmark_result", f'{{{json_string(name)}: {{"average": {average_ns}, "iters": {count}}}}}')

    def tested(self, name: str, *, passed: bool) -> None:
        """Whether a test probe passed."""
        self._line("test_result", f'{{{json_string(name)}: {{"passed": {"true" if passed else "false"}}}}}')

    def end(self) -> None:
        """Nothing stands between the events and the maps."""


def _place(one: Diagnostic, where: str) -> str:
    return f'"filename": {json_string(where)}, "line": {one.line}, "col": {one.column}'


def error(text: str) -> None:
    """A line on standard error, where nobody may be reading."""
    data = f"{text}\n".encode("utf-8", "replace")
    try:
        while data:
            data = data[os.write(2, data) :]
    except OSError:
        pass
