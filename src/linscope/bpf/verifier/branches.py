"""Conditional jumps: which branches there are, and what each learns about numbers, pointers and packets.

Source: kernel/bpf/verifier.c, check_cond_jmp_op, try_match_pkt_pointers, mark_ptr_or_null_regs.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import comparison
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import state as st
from linscope.bpf.verifier.map_values import fields_of, has_spin_lock
from linscope.bpf.verifier.precision import mark_precise
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.bpf.instructions import Instruction
    from linscope.bpf.verifier.checker import Checker
    from linscope.bpf.verifier.state import Frame, State

BEYOND_END, AT_END = -2, -1  # ranges of packet pointers that were compared with the end
_MAX_PACKET = 0xFFFF
_NOT_NULL = frozenset((r.SOCKET, r.TCP_SOCK, r.MAP_VALUE, r.MAP_KEY, r.SOCK_COMMON))
_MAPS_OF_MAPS = (b.BPF_MAP_TYPE_ARRAY_OF_MAPS, b.BPF_MAP_TYPE_HASH_OF_MAPS)


def check_branch(checker: Checker, instruction: Instruction, slot: int) -> int:
    """Run a conditional jump; the slot to go on at.  The other branch is put aside.  Raises Rejection."""
    code, dst, src, off, imm = instruction
    operation = code & 0xF0
    wide = code & 7 == b.BPF_JMP
    state = checker.state
    if operation == b.BPF_JCOND and checker.kernel >= (6, 9):
        return _may_goto(checker, instruction, slot)
    if operation > b.BPF_JSLE or operation == b.BPF_JA:
        raise Rejection("invalid-instruction", f"invalid BPF_JMP/JMP32 opcode {operation:x}")
    first = checker.read(dst)
    by_register = bool(code & b.BPF_X)
    if by_register:
        if imm:
            raise Rejection("reserved-fields", "BPF_JMP/JMP32 uses reserved fields")
        second = checker.read(src)
        packets = first.type in r.PACKETS_ANY and second.type in r.PACKETS_ANY
        if not packets and checker.is_pointer(second):
            raise Rejection("pointer-comparison", f"R{src} pointer comparison prohibited", src)
    else:
        if src:
            raise Rejection("reserved-fields", "BPF_JMP/JMP32 uses reserved fields")
        second = r.constant(imm)
    taken = _outcome(first, second, operation, wide, checker.kernel)
    if taken >= 0:
        if first.type == r.SCALAR:
            mark_precise(checker, dst)
        if by_register and second.type == r.SCALAR:
            mark_precise(checker, src)
        to = slot + off + 1 if taken else slot + 1
        if not checker.bypass_speculation:
            other = slot + 1 if taken else slot + off + 1
            aside = checker.push(other, slot, speculative=True)
            aside.frames[-1].registers[dst] = r.UNKNOWN
            if by_register:
                aside.frames[-1].registers[src] = r.UNKNOWN
        checker.note(state, bool(taken), first, second)
        return to
    numbers = first.type == r.SCALAR and second.type == r.SCALAR
    if numbers:
        told = comparison.refine(operation, first.bounds, second.bounds, wide=wide)
        told_not = comparison.refine(comparison.OPPOSITE[operation], first.bounds, second.bounds, wide=wide)
        if checker.bypass_speculation and (_is_impossible(told) or _is_impossible(told_not)):
            # ranges and bits together say what neither says alone
            mark_precise(checker, dst)
            if by_register:
                mark_precise(checker, src)
            taken = int(_is_impossible(told_not))
            checker.note(state, bool(taken), first, second)
            if _is_impossible(told) and taken:
                return -1
            return slot + off + 1 if taken else slot + 1
        linked = _linked(state, first, second)
        if linked:
            checker.remember(linked)
    aside = checker.push(slot + off + 1, slot)
    checker.note(aside, True, first, second)
    checker.note(state, False, first, second)
    if numbers:
        for which, (a, c) in ((aside, told), (state, told_not)):
            _set(which, dst, first, a)
            if by_register and src != dst:
                _set(which, src, second, c)
        return slot + 1
    if by_register:
        if wide and operation in (b.BPF_JEQ, b.BPF_JNE):
            _same_pointer(checker, aside if operation == b.BPF_JEQ else state, first, second)
    elif first.type & r.OR_NULL and wide and not imm and operation in (b.BPF_JEQ, b.BPF_JNE):
        mark_null(checker, aside, first, is_null=operation == b.BPF_JEQ)
        mark_null(checker, state, first, is_null=operation == b.BPF_JNE)
        return slot + 1
    if not _packet_ends(instruction, first, second, state, aside) and checker.is_pointer(first):
        raise Rejection("pointer-comparison", f"R{dst} pointer comparison prohibited", dst)
    return slot + 1


def _may_goto(checker: Checker, instruction: Instruction, slot: int) -> int:
    if instruction.code != b.BPF_JMP | b.BPF_JCOND or instruction.src or instruction.dst or instruction.imm:
        raise Rejection("reserved-fields", "invalid may_goto imm")
    from linscope.bpf.verifier.visited import widen

    state = checker.state
    aside = checker.push(slot + instruction.off + 1, slot)
    aside.may_goto = state.may_goto
    widen(checker, slot)
    state.may_goto += 1
    return slot + 1


def _is_impossible(pair: tuple[bd.Bounds, bd.Bounds]) -> bool:
    return pair[0] is bd.CONTRADICTION or pair[1] is bd.CONTRADICTION


def _outcome(first: Register, second: Register, operation: int, wide: bool, kernel: tuple[int, int]) -> int:
    """1: the jump is always taken, 0: never, -1: it depends."""
    if first.type == r.SCALAR and second.type == r.SCALAR:
        return comparison.outcome(operation, first.bounds, second.bounds, wide=wide)
    if first.type in r.PACKETS_ANY and second.type in r.PACKETS_ANY:
        return _packet_outcome(first, second, operation) if wide else -1
    if second.type == r.SCALAR and not second.bounds[1] and not second.bounds[0]:
        base = first.type & r.BASE
        plain = not first.type & r.OR_NULL
        newer = base == r.MAP_PTR or (base == r.MEM and not first.type & r.UNTRUSTED)
        if plain and (first.type in _NOT_NULL or (newer and kernel >= (6, 4))):
            if operation == b.BPF_JEQ:
                return 0
            if operation == b.BPF_JNE:
                return 1
    return -1


def _packet_outcome(first: Register, second: Register, operation: int) -> int:
    if second.type == r.PACKET_END:
        packet = first
    elif first.type == r.PACKET_END:
        packet = second
        operation = comparison.FLIPPED.get(operation, operation)
    else:
        return -1
    if packet.range >= 0:
        return -1
    if operation in (b.BPF_JLE, b.BPF_JGT):
        if packet.range == BEYOND_END:
            return int(operation == b.BPF_JGT)
    elif operation in (b.BPF_JLT, b.BPF_JGE):
        return int(operation == b.BPF_JGE)
    return -1


def _set(state: State, number: int, old: Register, bounds: bd.Bounds) -> None:
    """A number got new bounds, and with it all that are equal."""
    if bounds == old.bounds:
        return
    new = Register(r.SCALAR, bounds, id=old.id)
    state.frames[-1].registers[number] = new
    if old.id:
        wanted = old.id

        def same(register: Register) -> Register | None:
            return new if register.type == r.SCALAR and register.id == wanted else None

        replace_all(state, same)


def replace_all(state: State, change: Callable[[Register], Register | None]) -> None:
    """Replace registers and spilled values of all frames; change gives None for those that stay."""
    for frame in state.frames:
        registers = frame.registers
        for number in range(11):
            new = change(registers[number])
            if new is not None:
                registers[number] = new
        stack = frame.stack
        for place, slot in stack.items():
            register = slot.register
            if register is not None and slot.kinds[0] == st.SPILL:
                new = change(register)
                if new is not None:
                    stack[place] = st.Slot(slot.kinds, new)


def _linked(state: State, first: Register, second: Register) -> st.Linked | None:
    """Where else the compared numbers are; None when nowhere."""
    ids = {register.id for register in (first, second) if register.id}
    if not ids:
        return None
    found = []
    total = 0
    for index, frame in enumerate(state.frames):
        mask = stack_mask = 0
        for number, register in enumerate(frame.registers):
            if register.type == r.SCALAR and register.id in ids:
                mask |= 1 << number
                total += 1
        for place, slot in frame.stack.items():
            spill = slot.register
            if spill is not None and spill.type == r.SCALAR and spill.id in ids and slot.is_spill:
                stack_mask |= 1 << place
                total += 1
        if mask or stack_mask:
            found.append((index, mask, stack_mask))
    return tuple(found) if total > 1 else None


# -- pointers that may be NULL


def mark_null(checker: Checker, state: State, register: Register, *, is_null: bool) -> None:
    """In a state a pointer, and its copies, turned out to be NULL, or not."""
    wanted = register.id
    if register.ref and register.ref == wanted and is_null:
        state.references = tuple(one for one in state.references if one[0] != wanted)

    def change(one: Register) -> Register | None:
        if one.id != wanted or not one.type & r.OR_NULL:
            return None
        return r.ZERO if is_null else not_null(checker, one)

    replace_all(state, change)


def not_null(checker: Checker, register: Register) -> Register:
    """The pointer, known not to be NULL: a map found in a map, a socket found in one, or just itself."""
    kind = register.type & ~r.OR_NULL
    if kind == r.MAP_VALUE:
        map = checker.map_of(register)
        if map.type in _MAPS_OF_MAPS:
            inner = map.inner
            uid = register.id if inner is not None and fields_of(checker, inner).special else 0
            return Register(r.MAP_PTR, bd.ZERO, info=inner, uid=uid)
        if map.type == b.BPF_MAP_TYPE_XSKMAP:
            return Register(r.XDP_SOCK, bd.ZERO, ref=register.ref)
        if map.type in (b.BPF_MAP_TYPE_SOCKMAP, b.BPF_MAP_TYPE_SOCKHASH):
            return Register(r.SOCKET, bd.ZERO, ref=register.ref)
    keep = kind == r.MAP_VALUE and has_spin_lock(checker, checker.map_of(register))
    return Register(
        kind, register.bounds, register.off, register.id if keep else 0, register.ref, register.info, register.range,
        register.uid,
    )  # fmt: skip


def _same_pointer(checker: Checker, state: State, first: Register, second: Register) -> None:
    """In a branch where two pointers are equal and one is not NULL, the other is not either."""
    pointers = first.type not in (r.SCALAR, r.NOT_INIT) and second.type not in (r.SCALAR, r.NOT_INIT)
    if checker.kernel < (6, 2) or not pointers or bool(first.type & r.OR_NULL) == bool(second.type & r.OR_NULL):
        return
    if r.BTF_ID in (first.type & r.BASE, second.type & r.BASE):
        return
    mark_null(checker, state, first if first.type & r.OR_NULL else second, is_null=False)


# -- packets


def _is_start(register: Register) -> bool:
    return register.type == r.PACKET and not register.id and not register.off and register.bounds == bd.ZERO


def _packet_ends(instruction: Instruction, first: Register, second: Register, state: State, aside: State) -> bool:
    """A comparison with the end of the packet (or of metadata with its begin) tells how far one may read.

    state: where the jump is not taken; aside: where it is.  Whether it is such a comparison.
    """
    code, dst, src, _, _ = instruction
    if not code & b.BPF_X or code & 7 == b.BPF_JMP32:
        return False
    operation = code & 0xF0
    if operation not in (b.BPF_JGT, b.BPF_JLT, b.BPF_JGE, b.BPF_JLE):
        return False
    if _is_pair(first, second):
        pointer, number = first, dst
    elif _is_pair(second, first):
        pointer, number = second, src
        operation = comparison.FLIPPED[operation]
    else:
        return False
    # now it reads: pointer operation end
    inside, outside = (state, aside) if operation in (b.BPF_JGT, b.BPF_JGE) else (aside, state)
    open_right = operation in (b.BPF_JGE, b.BPF_JLT)
    _good_range(inside, pointer, open_right)
    _mark_end(outside.frames[-1], number, BEYOND_END if not open_right else AT_END)
    return True


def _is_pair(pointer: Register, end: Register) -> bool:
    return (pointer.type == r.PACKET and end.type == r.PACKET_END) or (pointer.type == r.PACKET_META and _is_start(end))


def _mark_end(frame: Frame, number: int, range: int) -> None:
    register = frame.registers[number]
    if register.type == r.PACKET:
        frame.registers[number] = register.with_range(range)


def _good_range(state: State, pointer: Register, open_right: bool) -> None:
    if pointer.off < 0 or (not pointer.off and open_right):
        return
    if pointer.bounds[bd.UMAX] > _MAX_PACKET or pointer.bounds[bd.UMAX] + pointer.off > _MAX_PACKET:
        return
    range = pointer.off + int(open_right)
    kind, wanted = pointer.type, pointer.id

    def change(register: Register) -> Register | None:
        if register.type == kind and register.id == wanted and register.range < range:
            return register.with_range(range)
        return None

    replace_all(state, change)
