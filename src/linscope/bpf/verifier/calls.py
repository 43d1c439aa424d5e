"""Calls of the program's own functions, callbacks from helpers, and the way out.

Source: kernel/bpf/verifier.c, check_func_call, push_callback_call, prepare_func_exit, check_return_code.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import tnum
from linscope.bpf.verifier.global_functions import check_arguments, is_global
from linscope.bpf.verifier.precision import mark_precise
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection
from linscope.bpf.verifier.state import Frame, State
from linscope.bpf.verifier.visited import widen

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.program import Map
    from linscope.bpf.verifier.checker import Checker

_BPF_TRACING_ZERO = (b.BPF_TRACE_FENTRY, b.BPF_TRACE_FEXIT)
_FOR_EACH_MAPS = frozenset(
    (
        b.BPF_MAP_TYPE_HASH, b.BPF_MAP_TYPE_LRU_HASH, b.BPF_MAP_TYPE_PERCPU_HASH, b.BPF_MAP_TYPE_LRU_PERCPU_HASH,
        b.BPF_MAP_TYPE_ARRAY, b.BPF_MAP_TYPE_PERCPU_ARRAY,
    )
)  # fmt: skip
# functions with much stack get one of their own in these programs, on x86-64, since v6.13 (a76ab5731e32)
_PRIVATE_STACKS = frozenset(
    (
        b.BPF_PROG_TYPE_KPROBE,
        b.BPF_PROG_TYPE_TRACEPOINT,
        b.BPF_PROG_TYPE_PERF_EVENT,
        b.BPF_PROG_TYPE_RAW_TRACEPOINT,
    )
)
_LEAST_PRIVATE = 64  # bytes, BPF_PRIV_STACK_MIN_SIZE
_PEER_NAMES = frozenset(
    (
        b.BPF_CGROUP_UDP4_RECVMSG, b.BPF_CGROUP_UDP6_RECVMSG, b.BPF_CGROUP_INET4_GETPEERNAME,
        b.BPF_CGROUP_INET6_GETPEERNAME, b.BPF_CGROUP_INET4_GETSOCKNAME, b.BPF_CGROUP_INET6_GETSOCKNAME,
        b.BPF_CGROUP_UNIX_RECVMSG, b.BPF_CGROUP_UNIX_GETPEERNAME, b.BPF_CGROUP_UNIX_GETSOCKNAME,
    )
)  # fmt: skip


def clear_caller_saved(frame: Frame) -> None:
    """r0 to r5 hold nothing behind a call."""
    frame.registers[0:6] = [r.UNINITIALIZED] * 6


def enter(checker: Checker, state: State, start: int, callsite: int) -> Frame:
    """Add a frame for a function that begins at start.  Raises Rejection: too deep."""
    if len(state.frames) >= b.MAX_CALL_FRAMES:
        raise Rejection("call-depth", f"the call stack of {len(state.frames) + 1} frames is too deep")
    frame = Frame(start, callsite)
    frame.registers[10] = Register(r.STACK, bd.ZERO, info=len(state.frames))
    frame.async_depth = state.frames[-1].async_depth
    state.frames.append(frame)
    return frame


def call(checker: Checker, instruction: Instruction, slot: int) -> int:
    """Call a function of the program; the slot to go on at.  Raises Rejection."""
    state = checker.state
    caller = state.frames[-1]
    start = slot + instruction.imm + 1
    if is_global(checker, start):
        if len(state.frames) >= b.MAX_CALL_FRAMES:
            raise Rejection("call-depth", f"the call stack of {len(state.frames) + 1} frames is too deep")
        if state.lock is not None and checker.kernel >= (6, 8):
            raise Rejection("lock-held", "global function calls are not allowed while holding a lock,")
        check_arguments(checker, start)
        clear_caller_saved(caller)
        caller.registers[0] = r.UNKNOWN
        return slot + 1
    frame = enter(checker, state, start, slot)
    frame.registers[1:6] = caller.registers[1:6]
    clear_caller_saved(caller)
    return start


# -- callbacks


def call_back(checker: Checker, helper: str, register: Register, map: Map | None, slot: int) -> None:
    """A helper that calls a function of the program, no, one or many times: put aside a path into it.

    register: the function.  The function comes back to the call of the helper.  Raises Rejection.
    """
    state = checker.state
    start: int = register.info  # type: ignore[assignment]
    caller = state.frames[-1]
    new = checker.push(start, slot)
    new.callback_depth += 1
    new.frames[-1].called_back += 1
    frame = enter(checker, new, start, slot)
    frame.callback = helper
    frame.references = state.references
    registers, given = frame.registers, caller.registers
    if helper == "for_each_map_elem":
        if map is None or map.type not in _FOR_EACH_MAPS:
            raise Rejection("map-type", "callback function not allowed for map")
        registers[1] = Register(r.MAP_PTR, bd.ZERO, info=map)
        registers[2] = Register(r.MAP_KEY, bd.ZERO, info=map)
        registers[3] = Register(r.MAP_VALUE, bd.ZERO, info=map)
        registers[4] = given[3]
    elif helper == "loop":
        registers[1] = r.UNKNOWN
        registers[2] = given[3]
    elif helper == "find_vma":
        registers[1] = given[1]
        registers[2] = _kernel_struct(checker, "vm_area_struct")
        registers[3] = given[4]
    else:
        registers[1] = Register(r.DYNPTR, bd.ZERO, info="local")
        registers[2] = given[3]


def _kernel_struct(checker: Checker, name: str) -> Register:
    from linscope.bpf.verifier.kernel_types import pointer_to

    return pointer_to(checker, name)


def call_later(checker: Checker, register: Register, map: Map | None, uid: int, slot: int) -> None:
    """bpf_timer_set_callback: the function runs by itself, at another time.  Raises Rejection."""
    start: int = register.info  # type: ignore[assignment]
    checker.async_functions.add(start)
    new = State(start)
    new.parent = None
    frame = Frame(start, -1)
    frame.registers[10] = Register(r.STACK, bd.ZERO, info=0)
    frame.callback = "timer"
    frame.async_depth = checker.state.frames[-1].async_depth + 1
    frame.registers[1] = Register(r.MAP_PTR, bd.ZERO, info=map, uid=uid)
    frame.registers[2] = Register(r.MAP_KEY, bd.ZERO, info=map)
    frame.registers[3] = Register(r.MAP_VALUE, bd.ZERO, info=map, uid=uid)
    new.frames.append(frame)
    new.path = checker.state.path
    checker.pending.append((new, start, slot))


# -- the way out


def check_references(checker: Checker) -> None:
    """All that was acquired must be released when a program or a callback ends.  Raises Rejection."""
    state = checker.state
    frame = state.frames[-1]
    if len(state.frames) > 1 and not frame.callback:
        return
    before = frame.references if frame.callback else ()
    lost = [one for one in state.references if one not in before]
    if lost:
        raise Rejection(
            "unreleased-reference",
            "\n".join(f"Unreleased reference id={id} alloc_insn={slot}" for id, slot in lost),
        )
    if frame.callback and state.references != before:
        raise Rejection("unreleased-reference", "callback releases a reference that is not its own")


def leave(checker: Checker, slot: int) -> int:
    """Return from a function to its caller; the slot to go on at.  Raises Rejection."""
    state = checker.state
    callee = state.frames[-1]
    result = callee.registers[0]
    if result.type == r.STACK:
        raise Rejection("stack-pointer-escapes", "cannot return stack pointer to the caller", 0)
    if callee.callback:
        if result.type != r.SCALAR:
            raise Rejection("return-value", "R0 not a scalar value", 0)
        mark_precise(checker, 0)
        bounds = result.bounds
        if not tnum.holds((0, 1), bounds[:2]):
            raise Rejection("return-value", _value_message(checker, "callback return", bounds, 0, 1), 0)
        state.frames.pop()
        widen(checker, callee.callsite)
        return callee.callsite
    state.frames.pop()
    state.frames[-1].registers[0] = result
    return callee.callsite + 1


def _value_message(checker: Checker, when: str, bounds: bd.Bounds, low: int, high: int) -> str:
    value, mask = bounds[0], bounds[1]
    if checker.kernel < (6, 8):
        known = f"has value {tnum.text((value, mask))}" if mask != bd.U64 else "has unknown scalar value"
        return f"At {when} the register R0 {known} should have been in {tnum.text(tnum.between(low, high))}"
    smin, smax = bounds[bd.SMIN], bounds[bd.SMAX]
    parts = []
    if smin != bd.S64_MIN:
        parts.append(f"smin={smin}")
    if smax != bd.S64_MAX:
        parts.append(f"smax={smax}")
    known = " ".join(parts) if parts else "unknown scalar value"
    return f"At {when} the register R0 has {known} should have been in [{low}, {high}]"


def return_range(checker: Checker) -> tuple[int, int] | None:
    """What a program of this type may return; None: anything."""
    kind, attach = checker.program.type, checker.attach_type
    if kind == b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR:
        if attach in _PEER_NAMES:
            return 1, 1
        return (0, 3) if attach in (b.BPF_CGROUP_INET4_BIND, b.BPF_CGROUP_INET6_BIND) else (0, 1)
    if kind == b.BPF_PROG_TYPE_CGROUP_SKB:
        return (0, 3) if attach == b.BPF_CGROUP_INET_EGRESS else (0, 1)
    if kind in (
        b.BPF_PROG_TYPE_CGROUP_SOCK, b.BPF_PROG_TYPE_SOCK_OPS, b.BPF_PROG_TYPE_CGROUP_DEVICE,
        b.BPF_PROG_TYPE_CGROUP_SYSCTL, b.BPF_PROG_TYPE_CGROUP_SOCKOPT, b.BPF_PROG_TYPE_SK_LOOKUP,
    ):  # fmt: skip
        return 0, 1
    if kind == b.BPF_PROG_TYPE_NETFILTER:
        return 0, 1
    if kind == b.BPF_PROG_TYPE_RAW_TRACEPOINT:
        return (0, 0) if checker.program.target and checker.kernel < (6, 2) else None
    if kind == b.BPF_PROG_TYPE_TRACING:
        if attach in _BPF_TRACING_ZERO:
            return 0, 0
        return (0, 1) if attach == b.BPF_TRACE_ITER else None
    return None


def check_exit(checker: Checker) -> None:
    """The value that the program (or a function checked by itself) returns.  Raises Rejection."""
    frame = checker.state.frames[0]
    if not frame.function and checker.program.type == b.BPF_PROG_TYPE_STRUCT_OPS:
        return
    result = checker.read(0)
    if checker.is_pointer(result):
        raise Rejection("pointer-leak", "R0 leaks addr as return value", 0)
    if frame.callback == "timer":
        if result.type != r.SCALAR:
            raise Rejection(
                "return-value",
                f"In async callback the register R0 is not a known value ({r.type_name(result.type)})", 0,
            )  # fmt: skip
        mark_precise(checker, 0)
        if result.bounds[:2] != (0, 0):
            raise Rejection("return-value", _value_message(checker, "async callback", result.bounds, 0, 0), 0)
        return
    if frame.function or checker.entry:
        if result.type != r.SCALAR:
            raise Rejection(
                "return-value",
                f"At subprogram exit the register R0 is not a scalar value ({r.type_name(result.type)})", 0,
            )  # fmt: skip
        return
    allowed = return_range(checker)
    if allowed is None:
        return
    if result.type != r.SCALAR:
        name = r.type_name(result.type, r.struct_name(result))
        raise Rejection("return-value", f"At program exit the register R0 is not a known value ({name})", 0)
    mark_precise(checker, 0)
    low, high = allowed
    if checker.kernel < (6, 8):
        fine = tnum.holds(tnum.between(low, high), result.bounds[:2])
    else:
        fine = low <= result.bounds[bd.SMIN] and result.bounds[bd.SMAX] <= high
    if not fine:
        raise Rejection("return-value", _value_message(checker, "program exit", result.bounds, low, high), 0)


def check_stack_depth(checker: Checker) -> int:
    """Bytes of stack of the deepest chain of calls.  Raises Rejection: too deep, or too much.

    Source: check_max_stack_depth.
    """
    deepest = 0
    for start in checker.functions:
        if not start or start in checker.async_functions:
            deepest = max(deepest, _chain(checker, start))
    return deepest


def _chain(checker: Checker, first: int) -> int:
    from linscope.bpf.verifier.control_flow import CALL, is_function_load

    code = checker.code
    starts = checker.functions
    ends = {start: starts[i + 1] if i + 1 < len(starts) else len(code) for i, start in enumerate(starts)}
    edges: dict[int, list[int]] = {}
    for start in starts:
        found = edges[start] = []
        for slot in range(start, ends[start]):
            instruction = code[slot]
            to = slot + instruction.imm + 1
            calls = instruction.code == CALL and instruction.src == b.BPF_PSEUDO_CALL
            if calls or (is_function_load(instruction) and to not in checker.async_functions):
                found.append(to)
    deepest = 0
    private = checker.kernel >= (6, 13) and checker.program.type in _PRIVATE_STACKS and not checker.tail_calls
    best: dict[tuple[int, int], int] = {}
    pending = [(first, 0, 0, 1)]
    while pending:
        start, depth, total, frames = pending.pop()
        if start in checker.tail_calls and frames > 1 and depth >= 256:
            raise Rejection(
                "stack-depth",
                f"tail_calls are not allowed when call stack of previous frames is {depth} bytes. Too large",
                slot=start,
            )
        own = checker.stack_depths.get(start, 0)
        # what the interpreter takes, and, since v6.9, what the JIT does
        own = (max(own, 1) + 31) & -32 if checker.kernel < (6, 9) else (own + 15) & -16
        total += own
        if not private or own < _LEAST_PRIVATE:
            depth += own
        if depth > b.MAX_BPF_STACK:
            raise Rejection("stack-depth", f"combined stack size of {frames} calls is {depth}. Too large", slot=start)
        deepest = max(deepest, total)
        if best.get((start, frames), -1) >= total:
            continue
        best[start, frames] = total
        for to in edges[start]:
            if frames >= b.MAX_CALL_FRAMES:
                raise Rejection("call-depth", f"the call stack of {frames} frames is too deep !", slot=start)
            pending.append((to, depth, total, frames + 1))
    return deepest
