"""In the guest: conformance cases that need kprobes and their like; a JSON line each: name, why it failed, output."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/trace")]

import suites  # noqa: E402 - the path comes first

suites.DEADLINE_S = 120.0
folder = Path(tempfile.mkdtemp())
suites.build_programs(folder)
for case in suites.iter_cases():
    if case.needs_lab:
        result = suites.run_case(case, folder)
        why = suites.failure(case, result)
        print(json.dumps([case.id, why, result.output[-800:] if why else ""]), flush=True)
