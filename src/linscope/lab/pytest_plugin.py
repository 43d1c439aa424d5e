"""A guest for tests: ``pytest_plugins = ["linscope.lab.pytest_plugin"]``, then the fixture ``lab_guest``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from linscope.lab.guest import Guest, GuestOptions


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which kernel to boot."""
    parser.addoption("--lab-kernel", default="debian", help="kernel of the lab's guest: debian, lab, or an image")


@pytest.fixture(scope="session")
def lab_guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """One guest for the whole session, booted at its first use."""
    with Guest(GuestOptions(kernel=request.config.getoption("--lab-kernel")), say=print) as guest:
        yield guest
