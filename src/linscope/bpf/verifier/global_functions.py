"""Functions that BTF calls global: they are checked once by themselves, for any arguments of their types.

Source: kernel/bpf/btf.c, btf_prepare_func_args, btf_check_func_arg_match; kernel/bpf/verifier.c, check_btf_func.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf_layout import size_of
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection
from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf
    from linscope.bpf.verifier.checker import Checker

_GLOBAL = 1  # linkage of BTF_KIND_FUNC
_MAX_ARGUMENTS = 5
_CONTEXT_NAMES = {
    b.BPF_PROG_TYPE_SOCKET_FILTER: "__sk_buff", b.BPF_PROG_TYPE_SCHED_CLS: "__sk_buff",
    b.BPF_PROG_TYPE_SCHED_ACT: "__sk_buff", b.BPF_PROG_TYPE_CGROUP_SKB: "__sk_buff",
    b.BPF_PROG_TYPE_LWT_IN: "__sk_buff", b.BPF_PROG_TYPE_LWT_OUT: "__sk_buff", b.BPF_PROG_TYPE_LWT_XMIT: "__sk_buff",
    b.BPF_PROG_TYPE_LWT_SEG6LOCAL: "__sk_buff", b.BPF_PROG_TYPE_SK_SKB: "__sk_buff",
    b.BPF_PROG_TYPE_FLOW_DISSECTOR: "__sk_buff", b.BPF_PROG_TYPE_XDP: "xdp_md",
    b.BPF_PROG_TYPE_CGROUP_SOCK: "bpf_sock", b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR: "bpf_sock_addr",
    b.BPF_PROG_TYPE_SOCK_OPS: "bpf_sock_ops", b.BPF_PROG_TYPE_SK_MSG: "sk_msg_md",
    b.BPF_PROG_TYPE_SK_REUSEPORT: "sk_reuseport_md", b.BPF_PROG_TYPE_SK_LOOKUP: "bpf_sk_lookup",
    b.BPF_PROG_TYPE_CGROUP_DEVICE: "bpf_cgroup_dev_ctx", b.BPF_PROG_TYPE_CGROUP_SYSCTL: "bpf_sysctl",
    b.BPF_PROG_TYPE_CGROUP_SOCKOPT: "bpf_sockopt", b.BPF_PROG_TYPE_PERF_EVENT: "bpf_perf_event_data",
}  # fmt: skip


def _function_type(checker: Checker, start: int) -> tuple[Btf, bt.Func, bt.FuncProto] | None:
    btf = checker.program.btf
    if btf is None:
        return None
    for function in checker.program.functions:
        if function.slot == start and function.type_id:
            try:
                found = btf.type(function.type_id)
                if isinstance(found, bt.Func):
                    proto = btf.type(found.proto)
                    if isinstance(proto, bt.FuncProto):
                        return btf, found, proto
            except FormatError:
                return None
    return None


def is_global(checker: Checker, start: int) -> bool:
    """Whether the function that begins at a slot is checked by itself."""
    found = _function_type(checker, start)
    return found is not None and found[1].linkage == _GLOBAL


def _plain(btf: Btf, type_id: int) -> tuple[int, bt.Type]:
    resolved = btf.resolve(type_id)
    return resolved, btf.type(resolved)


def _classify(checker: Checker, btf: Btf, type_id: int) -> tuple[str, int]:
    """("number", 0), ("context", 0), ("memory", size) or ("", 0): what an argument of a global function is."""
    _, found = _plain(btf, type_id)
    if isinstance(found, (bt.Int, bt.Enum)):
        return "number", 0
    if not isinstance(found, bt.Pointer):
        return "", 0
    target, struct = _plain(btf, found.target)
    kind = checker.program.type
    if isinstance(struct, bt.Struct):
        if struct.name == _CONTEXT_NAMES.get(kind):
            return "context", 0
        if kind == b.BPF_PROG_TYPE_KPROBE and struct.name in ("pt_regs", "user_pt_regs", "user_regs_struct"):
            return "context", 0
    elif isinstance(struct, bt.Void):
        return "context" if kind in (b.BPF_PROG_TYPE_TRACEPOINT, b.BPF_PROG_TYPE_SYSCALL) else "", 0
    try:
        return "memory", size_of(btf, target)
    except FormatError:
        return "", 0


def check_arguments(checker: Checker, start: int) -> None:
    """Whether the registers fit the types that a global function declares.  Raises Rejection."""
    from linscope.bpf.verifier.arguments import check_memory

    found = _function_type(checker, start)
    if found is None:
        return
    btf, _, proto = found
    number = checker.functions.index(start)
    why = ""
    for index, parameter in enumerate(proto.parameters):
        register_number = index + 1
        register = checker.read(register_number)
        kind, size = _classify(checker, btf, parameter.type)
        if kind == "number":
            if register.type != r.SCALAR:
                why = f"R{register_number} is not a scalar"
        elif kind == "context":
            if register.type != r.CTX:
                name = r.type_name(register.type)
                why = f"arg#{index} expected pointer to ctx, but got {name}"
        elif kind == "memory":
            if not r.is_null(register):
                try:
                    check_memory(checker, register_number, size, write=True)
                except Rejection as rejection:
                    why = rejection.message
        else:
            why = f"reg type unsupported for arg#{index}"
        if why:
            raise Rejection(
                "function-arguments", f"{why}\nCaller passes invalid args into func#{number}", register_number
            )


def set_arguments(checker: Checker, start: int, registers: list[Register]) -> None:
    """The arguments with which a global function is checked.  Raises Rejection."""
    found = _function_type(checker, start)
    if found is None:
        return
    btf, function, proto = found
    if len(proto.parameters) > _MAX_ARGUMENTS:
        raise Rejection(
            "function-arguments",
            f"Global function {function.name}() with {len(proto.parameters)} > {_MAX_ARGUMENTS} args. Buggy compiler.",
            slot=start,
        )
    _, result = _plain(btf, proto.returns)
    if not isinstance(result, (bt.Int, bt.Enum)):
        raise Rejection(
            "function-arguments",
            f"Global function {function.name}() doesn't return scalar. Only those are supported.", slot=start,
        )  # fmt: skip
    for index, parameter in enumerate(proto.parameters):
        kind, size = _classify(checker, btf, parameter.type)
        if kind == "number":
            registers[index + 1] = r.UNKNOWN
        elif kind == "context":
            registers[index + 1] = Register(r.CTX)
        elif kind == "memory":
            registers[index + 1] = Register(r.MEM | r.OR_NULL, bd.ZERO, id=checker.new_id(), info=size)
        else:
            raise Rejection(
                "function-arguments", f"Arg#{index} type in {function.name}() is not supported yet.", slot=start
            )


def check_function_info(checker: Checker) -> None:
    """Whether the functions that BTF describes are those of the code; what only functions with BTF may do.

    Raises Rejection.
    """
    program = checker.program
    code = checker.code
    starts = checker.functions
    ends = [*starts[1:], len(code)]
    if not program.functions or program.btf is None:
        for start, end in zip(starts[1:], ends[1:], strict=True):
            if start in checker.tail_calls:
                raise Rejection("needs-btf", "tail_call is not allowed in subprogs without BTF", slot=start)
            if any(_is_legacy_load(code[slot].code) for slot in range(start, end)):
                raise Rejection("needs-btf", "LD_ABS is not allowed in subprogs without BTF", slot=start)
        return
    if all(not function.type_id for function in program.functions):
        return
    if len(program.functions) != len(starts):
        raise Rejection("function-info", "number of funcs in func_info doesn't match number of subprogs")
    before = -1
    for index, function in enumerate(program.functions):
        if not index and function.slot:
            raise Rejection("function-info", f"nonzero insn_off {function.slot} for the first func info record")
        if function.slot <= before:
            raise Rejection(
                "function-info",
                f"same or smaller insn offset ({function.slot}) than previous func info record ({before})",
            )
        if starts[index] != function.slot:
            raise Rejection("function-info", "func_info BTF section doesn't match subprog layout in BPF program")
        before = function.slot
        try:
            found = program.btf.type(function.type_id)
            proto = program.btf.type(found.proto) if isinstance(found, bt.Func) else None
            if not isinstance(proto, bt.FuncProto):
                raise Rejection("function-info", f"invalid type id {function.type_id} in func info")
            _, result = _plain(program.btf, proto.returns)
        except FormatError:
            raise Rejection("function-info", f"invalid type id {function.type_id} in func info") from None
        number = isinstance(result, (bt.Int, bt.Enum)) and result.size <= 8
        if index and not number:
            span = range(starts[index], ends[index])
            if any(_is_legacy_load(code[slot].code) for slot in span):
                raise Rejection("needs-btf", "LD_ABS is only allowed in functions that return 'int'.", slot=before)
            if starts[index] in checker.tail_calls:
                raise Rejection("needs-btf", "tail_call is only allowed in functions that return 'int'.", slot=before)


def _is_legacy_load(code: int) -> bool:
    return code & 7 == b.BPF_LD and code & 0xE0 in (b.BPF_ABS, b.BPF_IND)


def has_function_info(checker: Checker) -> bool:
    """Whether BTF describes the functions, as callbacks need it."""
    return checker.program.btf is not None and any(function.type_id for function in checker.program.functions)
