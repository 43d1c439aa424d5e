"""Interpreter and JIT agree on random programs, and hostile ones neither crash nor hang: in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHUNK = 1000


def run(script: str, first: int, count: int) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(HERE / script), str(first), str(count)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"from seed {first}: exit {done.returncode}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.parametrize("first", range(0, 4 * CHUNK, CHUNK))
def test_interpreter_and_jit_agree(first: int) -> None:
    ends = run("differential.py", first, CHUNK)
    assert "'r0'" in ends and "'fault'" in ends


@pytest.mark.parametrize("first", range(0, 3 * CHUNK, CHUNK))
def test_hostile_programs_end(first: int) -> None:
    ends = run("hostile.py", first, CHUNK)
    assert "'refused'" in ends and "'fault'" in ends
