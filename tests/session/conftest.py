"""Who may record, and with what."""

from __future__ import annotations

import os
import shutil

import pytest


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
