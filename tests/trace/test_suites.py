"""bpftrace's own runtime cases, run by ``linscope trace``: those that this kernel allows.

What kernels in the cloud lack is in tests/lab/test_trace_lab.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import suites

# each with why it does not pass
KNOWN = {
    "builtin:log size too small": "programs are loaded without a log first, so its size is no limit",
    "call:tseries multiple": "a value at time 0 is lost there; it counts here",
    "json-output:multiple time series": "a value at time 0 is lost there; it counts here",
    "call:printf_enum_symbolize_tracepoint": "runs ping, which no test machine has",
    "call:ustack_with_inlined_funcs": "names symbols of a program that was linked in another way, below main",
}  # fmt: skip
# the first second counts from begin: it is another when the machine is busy between begin and attaching
OF_TIME = {"call:printf_llu": 4}
HAVE = suites.SUITES.is_dir()
CASES = [case for case in suites.iter_cases() if not case.needs_lab] if HAVE else []


@pytest.mark.kernel
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_case(case: suites.Case, traced_programs: Path) -> None:
    for _ in range(OF_TIME.get(case.id, 1)):
        result = suites.run_case(case, traced_programs)
        why = suites.failure(case, result)
        if not why:
            break
    if case.id in KNOWN and why:
        pytest.xfail(KNOWN[case.id])
    assert not why, f"{why}\n{case.script or case.first('RUN')}\n{result.output[-2000:]}"


@pytest.mark.skipif(not HAVE, reason="no ../shared/conformance beside the checkout; clone it there")
def test_almost_all_pass() -> None:
    plain = [case for case in CASES if case.is_plain]
    assert len(plain) > 300
    assert len([case for case in plain if case.id in KNOWN]) <= 0.03 * len(plain)
    live = [case for case in CASES if not case.is_plain]
    assert len([case for case in live if case.id in KNOWN]) <= 0.10 * len(live)
