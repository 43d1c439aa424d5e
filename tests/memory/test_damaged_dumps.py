"""A few hundred of the damaged dumps of fuzz/dumps.py, which runs ten thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZER = Path(__file__).resolve().parents[2] / "fuzz" / "dumps.py"


def test_damaged_dumps_give_errors_in_bounded_time_and_memory() -> None:
    command = [sys.executable, str(FUZZER), "200", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO findings" in done.stdout
    assert "kinds of pages" in done.stdout
