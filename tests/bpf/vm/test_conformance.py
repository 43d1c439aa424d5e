"""The conformance suite of eBPF in interpreter and JIT: the same r0, and the refused programs refused with a reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conformance import cases, read_case

from linscope.bpf.program import Program
from linscope.bpf.vm.errors import InvalidProgram
from linscope.bpf.vm.machine import Machine

pytestmark = pytest.mark.skipif(not cases("tests"), reason="the conformance suite is not beside this checkout")


@pytest.mark.parametrize("path", cases("tests"), ids=lambda path: path.stem)
def test_a_case_gives_its_result(path: Path) -> None:
    case = read_case(path)
    machine = Machine(Program(case.instructions()))
    assert machine.jitted
    assert machine.run(case.memory, interpret=True) == case.result
    assert machine.run(case.memory) == case.result


RAW_NEGATIVES = [path for path in cases("negative") if "-- raw" in path.read_text()]


@pytest.mark.parametrize("path", RAW_NEGATIVES, ids=lambda path: path.stem)
def test_a_negative_case_is_refused_for_the_field_it_names(path: Path) -> None:
    field = path.stem.rpartition("-")[2]
    short = {"offset": "off"}.get(field, field)
    with pytest.raises(InvalidProgram, match=rf"field {short} (is unused in|of) opcode .* must be") as caught:
        Machine(Program(read_case(path).instructions()))
    assert caught.value.slot == 0


def test_the_suite_is_there() -> None:
    assert len(cases("tests")) > 200
    assert len(RAW_NEGATIVES) > 30
