"""What crash said, as it is kept beside the tests, and how answers are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Ask = Callable[..., str]


def words(text: str) -> list[str]:
    """Lines without empty ones, and without the width of columns."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def answers(name: str) -> dict[str, list[str]]:
    """The lines of each command in a file, as words() has them."""
    found: dict[str, list[str]] = {}
    for line in Path(__file__).with_name(name).read_text().splitlines():
        if line.startswith("=== "):
            found[line[4:]] = []
        else:
            found[next(reversed(found))].append(line)
    return found
