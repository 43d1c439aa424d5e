"""Two guests for all tests of this folder: Debian's kernel, and the lab's own with the latency tracers and KGDB.

Each boots once, at its first use.  What a guest writes into its shared folder the tests can read.
"""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from linscope.lab.guest import Guest, GuestOptions, Result

ROOT = Path(__file__).resolve().parents[2]
LAB_FILES = ROOT.parent / "shared" / "lab"
TRACEFS = "/sys/kernel/tracing"


@dataclass
class Lab:
    """A guest and the folder that it shares with the tests."""

    guest: Guest
    folder: Path

    def sh(self, script: str, *, timeout_s: float = 120) -> Result:
        """Run a script in the shared folder; $linscope is our command, $T is tracefs."""
        linscope = f"{sys.executable} -m linscope"
        environment = {"PATH": os.environ["PATH"], "HOME": "/root", "linscope": linscope, "T": TRACEFS, "LC_ALL": "C"}
        environment["KO"] = str(LAB_FILES / "preemptirq_delay_test.ko")
        return self.guest.run(script, cwd=str(self.folder), environment=environment, timeout_s=timeout_s)

    def out(self, script: str, *, timeout_s: float = 120) -> str:
        """The output of a script that must succeed."""
        result = self.sh(script, timeout_s=timeout_s)
        assert result.exit_code == 0, result
        return result.stdout

    def python(self, code: str, *, timeout_s: float = 120) -> str:
        """The output of Python code that must succeed."""
        path = self.folder / f"code-{zlib.crc32(code.encode())}.py"  # the guest keeps what it has read of a file
        path.write_text(code)
        result = self.guest.run([sys.executable, str(path)], cwd=str(self.folder), timeout_s=timeout_s)
        assert result.exit_code == 0, result
        return result.stdout


def need_qemu() -> None:
    """Skip, with the remedy."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("needs QEMU: apt-get install qemu-system-x86")
    if os.geteuid() != 0:
        pytest.skip("needs virtiofsd, which runs as root only: run the tests as root")


@pytest.fixture(scope="session")
def qemu() -> None:
    """For tests with a guest of their own."""
    need_qemu()


def _guest(kernel: str, folder: Path) -> Iterator[Lab]:
    with Guest(GuestOptions(kernel=kernel, share=str(folder)), say=print) as guest:
        yield Lab(guest, folder)


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Debian's cloud kernel."""
    need_qemu()
    yield from _guest("debian", tmp_path_factory.mktemp("debian"))


@pytest.fixture(scope="session")
def lab_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab's kernel, as it lies built beside the checkout."""
    need_qemu()
    if not (LAB_FILES / "bzImage-6.1-lab").exists():
        pytest.skip("no ../shared/lab/bzImage-6.1-lab beside the checkout; clone it there")
    yield from _guest(str(LAB_FILES / "bzImage-6.1-lab"), tmp_path_factory.mktemp("lab"))


@pytest.fixture
def clean(debian: Lab) -> Iterator[Lab]:
    """Debian's kernel; whatever the test did, nothing of ours may be left in it."""
    before = debian.out(_STATE)
    yield debian
    assert debian.out(_STATE) == before
    assert debian.out("ls /run/linscope 2>/dev/null || true") == ""


# All knobs that others see.  The buffer's size is rounded by the kernel itself.
_STATE = """cd $T
ls instances; cat synthetic_events kprobe_events uprobe_events current_tracer tracing_on set_event
cat set_ftrace_filter set_ftrace_notrace set_ftrace_pid set_event_pid
cat set_graph_function set_graph_notrace max_graph_depth
cat tracing_thresh tracing_cpumask trace_clock saved_cmdlines_size; grep . options/*; cat dynamic_events
"""
