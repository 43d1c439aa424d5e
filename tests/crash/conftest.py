"""One session over the shared dump, for all tests of the commands."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linscope.crash.session import Session
from linscope.render.rows import write_rows
from linscope.target.kernel import open_kernel

DUMP = Path(__file__).resolve().parents[3] / "shared" / "dumps" / "debian-6.1-lzo.kdump"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    if not DUMP.exists():
        pytest.skip("no ../shared/dumps beside the checkout; clone it there")
    with open_kernel(str(DUMP)) as kernel:
        yield Session(kernel)


@pytest.fixture
def ask(session: Session) -> Callable[..., str]:
    """A function that gives what a line prints: as text, or as "json"."""

    def answer(line: str, form: str = "text") -> str:
        out = io.StringIO()
        for rows in session.run(line):
            write_rows(rows, form, out)
        return out.getvalue()

    return answer
