"""Machine code that every program brings along: the loop over records, the slow check, ends of faults, call-backs."""

from __future__ import annotations

import struct

from linscope.bpf.vm import errors as e
from linscope.bpf.vm.state import FRAME_BYTES, OFFSET
from linscope.bpf.vm.x86 import (
    CALL,
    JMP,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    RAX,
    RBP,
    RBX,
    RCX,
    RDI,
    RDX,
    RET,
    RSI,
    RSP,
    field,
    int32,
    load_constant,
    move,
    rm,
    rr,
    set_field,
)

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import NamedTuple

    Pieces = list[bytes | str | tuple[bytes, str]]
else:
    from collections import namedtuple

_LOAD, _STORE, _ADD = b"\x8b", b"\x89", b"\x01"
_SAVED = (RBX, RBP, R12, R13, R14, R15)
_CALLER_SAVED = (RAX, RSI, RDX, RCX, R8, R9, R11)
BAD_RECORD_SLOT = 0xFFFFFFFF  # of a fault: the record itself is not inside of the buffer


def push(register: int) -> bytes:
    """push of a 64-bit register."""
    return (b"\x41" if register > 7 else b"") + bytes((0x50 | register & 7,))


def pop(register: int) -> bytes:
    """pop into a 64-bit register."""
    return (b"\x41" if register > 7 else b"") + bytes((0x58 | register & 7,))


def call_field(name: str, index: int = 0) -> bytes:
    """call [state.name + 8 * index]."""
    return rm(b"\xff", 2, R12, OFFSET[name] + 8 * index, False)


def _join(pieces: Pieces) -> tuple[bytes, dict[str, int]]:
    """Bytes with labels (text) and jumps to labels (opcode, label; 32-bit displacements)."""
    out = bytearray()
    labels: dict[str, int] = {}
    fixups: list[tuple[int, str]] = []
    for piece in pieces:
        if isinstance(piece, str):
            labels[piece] = len(out)
        elif isinstance(piece, tuple):
            out += piece[0] + bytes(4)
            fixups.append((len(out), piece[1]))
        else:
            out += piece
    for end, label in fixups:
        if label in labels:
            struct.pack_into("<i", out, end - 4, labels[label] - end)
        else:
            labels[label] = end - 4  # to be filled in by the program
    return bytes(out), labels


if TYPE_CHECKING:

    class Loop(NamedTuple):
        """What the loop over records must do beside calling the program."""

        inline: bool  # the program is one function, which jumps back into the loop at its exit
        budget: bool  # set the budget anew for each record
        calls: bool  # helpers are called: rows advance, reservations and tail calls begin at none
        packet: bool  # the record is the packet

else:
    Loop = namedtuple("Loop", "inline budget calls packet")


def _loop(wanted: Loop) -> Pieces:
    """(state) as C passes it: run the program over all records."""
    packet: Pieces = [
        rm(b"\x83", 7, R12, OFFSET["packet_follows"]) + b"\x00",
        (b"\x0f\x84", "start"),
        field(_STORE, RSI, "packet"),
        field(_STORE, RDX, "packet_size"),
    ]
    budget: Pieces = [field(_LOAD, R11, "budget_limit"), field(_STORE, R11, "budget")] if wanted.budget else []
    calls: Pieces = [set_field("reserved_count", 0), set_field("tail_calls", 0)] if wanted.calls else []
    rows: Pieces = [field(_LOAD, R11, "row_stride"), field(_ADD, R11, "row")] if wanted.calls else []
    return [
        *(push(register) for register in _SAVED),
        rr(b"\x83", 5, RSP) + b"\x08",
        move(R12, RDI),
        field(_STORE, RSP, "rsp"),
        (b"\x4c\x8d\x1d", "ended"),  # lea r11, [rip + ended]
        field(_STORE, R11, "resume"),
        "next",
        field(_LOAD, RSI, "base"),
        field(_LOAD, R10, "offsets"),
        rr(b"\x85", R10, R10),
        (b"\x0f\x85", "scattered"),
        field(b"\x3b", RSI, "end"),
        (b"\x0f\x83", "done"),
        field(_LOAD, RDX, "context_size"),
        field(_LOAD, R11, "stride"),
        field(_ADD, R11, "base"),
        "ready",
        field(_STORE, RSI, "context"),
        *(packet if wanted.packet else ()),
        "start",
        *budget,
        *calls,
        field(_LOAD, RBP, "stack_top"),
        (JMP if wanted.inline else CALL, "main"),
        "ended",
        field(_LOAD, R10, "results"),
        rr(b"\x85", R10, R10),
        (b"\x0f\x84", "counted"),
        rm(_STORE, RAX, R10, 0),
        rm(b"\x83", 0, R12, OFFSET["results"]) + b"\x08",
        "counted",
        rr(b"\xf7", 3, RAX),  # neg: carry when it is not 0
        rm(b"\x83", 2, R12, OFFSET["nonzero"]) + b"\x00",  # adc
        *rows,
        rm(b"\x83", 0, R12, OFFSET["index"]) + b"\x01",
        (JMP, "next"),
        "scattered",
        field(_LOAD, RAX, "index"),
        field(b"\x3b", RAX, "count"),
        (b"\x0f\x83", "done"),
        b"\x49\x8b\x34\xc2",  # mov rsi, [r10 + rax * 8]
        field(_LOAD, R11, "sizes"),
        b"\x41\x8b\x14\x83",  # mov edx, [r11 + rax * 4]
        field(b"\x3b", RDX, "least_size"),
        (b"\x0f\x82", "bad"),
        move(R11, RSI),
        rr(b"\x01", RDX, R11),
        (b"\x0f\x82", "bad"),
        field(b"\x3b", R11, "base_size"),
        (b"\x0f\x87", "bad"),
        field(b"\x03", RSI, "base"),
        field(_STORE, RDX, "context_size"),
        field(_LOAD, R11, "records_writable"),
        rr(b"\x21", RDX, R11),
        field(_STORE, R11, "context_writable"),
        (JMP, "ready"),
        "bad",
        load_constant(RDI, BAD_RECORD_SLOT),
        (JMP, f"fault{e.READ}"),
        "done",
        rr(b"\x83", 0, RSP) + b"\x08",
        *(pop(register) for register in reversed(_SAVED)),
        RET,
    ]


