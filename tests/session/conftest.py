"""Who may record, and with what."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from linscope.session.journal import FOLDER
from linscope.sys.tracefs import find_tracefs


@pytest.fixture
def needs_root() -> None:
    """Skip, with the remedy, where the kernel would not let us record its own events."""
    if os.geteuid() != 0:
        pytest.skip("needs CAP_PERFMON: run the tests as root")


@pytest.fixture
def needs_perf() -> None:
    """Skip, with the remedy, without the peer."""
    if shutil.which("perf") is None:
        pytest.skip("needs perf: apt-get install linux-perf")


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """No instance and no journal of the test outlives it; for files that tests/conftest.py has in ALONE."""
    before = _instances_and_journals()
    yield
    assert _instances_and_journals() <= before


def _instances_and_journals() -> set[str]:
    instances = Path(find_tracefs(), "instances").glob("linscope-[0-9]*")
    journals = Path(FOLDER).glob("*.journal") if Path(FOLDER).exists() else ()
    return {path.name for path in (*instances, *journals)}
