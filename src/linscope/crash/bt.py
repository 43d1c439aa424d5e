"""bt: the stack of a task, as crash shows it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from linscope.crash.session import Session
from linscope.errors import UsageError
from linscope.kernel.stacks import Stack
from linscope.kernel.task import task_cpu
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object
from linscope.target.unwind import Frame

_LINES = (
    ("RIP", "rip", "RSP", "rsp", "RFLAGS", "eflags"), ("RAX", "rax", "RBX", "rbx", "RCX", "rcx"),
    ("RDX", "rdx", "RSI", "rsi", "RDI", "rdi"), ("RBP", "rbp", "R8", "r8", "R9", "r9"),
    ("R10", "r10", "R11", "r11", "R12", "r12"), ("R13", "r13", "R14", "r14", "R15", "r15"),
)  # fmt: skip


class Bt:
    """Stacks, frame by frame, with the registers that interrupts and system calls saved."""

    usage = "[-a] [-c CPU] [-s] [PID | TASK]..."
    help = """\
Shows the functions that a task is in, the innermost first; without a task, that of the session.

  -a       the tasks that run, on all CPUs        -c CPU   the one that runs on a CPU (or on 1,3-5)
  -s       with the distance from the function's beginning
A frame that is guessed, because the kernel's own rules end, is marked with (?)."""
    examples = ("bt", "bt -a", "bt 1 ffff8e95811fb000")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's bt."""
        parser.add_argument("-a", dest="active", action="store_true")
        parser.add_argument("-c", dest="cpus", metavar="CPU")
        parser.add_argument("-s", dest="offsets", action="store_true")
        parser.add_argument("tasks", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer a task."""
        for task in _tasks(session, arguments):
            yield rows_of_stack(session, task, session.stacks.of(task), arguments.offsets)


def _tasks(session: Session, arguments: argparse.Namespace) -> list[Object]:
    if arguments.active or arguments.cpus is not None:
        running = session.stacks.running
        wanted = set(running.values()) if arguments.cpus is None else parse_cpus(arguments.cpus)
        ordered = sorted((cpu, address) for address, cpu in running.items() if cpu in wanted)
        if not ordered:
            raise UsageError(f"no CPU {arguments.cpus} among {sorted(running.values())}")
        return [session.kernel.object("struct task_struct", address) for _, address in ordered]
    return session.find_tasks(arguments.tasks) if arguments.tasks else [session.task]


def parse_cpus(text: str) -> set[int]:
    """The numbers of "1,3-5".  Raises UsageError."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise UsageError(f"{text!r} is no list of CPUs")
        found.update(range(int(first), int(last or first) + 1))
    return found


def rows_of_stack(session: Session, task: Object, stack: Stack, offsets: bool) -> Rows:
    """A row each frame; as text what crash shows."""
    kernel = session.kernel
    pid, cpu, comm = int(task.pid), task_cpu(task), task.comm.string_()
    rows: list[tuple[Any, ...]] = []
    for number, frame in enumerate(stack.frames):
        place = kernel.place_of(frame.pc)
        user = frame.registers is not None and not kernel.is_text(frame.pc)
        function = None if user or place is None else place.symbol
        offset, module = (0, "") if place is None else (place.offset, place.module)
        head = (pid, hex(task.address_ or 0), cpu, comm, number)
        rows.append((*head, frame.sp, frame.pc, function, offset, module, frame.reliable, frame))

    def lines() -> Iterator[str]:
        yield f'PID: {pid:<8d} TASK: {task.address_:x}  CPU: {cpu:<3d}  COMMAND: "{comm}"\n'
        for row in rows:
            yield from _frame_lines(row, offsets)
        if stack.why:
            yield f"    (ends: {stack.why})\n"
        yield "\n"

    columns = [
        Column("pid"), Column("task"), Column("cpu"), Column("comm"), Column("frame"), Column("sp", value=hex),
        Column("pc", value=hex), Column("function"), Column("offset"), Column("module"), Column("reliable"),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


def _frame_lines(row: tuple[Any, ...], offsets: bool) -> Iterator[str]:
    number, pc, function, offset, module, frame = row[4], row[6], row[7], row[8], row[9], row[11]
    if frame.registers is not None:
        yield from register_lines(frame)
    if function is None:
        return
    at = frame.return_at if frame.return_at is not None else frame.sp
    name = f"{function}+{offset}" if offsets else function
    yield (
        f"{'' if number > 9 else ' '}#{number} [{at:x}] {name} at {pc:x}"
        + (f" [{module}]" if module else "") + ("" if frame.reliable else " (?)") + "\n"
    )  # fmt: skip


def register_lines(frame: Frame) -> Iterator[str]:
    """The registers that were saved where a frame was left, as crash shows them."""
    registers = frame.registers or {}
    if "rax" not in registers:
        return
    for line in _LINES:
        cells = [f"{line[at]}: {registers[line[at + 1]]:0{8 if line[at + 1] == 'eflags' else 16}x}" for at in (0, 2, 4)]
        yield "    " + "  ".join(cells) + "\n"
    yield f"    ORIG_RAX: {registers['orig_rax']:016x}  CS: {registers['cs']:04x}  SS: {registers['ss']:04x}\n"


BT = Bt()
