"""Calls of helper functions: who may call which, with which maps, and what is known afterward.

Source: kernel/bpf/verifier.c, check_helper_call, check_map_func_compatibility; prototypes are in
``linscope.abi.bpf_prototypes``.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.abi.bpf_helpers import HELPER_NAMES
from linscope.abi.bpf_prototypes import BASE_GROUPS, HELPERS, PROGRAM_GROUPS, PROTOTYPES
from linscope.bpf.program import POISON
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import helper_maps, stack
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import state as st
from linscope.bpf.verifier.arguments import Meta, check_argument
from linscope.bpf.verifier.calls import call_back, call_later, check_references, clear_caller_saved
from linscope.bpf.verifier.dynptrs import drop_dynptr, make_dynptr
from linscope.bpf.verifier.map_values import has_spin_lock, kernel_pointer_info
from linscope.bpf.verifier.precision import mark_precise
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.verifier.checker import Checker

_CHANGES_PACKET = frozenset(
    """
    skb_vlan_push skb_vlan_pop skb_store_bytes skb_change_proto skb_change_head skb_change_tail skb_adjust_room
    skb_pull_data clone_redirect l3_csum_replace l4_csum_replace xdp_adjust_head xdp_adjust_meta xdp_adjust_tail
    msg_pull_data msg_push_data msg_pop_data lwt_seg6_store_bytes lwt_seg6_adjust_srh lwt_seg6_action
    store_hdr_opt lwt_push_encap
    """.split()
)
_ACQUIRES = frozenset("sk_lookup_tcp sk_lookup_udp skc_lookup_tcp ringbuf_reserve kptr_xchg".split())
_CASTS = frozenset(
    """
    tcp_sock sk_fullsock skc_to_tcp_sock skc_to_tcp6_sock skc_to_udp6_sock skc_to_mptcp_sock skc_to_tcp_timewait_sock
    skc_to_tcp_request_sock
    """.split()
)
_LIMITED = frozenset("get_stack get_task_stack probe_read_str probe_read_kernel_str probe_read_user_str".split())
_CALLBACKS = frozenset("for_each_map_elem loop find_vma user_ringbuf_drain".split())
_TRAMPOLINE = frozenset("get_func_arg get_func_ret get_func_arg_cnt get_attach_cookie".split())
_TRAMPOLINES = (b.BPF_TRACE_FENTRY, b.BPF_TRACE_FEXIT, b.BPF_MODIFY_RETURN)
_NO_RETVAL = frozenset(
    (
        b.BPF_CGROUP_INET_INGRESS, b.BPF_CGROUP_INET_EGRESS, b.BPF_CGROUP_SOCK_OPS, b.BPF_CGROUP_UDP4_RECVMSG,
        b.BPF_CGROUP_UDP6_RECVMSG, b.BPF_CGROUP_INET4_GETPEERNAME, b.BPF_CGROUP_INET6_GETPEERNAME,
        b.BPF_CGROUP_INET4_GETSOCKNAME, b.BPF_CGROUP_INET6_GETSOCKNAME,
    )
)  # fmt: skip
_SOCKOPT_HOOKS = frozenset(
    (
        b.BPF_CGROUP_INET4_BIND, b.BPF_CGROUP_INET6_BIND, b.BPF_CGROUP_INET4_CONNECT, b.BPF_CGROUP_INET6_CONNECT,
        b.BPF_CGROUP_UDP4_RECVMSG, b.BPF_CGROUP_UDP6_RECVMSG, b.BPF_CGROUP_UDP4_SENDMSG, b.BPF_CGROUP_UDP6_SENDMSG,
        b.BPF_CGROUP_INET4_GETPEERNAME, b.BPF_CGROUP_INET6_GETPEERNAME, b.BPF_CGROUP_INET4_GETSOCKNAME,
        b.BPF_CGROUP_INET6_GETSOCKNAME,
    )
)  # fmt: skip
_PATH_HOOKS = frozenset(
    """
    security_file_permission security_inode_getattr security_file_open security_path_truncate vfs_truncate
    vfs_fallocate dentry_open vfs_getattr filp_close
    """.split()
)  # bpf_d_path_allowed


def find_prototype(checker: Checker, name: str) -> tuple[str, str, tuple[str, ...]] | None:
    """The prototype with which programs like this may call a helper; None: they may not."""
    program = checker.program
    kind, attach = program.type, checker.attach_type
    groups = PROGRAM_GROUPS.get(kind, ())
    variant = None
    for group in groups:
        if group.endswith("newer") and checker.kernel < (6, 16):
            continue
        if name in HELPERS[group]:
            variant = HELPERS[group][name]
            if group == "sk_base" and name.startswith("skc_to") and not checker.leaks_allowed:
                return None
            break
    else:
        if kind == b.BPF_PROG_TYPE_LIRC_MODE2:
            return None
        for group, allowed in zip(
            BASE_GROUPS,
            (True, checker.capable, checker.leaks_allowed, checker.capable and checker.kernel >= (6, 16)),
            strict=True,
        ):
            if allowed and name in HELPERS[group]:
                variant = HELPERS[group][name]
                break
    if not variant or not _is_hooked(checker, kind, attach, name):
        return None
    if kind == b.BPF_PROG_TYPE_KPROBE and name in ("get_func_ip", "get_attach_cookie"):
        multi = attach == b.BPF_TRACE_KPROBE_MULTI
        if name == "get_func_ip":
            variant = "get_func_ip_kprobe_multi" if multi else "get_func_ip_kprobe"
        else:
            variant = "get_attach_cookie_kmulti" if multi else "get_attach_cookie_trace"
    return PROTOTYPES[variant]


def _is_hooked(checker: Checker, kind: int, attach: int, name: str) -> bool:
    """Helpers that only programs attached in some ways may call."""
    if name in ("get_retval", "set_retval"):
        return attach not in _NO_RETVAL
    if kind in (b.BPF_PROG_TYPE_TRACING, b.BPF_PROG_TYPE_LSM):
        if name in ("seq_printf", "seq_write", "seq_printf_btf"):
            return attach == b.BPF_TRACE_ITER
        if name in _TRAMPOLINE:
            return attach in _TRAMPOLINES or kind == b.BPF_PROG_TYPE_LSM
    if kind == b.BPF_PROG_TYPE_SYSCALL and (name in _TRAMPOLINE or name.startswith("seq_")):
        return False
    if kind == b.BPF_PROG_TYPE_CGROUP_SOCKOPT and name in ("setsockopt", "getsockopt"):
        return attach == b.BPF_CGROUP_SETSOCKOPT
    if kind == b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR:
        if name == "bind":
            return attach in (b.BPF_CGROUP_INET4_CONNECT, b.BPF_CGROUP_INET6_CONNECT)
        if name in ("setsockopt", "getsockopt"):
            return attach in _SOCKOPT_HOOKS
    return True


def call_helper(checker: Checker, number: int, slot: int) -> None:
    """Call helper number.  Raises Rejection."""
    if not 0 < number < len(HELPER_NAMES):
        if number == 0:
            raise Rejection("unknown-helper", _unknown(checker, "unspec", 0))
        rule = "unresolved-relocation" if number == POISON else "unknown-helper"
        raise Rejection(rule, f"invalid func unknown#{number}")
    name = HELPER_NAMES[number]
    prototype = find_prototype(checker, name)
    if prototype is None:
        raise Rejection("unknown-helper", _unknown(checker, name, number))
    flags, result, words = prototype
    if "G" in flags and not checker.gpl:
        raise Rejection("license", "cannot call GPL-restricted function from non-GPL compatible program")
    if name == "d_path" and not _may_use_path(checker):
        raise Rejection("helper-not-allowed", "helper call is not allowed in probe")
    if "S" in flags and not checker.sleepable:
        raise Rejection("sleepable", "helper call might sleep in a non-sleepable prog")
    checker.used_helpers.add(number)
    meta = Meta(name, "P" in flags)
    for index, word in enumerate(words):
        check_argument(checker, index + 1, word, meta)
    helper_maps.check_record(checker, meta, name, slot)
    frame = checker.state.frames[-1]
    for register_number, size in meta.fill:
        stack.fill(checker, register_number, frame.registers[register_number].off, size)
    if meta.uninit_dynptr:
        make_dynptr(checker, meta.uninit_dynptr, words[meta.uninit_dynptr - 1].rstrip("!").partition(":")[2], slot)
    if meta.release:
        _release(checker, meta, name, number)
    _special(checker, name, meta, slot)
    given = frame.registers[1:6]
    clear_caller_saved(frame)
    frame.registers[0] = _result(checker, name, result, meta, slot)
    helper_maps.check_compatible(checker, meta.map, name, number)
    if name == "get_func_ip":
        _check_func_ip(checker, number)
    if name in _CHANGES_PACKET:
        forget_packets(checker)
    if name == "tail_call" and given[1].type == r.MAP_PTR:
        checker.tail_calls.add(checker.function_of(slot))


def _unknown(checker: Checker, name: str, number: int) -> str:
    if checker.kernel >= (6, 12):
        return f"program of this type cannot use helper bpf_{name}#{number}"
    return f"unknown func bpf_{name}#{number}" if number else "unknown func unknown#0"


def _may_use_path(checker: Checker) -> bool:
    program = checker.program
    if program.type == b.BPF_PROG_TYPE_TRACING and program.attach_type == b.BPF_TRACE_ITER:
        return True
    if program.type == b.BPF_PROG_TYPE_LSM:
        return True
    return program.target in _PATH_HOOKS


def _release(checker: Checker, meta: Meta, name: str, number: int) -> None:
    state = checker.state
    if meta.release_dynptr:
        ref = drop_dynptr(checker, meta.release)
    else:
        ref = meta.ref
        if not ref and r.is_null(state.frames[-1].registers[meta.release]):
            return
    if not release_reference(checker, ref):
        raise Rejection(
            "unacquired-reference", f"func bpf_{name}#{number} reference has not been acquired before", meta.release
        )


def release_reference(checker: Checker, ref: int) -> bool:
    """Forget a reference and all that depends on it; False when it is not held."""
    state = checker.state
    left = tuple(one for one in state.references if one[0] != ref)
    if len(left) == len(state.references):
        return False
    state.references = left
    gone = r.UNKNOWN if checker.leaks_allowed else r.UNINITIALIZED
    for frame in state.frames:
        for number, register in enumerate(frame.registers):
            if register.ref == ref:
                frame.registers[number] = gone
        for place, slot in frame.stack.items():
            register_or_none = slot.register
            if register_or_none is not None and register_or_none.ref == ref:
                if st.DYNAMIC in slot.kinds:
                    frame.stack[place] = st.EMPTY
                else:
                    frame.stack[place] = st.UNKNOWN if checker.leaks_allowed else st.EMPTY
    return True


def forget_packets(checker: Checker) -> None:
    """Pointers into the packet hold nothing any more, for it may have been moved."""
    gone = r.UNKNOWN if checker.leaks_allowed else r.UNINITIALIZED
    for frame in checker.state.frames:
        for number, register in enumerate(frame.registers):
            if register.type in r.PACKETS_ANY:
                frame.registers[number] = gone
        for place, slot in frame.stack.items():
            if slot.register is not None and slot.register.type in r.PACKETS_ANY:
                frame.stack[place] = st.UNKNOWN


def _special(checker: Checker, name: str, meta: Meta, slot: int) -> None:
    """Rules of single helpers, and calls back.  Raises Rejection."""
    state = checker.state
    registers = state.frames[-1].registers
    if name == "tail_call":
        if state.references:
            try:
                check_references(checker)
            except Rejection as rejection:
                raise Rejection(
                    "unreleased-reference", f"{rejection.message}\ntail_call would lead to reference leak"
                ) from None
        if state.lock is not None:
            raise Rejection("lock-held", "tail_call cannot be used inside bpf_spin_lock-ed region")
    elif name == "get_local_storage":
        if not r.is_null(registers[2]):
            raise Rejection("argument-value", "get_local_storage() doesn't support non-zero flags", 2)
    elif name == "dynptr_from_mem":
        if registers[1].type != r.MAP_VALUE:
            kind = r.type_name(registers[1].type)
            raise Rejection("dynptr", f"Unsupported reg type {kind} for bpf_dynptr_from_mem data", 1)
    elif name in _CALLBACKS:
        if meta.func is None:
            raise Rejection("argument-type", "callback function is missing")
        if name == "loop":
            mark_precise(checker, 1)
            if state.frames[-1].called_back >= registers[1].bounds[bd.UMAX]:
                state.frames[-1].called_back = 0
                return
        if state.callback_depth > b.BPF_MAX_LOOPS:
            raise Rejection("too-complex", "callback runs too often")
        call_back(checker, name, meta.func, meta.map, slot)
        state.frames[-1].called_back = 0
    elif name == "timer_set_callback" and meta.func is not None:
        call_later(checker, meta.func, meta.map, meta.uid, slot)
    elif name == "snprintf" and registers[5].bounds[0] % 8:
        raise Rejection("argument-value", "Invalid format string", 5)


def _result(checker: Checker, name: str, word: str, meta: Meta, slot: int) -> Register:
    if word == "void":
        return r.UNINITIALIZED
    if word == "int":
        return _integer(checker, name, meta)
    or_null = word.endswith("?")
    word = word.rstrip("?")
    flag = r.OR_NULL if or_null else 0
    id = checker.new_id() if or_null else 0
    ref = 0
    info: object = None
    if name in _CASTS or name == "dynptr_data":
        ref = meta.ref
    elif name in _ACQUIRES or (
        name == "map_lookup_elem"
        and meta.map is not None
        and meta.map.type in (b.BPF_MAP_TYPE_SOCKMAP, b.BPF_MAP_TYPE_SOCKHASH)
    ):
        id = ref = checker.new_id()
        checker.state.references += ((ref, slot),)
    uid = 0
    if word == "value":
        kind = r.MAP_VALUE
        info = meta.map
        uid = meta.uid
        if not or_null and meta.map is not None and has_spin_lock(checker, meta.map):
            id = checker.new_id()
    elif word in ("record", "dynptr_mem"):
        kind = r.MEM | (r.RECORD if word == "record" else 0)
        info = meta.size
    elif word == "percpu":
        return _percpu(checker, meta, flag, id)
    elif word.startswith("btf:"):
        kind = r.BTF_ID
        if word == "btf:kptr":
            info = kernel_pointer_info(checker, meta.kptr[1] if meta.kptr else 0)
        else:
            from linscope.bpf.verifier.kernel_types import pointer_to

            made = pointer_to(checker, word[4:])
            kind, info = made.type, made.info
    else:
        kind = {"socket": r.SOCKET, "sock_common": r.SOCK_COMMON, "tcp_sock": r.TCP_SOCK}[word]
    return Register(kind | flag, bd.ZERO, 0, id, ref, info, 0, uid)


def _percpu(checker: Checker, meta: Meta, flag: int, id: int) -> Register:
    from linscope.binfmt import btf_types as bt
    from linscope.binfmt.btf_layout import size_of

    if not isinstance(meta.variable, tuple) or meta.variable[0] is None:
        return Register(r.MEM | r.RDONLY | flag, bd.ZERO, id=id, info=8)
    btf, type_id = meta.variable
    if isinstance(btf.type(btf.resolve(type_id)), bt.Struct):
        return Register(r.BTF_ID | flag, bd.ZERO, id=id, info=meta.variable)
    return Register(r.MEM | r.RDONLY | flag, bd.ZERO, id=id, info=size_of(btf, type_id))


def _integer(checker: Checker, name: str, meta: Meta) -> Register:
    if name in _LIMITED:
        high = min(meta.size_max, bd.S64_MAX)
        return Register(r.SCALAR, bd.sync(0, bd.U64, -4095, high, 0, bd.U64, -4095, min(high, bd.S32_MAX), 0, bd.U32))
    if name == "get_smp_processor_id" and checker.kernel >= (6, 4):
        return Register(r.SCALAR, bd.unsigned_range(0, 8191))
    return r.UNKNOWN


def _check_func_ip(checker: Checker, number: int) -> None:
    kind = checker.program.type
    if kind == b.BPF_PROG_TYPE_TRACING:
        if checker.attach_type not in _TRAMPOLINES:
            raise Rejection(
                "helper-not-allowed",
                f"func bpf_get_func_ip#{number} supported only for fentry/fexit/fmod_ret programs",
            )
    elif kind != b.BPF_PROG_TYPE_KPROBE:
        raise Rejection("helper-not-allowed", f"func bpf_get_func_ip#{number} not supported for program type {kind}")
