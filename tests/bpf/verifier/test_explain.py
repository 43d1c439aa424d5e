"""What people read when a program is refused: typical mistakes, and the whole text about each."""

from __future__ import annotations

import pytest

from linscope.bpf.asm import assemble_program
from linscope.bpf.program import Line
from linscope.bpf.verifier import verify
from linscope.bpf.verifier.explain import SUGGESTIONS, format_verdict

MISTAKES = {
    "a lookup that may give nothing": (
        """
        .type socket_filter
        .map counts hash 4 8 16
        r1 = map[counts]
        *(u32 *)(r10 -4) = 7
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        r0 = *(u64 *)(r0 +0)
        exit
        """,
        """
refused: R0 invalid mem access 'map_value_or_null'
  at 6: r0 = *(u64 *)(r0 +0)
  in filter.s:9: r0 = *(u64 *)(r0 +0)
  r0 is map_value_or_null(id=1,ks=4,vs=8)
  rule: null-pointer
  try: Compare the pointer with 0 after the call that returned it, and use it only where it is not.
""",
    ),
    "an index that is not bounded enough": (
        """
        .type socket_filter
        .map counts array 4 16 1
        r6 = *(u8 *)(r1 +0)
        *(u32 *)(r10 -4) = 0
        r1 = map[counts]
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        if r6 > 16 goto out
        r0 += r6
        r0 = *(u8 *)(r0 +0)
    out:
        r0 = 0
        exit
        """,
        """
refused: R0 max value is outside of the allowed memory range
  also: invalid access to map value, value_size=16 off=16 size=1
  at 10: r0 = *(u8 *)(r0 +0)
  in filter.s:13: r0 = *(u8 *)(r0 +0)
  r0 is map_value(ks=4,vs=16,smin=0,smax=16,umax=16,var_off=(0x0; 0x1f))
  the way there:
    7: if r0 == 0x0 goto pc+3: not taken, with r0=map_value_or_null(id=1,ks=4,vs=16)
    8: if r6 > 0x10 goto pc+2: not taken, with r6=scalar(smin=0,smax=255,umax=255,var_off=(0x0; 0xff))
  rule: map-out-of-bounds
  try: Check the offset against the size of the map's value before the access.
""",
    ),
    "a packet that may be too short": (
        """
        .type xdp
        r2 = *(u32 *)(r1 +0)
        r3 = *(u32 *)(r1 +4)
        r4 = r2
        r4 += 8
        if r4 > r3 goto out
        r0 = *(u16 *)(r2 +12)
    out:
        r0 = 2
        exit
        """,
        """
refused: R2 offset is outside of the packet
  also: invalid access to packet, off=12 size=2, R2(id=0,off=12,r=8)
  at 5: r0 = *(u16 *)(r2 +12)
  in filter.s:8: r0 = *(u16 *)(r2 +12)
  r2 is pkt(r=8)
  the way there:
    4: if r4 > r3 goto pc+1: not taken, with r4=pkt(off=8,r=0) r3=pkt_end()
  rule: packet-out-of-bounds
  try: Compare the pointer plus the size of the access with data_end first, on every path.
""",
    ),
    "a record that is never submitted": (
        """
        .type raw_tracepoint
        .map events ringbuf 0 0 4096
        r1 = map[events]
        r2 = 8
        r3 = 0
        call bpf_ringbuf_reserve
        r0 = 0
        exit
        """,
        """
refused: Unreleased reference id=2 alloc_insn=4
  at 6: exit
  in filter.s:9: exit
  rule: unreleased-reference
  try: Release what was acquired on every path: bpf_sk_release, bpf_ringbuf_submit or _discard.
""",
    ),
    "a loop that changes nothing": (
        """
        .type raw_tracepoint
        r0 = 0
    again:
        r0 = 1
        if r0 == 1 goto again
        exit
        """,
        """
refused: infinite loop detected at insn 1
  at 1: r0 = 1
  in filter.s:5: r0 = 1
  the way there:
    2: if r0 == 0x1 goto pc-2: taken, with r0=1
    2: if r0 == 0x1 goto pc-2: taken, with r0=1
    2: if r0 == 0x1 goto pc-2: taken, with r0=1
    2: if r0 == 0x1 goto pc-2: taken, with r0=1
  rule: infinite-loop
  try: Something must change in each round, and end it: count a register toward a known limit.
""",
    ),
    "a register that a call has lost": (
        """
        .type raw_tracepoint
        call bpf_ktime_get_ns
        r0 = *(u64 *)(r1 +0)
        exit
        """,
        """
refused: R1 !read_ok
  at 1: r0 = *(u64 *)(r1 +0)
  in filter.s:4: r0 = *(u64 *)(r1 +0)
  r1 is uninitialized
  rule: uninitialized-register
  try: Set the register on every path that leads here.  r1 to r5 are lost at each call.
""",
    ),
    "bytes below the stack": (
        """
        .type raw_tracepoint
        r1 = 0
        *(u64 *)(r10 -520) = r1
        r0 = 0
        exit
        """,
        """
refused: invalid write to stack R10 off=-520 size=8
  at 1: *(u64 *)(r10 -520) = r1
  in filter.s:4: *(u64 *)(r10 -520) = r1
  r10 is fp0
  rule: stack-out-of-bounds
  try: The stack of a function is the 512 bytes below r10: from r10-512 to r10-1.
""",
    ),
    "a pointer that is moved before it is checked": (
        """
        .type socket_filter
        .map counts hash 4 8 16
        *(u32 *)(r10 -4) = 7
        r1 = map[counts]
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        r0 += 4
        r0 = 0
        exit
        """,
        """
refused: R0 pointer arithmetic on map_value_or_null prohibited, null-check it first
  at 6: r0 += 4
  in filter.s:9: r0 += 4
  r0 is map_value_or_null(id=1,ks=4,vs=8)
  rule: pointer-arithmetic-null
  try: Compare the pointer with 0 before you add to it.
""",
    ),
    "a pointer that is multiplied": (
        """
        .type raw_tracepoint
        r1 *= 8
        r0 = 0
        exit
        """,
        """
refused: R1 pointer arithmetic with *= operator prohibited
  at 0: r1 *= 8
  in filter.s:3: r1 *= 8
  r1 is ctx()
  rule: pointer-arithmetic
  try: Only + and - of numbers are allowed on pointers, with 64 bits.
""",
    ),
    "a field that this type does not have": (
        """
        .type xdp
        r0 = *(u32 *)(r1 +64)
        exit
        """,
        """
refused: invalid bpf_context access off=64 size=4
  at 0: r0 = *(u32 *)(r1 +64)
  in filter.s:3: r0 = *(u32 *)(r1 +64)
  r1 is ctx()
  rule: context-access
  try: This field does not exist, or not with this size or direction, for this program type.
""",
    ),
    "a helper of another type": (
        """
        .type socket_filter
        call bpf_xdp_adjust_head
        r0 = 0
        exit
        """,
        """
refused: program of this type cannot use helper bpf_xdp_adjust_head#44
  at 0: call bpf_xdp_adjust_head#44
  in filter.s:3: call bpf_xdp_adjust_head
  rule: unknown-helper
  try: Programs of this type may not call this helper, on this kernel.
""",
    ),
    "a helper for GPL programs only": (
        """
        .type raw_tracepoint
        .license MIT
        r1 = r10
        r1 += -8
        r2 = 8
        r3 = 0
        call bpf_probe_read_kernel
        r0 = 0
        exit
        """,
        """
refused: cannot call GPL-restricted function from non-GPL compatible program
  at 4: call bpf_probe_read_kernel#113
  in filter.s:8: call bpf_probe_read_kernel
  rule: license
  try: The helper is for GPL-compatible programs: set the license to GPL.
""",
    ),
    "a number used as a pointer": (
        """
        .type raw_tracepoint
        r1 = *(u64 *)(r1 +0)
        r0 = *(u64 *)(r1 +8)
        exit
        """,
        """
refused: R1 invalid mem access 'scalar'
  at 1: r0 = *(u64 *)(r1 +8)
  in filter.s:4: r0 = *(u64 *)(r1 +8)
  r1 is scalar()
  rule: not-a-pointer
  try: This is a number, not a pointer.  Keep the pointer in r6 to r9, or read kernel memory with bpf_probe_read_kernel.
""",
    ),
    "a size without a limit": (
        """
        .type raw_tracepoint
        r2 = *(u64 *)(r1 +0)
        r1 = r10
        r1 += -8
        r3 = 0
        call bpf_probe_read_kernel
        r0 = 0
        exit
        """,
        """
refused: R2 min value is negative, either use unsigned or 'var &= const'
  at 4: call bpf_probe_read_kernel#113
  in filter.s:7: call bpf_probe_read_kernel
  r2 is scalar()
  rule: negative-size
  try: Make the size unsigned, or mask it: size &= MAX.
""",
    ),
    "a result that the hook does not know": (
        """
        .type cgroup_skb
        r0 = 7
        exit
        """,
        """
refused: At program exit the register R0 has smin=7 smax=7 should have been in [0, 1]
  at 1: exit
  in filter.s:4: exit
  r0 is 7
  rule: return-value
  try: Set r0 to a value in the allowed range before exit.
""",
    ),
    "code that nothing reaches": (
        """
        .type raw_tracepoint
        r0 = 0
        exit
        r0 = 1
        exit
        """,
        """
refused: unreachable insn 2
  at 2: r0 = 1
  in filter.s:5: r0 = 1
  rule: unreachable
  try: Nothing leads to this instruction: remove it.
""",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    text, expected = MISTAKES[name]
    assert format_verdict(verify(assemble_program(text, where="filter.s"))) == expected.strip("\n")


def test_the_source_line_is_shown() -> None:
    program = assemble_program(".type raw_tracepoint\nr0 = r2\nexit")
    program.lines = [Line(0, "probe.c", 12, 3, "  return next;")]
    verdict = verify(program)
    assert verdict.line is not None and verdict.line.line == 12
    assert "  in probe.c:12: return next;" in format_verdict(verdict).splitlines()


def test_facts_of_an_accepted_program() -> None:
    verdict = verify(
        assemble_program(".type raw_tracepoint\nr2 = *(u64 *)(r1 +0)\n*(u64 *)(r10 -24) = r2\nr0 = 0\nexit")
    )
    assert verdict.accepted
    assert verdict.proven == {0, 1}
    assert (verdict.instructions, verdict.stack_depth) == (4, 32)
    assert format_verdict(verdict) == "accepted: 4 instructions looked at, 0 states kept, 32 bytes of stack"


def test_suggestions_are_sentences() -> None:
    assert all(text.endswith(".") for text in SUGGESTIONS.values())
