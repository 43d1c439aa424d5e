"""What the kernel says about an expression that it refused: tracefs' error_log, with its caret.

Source: Documentation/trace/ftrace.rst, "error_log"; kernel/trace/trace.c, tracing_log_err.
"""

from __future__ import annotations

from linscope.errors import UsageError
from linscope.sys.tracefs import read_text

_MARGIN = len("  Command: ")


class ErrorLog:
    """Compares the log before and after a write: it may hold what others did wrong."""

    def __init__(self, path: str) -> None:
        """path: of the instance, or of tracefs for what is global."""
        self.path = f"{path}/error_log"
        self._before = self._read()

    def _read(self) -> str:
        try:
            return read_text(self.path)
        except OSError:  # before v5.2 (8a062902be725f647dc8da532b04d836546a369d)
            return ""

    def _new_entry(self) -> list[str]:
        after = self._read()
        return [] if after == self._before else _last_entry(after)

    def reason(self) -> tuple[str, int]:
        """(why the last text was refused, the character of it that the kernel points at); ("", 0) when it is silent."""
        new = self._new_entry()
        if not new:
            return "", 0
        caret = new[2].find("^") - _MARGIN if len(new) > 2 else 0
        return _reason_of(new), max(caret, 0)

    def error(self, what: str, text: str) -> UsageError:
        """The error for a refused text: with the kernel's reason and a caret where it has one.

        what: what was refused ("the filter"), for the message.
        """
        new = self._new_entry()
        if not new:
            return UsageError(f"the kernel does not take {what} {text!r}")
        reason = _reason_of(new)
        shown = "\n    ".join(line[_MARGIN:] for line in new[1:])
        return UsageError(f"the kernel does not take {what}", why=f"{reason}\n    {shown}" if shown else reason)


def _reason_of(entry: list[str]) -> str:
    return entry[0].partition(": error: ")[2] or entry[0]


def _last_entry(text: str) -> list[str]:
    """Lines of the newest entry: the reason, the command, the caret."""
    lines = text.splitlines()
    begins = [at for at, line in enumerate(lines) if line.startswith("[") and ": error: " in line]
    return lines[begins[-1] :] if begins else []
