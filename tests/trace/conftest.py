"""The folder in which the cases run: traced programs, scripts, expected outputs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import suites


@pytest.fixture(scope="session")
def traced_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built programs in testprogs/, scripts and outputs in runtime/."""
    if shutil.which("gcc") is None or os.uname().machine != "x86_64":
        pytest.skip("needs gcc on x86-64: apt-get install gcc")
    if os.geteuid() != 0:
        pytest.skip("needs root: scripts are run in the kernel")
    folder = tmp_path_factory.mktemp("trace")
    suites.build_programs(folder)
    return folder
