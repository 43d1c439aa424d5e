"""Start-up: what a user waits for before anything happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from linscope.commands import COMMANDS, iter_commands

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "numpy",
    "pyarrow",
    "zstandard",
    "symbolic",
    "argparse",
    "ctypes",
    "json",
    "dataclasses",
    "asyncio",
    "re",
)
# The budget of 1.5 times a bare interpreter is measured by bench/start_up.py; here its cause is tested: what is loaded.


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    return {**kept, "COLUMNS": "80"}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, env=environment(), check=False, cwd=ROOT)


def modules_after(code: str) -> set[str]:
    done = run(
        sys.executable,
        "-c",
        f"import sys; before = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))",
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("code", ["import linscope", "from linscope.cli import run; run(['--help'])"])
def test_nothing_heavy_is_loaded(code: str) -> None:
    loaded = modules_after(code)
    assert not loaded & set(HEAVY)
    assert len(loaded) < 25, sorted(loaded)


def test_recording_loads_no_numpy() -> None:
    loaded = modules_after(
        "from linscope.cli import run; run(['record', '-q', '-e', 'cpu-clock', '-o', '/dev/null', '--', 'true'])"
    )
    assert not loaded & {"numpy", "pyarrow", "zstandard", "symbolic", "subprocess"}


@pytest.mark.kernel
def test_recording_trace_events_loads_no_numpy(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs tracefs: run the tests as root")
    words = ["events", "record", "-q", "-e", "sched:sched_switch", "-o", str(tmp_path / "trace.dat"), "--", "true"]
    loaded = modules_after(f"from linscope.cli import run; run({words!r})")
    assert "linscope.session.tracing.record" in loaded
    assert not loaded & {"numpy", "pyarrow", "zstandard", "symbolic", "subprocess", "dataclasses", "pathlib", "shutil"}


@pytest.mark.parametrize("name", [None, *COMMANDS, *(name for name, _ in iter_commands() if " " in name)])
def test_help_fits_80_columns_and_shows_examples(name: str | None) -> None:
    words = [sys.executable, "-m", "linscope", *(name.split() if name else []), "--help"]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    too_long = [line for line in done.stdout.splitlines() if len(line) > 80]
    assert not too_long
    if name:
        assert done.stdout.count(f"linscope {name}") >= 3  # usage, and two examples or more


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_page(name: str) -> None:
    page = ROOT / "docs" / f"{name}.md"
    assert page.exists(), f"docs/{name}.md"
    assert f"linscope {name}" in page.read_text()
