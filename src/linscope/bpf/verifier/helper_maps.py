"""Which helpers go with which maps, and which maps with which programs.

Source: kernel/bpf/verifier.c, check_map_func_compatibility, check_map_prog_compatibility, record_func_map.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.map_values import fields_of
from linscope.bpf.verifier.precision import mark_precise
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.program import Map
    from linscope.bpf.verifier.arguments import Meta
    from linscope.bpf.verifier.checker import Checker

_UPDATES = "sk_redirect_{0} sock_{0}_update msg_redirect_{0} sk_select_reuseport map_lookup_elem"
_RING = frozenset(
    """
    ringbuf_output ringbuf_reserve ringbuf_query ringbuf_reserve_dynptr ringbuf_submit_dynptr ringbuf_discard_dynptr
    """.split()
)
_PERF = frozenset("perf_event_read perf_event_output skb_output perf_event_read_value xdp_output".split())
# maps that only some helpers may use
_HELPERS_OF: dict[int, frozenset[str]] = {
    b.BPF_MAP_TYPE_PROG_ARRAY: frozenset(("tail_call",)),
    b.BPF_MAP_TYPE_PERF_EVENT_ARRAY: _PERF,
    b.BPF_MAP_TYPE_RINGBUF: _RING,
    b.BPF_MAP_TYPE_USER_RINGBUF: frozenset(("user_ringbuf_drain",)),
    b.BPF_MAP_TYPE_STACK_TRACE: frozenset(("get_stackid",)),
    b.BPF_MAP_TYPE_CGROUP_ARRAY: frozenset(("skb_under_cgroup", "current_task_under_cgroup")),
    b.BPF_MAP_TYPE_CGROUP_STORAGE: frozenset(("get_local_storage",)),
    b.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE: frozenset(("get_local_storage",)),
    b.BPF_MAP_TYPE_DEVMAP: frozenset(("redirect_map", "map_lookup_elem")),
    b.BPF_MAP_TYPE_DEVMAP_HASH: frozenset(("redirect_map", "map_lookup_elem")),
    b.BPF_MAP_TYPE_CPUMAP: frozenset(("redirect_map",)),
    b.BPF_MAP_TYPE_XSKMAP: frozenset(("redirect_map", "map_lookup_elem")),
    b.BPF_MAP_TYPE_ARRAY_OF_MAPS: frozenset(("map_lookup_elem",)),
    b.BPF_MAP_TYPE_HASH_OF_MAPS: frozenset(("map_lookup_elem",)),
    b.BPF_MAP_TYPE_SOCKMAP: frozenset(_UPDATES.format("map").split()),
    b.BPF_MAP_TYPE_SOCKHASH: frozenset(_UPDATES.format("hash").split()),
    b.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY: frozenset(("sk_select_reuseport",)),
    b.BPF_MAP_TYPE_QUEUE: frozenset(("map_peek_elem", "map_pop_elem", "map_push_elem")),
    b.BPF_MAP_TYPE_STACK: frozenset(("map_peek_elem", "map_pop_elem", "map_push_elem")),
    b.BPF_MAP_TYPE_SK_STORAGE: frozenset(("sk_storage_get", "sk_storage_delete", "kptr_xchg")),
    b.BPF_MAP_TYPE_INODE_STORAGE: frozenset(("inode_storage_get", "inode_storage_delete", "kptr_xchg")),
    b.BPF_MAP_TYPE_TASK_STORAGE: frozenset(("task_storage_get", "task_storage_delete", "kptr_xchg")),
    b.BPF_MAP_TYPE_CGRP_STORAGE: frozenset(("cgrp_storage_get", "cgrp_storage_delete", "kptr_xchg")),
    b.BPF_MAP_TYPE_BLOOM_FILTER: frozenset(("map_peek_elem", "map_push_elem")),
}
# helpers that only some maps go with
_MAPS_OF: dict[str, tuple[int, ...]] = {
    "tail_call": (b.BPF_MAP_TYPE_PROG_ARRAY,),
    **dict.fromkeys(_PERF, (b.BPF_MAP_TYPE_PERF_EVENT_ARRAY,)),
    **dict.fromkeys(_RING, (b.BPF_MAP_TYPE_RINGBUF,)),
    "user_ringbuf_drain": (b.BPF_MAP_TYPE_USER_RINGBUF,),
    "get_stackid": (b.BPF_MAP_TYPE_STACK_TRACE,),
    "current_task_under_cgroup": (b.BPF_MAP_TYPE_CGROUP_ARRAY,),
    "skb_under_cgroup": (b.BPF_MAP_TYPE_CGROUP_ARRAY,),
    "redirect_map": (
        b.BPF_MAP_TYPE_DEVMAP, b.BPF_MAP_TYPE_DEVMAP_HASH, b.BPF_MAP_TYPE_CPUMAP, b.BPF_MAP_TYPE_XSKMAP,
    ),
    "sk_redirect_map": (b.BPF_MAP_TYPE_SOCKMAP,),
    "msg_redirect_map": (b.BPF_MAP_TYPE_SOCKMAP,),
    "sock_map_update": (b.BPF_MAP_TYPE_SOCKMAP,),
    "sk_redirect_hash": (b.BPF_MAP_TYPE_SOCKHASH,),
    "msg_redirect_hash": (b.BPF_MAP_TYPE_SOCKHASH,),
    "sock_hash_update": (b.BPF_MAP_TYPE_SOCKHASH,),
    "get_local_storage": (b.BPF_MAP_TYPE_CGROUP_STORAGE, b.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE),
    "sk_select_reuseport": (
        b.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, b.BPF_MAP_TYPE_SOCKMAP, b.BPF_MAP_TYPE_SOCKHASH,
    ),
    "map_pop_elem": (b.BPF_MAP_TYPE_QUEUE, b.BPF_MAP_TYPE_STACK),
    "map_peek_elem": (b.BPF_MAP_TYPE_QUEUE, b.BPF_MAP_TYPE_STACK, b.BPF_MAP_TYPE_BLOOM_FILTER),
    "map_push_elem": (b.BPF_MAP_TYPE_QUEUE, b.BPF_MAP_TYPE_STACK, b.BPF_MAP_TYPE_BLOOM_FILTER),
    "map_lookup_percpu_elem": (
        b.BPF_MAP_TYPE_PERCPU_ARRAY, b.BPF_MAP_TYPE_PERCPU_HASH, b.BPF_MAP_TYPE_LRU_PERCPU_HASH,
    ),
    "sk_storage_get": (b.BPF_MAP_TYPE_SK_STORAGE,),
    "sk_storage_delete": (b.BPF_MAP_TYPE_SK_STORAGE,),
    "inode_storage_get": (b.BPF_MAP_TYPE_INODE_STORAGE,),
    "inode_storage_delete": (b.BPF_MAP_TYPE_INODE_STORAGE,),
    "task_storage_get": (b.BPF_MAP_TYPE_TASK_STORAGE,),
    "task_storage_delete": (b.BPF_MAP_TYPE_TASK_STORAGE,),
    "cgrp_storage_get": (b.BPF_MAP_TYPE_CGRP_STORAGE,),
    "cgrp_storage_delete": (b.BPF_MAP_TYPE_CGRP_STORAGE,),
}  # fmt: skip
_SOCKMAP_UPDATERS = frozenset(
    (
        b.BPF_PROG_TYPE_SOCKET_FILTER, b.BPF_PROG_TYPE_SCHED_CLS, b.BPF_PROG_TYPE_SCHED_ACT, b.BPF_PROG_TYPE_XDP,
        b.BPF_PROG_TYPE_SK_REUSEPORT, b.BPF_PROG_TYPE_FLOW_DISSECTOR, b.BPF_PROG_TYPE_SK_LOOKUP,
    )
)  # fmt: skip
_WRITERS = frozenset("map_delete_elem map_update_elem map_push_elem map_pop_elem".split())
_SLEEPABLE = frozenset(
    (
        b.BPF_MAP_TYPE_HASH, b.BPF_MAP_TYPE_LRU_HASH, b.BPF_MAP_TYPE_ARRAY, b.BPF_MAP_TYPE_PERCPU_HASH,
        b.BPF_MAP_TYPE_PERCPU_ARRAY, b.BPF_MAP_TYPE_LRU_PERCPU_HASH, b.BPF_MAP_TYPE_ARRAY_OF_MAPS,
        b.BPF_MAP_TYPE_HASH_OF_MAPS, b.BPF_MAP_TYPE_RINGBUF, b.BPF_MAP_TYPE_USER_RINGBUF,
        b.BPF_MAP_TYPE_INODE_STORAGE, b.BPF_MAP_TYPE_SK_STORAGE, b.BPF_MAP_TYPE_TASK_STORAGE,
        b.BPF_MAP_TYPE_CGRP_STORAGE, b.BPF_MAP_TYPE_QUEUE, b.BPF_MAP_TYPE_STACK, b.BPF_MAP_TYPE_ARENA,
    )
)  # fmt: skip
_TRACING = frozenset(
    (
        b.BPF_PROG_TYPE_KPROBE, b.BPF_PROG_TYPE_TRACEPOINT, b.BPF_PROG_TYPE_PERF_EVENT,
        b.BPF_PROG_TYPE_RAW_TRACEPOINT, b.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE,
    )
)  # fmt: skip


def check_compatible(checker: Checker, map: Map | None, name: str, number: int) -> None:
    """Whether a helper works on a map of this type.  Raises Rejection."""
    if map is None:
        return
    helpers = _HELPERS_OF.get(map.type)
    fine = helpers is None or name in helpers
    if not fine and map.type in (b.BPF_MAP_TYPE_SOCKMAP, b.BPF_MAP_TYPE_SOCKHASH):
        fine = _may_update_sockmap(checker, name)
    maps = _MAPS_OF.get(name)
    if not fine or (maps is not None and map.type not in maps):
        raise Rejection("map-type", f"cannot pass map_type {map.type} into func bpf_{name}#{number}")


def _may_update_sockmap(checker: Checker, name: str) -> bool:
    if name not in ("map_update_elem", "map_delete_elem"):
        return False
    kind = checker.program.type
    if kind == b.BPF_PROG_TYPE_TRACING and checker.attach_type == b.BPF_TRACE_ITER:
        return True
    if kind == b.BPF_PROG_TYPE_SOCK_OPS and name == "map_delete_elem":
        return True
    if kind in _SOCKMAP_UPDATERS:
        return True
    raise Rejection("map-type", "cannot update sockmap in this context")


def check_record(checker: Checker, meta: Meta, name: str, slot: int) -> None:
    """Maps that programs may not write; keys of tail calls.  Raises Rejection."""
    map = meta.map
    if map is not None and name in _WRITERS and map.flags & b.BPF_F_RDONLY_PROG:
        raise Rejection("map-read-only", "write into map forbidden")
    if name == "tail_call":
        if map is None or map.type != b.BPF_MAP_TYPE_PROG_ARRAY:
            raise Rejection("map-type", "kernel subsystem misconfigured verifier")
        if not checker.bypass_speculation and checker.tail_call_maps.setdefault(slot, map) is not map:
            raise Rejection("map-type", "tail_call abusing map_ptr")
        register = checker.state.frames[-1].registers[3]
        if r.is_constant(register) and register.bounds[0] < map.max_entries:
            mark_precise(checker, 3)


def check_program_maps(checker: Checker, map: Map) -> None:
    """Whether a program of this type may use a map at all.  Raises Rejection."""
    kind = checker.program.type
    fields = fields_of(checker, map)
    if fields.offset_of("bpf_spin_lock") >= 0:
        if kind == b.BPF_PROG_TYPE_SOCKET_FILTER:
            raise Rejection("spin-lock", "socket filter progs cannot use bpf_spin_lock yet")
        if kind in _TRACING:
            raise Rejection("spin-lock", "tracing progs cannot use bpf_spin_lock yet")
        if checker.sleepable and checker.kernel < (6, 6):
            raise Rejection("spin-lock", "sleepable progs cannot use bpf_spin_lock yet")
    if fields.offset_of("bpf_timer") >= 0 and kind in _TRACING:
        raise Rejection("timer", "tracing progs cannot use bpf_timer yet")
    if map.type == b.BPF_MAP_TYPE_STRUCT_OPS:
        raise Rejection("map-type", "bpf_struct_ops map cannot be used in prog")
    if checker.sleepable and map.type not in _SLEEPABLE:
        raise Rejection("map-type", "Sleepable programs can only use array, hash, and ringbuf maps")
