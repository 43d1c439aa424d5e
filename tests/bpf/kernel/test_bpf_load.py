"""Loading: what the verifier takes and what it says; attaching to raw tracepoints, of our own process only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from counters import RETURN_0, count_of, counter

from linscope.abi import bpf as b
from linscope.bpf.instructions import Instruction
from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint, attach_tracing
from linscope.bpf.kernel.errors import TrampolineRefused, VerifierError
from linscope.bpf.kernel.programs import load
from linscope.bpf.program import Line, Program
from linscope.errors import SystemCallError, UnknownNameError, UsageError

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).resolve().parents[3]


def test_a_raw_tracepoint_counts_what_this_process_does() -> None:
    with load(counter(b.BPF_PROG_TYPE_RAW_TRACEPOINT, tgid=os.getpid())) as program:
        assert count_of(program) == 0
        with attach_raw_tracepoint(program, "sys_enter") as link:
            before = count_of(program)
            for _ in range(100):
                os.getppid()
            # the call of bpf(2) that reads is counted too, and what Python does meanwhile
            assert 100 <= count_of(program) - before <= 110
            assert link.id > 0 and program.id > 0
        after = count_of(program)
        os.getppid()
        assert count_of(program) == after


def test_tp_btf_counts_too() -> None:
    wanted = counter(
        b.BPF_PROG_TYPE_TRACING, tgid=os.getpid(), target="sys_enter", attach_type=b.BPF_TRACE_RAW_TP
    )
    with load(wanted) as program, attach_tracing(program):
        before = count_of(program)
        for _ in range(100):
            os.getppid()
        assert 100 <= count_of(program) - before <= 110


def test_a_refusal_has_the_verifiers_log() -> None:
    bad = Program([Instruction(0x95, 0, 0, 0, 0)], type=b.BPF_PROG_TYPE_RAW_TRACEPOINT, name="bad")
    with pytest.raises(VerifierError) as caught:
        load(bad)
    assert "R0 !read_ok" in caught.value.log
    assert "R0 !read_ok" in str(caught.value) and "'bad'" in str(caught.value)


def test_lines_without_types_reach_the_verifiers_log() -> None:
    """A program that no compiler made has source lines too: the kernel shows them."""
    line = Line(0, "mine.s", 7, 3, "exit without a result")
    bad = Program([Instruction(0x95, 0, 0, 0, 0)], type=b.BPF_PROG_TYPE_RAW_TRACEPOINT, lines=[line])
    with pytest.raises(VerifierError) as caught:
        load(bad)
    assert "; exit without a result" in caught.value.log


def test_fentry_is_loaded_or_refused_by_name() -> None:
    wanted = counter(
        b.BPF_PROG_TYPE_TRACING, tgid=os.getpid(), target="ksys_read", attach_type=b.BPF_TRACE_FENTRY
    )
    try:
        program = load(wanted)
    except TrampolineRefused as error:
        assert "kprobe" in error.next_step
        return
    with program, attach_tracing(program), open("/proc/self/comm", "rb", buffering=0) as file:
        file.read()
        assert count_of(program) > 0


def test_unknown_targets_are_named_with_what_is_near() -> None:
    wanted = Program(RETURN_0, type=b.BPF_PROG_TYPE_TRACING, attach_type=b.BPF_TRACE_RAW_TP, target="sched_swich")
    with pytest.raises(UnknownNameError) as caught:
        load(wanted)
    assert "sched_switch" in caught.value.near
    nothing = Program(RETURN_0, type=b.BPF_PROG_TYPE_RAW_TRACEPOINT)
    with load(nothing) as program, pytest.raises(SystemCallError, match=r"no tracepoint of that name.*sched_switch"):
        attach_raw_tracepoint(program, "sched_swich")


def test_a_place_beyond_the_maps() -> None:
    with pytest.raises(UsageError, match="names map 0 of 0"):
        load(counter(b.BPF_PROG_TYPE_RAW_TRACEPOINT), maps=[])


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys\n"
        "sys.path.insert(0, 'tests')\n"
        "from linscope.abi import bpf as b\n"
        "from linscope.bpf.instructions import Instruction\n"
        "from linscope.bpf.program import Map, Program\n"
        "from linscope.bpf.kernel.programs import load\n"
        "from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint\n"
        "nothing = [Instruction(0xB7, 0, 0, 0, 0), Instruction(0x95, 0, 0, 0, 0)]\n"
        "maps = [Map('counts', b.BPF_MAP_TYPE_HASH, 4, 8, 16)]\n"
        "program = load(Program(nothing, type=b.BPF_PROG_TYPE_RAW_TRACEPOINT, maps=maps))\n"
        "attach_raw_tracepoint(program, 'sys_enter').close()\n"
        "print(*sys.modules)\n"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    heavy = {"typing", "re", "dataclasses", "json", "numpy", "socket", "subprocess", "pathlib"}
    assert not set(done.stdout.split()) & heavy
