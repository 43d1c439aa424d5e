"""sig: signals of tasks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.command import rows_of_text
from linscope.crash.session import Session, parse_hex
from linscope.crash.task import head_of
from linscope.errors import UsageError
from linscope.kernel.signals import SIGNALS, flag_names, iter_actions, iter_pending, signal_name, sigset
from linscope.kernel.task import iter_threads, task_cpu
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object

_HANDLERS = {0: "SIG_DFL", 1: "SIG_IGN"}


class Sig:
    """Handlers, blocked and waiting signals."""

    usage = "[-l] [-s SIGSET] [-g] [PID | TASK]..."
    help = """\
Shows what a task does with each signal, which it blocks, and which wait.

  -l          the names of all signals        -s SIGSET   the names of those in a set
  -g          all threads of the group, with what is their own"""
    examples = ("sig 1", "sig -s 0x800000000", "foreach user sig")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's sig."""
        parser.add_argument("-l", dest="names", action="store_true")
        parser.add_argument("-s", dest="set")
        parser.add_argument("-g", dest="group", action="store_true")
        parser.add_argument("tasks", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer a task."""
        if arguments.names:
            rows = [(number, signal_name(number)) for number in range(1, SIGNALS + 1)]
            text = [f"{f'[{number}]':>4} {name}\n" for number, name in rows]
            yield Rows([Column("signal"), Column("name")], rows, text=lambda: iter(text))
            return
        if arguments.set is not None:
            yield _set(arguments.set)
            return
        for task in session.find_tasks(arguments.tasks) if arguments.tasks else [session.task]:
            yield from _of_task(session, task, arguments.group)


def _set(text: str) -> Rows:
    number = parse_hex(text)
    if number is None:
        raise UsageError(f"{text!r} is no set of signals")
    names = [signal_name(place + 1) for place in range(SIGNALS) if number >> place & 1]
    return Rows([Column("name")], [(name,) for name in names], text=lambda: iter((" ".join(names) + "\n",)))


def _of_task(session: Session, task: Object, group: bool) -> Iterator[Rows]:
    yield head_of(int(task.pid), task.address_ or 0, task_cpu(task), task.comm.string_())
    signal = task.signal
    if not int(signal):
        yield rows_of_text("(no signals: the task has ended)\n\n")
        return
    yield _actions(task)
    if not group:
        yield _pending([("SIGPENDING", task, "")], shared=signal.shared_pending)
        return
    yield _pending([], shared=signal.shared_pending)
    leader = task.group_leader.deref_()
    for thread in iter_threads(session.kernel, leader):
        yield rows_of_text(
            f"  PID: {int(thread.pid):<8d} TASK: {thread.address_:x}  CPU: {task_cpu(thread):<3d}"
            f'  COMMAND: "{thread.comm.string_()}"\n'
        )
        yield _pending([("SIGPENDING", thread, "  ")], shared=None)


def _actions(task: Object) -> Rows:
    signal = task.signal
    rows = [
        (one.number, one.address, _HANDLERS.get(one.handler, f"{one.handler:x}"), one.mask, one.flags,
         flag_names(one.flags))
        for one in iter_actions(task)
    ]  # fmt: skip

    def lines() -> Iterator[str]:
        yield f"SIGNAL_STRUCT: {int(signal):x}  NR_THREADS: {int(signal.nr_threads)}\n"
        yield " SIG    SIGACTION        HANDLER       MASK       FLAGS\n"
        for number, address, handler, mask, flags, names in rows:
            shown = f" ({'|'.join(names)})" if names else ""
            yield f"{f'[{number}]':>4} {address:x} {handler:>10} {mask:016x} {flags:x}{shown}\n"

    columns = [
        Column("signal"), Column("action", value=hex), Column("handler"), Column("mask", value=hex),
        Column("flags", value=hex), Column("flag_names"),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


def _pending(tasks: list[tuple[str, Object, str]], *, shared: Object | None) -> Rows:
    found: list[tuple[str, int, list[str], str]] = []
    lines: list[str] = []
    for label, task, indent in tasks:
        blocked = sigset(task.blocked)
        waits = sigset(task.pending.signal) | (0 if shared is None else sigset(shared.signal))
        lines.append(f"{indent}{label}: {'yes' if waits & ~blocked else 'no'}\n")
        lines.append(f"{indent}   BLOCKED: {blocked:016x}\n")
        lines += _queue("PRIVATE_PENDING", task.pending, indent, found)
    if shared is not None:
        lines += _queue("SHARED_PENDING", shared, "", found)
    lines.append("\n")
    columns = [Column("queue"), Column("signals", value=hex), Column("waiting")]
    return Rows(columns, [one[:3] for one in found], text=lambda: iter(lines))


def _queue(title: str, pending: Object, indent: str, found: list[tuple[str, int, list[str], str]]) -> Iterator[str]:
    number = sigset(pending.signal)
    queue = [f"[{one.number}] {one.address:x} {signal_name(one.number)}" for one in iter_pending(pending)]
    found.append((title, number, queue, indent))
    yield f"{indent}{title}\n{indent}    SIGNAL: {number:016x}\n"
    if not queue:
        yield f"{indent}  SIGQUEUE: (empty)\n"
    else:
        yield f"{indent}  SIGQUEUE:  SIG  SIGQUEUE\n" + "".join(f"{indent}             {one}\n" for one in queue)


SIG = Sig()
