"""A progress bar on stderr for work over a second, when stderr is a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_WIDTH = 30


@contextmanager
def progress_of(path: Any, what: str) -> Iterator[Callable[[int], Any] | None]:
    """A function to be told the position in the file; None when nobody watches."""
    if not sys.stderr.isatty() or not isinstance(path, str) or not os.path.isfile(path):
        yield None
        return
    total = max(1, os.path.getsize(path))
    begin = time.monotonic()
    shown = False

    def tell(done: int) -> None:
        nonlocal shown
        if time.monotonic() - begin < 1 and not shown:
            return
        shown = True
        filled = min(_WIDTH, done * _WIDTH // total)
        bar = "█" * filled + "░" * (_WIDTH - filled)
        sys.stderr.write(f"\r{what} {bar} {min(100, done * 100 // total):3d}%")
        sys.stderr.flush()

    try:
        yield tell
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
