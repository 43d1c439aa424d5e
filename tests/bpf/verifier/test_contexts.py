"""Every program type: what it may read of its context, and what not."""

from __future__ import annotations

import pytest

from linscope.abi import bpf as b
from linscope.abi.bpf_contexts import CONTEXTS, LAYOUTS
from linscope.bpf.asm import assemble
from linscope.bpf.program import Program
from linscope.bpf.verifier import verify
from linscope.bpf.verifier.context import is_read_allowed

LOADS = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}


def load(kind: int, off: int, size: int) -> tuple[bool, str]:
    """The verdict on a program that reads size bytes of its context, and the rule that it broke."""
    results = ("r0 = 0", "r0 = 1")  # some types want one of these
    for result in results:
        code = assemble(f"r2 = *({LOADS[size]} *)(r1 {off:+})\n{result}\nexit")
        verdict = verify(Program(code, type=kind))
        if verdict.accepted or verdict.rule != "return-value":
            break
    return verdict.accepted, verdict.rule


@pytest.mark.parametrize("kind", CONTEXTS)
def test_one_field_is_read_and_others_are_not(kind: int) -> None:
    context = CONTEXTS[kind]
    fields = LAYOUTS[context.layout]
    allowed = [
        (field.offset, size)
        for field in fields
        for size in LOADS
        if field.name not in context.denied and field.ways != "-" and is_read_allowed(field, field.offset, size)
    ]
    assert any(load(kind, off, size)[0] for off, size in allowed)
    end = max(field.offset + field.size for field in fields)
    for off in (-8, end + 8 - end % 8 if end < 1 << 15 else -16):  # of 16 bits, signed
        assert load(kind, off, 8) in ((False, "context-access"), (False, "negative-offset"))


@pytest.mark.parametrize("kind", CONTEXTS)
def test_denied_fields(kind: int) -> None:
    context = CONTEXTS[kind]
    for field in LAYOUTS[context.layout]:
        if field.name in context.denied:
            assert not any(load(kind, field.offset, size)[0] for size in LOADS), field


def test_all_types_have_one() -> None:
    others = {
        b.BPF_PROG_TYPE_UNSPEC, b.BPF_PROG_TYPE_TRACING, b.BPF_PROG_TYPE_LSM, b.BPF_PROG_TYPE_STRUCT_OPS,
        b.BPF_PROG_TYPE_EXT,
    }  # fmt: skip
    assert set(CONTEXTS) | others >= set(range(b.BPF_PROG_TYPE_NETFILTER + 1))
