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


def _join(pieces: list[bytes | str | tuple[bytes, str]]) -> tuple[bytes, dict[str, int]]:
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


def _runtime() -> tuple[bytes, dict[str, int]]:
    loop: list[bytes | str | tuple[bytes, str]] = [
        *(push(register) for register in _SAVED),
        rr(b"\x83", 5, RSP) + b"\x08",
        move(R12, RDI),
        field(_STORE, RSP, "rsp"),
        "next",
        field(_LOAD, RAX, "index"),
        field(b"\x3b", RAX, "count"),
        (b"\x0f\x83", "done"),
        field(_LOAD, R10, "offsets"),
        rr(b"\x85", R10, R10),
        (b"\x0f\x85", "scattered"),
        field(_LOAD, RSI, "base"),
        field(_LOAD, RDX, "context_size"),
        field(_LOAD, R11, "stride"),
        field(_ADD, R11, "base"),
        "ready",
        field(_STORE, RSI, "context"),
        field(_LOAD, R11, "packet_follows"),
        rr(b"\x85", R11, R11),
        (b"\x0f\x85", "packet"),
        "start",
        field(_LOAD, R11, "budget_limit"),
        field(_STORE, R11, "budget"),
        set_field("reserved_count", 0),
        set_field("tail_calls", 0),
        field(_LOAD, RBP, "stack_top"),
        (CALL, "main"),
        "ended",
        field(_LOAD, RCX, "index"),
        field(_LOAD, R10, "results"),
        rr(b"\x85", R10, R10),
        b"\x74\x04",
        b"\x49\x89\x04\xca",  # mov [r10 + rcx * 8], rax
        rr(b"\x31", RDX, RDX, False),
        rr(b"\x85", RAX, RAX),
        b"\x0f\x95\xc2",  # setne dl
        field(_ADD, RDX, "nonzero"),
        rr(b"\x83", 0, RCX) + b"\x01",
        field(_STORE, RCX, "index"),
        field(_LOAD, R11, "row_stride"),
        field(_ADD, R11, "row"),
        (JMP, "next"),
        "scattered",
        b"\x49\x8b\x34\xc2",  # mov rsi, [r10 + rax * 8]
        field(_LOAD, R11, "sizes"),
        b"\x41\x8b\x14\x83",  # mov edx, [r11 + rax * 4]
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
        "packet",
        field(_STORE, RSI, "packet"),
        field(_STORE, RDX, "packet_size"),
        (JMP, "start"),
        "bad",
        load_constant(RDI, BAD_RECORD_SLOT),
        (JMP, f"fault{e.READ}"),
        "done",
        rr(b"\x83", 0, RSP) + b"\x08",
        *(pop(register) for register in reversed(_SAVED)),
        RET,
        # A fault found here, its slot in rdi; then one that a helper has found.
    ]
    for code in e.FAULTS:
        loop += [
            f"fault{code}",
            set_field("fault", code),
            set_field("fault_address", 0),
            (JMP, "fault_kept"),
        ]
    loop += [
        f"fault_address{e.BAD_CALL}",  # of r11
        set_field("fault", e.BAD_CALL),
        field(_STORE, R11, "fault_address"),
        "fault_kept",
        field(_STORE, RDI, "fault_slot"),
        "fault_exit",
        field(_LOAD, RSP, "rsp"),
        move(RDI, R12),
        call_field("end_fault"),
        rr(b"\x31", RAX, RAX, False),
        (JMP, "ended"),
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
    return _join(loop)


RUNTIME, LABELS = _runtime()  # LABELS["main"]: where the displacement of the program itself goes
