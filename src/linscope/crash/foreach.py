"""foreach: one command for many tasks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash import COMMANDS
from linscope.crash.command import parse_words
from linscope.crash.session import Session
from linscope.errors import UsageError
from linscope.kernel.task import is_kthread, iter_tasks, task_state
from linscope.picture.rows import Rows
from linscope.target.objects import Object

_COMMANDS = ("bt", "vm", "task", "files", "net", "set", "ps", "sig", "vtop")
_STATES = {"RU": "R", "IN": "S", "UN": "D", "ID": "I", "ST": "T", "TR": "t", "DE": "X", "ZO": "Z", "PA": "P"}
_KINDS = ("kernel", "user", "gleader", "active")


class Foreach:
    """A command, once for each task that is chosen."""

    usage = "[PID | TASK | NAME | kernel | user | gleader | active | STATE]... COMMAND [ARGUMENTS]"
    help = """\
Runs bt, vm, task, files, net, set, ps, sig or vtop for each of the tasks; for all when none is chosen.

  kernel, user, gleader, active   threads of the kernel, of user space, leaders of thread groups, those that run
  RU, IN, UN, ID, ST, TR, ZO, DE  tasks in a state"""
    examples = ("foreach bt", "foreach UN bt", "foreach user files")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """All words: which of them is the command is found later."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """The command's answers, task by task."""
        words: list[str] = arguments.words
        at = next((place for place, word in enumerate(words) if word in _COMMANDS and word in COMMANDS), None)
        if at is None:
            raise UsageError("no command to run for each task", next_step="help foreach")
        command = COMMANDS[words[at]]
        parsed = parse_words(words[at], command, words[at + 1 :])
        before = session.task
        try:
            for task in _chosen(session, words[:at]):
                session.task = task
                yield from command.run(session, parsed)
        finally:
            session.task = before


def _chosen(session: Session, words: list[str]) -> list[Object]:
    kinds = [word for word in words if word in _KINDS]
    states = [_STATES[word] for word in words if word in _STATES]
    named = [word for word in words if word not in _KINDS and word not in _STATES]
    tasks = session.find_tasks(named) if named else list(iter_tasks(session.kernel, idle=True))
    if states:
        tasks = [task for task in tasks if task_state(task) in states]
    for kind in kinds:
        tasks = [task for task in tasks if _is(session, task, kind)]
    return tasks


def _is(session: Session, task: Object, kind: str) -> bool:
    if kind == "active":
        return task.address_ in session.stacks.running
    if kind == "gleader":
        return int(task.pid) == int(task.tgid)
    kernel = is_kthread(task) or not int(task.mm)
    return kernel == (kind == "kernel")


FOREACH = Foreach()
