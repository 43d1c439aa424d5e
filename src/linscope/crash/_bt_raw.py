"""What bt shows of the stack itself: its words, the code that it mentions, exceptions that lie on it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from linscope.crash.bt import head_line, register_lines
from linscope.crash.session import Session
from linscope.errors import MemoryFault
from linscope.kernel.stacks import Stack, stack_size
from linscope.kernel.task import task_cpu
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object
from linscope.target.unwind import PT_REGS, PT_REGS_SIZE, Frame

_WORD = 8
_KERNEL_CS, _USER_CS, _KERNEL_SS = 0x10, (0x23, 0x33), (0, 0x18)
_FLAGS_ALWAYS, _FLAGS_NEVER = 1 << 1, ~0x3FFFFF  # bits of RFLAGS that are always set, or never


def words_between(session: Session, stack: Stack, place: int, names: bool) -> Iterator[str]:
    """The words of the frame at a place: from its stack pointer up to where its caller's address lies."""
    frame = stack.frames[place]
    above = stack.frames[place + 1] if place + 1 < len(stack.frames) else None
    end = above.return_at if above is not None and above.return_at is not None else None
    if end is None or not 0 <= end - frame.sp <= stack_size(session.kernel):
        return
    yield from word_lines(session, frame.sp, end + _WORD, names)


def word_lines(session: Session, start: int, end: int, names: bool = False) -> Iterator[str]:
    """Two words a line; names: of code and data instead of their addresses."""
    try:
        words = memoryview(session.kernel.memory.read(start, (end - start) & ~7)).cast("Q")
    except MemoryFault as fault:
        yield f"    ({fault})\n"
        return
    for at in range(0, len(words), 2):
        cells = [f"{_named(session, one) if names else f'{one:016x}':<16}" for one in words[at : at + 2]]
        yield f"    {start + _WORD * at:x}: {' '.join(cells)}".rstrip() + "\n"


def _named(session: Session, word: int) -> str:
    place = session.kernel.place_of(word)
    if place is None or place.offset > 1 << 20:
        return f"{word:016x}"
    return place.in_decimal


def _bounds(session: Session, task: Object) -> tuple[int, int]:
    start = int(task.stack)
    return start, start + stack_size(session.kernel)


def rows_of_words(session: Session, task: Object) -> Rows:
    """The whole stack."""
    start, end = _bounds(session, task)
    data = session.kernel.memory.read(start, end - start)
    rows = [
        (start + at, word) for at, (word,) in zip(range(0, len(data), 8), struct.iter_unpack("<Q", data), strict=True)
    ]

    def lines() -> Iterator[str]:
        yield head_line(task)
        yield from (one.removeprefix("    ") for one in word_lines(session, start, end))
        yield "\n"

    return Rows([Column("address", value=hex), Column("value", value=hex)], rows, text=lines)


def rows_of_text(session: Session, task: Object, *, whole: bool) -> Rows:
    """The words that are addresses of code, from the stack pointer on; whole: from the stack's beginning on."""
    kernel = session.kernel
    start, end = _bounds(session, task)
    first = start
    if not whole:
        frames = session.stacks.of(task).frames
        sp = frames[0].sp if frames else int(task.thread.sp)
        first = sp & ~7 if start <= sp < end else start
    rows = []
    data = kernel.memory.read(first, end - first)
    for at, (word,) in zip(range(first, end, _WORD), struct.iter_unpack("<Q", data), strict=False):
        if kernel.is_text(word):
            place = kernel.place_of(word)
            if place is not None:
                rows.append((at, place.symbol, place.offset, place.module, word))

    def lines() -> Iterator[str]:
        yield head_line(task)
        for at, name, offset, module, word in rows:
            shown = f"{name}+{offset}" if offset else name
            yield f"  [{at:x}] {shown} at {word:x}{f' [{module}]' if module else ''}\n"
        yield "\n"

    columns = [
        Column("address", value=hex), Column("function"), Column("offset"), Column("module"), Column("pc", value=hex),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


def rows_of_exceptions(session: Session, task: Object) -> Rows:
    """What lies on the stack and can be the registers that an exception saved."""
    start, end = _bounds(session, task)
    data = session.kernel.memory.read(start, end - start)
    found = [(start + at, frame) for at, frame in _exceptions(session, data)]
    rows: list[tuple[Any, ...]] = [
        (at, "user" if one["cs"] & 3 else "kernel", {name: f"{value:#x}" for name, value in one.items()})
        for at, one in found
    ]

    def lines() -> Iterator[str]:
        yield head_line(task)
        if not found:
            yield "(none found)\n"
        for at, one in found:
            mode = "USER" if one["cs"] & 3 else "KERNEL"
            yield f"\n  {mode}-MODE EXCEPTION FRAME AT: {at:x}\n"
            if mode == "KERNEL":
                yield f"    [exception RIP: {_named(session, one['rip'])}]\n"
            yield from register_lines(Frame(one["rip"], one["rsp"], None, one, True, True))
        yield "\n"

    return Rows([Column("address", value=hex), Column("mode"), Column("registers")], rows, text=lines)


def _exceptions(session: Session, data: bytes) -> Iterator[tuple[int, dict[str, int]]]:
    words = memoryview(data).cast("Q")
    count = PT_REGS_SIZE // _WORD
    flags_at, cs_at, rip_at = (PT_REGS.index(name) for name in ("eflags", "cs", "rip"))
    for place in range(len(words) - count + 1):
        cs, flags = words[place + cs_at], words[place + flags_at]
        if cs != _KERNEL_CS and cs not in _USER_CS:
            continue
        if not flags & _FLAGS_ALWAYS or flags & _FLAGS_NEVER:
            continue
        registers = dict(zip(PT_REGS, words[place : place + count], strict=True))
        rip = words[place + rip_at]
        if cs == _KERNEL_CS:
            fits = session.kernel.is_text(rip) and registers["rsp"] >> 47 and registers["ss"] in _KERNEL_SS
        else:
            fits = not rip >> 47 and not registers["rsp"] >> 47 and registers["ss"] == 0x2B
        if fits:
            yield place * _WORD, registers


def rows_of_overflows(session: Session, tasks: Iterator[Object]) -> Rows:
    """Stacks whose last word is not what the kernel put there.  Source: STACK_END_MAGIC, include/uapi/linux/magic.h."""
    magic = 0x57AC6E9D
    rows, lines = [], []
    for task in tasks:
        try:
            found = session.kernel.u64(int(task.stack))
        except MemoryFault as fault:
            session.problems.append(f"stack of PID {int(task.pid)}: {fault}")
            continue
        if int(task.stack) and found != magic:
            rows.append((int(task.pid), task.address_, task_cpu(task), task.comm.string_(), found))
            lines.append(f"{head_line(task)}  possible stack overflow: {found:x} instead of {magic:x} at its end\n")
    columns = [
        Column("pid"), Column("task", value=hex), Column("cpu"), Column("comm"), Column("word", value=hex),
    ]  # fmt: skip
    return Rows(columns, rows, text=lambda: iter(lines or ["No stack overflows detected\n"]))
