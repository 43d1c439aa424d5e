"""bt: the stack of a task, as crash shows it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from linscope.crash.session import Session
from linscope.errors import UsageError
from linscope.kernel.stacks import Stack
from linscope.kernel.task import iter_tasks, iter_threads, task_cpu
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

    usage = "[-a | -c CPU | -g] [-f | -F] [-l] [-s [-x | -d]] [-r | -t | -T | -e] [-v] [PID | TASK]..."
    help = """\
Shows the functions that a task is in, the innermost first; without a task, that of the session.

  -a       the tasks that run, on all CPUs        -c CPU   the one that runs on a CPU (or on 1,3-5)
  -g       all threads of the group               -s       with the distance from the function's beginning (-x: hex)
  -f, -F   the words of each frame; as names      -l       with source lines and inlined functions (needs --vmlinux)
  -r       all words of the stack                 -t, -T   words that are addresses of code: used, or anywhere in it
  -e       registers that exceptions saved        -v       stacks that overflowed
A frame that is guessed, because the kernel's own rules end, is marked with (?)."""
    examples = ("bt", "bt -a", "bt 1 ffff8e95811fb000", "bt -f 1")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's bt."""
        parser.add_argument("-a", dest="active", action="store_true")
        parser.add_argument("-c", dest="cpus", metavar="CPU")
        parser.add_argument("-g", dest="group", action="store_true")
        parser.add_argument("-s", dest="offsets", action="store_true")
        parser.add_argument("-x", dest="base", action="store_const", const=16, default=10)
        parser.add_argument("-d", dest="base", action="store_const", const=10)
        parser.add_argument("-f", dest="words", action="store_const", const="numbers")
        parser.add_argument("-F", dest="words", action="store_const", const="names")
        parser.add_argument("-l", dest="lines", action="store_true")
        for letter in "rtTe":
            parser.add_argument(f"-{letter}", dest="raw", action="store_const", const=letter)
        parser.add_argument("-v", dest="overflows", action="store_true")
        parser.add_argument("tasks", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer a task."""
        if arguments.overflows or arguments.raw:
            yield from _raw(session, arguments)
            return
        if arguments.lines and session.lines is None:
            raise UsageError("no lines are known", why="a kernel has none in its memory", next_step="--vmlinux FILE")
        for task in _tasks(session, arguments):
            yield rows_of_stack(session, task, session.stacks.of(task), arguments)


def _raw(session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
    from linscope.crash import _bt_raw

    if arguments.overflows:
        yield _bt_raw.rows_of_overflows(session, iter_tasks(session.kernel, idle=True))
        return
    for task in _tasks(session, arguments):
        match arguments.raw:
            case "r":
                yield _bt_raw.rows_of_words(session, task)
            case "e":
                yield _bt_raw.rows_of_exceptions(session, task)
            case _:
                yield _bt_raw.rows_of_text(session, task, whole=arguments.raw == "T")


def head_line(task: Object) -> str:
    """The line above what is told of a task."""
    return head_text(int(task.pid), task.address_ or 0, task_cpu(task), task.comm.string_())


def head_text(pid: int, address: int, cpu: int, comm: str) -> str:
    """The same of what is known already."""
    return f'PID: {pid:<8d} TASK: {address:x}  CPU: {cpu:<3d}  COMMAND: "{comm}"\n'


def _tasks(session: Session, arguments: argparse.Namespace) -> list[Object]:
    if arguments.active or arguments.cpus is not None:
        running = session.stacks.running
        wanted = set(running.values()) if arguments.cpus is None else parse_cpus(arguments.cpus)
        ordered = sorted((cpu, address) for address, cpu in running.items() if cpu in wanted)
        if not ordered:
            raise UsageError(f"no CPU {arguments.cpus} among {sorted(running.values())}")
        return [session.kernel.object("struct task_struct", address) for _, address in ordered]
    tasks = session.find_tasks(arguments.tasks) if arguments.tasks else [session.task]
    if arguments.group:
        tasks = [one for task in tasks for one in iter_threads(session.kernel, task.group_leader.deref_())]
    return tasks


def parse_cpus(text: str) -> set[int]:
    """The numbers of "1,3-5".  Raises UsageError."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise UsageError(f"{text!r} is no list of CPUs")
        found.update(range(int(first), int(last or first) + 1))
    return found


def rows_of_stack(session: Session, task: Object, stack: Stack, arguments: argparse.Namespace) -> Rows:
    """A row each frame; as text what crash shows.  arguments: those of bt."""
    kernel = session.kernel
    pid, cpu, comm = int(task.pid), task_cpu(task), task.comm.string_()
    rows: list[tuple[Any, ...]] = []
    for number, frame in enumerate(stack.frames):
        place = kernel.place_of(frame.pc)
        user = frame.registers is not None and not kernel.is_text(frame.pc)
        function = None if user or place is None else place.symbol
        offset, module = (0, "") if place is None else (place.offset, place.module)
        head = (pid, hex(task.address_ or 0), cpu, comm, number)
        wants_lines = arguments.lines and function
        source = session.lines.at(frame) if wants_lines and session.lines is not None else []
        rows.append((*head, frame.sp, frame.pc, function, offset, module, frame.reliable, source, frame))

    def lines() -> Iterator[str]:
        yield head_line(task)
        for place, row in enumerate(rows):
            yield from _frame_lines(row, arguments)
            if arguments.words:
                from linscope.crash._bt_raw import words_between

                yield from words_between(session, stack, place, arguments.words == "names")
        if stack.why:
            yield f"    (ends: {stack.why})\n"
        yield "\n"

    columns = [
        Column("pid"), Column("task"), Column("cpu"), Column("comm"), Column("frame"), Column("sp", value=hex),
        Column("pc", value=hex), Column("function"), Column("offset"), Column("module"), Column("reliable"),
        Column("lines", value=lambda found: [one._asdict() for one in found]),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


def _frame_lines(row: tuple[Any, ...], arguments: argparse.Namespace) -> Iterator[str]:
    number, pc, function, offset, module, reliable, source, frame = row[4], *row[6:]
    if frame.registers is not None:
        yield from register_lines(frame)
    if function is None:
        return
    at = frame.return_at if frame.return_at is not None else frame.sp
    name = f"{function}+{offset:#x}" if arguments.base == 16 else f"{function}+{offset}"
    yield (
        f"{'' if number > 9 else ' '}#{number} [{at:x}] {name if arguments.offsets else function} at {pc:x}"
        + (f" [{module}]" if module else "") + ("" if reliable else " (?)") + "\n"
    )  # fmt: skip
    for one in source:
        yield f"    {one.file}: {one.line}" + (f"  (inlined {one.function})" if one.is_inlined else "") + "\n"


def register_lines(frame: Frame) -> Iterator[str]:
    """The registers that were saved where a frame was left, as crash shows them."""
    registers = frame.registers or {}
    if "rax" not in registers:
        return
    for line in _LINES:
        cells = []
        for label, name in zip(line[::2], line[1::2], strict=True):
            cells.append(f"{label:>3}: {registers[name]:0{8 if name == 'eflags' else 16}x}")
        yield "    " + "  ".join(cells) + "\n"
    yield f"    ORIG_RAX: {registers['orig_rax']:016x}  CS: {registers['cs']:04x}  SS: {registers['ss']:04x}\n"


BT = Bt()
