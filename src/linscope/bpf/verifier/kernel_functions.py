"""Calls of kernel functions (kfuncs), by their prototypes in the kernel's BTF and the flags that BTF does not have.

Followed: numbers, pointers to kernel structs with their references, memory with its size, RCU and preemption sections.
Not followed, and refused: lists, trees, iterators, dynptrs, callbacks, locks.
Source: kernel/bpf/verifier.c, add_kfunc_call, check_kfunc_args, check_kfunc_call; Documentation/bpf/kfuncs.rst.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.abi.bpf_kfuncs import KFUNC_FLAGS
from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf_layout import size_of
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.arguments import check_memory, contains_struct
from linscope.bpf.verifier.calls import clear_caller_saved
from linscope.bpf.verifier.precision import mark_precise
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection
from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.verifier.checker import Checker

_NUMBERS = (bt.KIND_INT, bt.KIND_ENUM, bt.KIND_ENUM64)
_MEMORY = (r.STACK, r.MAP_VALUE, r.MAP_KEY, r.MEM, r.BUF, r.PACKET)


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


class _Call:
    """One call: the function, and what its arguments told."""

    __slots__ = ("btf", "flags", "name", "proto", "ref", "release", "sized")

    def __init__(self, btf: Btf, name: str, proto: bt.FuncProto) -> None:
        self.btf = btf
        self.name = name
        self.proto = proto
        self.flags = KFUNC_FLAGS.get(name)
        self.release = 0  # the reference that it gives back
        self.ref = 0
        self.sized = 0  # number of the register whose memory's size comes next


def call_kernel_function(checker: Checker, instruction: Instruction, slot: int) -> None:
    """Call a kernel function.  Raises Rejection, also for what is not followed here."""
    if not instruction.imm:
        raise Rejection("kernel-function", "invalid kernel function call not eliminated in verifier pass")
    name = _name(checker, instruction, slot)
    btf = checker.kernel_btf
    assert btf is not None
    function = btf.type(instruction.imm)
    proto = btf.type(function.proto) if isinstance(function, bt.Func) else None
    known = name.startswith("bpf_") or name in KFUNC_FLAGS
    if not known or not isinstance(proto, bt.FuncProto):
        raise Rejection("kernel-function", f"calling kernel function {name} is not allowed")
    call = _Call(btf, name, proto)
    if call.flags is not None and "s" in call.flags and not checker.sleepable:
        raise Rejection("sleepable", f"program must be sleepable to call sleepable kfunc {name}")
    for index in range(len(proto.parameters)):
        _argument(checker, call, index)
    _sections(checker, name)
    if call.flags is not None and "r" in call.flags:
        from linscope.bpf.verifier.helpers import release_reference

        if not release_reference(checker, call.release):
            what = f"kfunc {name}#{instruction.imm} reference has not been acquired before"
            raise Rejection("unacquired-reference", what)
    result = _result(checker, call, slot)
    clear_caller_saved(checker.state.frames[-1])
    checker.state.frames[-1].registers[0] = result


def _argument(checker: Checker, call: _Call, index: int) -> None:
    """One argument.  Raises Rejection."""
    btf, number = call.btf, index + 1
    parameter = call.proto.parameters[index]
    register = checker.read(number)
    kind = btf.kind(btf.resolve(parameter.type))
    if parameter.name.endswith("__ign"):
        return
    if kind in _NUMBERS:
        if register.type != r.SCALAR:
            raise Rejection("argument-type", f"R{number} is not a scalar", number)
        if parameter.name.endswith("__k"):
            if register.bounds[1]:
                raise Rejection("not-constant", f"R{number} must be a known constant", number)
            mark_precise(checker, number)
        if call.sized:
            _sized_memory(checker, call, number, parameter.name)
        return
    if kind != bt.KIND_PTR or call.flags is None:
        raise _not_followed(call, index, number)
    _pointer_argument(checker, call, index, register)


def _not_followed(call: _Call, index: int, number: int) -> Rejection:
    return Rejection("kernel-function", f"kernel function {call.name} args#{index} is not supported here", number)


def _sized_memory(checker: Checker, call: _Call, number: int, name: str) -> None:
    """The size of the memory in the register before."""
    pointer, call.sized = call.sized, 0
    bounds = checker.state.frames[-1].registers[number].bounds
    if bounds[bd.SMIN] < 0:
        what = f"R{number} min value is negative, either use unsigned or 'var &= const'"
        raise Rejection("negative-size", what, number)
    if bounds[bd.UMAX] >= 1 << 29:
        what = f"R{number} unbounded memory access, use 'var &= const' or 'if (var < const)'"
        raise Rejection("unbounded-size", what, number)
    check_memory(checker, pointer, bounds[bd.UMAX], write=True, zero_allowed=True, written=True)
    mark_precise(checker, number)


def _pointer_argument(checker: Checker, call: _Call, index: int, register: Register) -> None:
    number = index + 1
    flags = call.flags or ""
    name = call.proto.parameters[index].name
    nullable = name.endswith(("__nullable", "__opt"))
    if r.is_null(register) and nullable:
        return
    if ("t" in flags or "c" in flags or "r" in flags) and (register.type & r.OR_NULL or r.is_null(register)):
        raise Rejection("null-pointer", f"Possibly NULL pointer passed to trusted arg{index}", number)
    following = call.proto.parameters[index + 1].name if index + 1 < len(call.proto.parameters) else ""
    if following.endswith(("__sz", "__szk")):
        if register.type & r.BASE not in _MEMORY or register.type & r.OR_NULL:
            what = f"arg#{index} pointer type {r.type_name(register.type)} must point to memory"
            raise Rejection("argument-type", what, number)
        call.sized = number
        return
    pointed = _target(call.btf, call.proto.parameters[index].type)
    struct = call.btf.type(pointed)
    base = register.type & r.BASE
    if base == r.BTF_ID and isinstance(struct, bt.Struct):
        _struct_argument(checker, call, index, register, struct.name)
        return
    if base in _MEMORY and not register.type & r.OR_NULL and "r" not in flags:
        size = size_of(call.btf, pointed) if isinstance(struct, bt.Struct | bt.Int | bt.Enum | bt.Pointer) else 0
        if size and not (isinstance(struct, bt.Struct) and "t" in flags):
            check_memory(checker, number, size, write=True, written=True)
            return
    if isinstance(struct, bt.Struct) and (base in (r.SCALAR, r.CTX) or register.type & r.OR_NULL):
        word = "union" if struct.is_union else "struct"
        what = f"arg#{index} expected pointer to {word} {struct.name}, not {r.type_name(register.type)}"
        raise Rejection("argument-type", what, number)
    raise _not_followed(call, index, number)


def _target(btf: Btf, type_id: int) -> int:
    pointer = btf.type(btf.resolve(type_id))
    return btf.resolve(pointer.target) if isinstance(pointer, bt.Pointer) else 0


def _struct_argument(checker: Checker, call: _Call, index: int, register: Register, wanted: str) -> None:
    """A pointer to a struct of the kernel: of the right one, and one that stays valid."""
    number = index + 1
    flags = call.flags or ""
    has = r.struct_name(register)
    if register.off and "r" in flags:
        raise Rejection("modified-pointer", f"R{number} must have zero offset when passed to release func", number)
    # a bpf_cpumask begins with a cpumask, and is one (kernel/bpf/btf.c, btf_struct_ids_match)
    if has != wanted and not contains_struct(register, wanted):
        what = f"kernel function {call.name} args#{index} expected pointer to STRUCT {wanted}"
        raise Rejection("argument-type", f"{what} but R{number} has a pointer to STRUCT {has}", number)
    trusted = bool(register.ref) or bool(register.type & r.TRUSTED)
    in_rcu = checker.state.rcu or not checker.sleepable
    if "r" in flags:
        if not register.ref:
            what = f"release kernel function {call.name} expects refcounted PTR_TO_BTF_ID"
            raise Rejection("release-unreferenced", what, number)
        call.release = register.ref
    elif "t" in flags and not trusted:
        raise Rejection("untrusted-pointer", f"R{number} must be referenced or trusted", number)
    elif "c" in flags and not trusted and (register.type & r.UNTRUSTED or not in_rcu):
        raise Rejection("untrusted-pointer", f"R{number} must be a rcu pointer", number)
    if register.ref:
        call.ref = register.ref


def _sections(checker: Checker, name: str) -> None:
    """RCU read sections and sections without preemption, which begin and end with calls.  Raises Rejection."""
    state = checker.state
    if name == "bpf_rcu_read_lock":
        if state.rcu:
            raise Rejection("section", f"nested rcu read lock (kernel function {name})")
        state.rcu = True
    elif name == "bpf_rcu_read_unlock":
        if not state.rcu:
            raise Rejection("section", f"unmatched rcu read unlock (kernel function {name})")
        state.rcu = False
    elif name == "bpf_preempt_disable":
        state.preempt += 1
    elif name == "bpf_preempt_enable":
        if not state.preempt:
            raise Rejection("section", f"unmatched attempt to enable preemption (kernel function {name})")
        state.preempt -= 1


def _result(checker: Checker, call: _Call, slot: int) -> Register:
    btf, flags = call.btf, call.flags
    kind = btf.kind(btf.resolve(call.proto.returns))
    if kind == bt.KIND_VOID:
        return r.UNINITIALIZED
    if kind in _NUMBERS:
        return r.UNKNOWN
    target = _target(btf, call.proto.returns)
    if kind != bt.KIND_PTR or flags is None or not isinstance(btf.type(target), bt.Struct):
        raise Rejection("kernel-function", f"the result of kernel function {call.name} is not supported here")
    or_null = r.OR_NULL if "n" in flags else 0
    id = checker.new_id() if or_null else 0
    ref = 0
    if "a" in flags:
        id = ref = checker.new_id()
        checker.state.references += ((ref, slot),)
    return Register(r.BTF_ID | or_null, bd.ZERO, 0, id, ref, (btf, target))
