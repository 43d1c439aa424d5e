"""Verdicts in words: the instruction, the path to it, what was known, and what to do.

The instruction texts are the disassembler's.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.verdict import Step, Verdict

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.program import Line
    from linscope.bpf.verifier.checker import Checker
    from linscope.bpf.verifier.rejection import Rejection

_STEPS = 24  # of the path that are shown
_ACCESSES = (b.BPF_LDX, b.BPF_ST, b.BPF_STX)

SUGGESTIONS = {
    "uninitialized-register": "Set the register on every path that leads here.  r1 to r5 are lost at each call.",
    "uninitialized-stack": "Write these bytes of the stack before they are read, padding included.",
    "not-a-pointer": "This is a number, not a pointer.  Keep the pointer in r6 to r9, or read kernel memory with "
    "bpf_probe_read_kernel.",
    "null-pointer": "Compare the pointer with 0 after the call that returned it, and use it only where it is not.",
    "map-out-of-bounds": "Check the offset against the size of the map's value before the access.",
    "memory-out-of-bounds": "Check the offset against the size of the memory before the access.",
    "packet-out-of-bounds": "Compare the pointer plus the size of the access with data_end first, on every path.",
    "stack-out-of-bounds": "The stack of a function is the 512 bytes below r10: from r10-512 to r10-1.",
    "negative-offset": "Make the index unsigned, or check that it is not negative: if (index >= 0).",
    "unbounded-offset": "Bound the index: if (index < SIZE), or index &= SIZE - 1 with SIZE a power of two.",
    "negative-size": "Make the size unsigned, or mask it: size &= MAX.",
    "unbounded-size": "Bound the size: if (size <= MAX), or size &= MAX with MAX a power of two minus 1.",
    "zero-size": "The size may be 0 here; check that it is not.",
    "modified-pointer": "Use the pointer as it was given; add the offset in the load itself.",
    "variable-pointer": "The offset must be a constant known when the program is loaded.",
    "pointer-arithmetic": "Only + and - of numbers are allowed on pointers, with 64 bits.",
    "pointer-arithmetic-null": "Compare the pointer with 0 before you add to it.",
    "pointer-arithmetic-range": "Bound the number before it is added to the pointer.",
    "pointer-leak": "Unprivileged programs must not show addresses: store or return a number.",
    "pointer-comparison": "Unprivileged programs may compare pointers with 0 only.",
    "context-access": "This field does not exist, or not with this size or direction, for this program type.",
    "read-only": "This memory may only be read.",
    "map-read-only": "The map was made with BPF_F_RDONLY_PROG: programs only read it.",
    "map-write-only": "The map was made with BPF_F_WRONLY_PROG: programs only write it.",
    "packet-read-only": "Programs of this type may read the packet only.",
    "argument-type": "Pass the kind of pointer that the helper asks for.",
    "argument-value": "The helper allows only some values here.",
    "unreleased-reference": "Release what was acquired on every path: bpf_sk_release, bpf_ringbuf_submit or _discard.",
    "unacquired-reference": "It was released before, or never acquired.",
    "release-unreferenced": "Only what a helper acquired can be released, and only once.",
    "spin-lock": "Take one lock at a time, and give back the same one.",
    "lock-held": "Call bpf_spin_unlock first.",
    "return-value": "Set r0 to a value in the allowed range before exit.",
    "infinite-loop": "Something must change in each round, and end it: count a register toward a known limit.",
    "loop": "Unprivileged programs must not loop.",
    "too-complex": "There are too many paths: bound loops, split the program, or use bpf_loop.",
    "unreachable": "Nothing leads to this instruction: remove it.",
    "jump-out-of-range": "Jumps must end within their own function.",
    "no-exit": "End each function with exit or a jump.",
    "invalid-register": "There are r0 to r10.",
    "frame-pointer-write": "r10 cannot be changed; copy it.",
    "section": "Pair bpf_rcu_read_lock and bpf_preempt_disable with their ends on every path, within one function.",
    "untrusted-pointer": "Acquire a reference (bpf_task_acquire ...), or take the pointer straight from the context.",
    "unresolved-relocation": "The kernel has no such field, type or value (CO-RE): guard it with "
    "bpf_core_field_exists or bpf_core_type_exists.",
    "unknown-helper": "Programs of this type may not call this helper, on this kernel.",
    "license": "The helper is for GPL-compatible programs: set the license to GPL.",
    "map-type": "Use a map of a type that goes with this helper and program.",
    "misaligned": "Access 2, 4 and 8 bytes at multiples of their size.",
    "partial-spill": "Spill pointers with 8 bytes.",
    "partial-fill": "Read back all 8 bytes of a pointer.",
    "spill-corrupted": "Do not write over a part of a spilled pointer.",
    "stack-pointer-escapes": "A pointer to a stack must not outlive its function.",
    "stack-depth": "Use less stack: 512 bytes for all functions of a chain of calls.",
    "call-depth": "Calls nest at most 8 deep.",
    "mixed-pointers": "Use one instruction for one kind of pointer: split the paths.",
    "division-by-zero": "The divisor is the constant 0.",
    "invalid-shift": "Shift by less than the width.",
    "needs-btf": "Load the program with BTF and func_info.",
    "unprivileged-pointer-arithmetic": "Load with CAP_PERFMON, or use constant offsets.",
    "unprivileged-variable-stack": "Load with CAP_PERFMON, or use constant offsets.",
    "unprivileged-call": "Load with CAP_BPF.",
    "special-field": "Locks, timers and kernel pointers in map values are for their helpers only.",
    "sleepable": "The program must be loaded as sleepable (BPF_F_SLEEPABLE).",
}


def instruction_text(checker: Checker, slot: int) -> str:
    """The instruction at a slot, as the disassembler writes it; its numbers when there is no such instruction."""
    from linscope.bpf.dis import format_instruction
    from linscope.errors import LinscopeError

    try:
        return format_instruction(checker.code, slot)
    except (LinscopeError, IndexError):
        code, dst, src, off, imm = checker.code[slot]
        return f"({code:02x}) dst={dst} src={src} off={off} imm={imm}"


def find_line(checker: Checker, slot: int) -> Line | None:
    """The source line that an instruction belongs to."""
    found = None
    for line in checker.program.lines:
        if line.slot > slot:
            break
        found = line
    return found


def _path(checker: Checker) -> tuple[Step, ...]:
    state = checker.state
    steps: list[Step] = []
    node = state.path if state is not None else None
    while node is not None and len(steps) < _STEPS:
        node, slot, taken, first, second = node
        instruction = checker.code[slot]
        values = f"r{instruction.dst}={r.text(first)}"
        if second is not None and instruction.code & b.BPF_X:
            values += f" r{instruction.src}={r.text(second)}"
        steps.append(Step(slot, instruction_text(checker, slot), taken, values))
    return tuple(reversed(steps))


def refuse(checker: Checker, rejection: Rejection) -> Verdict:
    """The verdict on a program that broke a rule."""
    slot = rejection.slot if rejection.slot >= 0 else checker.slot
    slot = min(slot, len(checker.code) - 1)
    known = ""
    if checker.state is not None and 0 <= rejection.register <= 10:
        known = r.text(checker.state.frames[-1].registers[rejection.register])
    return Verdict(
        accepted=False,
        instructions=checker.processed,
        states=sum(len(kept) for kept in checker.explored.values()),
        stack_depth=max(checker.stack_depths.values(), default=0),
        proven=frozenset(),
        reached=frozenset(checker.seen),
        slot=slot,
        text=instruction_text(checker, slot) if slot >= 0 else "",
        line=find_line(checker, slot),
        path=_path(checker),
        register=rejection.register,
        known=known,
        rule=rejection.rule,
        message=rejection.message,
        suggestion=SUGGESTIONS.get(rejection.rule, ""),
    )


def accept(checker: Checker, depth: int) -> Verdict:
    """The verdict on a program that is safe."""
    accesses = (slot for slot in checker.seen if checker.code[slot].code & 7 in _ACCESSES)
    return Verdict(
        accepted=True,
        instructions=checker.processed,
        states=sum(len(kept) for kept in checker.explored.values()),
        stack_depth=depth,
        proven=frozenset(slot for slot in accesses if slot not in checker.unproven),
        reached=frozenset(checker.seen),
        slot=-1,
        text="",
        line=None,
        path=(),
        register=-1,
        known="",
        rule="",
        message="",
        suggestion="",
    )


def format_verdict(verdict: Verdict) -> str:
    """A verdict as lines of text."""
    if verdict.accepted:
        return (
            f"accepted: {verdict.instructions} instructions looked at, {verdict.states} states kept, "
            f"{verdict.stack_depth} bytes of stack"
        )
    lines = [f"refused: {verdict.message.splitlines()[-1]}"]
    lines += [f"  also: {line}" for line in verdict.message.splitlines()[:-1]]
    if verdict.slot >= 0:
        lines.append(f"  at {verdict.slot}: {verdict.text}")
    if verdict.line is not None:
        lines.append(f"  in {verdict.line.file}:{verdict.line.line}: {verdict.line.text.strip()}")
    if verdict.register >= 0:
        lines.append(f"  r{verdict.register} is {verdict.known}")
    if verdict.path:
        lines.append("  the way there:")
        for step in verdict.path:
            word = "taken" if step.taken else "not taken"
            lines.append(f"    {step.slot}: {step.text}: {word}, with {step.values}")
    lines.append(f"  rule: {verdict.rule}")
    if verdict.suggestion:
        lines.append(f"  try: {verdict.suggestion}")
    return "\n".join(lines)
