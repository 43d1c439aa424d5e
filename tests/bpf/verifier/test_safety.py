"""What the verifier accepts never faults: checked interpreter, checked JIT, and a JIT that trusts the proofs agree.

The programs run in processes of their own, for a wrong proof may read anything.  By hand, over more:
``python tests/bpf/verifier/verifier_safety.py --count 100000 --seed 0``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "verifier_safety.py"
CHUNK = 500
LEAST_RUN = 0.3  # of the programs (742 of 2,000 when written): the rest is refused, or asks for what is not here


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 4 * CHUNK, CHUNK))
def test_accepted_programs_never_fault(first: int) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(SCRIPT), "--count", str(CHUNK), "--seed", str(first)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert int(done.stdout.split()[-2]) > LEAST_RUN * CHUNK, done.stdout
