"""The walk over all paths of a program: one instruction after the other, one branch after the other.

Source: kernel/bpf/verifier.c, do_check, bpf_check.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.instructions import WIDE
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.alu import check_alu
from linscope.bpf.verifier.branches import check_branch
from linscope.bpf.verifier.calls import call, check_exit, check_references, clear_caller_saved, leave
from linscope.bpf.verifier.control_flow import CALL, EXIT, JUMP, LONG_JUMP
from linscope.bpf.verifier.global_functions import has_function_info, is_global, set_arguments
from linscope.bpf.verifier.helpers import call_helper
from linscope.bpf.verifier.map_values import has_spin_lock
from linscope.bpf.verifier.memory import check_access
from linscope.bpf.verifier.regions import check_no_offset
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection
from linscope.bpf.verifier.state import Frame, State
from linscope.bpf.verifier.visited import is_visited

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.verifier.checker import Checker

_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_ATOMICS = frozenset(
    (
        b.BPF_ADD, b.BPF_ADD | b.BPF_FETCH, b.BPF_AND, b.BPF_AND | b.BPF_FETCH, b.BPF_OR, b.BPF_OR | b.BPF_FETCH,
        b.BPF_XOR, b.BPF_XOR | b.BPF_FETCH, b.BPF_XCHG, b.BPF_CMPXCHG,
    )
)  # fmt: skip
_LEGACY_TYPES = frozenset(
    (
        b.BPF_PROG_TYPE_SOCKET_FILTER, b.BPF_PROG_TYPE_SCHED_CLS, b.BPF_PROG_TYPE_SCHED_ACT,
    )
)  # fmt: skip
_SPIN_UNLOCK = 94
# pointers of these types may not share an instruction with others, for it is rewritten: reg_type_mismatch
_REWRITTEN = frozenset((r.CTX, r.SOCKET, r.SOCK_COMMON, r.TCP_SOCK, r.XDP_SOCK, r.BTF_ID))


def walk(checker: Checker, start: int) -> None:
    """Check all paths from the first instruction of a function.  Raises Rejection."""
    state = State(start)
    frame = Frame(start, -1)
    frame.registers[10] = Register(r.STACK, bd.ZERO, info=0)
    if start:
        set_arguments(checker, start, frame.registers)
    else:
        frame.registers[1] = Register(r.CTX)
    state.frames.append(frame)
    checker.entry = start
    checker.explored.clear()
    checker.pending.clear()
    checker.state = state
    checker.slot = start
    checker.previous = -1
    _run(checker)


def _run(checker: Checker) -> None:
    """Until no path is left."""
    code = checker.code
    count = len(code)
    points = checker.prune_points
    seen = checker.seen
    slot, previous = checker.slot, -1
    state = checker.state
    while True:
        checker.previous = previous
        checker.slot = slot
        if slot >= count:
            raise Rejection("jump-out-of-range", f"invalid insn idx {slot} insn_cnt {count}", slot=count - 1)
        checker.processed += 1
        if checker.processed > b.BPF_COMPLEXITY_LIMIT_INSNS:
            raise Rejection("too-complex", f"BPF program is too large. Processed {checker.processed} insn")
        state.slot = slot
        done = slot in points and is_visited(checker, slot)
        if not done:
            if previous != slot - 1 and previous >= 0 and not (previous == slot - 2 and not code[slot - 1].code):
                state.history = (state.history, slot, previous, -1)
                state.notes += 1
                checker.noted = checker.processed
            seen.add(slot)
            previous = slot
            instruction = code[slot]
            kind = instruction.code & 7
            if kind == b.BPF_ALU64 or kind == b.BPF_ALU:
                check_alu(checker, instruction)
                slot += 1
            elif kind == b.BPF_LDX:
                _load(checker, instruction)
                slot += 1
            elif kind == b.BPF_STX:
                _store(checker, instruction)
                slot += 1
            elif kind == b.BPF_JMP or kind == b.BPF_JMP32:
                checker.jumps += 1
                slot = _jump(checker, instruction, slot)
                done = slot < 0
            elif kind == b.BPF_ST:
                _store_immediate(checker, instruction)
                slot += 1
            else:
                slot = _load_special(checker, instruction, slot)
        if done:
            node = state.parent
            while node is not None:
                node.branches -= 1
                if node.branches:
                    break
                node = node.parent
            if not checker.pending:
                return
            state, slot, previous = checker.pending.pop()
            checker.state = state


def _jump(checker: Checker, instruction: Instruction, slot: int) -> int:
    """Jumps, calls and exits; the slot to go on at, -1 when the path is at its end.  Raises Rejection."""
    code, dst, src, off, imm = instruction
    operation = code & 0xF0
    state = checker.state
    if operation == b.BPF_CALL:
        if (
            code != CALL or (src != b.BPF_PSEUDO_KFUNC_CALL and off)
            or src not in (0, b.BPF_PSEUDO_CALL, b.BPF_PSEUDO_KFUNC_CALL) or dst
        ):  # fmt: skip
            raise Rejection("reserved-fields", "BPF_CALL uses reserved fields")
        if state.lock is not None:
            forbidden = src == b.BPF_PSEUDO_CALL and checker.kernel < (6, 8)
            if forbidden or (src == 0 and imm != _SPIN_UNLOCK):
                raise Rejection("lock-held", "function calls are not allowed while holding a lock")
        if src == b.BPF_PSEUDO_CALL:
            return call(checker, instruction, slot)
        if src == b.BPF_PSEUDO_KFUNC_CALL:
            from linscope.bpf.verifier.kernel_functions import call_kernel_function

            call_kernel_function(checker, instruction, slot)
            return slot + 1
        call_helper(checker, imm, slot)
        return slot + 1
    if operation == b.BPF_JA:
        if code & b.BPF_X or src or dst or (imm if code == JUMP else off) or code not in (JUMP, LONG_JUMP):
            raise Rejection("reserved-fields", "BPF_JA uses reserved fields")
        return slot + 1 + (off if code == JUMP else imm)
    if operation == b.BPF_EXIT:
        if code != EXIT or imm or src or dst:
            raise Rejection("reserved-fields", "BPF_EXIT uses reserved fields")
        if state.lock is not None and (len(state.frames) == 1 or checker.kernel < (6, 8)):
            raise Rejection("lock-held", "bpf_spin_unlock is missing")
        check_references(checker)
        if len(state.frames) > 1:
            return leave(checker, slot)
        if state.rcu or state.preempt:
            region = "bpf_rcu_read_lock" if state.rcu else "bpf_preempt_disable"
            what = f"BPF_EXIT instruction in main prog cannot be used inside {region}-ed region"
            raise Rejection("section", what)
        check_exit(checker)
        return -1
    return check_branch(checker, instruction, slot)


def _note_type(checker: Checker, kind: int) -> None:
    """One instruction must not use pointers that are rewritten and others.  Raises Rejection."""
    before = checker.types.setdefault(checker.slot, kind)
    if before != kind and _mismatch(kind & r.BASE, before & r.BASE):
        raise Rejection("mixed-pointers", "same insn cannot be used with different pointers")


def _mismatch(kind: int, before: int) -> bool:
    return kind != before and (kind in _REWRITTEN or before in _REWRITTEN)


def _load(checker: Checker, instruction: Instruction) -> None:
    code, dst, src, off, _ = instruction
    pointer = checker.read(src)
    checker.check_writable(dst)
    kind = pointer.type
    size = _SIZES[code & 0x18]
    if code & 0xE0 == b.BPF_MEMSX:
        check_access(checker, src, off, size, write=False, value=dst)
        registers = checker.state.frames[-1].registers
        loaded = registers[dst]
        if loaded.type == r.SCALAR:
            registers[dst] = Register(r.SCALAR, bd.sign_extend(loaded.bounds, size))
    else:
        check_access(checker, src, off, size, write=False, value=dst)
    _note_type(checker, kind)


def _store(checker: Checker, instruction: Instruction) -> None:
    code, dst, src, off, imm = instruction
    if code & 0xE0 == b.BPF_ATOMIC:
        _atomic(checker, instruction)
        return
    if code & 0xE0 != b.BPF_MEM or imm:
        raise Rejection("reserved-fields", "BPF_STX uses reserved fields")
    checker.read(src)
    kind = checker.read(dst).type
    check_access(checker, dst, off, _SIZES[code & 0x18], write=True, value=src)
    _note_type(checker, kind)


def _store_immediate(checker: Checker, instruction: Instruction) -> None:
    code, dst, src, off, _ = instruction
    if code & 0xE0 != b.BPF_MEM or src:
        raise Rejection("reserved-fields", "BPF_ST uses reserved fields")
    kind = checker.read(dst).type
    if kind == r.CTX and checker.kernel < (6, 3):
        raise Rejection("context-access", f"BPF_ST stores into R{dst} ctx is not allowed", dst)
    check_access(checker, dst, off, _SIZES[code & 0x18], write=True)
    if checker.kernel >= (6, 3):
        _note_type(checker, kind)


def _atomic(checker: Checker, instruction: Instruction) -> None:
    code, dst, src, off, imm = instruction
    size = _SIZES[code & 0x18]
    if imm in (b.BPF_LOAD_ACQ, b.BPF_STORE_REL) and checker.kernel >= (6, 15):
        _ordered(checker, instruction, size)
        return
    if imm not in _ATOMICS:
        raise Rejection("invalid-instruction", f"BPF_ATOMIC uses invalid atomic opcode {imm & 0xFFFFFFFF:02x}")
    if size < 4:
        raise Rejection("invalid-instruction", "invalid atomic operand size")
    value = checker.read(src)
    pointer = checker.read(dst)
    if imm == b.BPF_CMPXCHG and checker.is_pointer(checker.read(0)):
        raise Rejection("pointer-leak", "R0 leaks addr into mem", 0)
    if checker.is_pointer(value):
        raise Rejection("pointer-leak", f"R{src} leaks addr into mem", src)
    kind = pointer.type
    if kind == r.CTX or kind in r.PACKETS or kind == r.FLOW_KEYS or kind in r.SOCKETS:
        raise Rejection("atomic-target", f"BPF_ATOMIC stores into R{dst} {r.type_name(kind)} is not allowed", dst)
    result = -1
    if imm & b.BPF_FETCH:
        result = 0 if imm == b.BPF_CMPXCHG else src
        checker.check_writable(result)
    check_access(checker, dst, off, size, write=False, strict_once=True)
    registers = checker.state.frames[-1].registers
    fetched = registers[result] if result >= 0 else None
    if result >= 0:
        pointer_before = registers[dst]
        check_access(checker, dst, off, size, write=False, value=result, strict_once=True)
        if result == dst:
            fetched, registers[dst] = registers[dst], pointer_before
        else:
            fetched = registers[result]
    check_access(checker, dst, off, size, write=True, strict_once=True)
    if result >= 0 and fetched is not None:
        registers[result] = fetched
    if checker.kernel >= (6, 8):
        _note_type(checker, kind)


def _ordered(checker: Checker, instruction: Instruction, size: int) -> None:
    """Load-acquire and store-release."""
    _, dst, src, off, imm = instruction
    number = src if imm == b.BPF_LOAD_ACQ else dst
    pointer = checker.read(number)
    kind = pointer.type
    if kind == r.CTX or kind in r.PACKETS or kind == r.FLOW_KEYS or kind in r.SOCKETS:
        word = "loads from" if imm == b.BPF_LOAD_ACQ else "stores into"
        raise Rejection("atomic-target", f"BPF_ATOMIC {word} R{number} {r.type_name(kind)} is not allowed", number)
    if imm == b.BPF_LOAD_ACQ:
        checker.check_writable(dst)
        check_access(checker, src, off, size, write=False, value=dst, strict_once=True)
    else:
        if checker.is_pointer(checker.read(src)):
            raise Rejection("pointer-leak", f"R{src} leaks addr into mem", src)
        check_access(checker, dst, off, size, write=True, value=src, strict_once=True)
    _note_type(checker, kind)


def _load_special(checker: Checker, instruction: Instruction, slot: int) -> int:
    """BPF_LD: constants, addresses, and the legacy loads from packets.  Raises Rejection."""
    mode = instruction.code & 0xE0
    if mode in (b.BPF_ABS, b.BPF_IND):
        return _legacy_load(checker, instruction, slot)
    if mode != b.BPF_IMM:
        raise Rejection("invalid-instruction", "invalid BPF_LD mode")
    if instruction.code != WIDE:
        raise Rejection("invalid-instruction", "invalid BPF_LD_IMM insn")
    if instruction.off:
        raise Rejection("reserved-fields", "BPF_LD_IMM64 uses reserved fields")
    dst, src, imm = instruction.dst, instruction.src, instruction.imm
    checker.check_writable(dst)
    registers = checker.state.frames[-1].registers
    upper = checker.code[slot + 1].imm
    if src == 0:
        registers[dst] = r.constant((upper & 0xFFFFFFFF) << 32 | imm & 0xFFFFFFFF)
    elif src == b.BPF_PSEUDO_BTF_ID:
        from linscope.bpf.verifier.kernel_types import load_variable

        registers[dst] = load_variable(checker, imm)
    elif src == b.BPF_PSEUDO_FUNC:
        registers[dst] = _function_address(checker, slot + imm + 1)
    else:
        map = checker.program.maps[imm]
        if src == b.BPF_PSEUDO_MAP_IDX_VALUE:
            id = checker.new_id() if has_spin_lock(checker, map) else 0
            registers[dst] = Register(r.MAP_VALUE, bd.ZERO, upper & 0xFFFFFFFF, id, info=map)
        else:
            registers[dst] = Register(r.MAP_PTR, bd.ZERO, info=map)
    return slot + 2


def _function_address(checker: Checker, start: int) -> Register:
    if not has_function_info(checker):
        raise Rejection("needs-btf", "missing btf func_info")
    if is_global(checker, start):
        raise Rejection("callback", "callback function not static")
    if not start:
        raise Rejection("callback", "callback function cannot be the main program")
    return Register(r.FUNC, bd.ZERO, info=start)


def _legacy_load(checker: Checker, instruction: Instruction, slot: int) -> int:
    code, dst, src, off, _ = instruction
    mode = code & 0xE0
    state = checker.state
    if checker.program.type not in _LEGACY_TYPES:
        raise Rejection("legacy-load", "BPF_LD_[ABS|IND] instructions not allowed for this program type")
    if dst or off or code & 0x18 == b.BPF_DW or (mode == b.BPF_ABS and src):
        raise Rejection("reserved-fields", "BPF_LD_[ABS|IND] uses reserved fields")
    register = checker.read(6)
    if state.references:
        try:
            check_references(checker)
        except Rejection as rejection:
            raise Rejection(
                "unreleased-reference",
                f"{rejection.message}\nBPF_LD_[ABS|IND] cannot be mixed with socket references",
            ) from None
    if state.lock is not None:
        raise Rejection("lock-held", "BPF_LD_[ABS|IND] cannot be used inside bpf_spin_lock-ed region")
    if register.type != r.CTX:
        raise Rejection("legacy-load", "at the time of BPF_LD_ABS|IND R6 != pointer to skb", 6)
    if mode == b.BPF_IND:
        checker.read(src)
    check_no_offset(checker, register, 6)
    frame = state.frames[-1]
    clear_caller_saved(frame)
    if len(state.frames) > 1:
        # beyond the end of the packet the function returns 0
        frame.registers[0] = r.UNKNOWN
        checker.push(slot + 1, slot)
        frame.registers[0] = r.ZERO
        return leave(checker, slot)
    frame.registers[0] = r.OF_SIZE[8]
    return slot + 1
