"""States: what is pruned, which loops end, calls, references; and programs made to have too many paths."""

from __future__ import annotations

import pytest

from linscope.bpf.asm import assemble_program
from linscope.bpf.verifier import verify
from linscope.bpf.verifier.verdict import Verdict


def judge(text: str, type: str = "raw_tracepoint", privileged: bool = True) -> Verdict:
    return verify(assemble_program(f".type {type}\n{text}"), privileged=privileged)


def test_paths_that_meet_again_are_walked_once() -> None:
    diamonds = "".join(
        f"r1 = r6\nr1 >>= {bit}\nr1 &= 1\nif r1 == 0 goto l{bit}\nr7 = {bit}\nl{bit}:\n" for bit in range(60)
    )
    verdict = judge(f"r6 = *(u64 *)(r1 +0)\nr7 = 0\n{diamonds}r0 = 0\nexit")
    assert verdict.accepted  # of 2**60 paths
    assert verdict.instructions < 2000


def test_numbers_that_matter_keep_paths_apart() -> None:
    text = """
    r6 = *(u64 *)(r1 +0)
    r7 = 0
    if r6 == 5 goto on
    r7 = 64
on:
    r2 = r10
    r2 += -8
    r2 += r7
    r1 = 1
    *(u8 *)(r2 +0) = r1
    r0 = 0
    exit
    """
    verdict = judge(text)
    assert not verdict.accepted
    assert verdict.rule == "stack-out-of-bounds"
    assert judge(text.replace("r7 = 64", "r7 = 4")).accepted


def test_a_counted_loop_is_walked_round_by_round() -> None:
    verdict = judge("r6 = 0\nagain:\nr6 += 1\nif r6 < 1000 goto again\nr0 = 0\nexit")
    assert verdict.accepted
    assert 2000 <= verdict.instructions < 2100
    assert not judge("r6 = 0\nagain:\nr6 += 1\nif r6 < 1000 goto again\nr0 = 0\nexit", privileged=False).accepted


def test_a_loop_that_changes_nothing_is_refused() -> None:
    verdict = judge("r6 = 0\nagain:\nr6 = 0\ngoto again")
    assert verdict.rule == "infinite-loop"


def test_may_goto_ends_every_loop() -> None:
    verdict = judge("r0 = 0\nagain:\nmay_goto out\nr0 += 1\ngoto again\nout:\nr0 = 0\nexit")
    assert verdict.accepted
    assert verdict.instructions < 100


TAKE = """
    .map locked array 4 16 1
    *(u32 *)(r10 -4) = 0
    r1 = map[locked]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
"""
RESERVE = """
    .map events ringbuf 0 0 4096
    r1 = map[events]
    r2 = 8
    r3 = 0
    call bpf_ringbuf_reserve
    if r0 == 0 goto out
"""


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (RESERVE + "r1 = r0\nr2 = 0\ncall bpf_ringbuf_submit\nout:\nr0 = 0\nexit", ""),
        (RESERVE + "r1 = r0\nr2 = 0\ncall bpf_ringbuf_discard\nout:\nr0 = 0\nexit", ""),
        (RESERVE + "out:\nr0 = 0\nexit", "unreleased-reference"),
        (RESERVE + "r1 = r0\nr1 += 4\nr2 = 0\ncall bpf_ringbuf_submit\nout:\nr0 = 0\nexit", "modified-pointer"),
        (
            RESERVE + "r6 = r0\nr1 = r0\nr2 = 0\ncall bpf_ringbuf_submit\nr0 = *(u64 *)(r6 +0)\nout:\nr0 = 0\nexit",
            "not-a-pointer",
        ),
        (TAKE + "r0 = *(u64 *)(r0 +0)\nr0 = 0\nexit", "null-pointer"),
        (TAKE + "if r0 == 0 goto out\nr1 = *(u64 *)(r0 +8)\nout:\nr0 = 0\nexit", ""),
        (TAKE + "if r0 == 0 goto out\nr1 = *(u64 *)(r0 +9)\nout:\nr0 = 0\nexit", "map-out-of-bounds"),
        (TAKE + "if r0 == 0 goto out\nr1 = r0\ncall bpf_spin_lock\nout:\nr0 = 0\nexit", "needs-btf"),
    ],
)
def test_references_and_null(text: str, rule: str) -> None:
    verdict = judge(text, "sched_cls" if "spin" in text else "raw_tracepoint")
    assert (verdict.accepted, verdict.rule) == (not rule, rule), verdict.message


def test_a_frame_is_not_used_after_its_end() -> None:
    text = "call local inner\nr1 = *(u64 *)(r0 +0)\nr0 = 0\nexit\ninner:\nr1 = 1\n*(u64 *)(r10 -8) = r1\nr0 = r10\nexit"
    assert judge(text).rule == "stack-pointer-escapes"


def test_calls_nest_eight_deep() -> None:
    def chain(depth: int) -> str:
        return "call local f1\nr0 = 0\nexit\n" + "".join(
            f"f{one}:\n{f'call local f{one + 1}' if one < depth else 'r1 = 0'}\nr0 = 0\nexit\n"
            for one in range(1, depth + 1)
        )

    assert judge(chain(7)).accepted
    assert judge(chain(8)).rule == "call-depth"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "r6 = 0\nagain:\nr6 += 1\nif r6 != 0 goto again\nr0 = 0\nexit",
        "r6 = 0\na:\nr7 = 0\nc:\nr7 += 1\nif r7 < 2000 goto c\nr6 += 1\nif r6 < 2000 goto a\nr0 = 0\nexit",
    ],
    ids=["no end", "four million rounds"],
)
def test_too_many_paths_end_at_the_limit(text: str) -> None:
    verdict = judge(text)
    assert verdict.rule == "too-complex"
    assert verdict.instructions == 1_000_001
