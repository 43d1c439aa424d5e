"""findings: what to look at first."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from linscope.crash.session import Session
from linscope.errors import LinscopeError
from linscope.kernel.locks import Wait, chain, find_circles, iter_waits
from linscope.kernel.machine import memory_bytes, taints
from linscope.kernel.memory_owners import owners, slab_use
from linscope.kernel.panic_words import last_words, signs
from linscope.kernel.printk import Message, iter_messages
from linscope.kernel.scheduler import last_run_ns, run_queue, waits_since_ns
from linscope.kernel.stacks import Stack
from linscope.kernel.task import iter_tasks, task_state
from linscope.kernel.watchdogs import hung_after_s, iter_stuck, now_ns, rcu_grace_period_s, threshold_s
from linscope.kernel.zones import iter_zone_facts
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object
from linscope.units import format_bytes, format_duration

_PLUMBING = (
    "__schedule", "schedule", "schedule_preempt_disabled", "io_schedule", "schedule_timeout",
    "entry_SYSCALL_64_after_hwframe", "do_syscall_64", "ret_from_fork", "ret_from_fork_asm", "kthread", "x64_sys_call",
    "asm_exc_page_fault", "entry_SYSCALL_64", "__schedule_timeout",
)  # fmt: skip
_MOST_SHOWN = 5  # tasks or messages of one finding
_MOST_FUNCTIONS = 8  # of a stack
_MUCH_SLAB = 0.25  # of all memory
_SLOW_NS = 100_000_000  # of waiting for a CPU


class Finding(NamedTuple):
    """One thing to look at."""

    weight: str  # "fatal", "wrong", "sign", "fact"
    text: str
    details: list[str]
    commands: list[str]  # that tell more


class Findings:
    """What a kernel engineer would look at first."""

    usage = ""
    help = """\
Says why the kernel died, who waits for whom, which tasks hang, which CPUs are stuck, whether memory ran out, what the
log has of trouble, and what taints the kernel; each with the commands that tell more."""
    examples = ("findings",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """None."""

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A row a finding, the gravest first."""
        found = list(iter_findings(session))

        def lines() -> Iterator[str]:
            if not found:
                yield "Nothing: no panic, nobody hangs, nothing of trouble in the log.\n"
            for number, one in enumerate(found):
                yield f"{number + 1:>2}. {one.text}\n"
                yield from (f"    {detail}\n" for detail in one.details)
                if one.commands:
                    yield f"    > {'   '.join(one.commands)}\n"
                yield "\n"

        columns = [Column("weight"), Column("finding"), Column("details"), Column("commands")]
        yield Rows(columns, found, text=lines)


def iter_findings(session: Session) -> Iterator[Finding]:
    """All of them; what cannot be found out is told in session.problems."""
    stacks = _Stacks(session)
    for find in (_panic, _stuck, _circles, _locks, _hung, _queues, _memory, _rcu, _log, _taint):
        try:
            yield from find(session, stacks)
        except LinscopeError as error:
            session.problems.append(f"findings: {error}")