def _rest() -> Pieces:
    pieces: Pieces = []
    for code in e.FAULTS:  # a fault found by machine code, its slot in rdi
        pieces += [
            f"fault{code}",
            set_field("fault", code),
            set_field("fault_address", 0),
            (JMP, "fault_kept"),
        ]
    return [
        *pieces,
        f"fault_address{e.BAD_CALL}",  # of r11
        set_field("fault", e.BAD_CALL),
        field(_STORE, R11, "fault_address"),
        "fault_kept",  # one that a helper has set
        field(_STORE, RDI, "fault_slot"),
        "fault_exit",
        field(_LOAD, RSP, "rsp"),
        move(RDI, R12),
        call_field("end_fault"),
        rr(b"\x31", RAX, RAX, False),
        rm(b"\xff", 4, R12, OFFSET["resume"], False),
        # address in r11, what in r10, slot in rdi; gives edi: 1 go on, 2 the load gives zero
        "check",
        field(_STORE, RDI, "fault_slot"),
        field(_STORE, RBP, "frame"),
        *(push(register) for register in _CALLER_SAVED),
        move(RDI, R12),
        move(RSI, R11),
        move(RDX, R10),
        call_field("check"),
        move(RDI, RAX),
        *(pop(register) for register in reversed(_CALLER_SAVED)),
        rr(b"\x85", RDI, RDI, False),
        (b"\x0f\x84", "fault_exit"),
        RET,
        "trampoline",  # (state, entry, four arguments) as C passes them
        *(push(register) for register in _SAVED),
        rr(b"\x83", 5, RSP) + b"\x08",
        move(R12, RDI),
        move(R11, RSI),
        move(RSI, RDX),
        move(RDX, RCX),
        move(RCX, R8),
        move(R8, R9),
        *(rr(b"\x31", register, register, False) for register in (RAX, R9, RBX, R13, R14, R15)),
        field(_LOAD, RBP, "frame"),
        rr(b"\x81", 5, RBP) + int32(FRAME_BYTES),
        field(b"\x3b", RBP, "stack_lowest"),
        (b"\x0f\x82", "deep"),
        rr(b"\xff", 2, R11, False),
        rr(b"\x83", 0, RSP) + b"\x08",
        *(pop(register) for register in reversed(_SAVED)),
        RET,
        "deep",
        field(_LOAD, RDI, "fault_slot"),
        (JMP, f"fault{e.DEPTH}"),
    ]


_made: dict[Loop, tuple[bytes, dict[str, int]]] = {}


def runtime(wanted: Loop) -> tuple[bytes, dict[str, int]]:
    """The code and its places by name; "main": where the displacement of the program itself goes."""
    found = _made.get(wanted)
    if found is None:
        found = _made[wanted] = _join([*_loop(wanted), *_rest()])
    return found
