"""What all tests share: where data lie, and the rule that CI does not skip what it exists to run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from linscope.errors import LinscopeError
from linscope.sys.tracefs import find_tracefs

# The same examples in every run: a test that fails now and then teaches people to run it again.  `make fuzz` explores.
hypothesis.settings.register_profile("house", derandomize=True, deadline=None)
hypothesis.settings.load_profile("house")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# Tools of Debian that tests compare with; a machine where apt can install them has no excuse.
REQUIRED_IN_CI = (
    "perf", "chromium", "readelf", "node", "trace-cmd", "bpftool", "pahole", "qemu-system-x86_64", "cpio", "clang",
    "llvm-objdump", "gcc", "bpftrace", "makedumpfile",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-cases", action="store_true", help="rewrite the expectations of tests/cases")


@pytest.fixture(scope="session")
def conformance() -> Path:
    """Recordings and goldens of other projects, beside the checkout."""
    if not (SHARED / "conformance").is_dir():
        pytest.skip("no ../shared/conformance beside the checkout; clone it there")
    return SHARED / "conformance"


@pytest.fixture(scope="session")
def probed_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program whose functions and USDT markers the tests probe."""
    if shutil.which("gcc") is None or os.uname().machine != "x86_64":
        pytest.skip("needs gcc on x86-64: apt-get install gcc")
    path = tmp_path_factory.mktemp("probed") / "probed"
    subprocess.run(["gcc", "-O1", "-g", "-o", str(path), str(ROOT / "tests/sources/probed.c")], check=True)
    return path


@pytest.fixture(scope="session")
def uprobe_tracefs() -> str:
    """Where tracefs is, with uprobe_events in it."""
    if os.geteuid() != 0:
        pytest.skip("needs root: probes are the kernel's")
    try:
        place = find_tracefs()
    except LinscopeError as error:
        pytest.skip(str(error))
    if not Path(f"{place}/uprobe_events").exists():
        pytest.skip("the running kernel has no uprobe events: CONFIG_UPROBE_EVENTS is off")
    return place


# What needs the lab's guests, to boot each once, and what traces in the running kernel or removes what was left there
# and judges what it finds: one piece of work, so that it runs in one process, one after the other.
ALONE = ("tests/lab/", "tests/session/test_trace_", "tests/session/test_probes.py", "tests/house/test_start_up.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With pytest-xdist, a file is one piece of work, and so is all of ALONE.

    Not by its marks xdist_group: pytest 9.2 does not read the name that pytest-xdist 3.8 gives a test with one.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "alone" if nodeid.startswith(ALONE) else str(super()._split_scope(nodeid))

    return Scheduling(config, log)


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
