"""Stacks: kept by number in the kernel's stack maps."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R4, R6, Label
from linscope.lang.codegen.events import emit_error
from linscope.lang.codegen.function import Function

_GET_STACKID, _GET_STACK, _PID_TGID = 27, 67, 14
_USER_STACK = 1 << 8  # BPF_F_USER_STACK
_EXISTS = -17  # another stack is where this one belongs
SECOND_MAP = 1 << 30  # in the number of a stack that the second map holds


def _flags(f: Function, kind: t.Stack) -> int:
    """Which stack is asked for, and how many frames of it are left out.

    Where the perf event of a program records call chains, the kernel takes that one, whose first word is no address
    but a mark (kernel/bpf/stackmap.c, bpf_get_stackid_pe).
    """
    marked = f.generator.options.captures and f.main.kind in ("profile", "interval", "software", "hardware")
    return (_USER_STACK if kind.kind == t.USER else 0) | int(marked)


def trace(f: Function, node: ir.StackTrace) -> None:
    """r0 = the number of the stack of now, with the process (tgid) above it for a user stack"""
    kind = node.type
    assert isinstance(kind, t.Stack)
    code = f.code
    flags = _flags(f, kind)
    kept_free, lost = Label(), Label()
    for second in (False, True):
        code.move(R1, R6)
        code.map(R2, f.generator.stacks_map(kind.depth, kind.mode == "build_id", second))
        code.constant(R3, flags)
        code.call(_GET_STACKID)
        if not second:
            code.branch_constant("!=", R0, _EXISTS, kept_free)
        else:
            code.branch_constant("s<", R0, 0, lost)
            code.alu_constant("|", R0, SECOND_MAP)
            code.jump(kept_free)
    code.place(lost)  # there is no room for it; where there is none at all (-EFAULT) nothing is lost
    told = f.keep(R0)
    emit_error(f, f.generator.helper_error("get_stackid", node.span))
    f.restore(told, R0)
    f.give_up(told)
    code.place(kept_free)
    code.zero_extend(R0)
    if kind.kind == t.USER:
        kept = f.keep(R0)
        code.call(_PID_TGID)
        code.alu_constant(">>", R0, 32)
        code.alu_constant("<<", R0, 32)
        f.restore(kept, R1)
        code.alu("|", R0, R1)
        f.give_up(kept)


def length(f: Function, node: ir.StackLength) -> None:
    """r0 = the frames of a stack of now"""
    kind = node.stack.type
    assert isinstance(kind, t.Stack)
    mark = f.mark()
    code = f.code
    room = f.memory(8 * kind.depth, scratch=True)
    code.move(R1, R6)
    f.address(room, R2)
    code.constant(R3, 8 * kind.depth)
    code.constant(R4, _flags(f, kind))
    code.call(_GET_STACK)
    some = Label()
    code.branch_constant("s>=", R0, 0, some)
    code.constant(R0, 0)
    code.place(some)
    code.alu_constant(">>", R0, 3)
    f.release(mark)
