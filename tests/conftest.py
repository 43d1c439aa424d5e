"""What all tests share: where data lie, and the rule that CI does not skip what it exists to run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import hypothesis
import pytest

# The same examples in every run: a test that fails now and then teaches people to run it again.  `make fuzz` explores.
hypothesis.settings.register_profile("house", derandomize=True, deadline=None)
hypothesis.settings.load_profile("house")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# Tools of Debian that tests compare with; a machine where apt can install them has no excuse.
REQUIRED_IN_CI = ("perf", "chromium", "readelf", "node", "trace-cmd", "bpftool", "pahole", "qemu-system-x86_64", "cpio")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-cases", action="store_true", help="rewrite the expectations of tests/cases")


@pytest.fixture(scope="session")
def conformance() -> Path:
    """Recordings and goldens of other projects, beside the checkout."""
    if not (SHARED / "conformance").is_dir():
        pytest.skip("no ../shared/conformance beside the checkout; clone it there")
    return SHARED / "conformance"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With pytest-xdist: a file is one piece of work, and all that needs the lab's guests is one, to boot each once."""
    for item in items:
        group = "lab" if {"debian", "lab_kernel"} & set(getattr(item, "fixturenames", ())) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In CI a skipped test of the kernel or of a peer is a failure: there is root, and apt-get."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return
    if {"kernel", "peer"} & set(report.keywords):
        _SKIPPED.append(f"{report.nodeid}: {report.longrepr}")


_SKIPPED: list[str] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    missing = [tool for tool in REQUIRED_IN_CI if shutil.which(tool) is None]
    if os.environ.get("CI") == "true" and (_SKIPPED or missing):
        for line in _SKIPPED:
            print(f"\nskipped in CI: {line}")
        if missing:
            print(f"\nmissing in CI: apt-get install {' '.join(missing)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
