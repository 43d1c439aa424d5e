"""Which numbers matter: the way back from where a number decided something to where it came from.

A kept state is compared with later ones; numbers that decided nothing need not be equal.  So a number that bounds an
access or decides a branch is followed backward, instruction by instruction, and marked in the kept states on the way.
Source: kernel/bpf/verifier.c, mark_chain_precision and backtrack_insn, as of Linux 6.12.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.control_flow import CALL, CALLBACK_HELPERS, EXIT

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.verifier.checker import Checker
    from linscope.bpf.verifier.state import History, Linked, State

_ARGUMENTS = 0b111110
_FRAME_POINTER = 10
_ALL = (1 << 11) - 1
_ALL_SLOTS = (1 << 64) - 1


def mark_precise(checker: Checker, number: int) -> None:
    """The number in a register of the current frame matters."""
    if not checker.capable or checker.state.frames[-1].registers[number].type != r.SCALAR:
        return
    if checker.state.parent is None:
        return
    frames = len(checker.state.frames)
    registers = [0] * frames
    registers[-1] = 1 << number
    follow(checker, registers, [0] * frames)


def propagate(checker: Checker, kept: State) -> None:
    """What mattered after a kept state matters in the current one, which was found to be a part of it."""
    if not checker.capable or checker.state.parent is None:
        return
    registers, stacks = [], []
    for frame, mine in zip(kept.frames, checker.state.frames, strict=True):
        bits = frame.precise
        wanted = 0
        while bits:
            number = (bits & -bits).bit_length() - 1
            bits &= bits - 1
            if mine.registers[number].type == r.SCALAR:
                wanted |= 1 << number
        registers.append(wanted)
        bits = frame.precise_stack & frame.reads
        wanted = 0
        while bits:
            number = (bits & -bits).bit_length() - 1
            bits &= bits - 1
            slot = mine.stack.get(number)
            if slot is not None and slot.is_spill and slot.register is not None and slot.register.type == r.SCALAR:
                wanted |= 1 << number
        stacks.append(wanted)
    if any(registers) or any(stacks):
        follow(checker, registers, stacks)


def follow(checker: Checker, registers: list[int], stacks: list[int]) -> None:
    """Follow numbers backward from the current instruction; registers, stacks: bits of each frame."""
    state: State | None = checker.state
    at = checker.slot
    assert state is not None
    marked = state.marked
    state.marked = (at, state.history, registers.copy(), stacks.copy())
    behind = -1
    skip = True
    current = len(registers) - 1
    while state is not None:
        history: History = state.history
        while True:
            if skip:
                skip = False
            else:
                node = history if history is not None and history[1] == at else None
                found = _step(checker, checker.code[at], at, behind, node, registers, stacks, current)
                if found < 0:
                    _mark_all(checker)
                    return
                current = found
                if (
                    marked is not None
                    and at == marked[0]
                    and history is marked[1]
                    and _are_within(registers, stacks, marked)
                ):
                    return  # from here on the last way back did it all
            if not any(registers) and not any(stacks):
                return
            if at == state.first and (history is None or (history[0] is None and history[1] == at)):
                break
            behind = at
            if history is not None and history[1] == at:
                at = history[2]
                history = history[0]
            else:
                at -= 1
                if checker.code[at].code == 0:
                    at -= 1
            if at < 0:
                _mark_all(checker)
                return
        parent = state.parent
        if parent is None:
            return
        if not _mark(parent, registers, stacks):
            return
        marked = None
        state = parent
        behind = at
        at = parent.last
        if at < 0:
            return


def _are_within(
    registers: list[int], stacks: list[int], marked: tuple[int, History, list[int], list[int]]
) -> bool:  # fmt: skip
    """Whether all that is followed was followed by an earlier way back, too."""
    _, _, others, other_stacks = marked
    if len(registers) != len(others):
        return False
    for number, bits in enumerate(registers):
        if bits & ~others[number] or stacks[number] & ~other_stacks[number]:
            return False
    return True


def _mark(state: State, registers: list[int], stacks: list[int]) -> bool:
    """Mark in a kept state; what is no number, or marked already, is dropped.  Whether anything is left."""
    left = False
    count = len(state.frames)
    for number in range(len(registers)):
        if number >= count:
            registers[number] = stacks[number] = 0
            continue
        frame = state.frames[number]
        bits = registers[number] & ~frame.precise
        wanted = 0
        while bits:
            low = bits & -bits
            bits ^= low
            if frame.registers[low.bit_length() - 1].type == r.SCALAR:
                wanted |= low
        frame.precise |= wanted
        registers[number] = wanted
        bits = stacks[number] & ~frame.precise_stack
        kept = 0
        while bits:
            low = bits & -bits
            bits ^= low
            slot = frame.stack.get(low.bit_length() - 1)
            if slot is not None and slot.is_spill and slot.register is not None and slot.register.type == r.SCALAR:
                kept |= low
        frame.precise_stack |= kept
        stacks[number] = kept
        left = left or bool(wanted or kept)
    return left


def _mark_all(checker: Checker) -> None:
    """All numbers in all kept states on the way here matter: the way back got lost."""
    state = checker.state.parent
    while state is not None:
        if all(frame.precise == _ALL and frame.precise_stack == _ALL_SLOTS for frame in state.frames):
            return  # and so are those before it
        for frame in state.frames:
            frame.precise = _ALL
            frame.precise_stack = _ALL_SLOTS
        state = state.parent


def _link(linked: Linked, registers: list[int], stacks: list[int]) -> None:
    for number, mask, stack_mask in linked:
        if number < len(registers) and (registers[number] & mask or stacks[number] & stack_mask):
            break
    else:
        return
    for number, mask, stack_mask in linked:
        if number < len(registers):
            registers[number] |= mask
            stacks[number] |= stack_mask


def _step(
    checker: Checker, instruction: Instruction, at: int, behind: int, node: History, registers: list[int],
    stacks: list[int], current: int,
) -> int:  # fmt: skip
    """One instruction backward; the frame that is current before it, -1 when the way is lost."""
    code, dst, src, _, imm = instruction
    kind = code & 7
    mine = registers[current]
    if kind in (b.BPF_ALU, b.BPF_ALU64):
        if not mine >> dst & 1:
            return current
        operation = code & 0xF0
        if operation in (b.BPF_END, b.BPF_NEG):
            return current
        if operation == b.BPF_MOV:
            mine &= ~(1 << dst)
        if code & b.BPF_X and src != _FRAME_POINTER:
            mine |= 1 << src
        registers[current] = mine
        return current
    if kind == b.BPF_LDX or (code & 0xE7 == b.BPF_STX | b.BPF_ATOMIC and imm == b.BPF_LOAD_ACQ):
        if mine >> dst & 1:
            registers[current] = mine & ~(1 << dst)
            if node is not None and isinstance(node[3], int) and node[3] >= 0:
                stacks[node[3] >> 6] |= 1 << (node[3] & 63)
        return current
    if kind in (b.BPF_ST, b.BPF_STX):
        if code & 0xE7 == b.BPF_STX | b.BPF_ATOMIC:
            result = 1 if imm == b.BPF_CMPXCHG else 1 << src if imm & b.BPF_FETCH else 0
            if mine & result:
                registers[current] = mine & ~result
                if node is not None and isinstance(node[3], int) and node[3] >= 0:
                    stacks[node[3] >> 6] |= 1 << (node[3] & 63)
            return current
        if mine >> dst & 1:
            return -1  # a pointer made of numbers
        if node is not None and isinstance(node[3], int) and node[3] >= 0:
            number, bit = node[3] >> 6, 1 << (node[3] & 63)
            if number < len(stacks) and stacks[number] & bit:
                stacks[number] &= ~bit
                if kind == b.BPF_STX:
                    registers[current] |= 1 << src
        return current
    if kind == b.BPF_LD:
        registers[current] = mine & ~(1 << dst if code & 0xE0 == b.BPF_IMM else 1)
        return current
    if code == CALL:
        if src == b.BPF_PSEUDO_CALL:
            if behind == at + 1:  # of a global function: not entered
                registers[current] = mine & ~1
                return -1 if mine & _ARGUMENTS else current
            return _leave(registers, stacks, current, arguments=True)
        if src == 0 and imm in CALLBACK_HELPERS and behind != at + 1:
            return _leave(registers, stacks, current, arguments=False)
        registers[current] = mine & ~1
        return -1 if mine & _ARGUMENTS else current
    if code == EXIT:
        # what follows is in the caller: behind a call, or at the helper that called back
        before = checker.code[behind - 1] if behind > 0 else None
        called = before is not None and before.code == CALL and before.src == b.BPF_PSEUDO_CALL
        after = checker.code[behind]
        if after.code == CALL and after.src == 0 and after.imm in CALLBACK_HELPERS:
            called = False
            mine &= ~_ARGUMENTS
        if mine & _ARGUMENTS:
            return -1
        result = mine & 1
        registers[current] = mine & ~1
        current += 1
        while len(registers) <= current:
            registers.append(0)
            stacks.append(0)
        registers[current] = result if called else 0
        stacks[current] = 0
        return current
    # jumps: both sides of a comparison matter when one does
    if isinstance(node, tuple) and isinstance(node[3], tuple):
        _link(node[3], registers, stacks)
        mine = registers[current]
    if code & b.BPF_X and kind in (b.BPF_JMP, b.BPF_JMP32) and mine & (1 << dst | 1 << src):
        mine |= 1 << dst
        if src != _FRAME_POINTER:
            mine |= 1 << src
        registers[current] = mine
    return current


def _leave(registers: list[int], stacks: list[int], current: int, *, arguments: bool) -> int:
    """From the first instruction of a function back to its call; -1 when it used what was never set."""
    mine = registers[current]
    if not current or mine & ~_ARGUMENTS or stacks[current]:
        return -1
    registers[current] = 0
    if arguments:
        registers[current - 1] |= mine
    return current - 1
