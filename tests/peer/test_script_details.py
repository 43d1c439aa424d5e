"""Branch stacks, weights and data sources of conformance files, as perf script prints them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("perf") is None, reason="no perf; apt-get install linux-perf"),
]
BRANCH = re.compile(r"0x[0-9a-f]+/0x[0-9a-f]+/[MP-]/[X-]/[A-]/\d+")


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, check=True).stdout.decode(errors="replace")


@pytest.mark.parametrize(
    "name", ["branch_stack_spec", "callgraph_and_branch-3.4", "branch-4.14", "raw_callgraph_branch-3.4"]
)
def test_branches_equal_perfs(conformance: Path, name: str) -> None:
    path = str(conformance / "perf-data" / f"perf.data.{name}")
    theirs = BRANCH.findall(output("perf", "script", "-i", path, "-F", "ip,brstack"))
    ours = BRANCH.findall(output(sys.executable, "-m", "linscope", "script", path, "-F", "ip,brstack"))
    assert ours == theirs != []


def test_weights_and_data_sources_equal_perfs(conformance: Path) -> None:
    path = str(conformance / "perf-data" / "perf.data.weight_struct")
    theirs = [
        (line.split()[0], line.split()[-1])
        for line in output("perf", "script", "-i", path, "-F", "data_src,weight").splitlines()
        if "|" in line
    ]
    lines = output(sys.executable, "-m", "linscope", "script", path, "-F", "data_src,weight").splitlines()
    ours = [(line.split()[1], line.split()[0]) for line in lines]
    assert ours == theirs != []
