"""`linscope trace` in Debian's kernel, which has what kernels in the cloud lack: kprobes, fentry, symbols of data."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
KNOWN = {
    "call:path_in_unsupported_fentry": "told in the kernel's words",
    "call:skboutput": "skboutput() is not there",
}
TOOLS = "dcsnoop loads runqlen tcpconnect tcpdrop tcplife tcpretrans tcpaccept tcpsynbl capable oomkill vfsstat swapin"


def test_cases_with_kprobes(debian) -> None:
    out = debian.out(f"{sys.executable} {ROOT}/tests/lab/trace_guest.py", timeout_s=500)
    results = [json.loads(line) for line in out.splitlines() if line.startswith("[")]
    assert len(results) >= 25
    failed = {name: (why, output) for name, why, output in results if why and name not in KNOWN}
    assert not failed


def test_tools_of_the_package_load(debian) -> None:
    """Those that a kernel in the cloud does not have the functions for."""
    if not Path("/usr/sbin/opensnoop.bt").exists():
        pytest.skip("needs the tools of bpftrace: apt-get install bpftrace")
    out = debian.out(
        f"for tool in {TOOLS}; do $linscope trace --dry-run /usr/sbin/$tool.bt && echo fine $tool; done; true",
        timeout_s=300,
    )
    assert [line.split()[1] for line in out.splitlines() if line.startswith("fine")] == TOOLS.split()


def test_tools_of_the_package_show_what_they_show_under_bpftrace(debian) -> None:
    """Fourteen of them at once with bpftrace, on one workload: line for line, times left out."""
    if shutil.which("bpftrace") is None:
        pytest.skip("needs bpftrace: apt-get install bpftrace")
    out = debian.out(f"{sys.executable} {ROOT}/tests/lab/tools_guest.py", timeout_s=600)
    results = [json.loads(line) for line in out.splitlines() if line.startswith("[")]
    assert len(results) == 14
    for tool, rounds, ours, peer in results:
        assert (rounds, ours) == (3, peer), tool
