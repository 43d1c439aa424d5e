"""Calls of kernel functions (kfuncs), as far as the kernel's BTF tells.

Source: kernel/bpf/verifier.c, add_kfunc_call, check_kfunc_call.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.calls import clear_caller_saved
from linscope.bpf.verifier.rejection import Rejection
from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.verifier.checker import Checker


def check_kernel_functions(checker: Checker) -> None:
    """Whether the kernel functions that are called exist.  Raises Rejection."""
    for slot, instruction in enumerate(checker.code):
        if instruction.code != b.BPF_JMP | b.BPF_CALL or instruction.src != b.BPF_PSEUDO_KFUNC_CALL:
            continue
        if instruction.off < 0:
            raise Rejection("kernel-function", "negative offset disallowed for kernel module function call", slot=slot)
        if not instruction.imm and not instruction.off:
            continue  # allowed where the code is dead
        if not checker.gpl:
            raise Rejection("license", "cannot call kernel function from non-GPL compatible program", slot=slot)
        if instruction.off:
            raise Rejection("kernel-function", "kfunc offset > 0 without fd_array is invalid", slot=slot)
        _name(checker, instruction, slot)


def _name(checker: Checker, instruction: Instruction, slot: int) -> str:
    btf = checker.kernel_btf
    if btf is None:
        raise Rejection(
            "kernel-btf", "calling kernel function is not supported without CONFIG_DEBUG_INFO_BTF", slot=slot
        )
    try:
        found = btf.type(instruction.imm)
    except FormatError:
        found = bt.Void()
    if not isinstance(found, bt.Func):
        raise Rejection("kernel-function", f"kernel btf_id {instruction.imm} is not a function", slot=slot)
    return found.name


def call_kernel_function(checker: Checker, instruction: Instruction, slot: int) -> None:
    """Call a kernel function whose arguments and result are numbers.  Raises Rejection: any other."""
    if not instruction.imm:
        raise Rejection("kernel-function", "invalid kernel function call not eliminated in verifier pass")
    name = _name(checker, instruction, slot)
    btf = checker.kernel_btf
    assert btf is not None
    function = btf.type(instruction.imm)
    proto = btf.type(function.proto) if isinstance(function, bt.Func) else None
    if not name.startswith("bpf_") or not isinstance(proto, bt.FuncProto):
        raise Rejection("kernel-function", f"calling kernel function {name} is not allowed")
    for index, parameter in enumerate(proto.parameters):
        kind = btf.kind(btf.resolve(parameter.type))
        register = checker.read(index + 1)
        if kind not in (bt.KIND_INT, bt.KIND_ENUM, bt.KIND_ENUM64) or register.type != r.SCALAR:
            raise Rejection("kernel-function", f"kernel function {name} args#{index} is not supported here", index + 1)
    if btf.kind(btf.resolve(proto.returns)) not in (bt.KIND_VOID, bt.KIND_INT, bt.KIND_ENUM, bt.KIND_ENUM64):
        raise Rejection("kernel-function", f"the result of kernel function {name} is not supported here")
    frame = checker.state.frames[-1]
    clear_caller_saved(frame)
    frame.registers[0] = r.UNKNOWN if proto.returns else r.UNINITIALIZED
