"""The shape of a program before anything runs: functions, jumps, reachability, where states are kept.

Source: kernel/bpf/verifier.c, check_subprogs, check_cfg, visit_insn.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.abi.bpf_helpers import HELPER_NAMES
from linscope.bpf.instructions import WIDE
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.verifier.checker import Checker

CALL = b.BPF_JMP | b.BPF_CALL
EXIT = b.BPF_JMP | b.BPF_EXIT
JUMP = b.BPF_JMP | b.BPF_JA
LONG_JUMP = b.BPF_JMP32 | b.BPF_JA
MAY_GOTO = b.BPF_JMP | b.BPF_JCOND
TAIL_CALL = HELPER_NAMES.index("tail_call")
_TIMER_SET_CALLBACK = HELPER_NAMES.index("timer_set_callback")
CALLBACK_HELPERS = frozenset(
    HELPER_NAMES.index(name) for name in ("for_each_map_elem", "find_vma", "loop", "user_ringbuf_drain")
)


def is_jump(instruction: Instruction) -> bool:
    """Whether it is a jump, conditional or not: no call, no exit."""
    if instruction.code & 7 not in (b.BPF_JMP, b.BPF_JMP32):
        return False
    return instruction.code & 0xF0 not in (b.BPF_CALL, b.BPF_EXIT)


def target(instruction: Instruction, slot: int) -> int:
    """The slot to which a jump goes."""
    distance = instruction.imm if instruction.code == LONG_JUMP else instruction.off
    return slot + distance + 1


def is_function_load(instruction: Instruction) -> bool:
    """Whether it loads the address of a function."""
    return instruction.code == WIDE and instruction.src == b.BPF_PSEUDO_FUNC


def find_functions(checker: Checker) -> None:
    """Fill ``checker.functions``.  Raises Rejection."""
    code = checker.code
    starts = {0}
    for slot, instruction in enumerate(code):
        calls = instruction.code == CALL and instruction.src in (b.BPF_PSEUDO_CALL, b.BPF_PSEUDO_KFUNC_CALL)
        loads = is_function_load(instruction)
        if not calls and not loads:
            continue
        if not checker.capable:
            raise Rejection(
                "unprivileged-call",
                "loading/calling other bpf or kernel functions are allowed for CAP_BPF and CAP_SYS_ADMIN",
                slot=slot,
            )
        if calls and instruction.src == b.BPF_PSEUDO_KFUNC_CALL:
            continue
        start = slot + instruction.imm + 1
        if not 0 <= start < len(code):
            raise Rejection("call-out-of-range", "call to invalid destination", slot=slot)
        starts.add(start)
        if len(starts) > b.BPF_MAX_SUBPROGS:
            raise Rejection("too-many-functions", "too many subprograms", slot=slot)
    checker.functions = sorted(starts)


def check_functions(checker: Checker) -> None:
    """Whether jumps stay in their functions, and each ends with an exit or a jump.  Raises Rejection."""
    code = checker.code
    for number, start in enumerate(checker.functions):
        last = number + 1 == len(checker.functions)
        end = len(code) if last else checker.functions[number + 1]
        for slot in range(start, end):
            instruction = code[slot]
            if instruction.code == CALL and instruction.imm == TAIL_CALL and instruction.src == 0:
                checker.tail_calls.add(start)
            if is_jump(instruction):
                to = target(instruction, slot)
                if not start <= to < end:
                    raise Rejection("jump-out-of-range", f"jump out of range from insn {slot} to {to}", slot=slot)
        if code[end - 1].code not in (EXIT, JUMP, LONG_JUMP):
            raise Rejection("no-exit", "last insn is not an exit or jmp", slot=end - 1)


def _successors(checker: Checker, slot: int) -> tuple[tuple[int, bool], ...]:
    """(slot, whether a loop through this edge is fine) of what follows an instruction."""
    instruction = checker.code[slot]
    points = checker.prune_points
    code = instruction.code
    if is_function_load(instruction):
        points.update((slot, slot + 2, slot + instruction.imm + 1))
        return (slot + 2, False), (slot + instruction.imm + 1, True)
    if code == CALL:
        points.add(slot + 1)
        if instruction.src == b.BPF_PSEUDO_CALL:
            points.update((slot, slot + instruction.imm + 1))
            return (slot + 1, False), (slot + instruction.imm + 1, False)
        if instruction.src == 0 and (instruction.imm in CALLBACK_HELPERS or instruction.imm == _TIMER_SET_CALLBACK):
            points.add(slot)
            if instruction.imm in CALLBACK_HELPERS:
                checker.force_points.add(slot)
        return ((slot + 1, False),)
    if code & 7 not in (b.BPF_JMP, b.BPF_JMP32):
        return ((slot + 2 if code == WIDE else slot + 1, False),)
    if code & 0xF0 == b.BPF_EXIT:
        return ()
    to = target(instruction, slot)
    points.add(to)
    if code in (JUMP, LONG_JUMP):
        return ((to, True),)
    points.add(slot)
    if code == MAY_GOTO:
        checker.force_points.add(slot)
    return (slot + 1, True), (to, True)


def check_reachability(checker: Checker) -> None:
    """Walk the graph of instructions; find where states are kept, code that is never reached, and loops.

    Raises Rejection.  Loops are for privileged programs only.
    """
    code = checker.code
    count = len(code)
    status = bytearray(count)  # 0: not seen, 1: on the way, 2: done
    status[0] = 1
    way = [0]
    rest = [iter(_successors(checker, 0))]
    while way:
        slot = way[-1]
        for to, loop in rest[-1]:
            if not 0 <= to < count:
                raise Rejection("jump-out-of-range", f"jump out of range from insn {slot} to {to}", slot=slot)
            if status[to] == 0:
                status[to] = 1
                way.append(to)
                rest.append(iter(_successors(checker, to)))
                break
            if status[to] == 1 and not (loop and checker.capable):
                raise Rejection("loop", f"back-edge from insn {slot} to {to}", slot=slot)
        else:
            status[slot] = 2
            way.pop()
            rest.pop()
    slot = 0
    while slot < count:
        if status[slot] != 2:
            raise Rejection("unreachable", f"unreachable insn {slot}", slot=slot)
        if code[slot].code == WIDE:
            if status[slot + 1]:
                raise Rejection("jump-into-wide", f"jump into the middle of ldimm64 insn {slot}", slot=slot)
            slot += 1
        slot += 1
