"""Where a script's output goes: text, or one JSON object a line.

Source of the messages: bpftrace docs, JSON output: {"type": ..., "data": ...}.
"""

from __future__ import annotations

import os

from linscope.session.script.values import json_string

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.errors import Diagnostic

_FULL = 1 << 16  # characters that are kept back when everything is to be buffered


class Output:
    """A stream of texts; they are written together, once a batch of events is done."""

    def __init__(
        self, fd: int, *, json: bool = False, mode: str = "line", warnings: bool = True, where: str = ""
    ) -> None:
        """mode: line (written once a batch), none (at once), full (when there is much, and at the end).

        where: the script's name, in messages about places of it.
        """
        self.fd = fd
        self.is_json = json
        self.mode = mode
        self.warnings = warnings
        self.where = where
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        """Add a text."""
        self.parts.append(text)
        if self.mode == "none":
            self.flush(whole=True)

    def flush(self, *, whole: bool = False) -> None:
        """Write what was added.  whole: also when the mode is to wait for more.  Raises OSError."""
        if not self.parts or (self.mode == "full" and not whole and sum(map(len, self.parts)) < _FULL):
            return
        data = "".join(self.parts).encode("utf-8", "surrogateescape")
        self.parts.clear()
        while data:
            data = data[os.write(self.fd, data) :]

    def message(self, kind: str, data: str) -> None:
        """A message in JSON; data: JSON text."""
        self.write(f'{{"type": "{kind}", "data": {data}}}\n')

    def text(self, kind: str, text: str) -> None:
        """A text that the script made."""
        if self.is_json:
            self.message(kind, json_string(text))
        else:
            self.write(text)

    def problem(self, kind: str, problem: Diagnostic, data: str = "") -> None:
        """A mistake at a place of the script.  data: JSON fields behind the type, instead of the text."""
        if problem.severity == "WARNING" and not self.warnings:
            return
        if self.is_json:
            self.write(
                f'{{"type": "{kind}", {data}}}\n'
                if data
                else f'{{"type": "{kind}", "data": {json_string(problem.what)}}}\n'
            )
            return
        self.flush(whole=True)
        error(problem.text(self.where))

    def benchmark(self, name: str, average_ns: int, count: int) -> None:
        """How long a bench probe takes."""
        if self.is_json:
            row = f'{{"average": {average_ns}, "iters": {count}}}'
            self.message("benchmark_result", f"{{{json_string(name)}: {row}}}")
        else:
            self.write(f"{name:<32} {average_ns:>10} ns {count:>10} runs\n")

    def tested(self, name: str, *, passed: bool) -> None:
        """Whether a test probe passed."""
        if self.is_json:
            self.message("test_result", f'{{{json_string(name)}: {{"passed": {"true" if passed else "false"}}}}}')
        else:
            self.write(f"[{'PASSED' if passed else 'FAILED'}] {name}\n")

    def attached(self, count: int) -> None:
        """How many probes run."""
        if self.is_json:
            self.write(f'{{"type": "attached_probes", "count": {count}, "data": {{"probes": {count}}}}}\n')
        else:
            self.write(f"Attached {count} probe{'' if count == 1 else 's'}\n")

    def lost(self, count: int) -> None:
        """Events that did not fit into the ring buffer."""
        if self.is_json:
            self.write(f'{{"type": "lost_events", "data": {{"events": {count}}}}}\n')
        else:
            self.flush(whole=True)
            error(f"Lost {count} events")


def error(text: str) -> None:
    """A line on standard error."""
    data = f"{text}\n".encode("utf-8", "replace")
    try:
        while data:
            data = data[os.write(2, data) :]
    except OSError:
        pass
