"""Signals that end a recording, as something to poll for."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Stop:
    """SIGINT, SIGTERM and a closed terminal as readable bytes; the handlers that were there come back on close."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.signal = 0
        self._old: dict[int, object] = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                    self._old[number] = signal.signal(number, self._take)
        except ValueError:
            pass  # not the main thread: the caller's own handling stays

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        os.write(self._write_fd, b"!")

    def close(self) -> None:
        """Put the handlers back."""
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self.read_fd)
        os.close(self._write_fd)
