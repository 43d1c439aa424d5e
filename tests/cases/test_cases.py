"""Runs tests/cases/<area>/*.case: what to run, what it prints, what it needs, why.

    why: one line, the reason for the case
    needs: conformance                 (optional) beside the checkout
    run: linscope report {conformance}/perf-data/perf.data.remmap-3.2 --sort comm
    exit: 0                            (optional, 0 without)
    head: 12                           (optional) compare only so many lines
    ---
    the expected standard output, then standard error behind a line "--- stderr" when there is any

`make update` rewrites what stands below the dashes.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SHARED = ROOT.parent / "shared"
CASES = sorted(HERE.rglob("*.case"))


def parse(text: str) -> tuple[dict[str, str], str]:
    head, _, expected = text.partition("---\n")
    pairs = (line.partition(":") for line in head.splitlines() if line.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}, expected


def run_case(fields: dict[str, str], scratch: Path) -> tuple[int, str]:
    places = {"conformance": str(SHARED / "conformance"), "tmp": str(scratch), "examples": str(ROOT / "examples")}
    words = [word.format(**places) for word in shlex.split(fields["run"])]
    assert words[0] == "linscope"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment.update(COLUMNS="80", HOME=str(scratch), XDG_CACHE_HOME=str(scratch / "cache"), LC_ALL="C.UTF-8")
    done = subprocess.run(
        [sys.executable, "-m", "linscope", *words[1:]],
        capture_output=True, text=True, env=environment, cwd=scratch, check=False,
    )
    out, error = done.stdout, done.stderr
    for name, place in places.items():
        out, error = out.replace(place, f"{{{name}}}"), error.replace(place, f"{{{name}}}")
    lines = [line.rstrip() for line in out.splitlines()]
    if "head" in fields:
        lines = lines[: int(fields["head"])]
    text = "".join(f"{line}\n" for line in lines)
    if error:
        text += f"--- stderr\n{error}"
    return done.returncode, text


@pytest.mark.parametrize("path", CASES, ids=lambda path: str(path.relative_to(HERE)))
def test_case(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    fields, expected = parse(path.read_text())
    assert fields.get("why"), "a case says why it exists"
    if "conformance" in fields.get("needs", "") and not (SHARED / "conformance").is_dir():
        pytest.skip("no ../shared/conformance beside the checkout; clone it there")
    status, text = run_case(fields, tmp_path)
    if request.config.getoption("--update-cases"):
        head = path.read_text().partition("---\n")[0]
        path.write_text(f"{head}---\n{text}")
        return
    assert text == expected
    assert status == int(fields.get("exit", "0"))


def test_there_are_cases() -> None:
    assert len(CASES) >= 10
