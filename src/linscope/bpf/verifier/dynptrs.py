"""Dynptrs: memory with bounds that the kernel checks, in two slots of the stack.

Source: kernel/bpf/verifier.c, mark_stack_slots_dynptr, unmark_stack_slots_dynptr, process_dynptr_func.
"""

from __future__ import annotations

from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import stack
from linscope.bpf.verifier import state as st
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.verifier.arguments import Meta
    from linscope.bpf.verifier.checker import Checker
    from linscope.bpf.verifier.state import Frame

SIZE = 16  # bytes of struct bpf_dynptr
_SLOT = bytes((st.DYNAMIC,)) * 8


def _place(register: Register) -> int:
    """Number of the lower of the two slots; -1 when it is not within the stack."""
    at = register.off + register.bounds[bd.SMIN]
    if at % 8 or at >= 0 or at + SIZE > 0 or at < -512:
        return -1
    return (-at - 1) >> 3


def _find(frame: Frame, place: int) -> Register | None:
    first, second = frame.stack.get(place), frame.stack.get(place - 1)
    if first is None or second is None or first.kinds != _SLOT or second.kinds != _SLOT:
        return None
    if first.register is None or second.register is None or first.register.id != second.register.id:
        return None
    return first.register if not first.register.off else None


def check_dynptr(checker: Checker, register: Register, number: int, detail: str, *, raw: bool, meta: Meta) -> None:
    """An argument that is a dynptr; raw: the helper makes it.  Raises Rejection."""
    if register.type == r.DYNPTR:
        return
    frame = checker.frame_of(register)
    place = _place(register)
    found = _find(frame, place) if place >= 0 else None
    if raw:
        if place < 0 or found is not None:
            raise Rejection("dynptr", "Dynptr has to be an uninitialized dynptr", number)
        meta.uninit_dynptr = number
        return
    if found is None:
        raise Rejection("dynptr", f"Expected an initialized dynptr as arg #{number}", number)
    if detail and found.info != detail:
        raise Rejection("dynptr", f"Expected a dynptr of type {detail} as arg #{number}", number)
    checker.state.read_stack(register.info, 3 << place - 1)  # type: ignore[arg-type]
    if found.ref:
        meta.ref = found.ref


def make_dynptr(checker: Checker, number: int, kind: str, slot: int) -> None:
    """The helper made a dynptr in the stack.  Raises Rejection."""
    register = checker.state.frames[-1].registers[number]
    frame = checker.frame_of(register)
    place = _place(register)
    stack.check_range(checker, number, register.off, SIZE, write=True)
    stack.fill(checker, number, register.off, SIZE)
    id = checker.new_id()
    ref = 0
    if kind == "ringbuf":
        ref = id
        checker.state.references += ((id, slot),)
    frame.stack[place] = st.Slot(_SLOT, Register(r.DYNPTR, bd.ZERO, 0, id, ref, kind))
    frame.stack[place - 1] = st.Slot(_SLOT, Register(r.DYNPTR, bd.ZERO, 8, id, ref, kind))


def drop_dynptr(checker: Checker, number: int) -> int:
    """The helper ended a dynptr; the reference that goes with it."""
    register = checker.state.frames[-1].registers[number]
    frame = checker.frame_of(register)
    place = _place(register)
    found = _find(frame, place)
    frame.stack[place] = frame.stack[place - 1] = st.EMPTY
    return found.ref if found is not None else 0
