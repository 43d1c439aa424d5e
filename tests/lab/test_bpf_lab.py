"""eBPF in Debian's kernel, which allows what the running one may not: kprobes, fentry, fexit.  The same tests there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


def test_programs_maps_and_links_in_the_guest(debian) -> None:
    folders = "tests/bpf/kernel tests/bpf/objects/test_objects_in_the_kernel.py"
    words = f"{sys.executable} -m pytest -rs --basetemp={debian.folder}/bpf {folders}"
    result = debian.sh(f"cd {ROOT} && {words}", timeout_s=400)
    assert result.exit_code == 0, result.stdout[-5000:]
    # nothing that the guest exists for was left out
    assert not re.search(r"run it in the lab", result.stdout), result.stdout[-5000:]
