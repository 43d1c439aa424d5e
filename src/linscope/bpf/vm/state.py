"""The memory that machine code, native helpers, native maps and the interpreter share.

The layout is that of src/linscope/_native/bpf_vm.h; ``check_layout`` compares the two.
"""

from __future__ import annotations

import ctypes

from linscope._native import _core
from linscope.abi.bpf import MAX_BPF_STACK, MAX_CALL_FRAMES
from linscope.abi.bpf_helpers import HELPER_NAMES

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import Any

U64 = ctypes.c_uint64
FRAME_BYTES = MAX_BPF_STACK
STACK_BYTES = FRAME_BYTES * MAX_CALL_FRAMES
SITES = 2048  # instructions that remember the value they last reached, for reading and again for writing
RESERVATIONS = 16  # ring-buffer records that a program may hold at a time
HELPERS = 256
FAULT_LOG = 1024  # faults of a batch of which slot and address are kept
PROGRAM_SHIFT = 32  # slots of fault_slot: program << 32 | slot
FUNCTION_TOKEN = 0xF0C0 << 48  # | program << 32 | slot: what a function's address reads as
MAX_TAIL_CALLS = 33


class Region(ctypes.Structure):
    """A range of memory of this process; writable is 0 or 1."""

    _fields_ = [("low", U64), ("size", U64), ("writable", U64)]


class KnownMemory(ctypes.Structure):
    """A range of the recorded system's memory and where its bytes are in this process."""

    _fields_ = [("address", U64), ("size", U64), ("bytes", U64)]


class FunctionEntry(ctypes.Structure):
    """A function that helpers may call, or a program for tail calls: token, machine code, slots."""

    _fields_ = [("token", U64), ("entry", U64), ("slots", U64)]


class FaultEntry(ctypes.Structure):
    """A fault: record, code, program << 32 | slot, address."""

    _fields_ = [("index", U64), ("code", U64), ("slot", U64), ("address", U64)]


class ContextRow(ctypes.Structure):
    """What the recording knows about one record; ``ROW_FIELDS`` says the same to numpy."""

    _fields_ = [
        ("time_ns", U64),
        ("pid_tgid", U64),  # tgid << 32 | tid, as the helper returns it
        ("uid_gid", U64),  # gid << 32 | uid
        ("cpu", ctypes.c_uint32),
        ("kernel_stack", ctypes.c_uint32),  # row of the stack table; NO_STACK: none
        ("user_stack", ctypes.c_uint32),
        ("spare", ctypes.c_uint32),
        ("cookie", U64),
        ("ip", U64),
        ("task", U64),
        ("cgroup", U64),
        ("comm", ctypes.c_char * 16),
        ("memory", U64),  # first << 32 | count: ranges of Machine.set_memory(rows=...) that are known for it only
    ]


NO_STACK = 0xFFFFFFFF
ROW_FIELDS = [
    (field[0], "S16" if field[0] == "comm" else "<u4" if field[1] is ctypes.c_uint32 else "<u8")
    for field in ContextRow._fields_
]  # numpy.dtype(ROW_FIELDS) has the layout of ContextRow: 96 bytes

_WORDS = (
    "rsp budget budget_limit budget_half fault fault_slot fault_address context context_size context_writable "
    "packet packet_size frame stack_top stack_lowest index count base base_size stride offsets sizes results faults "
    "nonzero fault_count fault_log fault_log_size row row_stride stack_offsets stack_addresses stack_count "
    "boot_offset_ns maps map_count functions function_count programs program_count trampoline random tail_calls "
    "reserved_count memory memory_count probe_faults regions region_count records_writable end resume packet_follows "
    "least_size check end_fault memory_total"
).split()


class State(ctypes.Structure):
    """struct Vm: one machine's registers that are not in registers."""

    _fields_ = [
        *((name, ctypes.c_int64 if name == "budget" else U64) for name in _WORDS),
        ("reservations", Region * RESERVATIONS),
        ("helpers", U64 * HELPERS),
        ("sites", U64 * 2 * (2 * SITES)),
    ]
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


OFFSET: dict[str, int] = {field[0]: getattr(State, field[0]).offset for field in State._fields_}
ROW_OFFSET: dict[str, int] = {field[0]: getattr(ContextRow, field[0]).offset for field in ContextRow._fields_}
FUNCTIONS: dict[str, int] = _core.bpf_functions()  # name -> address
HELPER_NUMBER = {name: number for number, name in enumerate(HELPER_NAMES)}
NATIVE_HELPERS = {HELPER_NUMBER[name]: address for name, address in FUNCTIONS.items() if name in HELPER_NUMBER}
HELPER_TYPE = ctypes.CFUNCTYPE(U64, U64, U64, U64, U64, U64, U64)


class MapHead(ctypes.Structure):
    """The start of a native map: sizes in bytes, addresses of this process."""

    _fields_ = [
        (name, U64)
        for name in (
            "type key_size value_size max_entries flags cpus values values_bytes value_stride keys keys_bytes "
            "key_stride count dropped used writable"
        ).split()
    ]
    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


_NO_SITES = (b"\xff" * 8 + bytes(8)) * (2 * SITES)  # nothing is found at the highest address


def check_layout() -> bool:
    """Whether the native module was built with this layout."""
    layout: tuple[int, ...] = _core.bpf_layout()
    return layout == (ctypes.sizeof(State), OFFSET["helpers"], ctypes.sizeof(MapHead))


def new_state(stack: ctypes.Array[ctypes.c_char]) -> State:
    """A state whose helpers are the native ones, with a stack of STACK_BYTES."""
    state = State()
    for number, address in NATIVE_HELPERS.items():
        state.helpers[number] = address
    state.check = FUNCTIONS["check"]
    state.end_fault = FUNCTIONS["end_fault"]
    state.stack_top = ctypes.addressof(stack) + STACK_BYTES
    state.stack_lowest = state.stack_top - STACK_BYTES + FRAME_BYTES
    state.frame = state.stack_top
    ctypes.memmove(state.sites, _NO_SITES, len(_NO_SITES))
    return state
