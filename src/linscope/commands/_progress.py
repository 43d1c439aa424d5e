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
    with progress_bar(what) as tell:
        yield lambda done: tell(done / total)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float], None]]:
    """A function to be told the part that is done, 0 to 1; it draws nothing when nobody watches."""
    watched = sys.stderr.isatty()
    begin = time.monotonic()
    shown = False

    def tell(part: float) -> None:
        nonlocal shown
        if not watched or (time.monotonic() - begin < 1 and not shown):
            return
        shown = True
        part = min(part, 1.0)
        filled = int(part * _WIDTH)
        bar = "█" * filled + "░" * (_WIDTH - filled)
        sys.stderr.write(f"\r{what} {bar} {part:4.0%}")
        sys.stderr.flush()

    try:
        yield tell
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