class _Stacks:
    """Stacks and waits of blocked tasks, and the log; each found once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._blocked: list[tuple[Object, Stack]] | None = None
        self._waits: list[Wait] | None = None

    @cached_property
    def messages(self) -> list[Message]:
        """The log."""
        return list(iter_messages(self.session.kernel))

    def blocked(self) -> list[tuple[Object, Stack]]:
        """Tasks in state D."""
        if self._blocked is None:
            self._blocked = []
            for task in iter_tasks(self.session.kernel):
                try:
                    if task_state(task) == "D":
                        self._blocked.append((task, self.session.stacks.of(task)))
                except LinscopeError as error:
                    self.session.problems.append(f"task at {task.address_:#x}: {error}")
        return self._blocked

    def waits(self) -> list[Wait]:
        """Those of them that wait for a lock."""
        if self._waits is None:
            kernel = self.session.kernel
            others = [(task, Stack([], "", -1)) for task in iter_tasks(kernel, idle=True)]
            known = {task.address_ for task, _ in self.blocked()}
            every = self.blocked() + [one for one in others if one[0].address_ not in known]
            self._waits = list(iter_waits(kernel, every))
        return self._waits

    def functions(self, stack: Stack) -> list[str]:
        """Names from the outermost to the innermost, without what all stacks have."""
        places = [self.session.kernel.place_of(frame.pc) for frame in reversed(stack.frames)]
        names = [place.symbol for place in places if place is not None]
        return [name for name in names if name not in _PLUMBING]


def who(task: Object) -> str:
    """A task in a sentence."""
    return f"{task.comm.string_()} (PID {int(task.pid)})"


def _panic(session: Session, stacks: _Stacks) -> Iterator[Finding]:
    words = last_words(stacks.messages)
    if words is None:
        return
    details = [words.meaning] if words.meaning else []
    if words.panic:
        details.append(words.panic)
    task = session.panic_task()
    commands = ["log"]
    if task is not None:
        stack = session.stacks.of(task)
        cpu = session.stacks.running.get(task.address_ or 0, -1)
        details.append(f"on CPU {cpu}, in {who(task)}, {format_duration(now_ns(session.kernel))} after boot")
        functions = stacks.functions(stack)
        if functions:
            details.append("by " + _path(functions))
        commands = [f"bt {int(task.pid)}", "bt -a", *commands]
    yield Finding("fatal", f"The kernel died: {words.text}", details, commands)


def _stuck(session: Session, stacks: _Stacks) -> Iterator[Finding]:
    for one in iter_stuck(session.kernel):
        task = next((address for address, cpu in session.stacks.running.items() if cpu == one.cpu), None)
        details = []
        if task is not None:
            running = session.kernel.object("struct task_struct", task)
            functions = stacks.functions(session.stacks.of(running))
            details.append(f"it runs {who(running)}: {_path(functions)}")
        details.append(f"the kernel calls it a soft lockup after {threshold_s(session.kernel)} s")
        text = f"CPU {one.cpu} has let nobody else run for {one.seconds:.0f} s"
        yield Finding("wrong", text, details, [f"bt -c {one.cpu}", f"runq -c {one.cpu}"])


def _circles(session: Session, stacks: _Stacks) -> Iterator[Finding]:
    by_task = {wait.task.address_ or 0: wait for wait in stacks.waits()}
    edges = {
        at: wait.owner.address_ or 0 for at, wait in by_task.items() if wait.owner is not None and not wait.is_reader
    }
    for circle in find_circles(edges):
        details = [f"{_sentence(by_task[at])}" for at in circle]
        names = " and ".join(who(by_task[at].task) for at in circle[:_MOST_SHOWN])
        commands = [f"bt {int(by_task[at].task.pid)}" for at in circle[:_MOST_SHOWN]]
        yield Finding("wrong", f"Deadlock: {names} wait for each other", details, commands)


def _sentence(wait: Wait) -> str:
    name = wait.name or f"{wait.lock:x}"
    text = f"{who(wait.task)} waits for the {wait.kind} {name}"
    if wait.owner is None:
        return text + ", of which no holder is recorded"
    verb = "was read by" if wait.is_reader else "is held by"
    return f"{text}, which {verb} {who(wait.owner)}"


def _locks(session: Session, stacks: _Stacks) -> Iterator[Finding]:
    by_lock: dict[int, list[Wait]] = {}
    for wait in stacks.waits():
        by_lock.setdefault(wait.lock, []).append(wait)
    now = now_ns(session.kernel)
    edges = {wait.task.address_ or 0: wait.owner.address_ or 0 for wait in stacks.waits() if wait.owner is not None}
    for lock, waits in sorted(by_lock.items(), key=lambda one: -len(one[1])):
        first = waits[0]
        name = first.name or f"{lock:x}"
        waiting = sorted(((_blocked_ns(now, wait.task), wait.task) for wait in waits), key=lambda one: -one[0])
        details = [f"waiting: {_with_times(waiting)}"]
        commands = [f"bt {int(first.task.pid)}"]
        if first.owner is not None:
            last = session.kernel.object("struct task_struct", chain(first.task.address_ or 0, edges)[-1])
            functions = stacks.functions(session.stacks.of(first.owner))
            verb = "one of its readers is" if first.is_reader else "held by"
            details.append(f"{verb} {who(first.owner)}, state {task_state(first.owner)}: {_path(functions)}")
            if last.address_ not in (first.owner.address_, first.task.address_):
                details.append(f"at the end of that chain is {who(last)}")
            commands.append(f"bt {int(first.owner.pid)}")
        count = f"{len(waits)} tasks wait" if len(waits) > 1 else "1 task waits"
        kinds = " and ".join(dict.fromkeys(wait.kind for wait in waits)).replace(
            "write and rw_semaphore to", "write and to"
        )
        yield Finding("wrong", f"{count} for the {kinds} {name}", details, commands)


def _blocked_ns(now: int, task: Object) -> int:
    """For how long a task has not run; 0 when nobody counts it."""
    last = last_run_ns(task)
    return now - last if last else 0


def _with_times(some: list[tuple[int, Object]]) -> str:
    shown = ", ".join(f"{who(task)} {format_duration(for_ns)}" for for_ns, task in some[:_MOST_SHOWN])
    return shown + (f" and {len(some) - _MOST_SHOWN} more" if len(some) > _MOST_SHOWN else "")


def _path(functions: Sequence[str]) -> str:
    """The innermost of some functions, the last one where the task is."""
    return ("... > " if len(functions) > _MOST_FUNCTIONS else "") + " > ".join(functions[-_MOST_FUNCTIONS:])


def _hung(session: Session, stacks: _Stacks) -> Iterator[Finding]:
    """Blocked tasks by stack, those that wait longest first."""
    now, limit = now_ns(session.kernel), hung_after_s(session.kernel)
    groups: dict[tuple[str, ...], list[tuple[int, Object]]] = {}
    told = {wait.task.address_ for wait in stacks.waits()}
    for task, stack in stacks.blocked():
        if task.address_ not in told:
            groups.setdefault(tuple(stacks.functions(stack)), []).append((_blocked_ns(now, task), task))
    for functions, some in sorted(groups.items(), key=lambda one: -max(pair[0] for pair in one[1])):
        some.sort(key=lambda pair: -pair[0])
        longest = some[0][0]
        details = [_with_times(some), "in " + _path(functions)]
        is_hung = limit and longest > limit * 10**9
        count = f"{len(some)} tasks are" if len(some) > 1 else "1 task is"
        text = f"{count} blocked (D) in {functions[-1] if functions else '?'}"
        yield Finding("wrong" if is_hung else "sign", text, details, [f"bt {int(some[0][1].pid)}", "foreach UN bt"])


def _queues(session: Session, stacks: _Stacks) -> Iterator[Finding]:
    """The tasks that wait longest for a CPU."""
    found = []
    for cpu in session.kernel.cpus():
        queue = run_queue(session.kernel, cpu)
        clock = int(queue.rq.clock)
        for one in queue.waiting:
            since = waits_since_ns(one.task) if one.task is not None else 0
            if since and clock - since > _SLOW_NS and one.task is not None:
                found.append((clock - since, cpu, one.task, queue.current))
    found.sort(key=lambda one: -one[0])
    if found:
        details = [
            f"{who(task)} on CPU {cpu} for {format_duration(ns)}, while {who(current)} runs"
            for ns, cpu, task, current in found[:_MOST_SHOWN]
        ]
        count = f"{len(found)} tasks wait" if len(found) > 1 else "1 task waits"
        yield Finding(
            "sign", f"{count} for a CPU, the first for {format_duration(found[0][0])}", details, ["runq -m", "runq"]
        )


def _memory(session: Session, stacks: _Stacks) -> Iterator[Finding]:
    """Zones without free memory, and who has it."""
    kernel = session.kernel
    short = [facts for _, facts in iter_zone_facts(kernel) if facts.present and facts.free < facts.watermarks[1]]
    slabs = slab_use(kernel)
    of_slabs = sum(one.size for one in slabs)
    total = memory_bytes(kernel)
    top = ", ".join(f"{one.name} {format_bytes(one.size)}" for one in slabs[:_MOST_SHOWN])
    if short:
        details = [
            f"node {one.node} zone {one.name}: {format_bytes(4096 * one.free)} are free, below the "
            f"{'minimum' if one.free < one.watermarks[0] else 'low'} mark of "
            f"{format_bytes(4096 * one.watermarks[0 if one.free < one.watermarks[0] else 1])}"
            for one in short
        ]
        for owner in owners(kernel)[:_MOST_SHOWN]:
            parts = ", ".join(f"{name} {format_bytes(size)}" for name, size in owner.parts[:_MOST_SHOWN])
            details.append(f"{owner.name}: {format_bytes(owner.size)}" + (f" ({parts})" if parts else ""))
        text = f"Memory is short in {len(short)} {'zone' if len(short) == 1 else 'zones'}"
        yield Finding("wrong", text, details, ["kmem -i", "kmem -z", "kmem -s"])
    elif of_slabs > total * _MUCH_SLAB:
        text = f"Slab caches have {format_bytes(of_slabs)}, {of_slabs / total:.0%} of all memory"
        yield Finding("sign", text, [top], ["kmem -s"])


def _rcu(session: Session, stacks: _Stacks) -> Iterator[Finding]:
    seconds = rcu_grace_period_s(session.kernel)
    if seconds is not None:
        text = f"An RCU grace period has been running for {seconds:.0f} s"
        yield Finding("wrong", text, ["some CPU or task does not leave a read-side section"], ["bt -a", "p rcu_state"])


def _log(session: Session, stacks: _Stacks) -> Iterator[Finding]:
    for name, messages in signs(stacks.messages):
        shown = [messages[0]] if len(messages) == 1 else [messages[0], messages[-1]]
        details = [f"[{one.time_ns / 1e9:.6f}] {one.text.splitlines()[0]}" for one in shown]
        yield Finding("sign", f"The log has {len(messages)} {name}", details, ["log"])


def _taint(session: Session, stacks: _Stacks) -> Iterator[Finding]:
    found = taints(session.kernel)
    if found:
        owners = [one.name for one in session.kernel.modules if _is_foreign(one.object)]
        details = [f"modules from elsewhere: {', '.join(owners)}"] if owners else []
        yield Finding("fact", f"The kernel is tainted: {', '.join(found)}", details, ["sys -t", "mod"])


def _is_foreign(module: Object) -> bool:
    """Proprietary, out of tree, unsigned or forced: bits of struct module.taints."""
    return bool(int(module.taints) & (1 << 0 | 1 << 1 | 1 << 12 | 1 << 13))


FINDINGS = Findings()
