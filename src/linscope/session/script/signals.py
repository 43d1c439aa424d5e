"""Signals as bytes in a pipe, without the signal module: its enums take longer to make than a script to compile."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

from linscope.errors import UsageError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable

    from linscope.lang import ir

SIGINT, SIGTERM = 2, 15
_NUMBERS = {
    "SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGUSR1": 10, "SIGUSR2": 12, "SIGALRM": 14, "SIGTERM": 15, "SIGCONT": 18,
}  # fmt: skip


def number_of(target: str) -> int:
    """The number of the signal of a self probe ("signal:SIGUSR1" or "SIGUSR1").  Raises UsageError."""
    name = target.rpartition(":")[2]
    if name.isdigit():
        return int(name)
    if name not in _NUMBERS:
        raise UsageError(f"no signal named {name!r} that a script can wait for")
    return _NUMBERS[name]


def numbers_of(unit: ir.Unit) -> list[int]:
    """The signals that a script's session takes."""
    wanted = {number_of(one.probes[0].target) for one in unit.programs if one.probes[0].kind == "self"}
    return sorted({SIGINT, SIGTERM} | wanted)


class Signals:
    """While it is open, the signals asked for are bytes (their numbers) to be read from ``fd``."""

    def __init__(self, numbers: Iterable[int] = (SIGINT, SIGTERM)) -> None:
        """In another thread than the main one nothing is taken."""
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old: dict[int, object] = {}
        self._old_fd = -1
        try:
            self._old_fd = _signal.set_wakeup_fd(self._write_fd)
            for number in numbers:
                self._old[number] = _signal.signal(number, _taken)
        except ValueError:
            pass

    def read(self) -> bytes:
        """The numbers of the signals that came since."""
        try:
            return os.read(self.fd, 64)
        except BlockingIOError:
            return b""

    def release(self, numbers: Iterable[int]) -> None:
        """Take these no longer: the next one does what it does by default."""
        for number in numbers:
            if number in self._old:
                _signal.signal(number, _signal.SIG_DFL)

    def close(self) -> None:
        """Put back what was there; harmless when repeated."""
        for number, handler in self._old.items():
            _signal.signal(number, handler if handler is not None else _signal.SIG_DFL)
        if self._old:
            _signal.set_wakeup_fd(self._old_fd)
        self._old.clear()
        if self.fd >= 0:
            os.close(self.fd)
            os.close(self._write_fd)
            self.fd = -1


def set_defaults(numbers: Iterable[int]) -> None:
    """Let signals do what they do by default: in a process that is to become another program."""
    for number in numbers:
        _signal.signal(number, _signal.SIG_DFL)


def _taken(number: int, frame: object) -> None:
    """The wake-up descriptor has told it already."""
