"""ipcs: shared memory, semaphores, message queues."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from linscope.crash.command import rows_of_text
from linscope.crash.session import Session, parse_hex
from linscope.errors import UsageError
from linscope.kernel.ipc import (
    MessageQueue,
    Semaphores,
    SharedMemory,
    ipc_namespace,
    iter_message_queues,
    iter_semaphores,
    iter_shared_memory,
)
from linscope.picture.rows import Column, Rows

_One = TypeVar("_One", SharedMemory, Semaphores, MessageQueue)
_PAGE = 4096
_HEAD = (Column("key", value=hex), Column("id"), Column("uid"), Column("perms", value=lambda perms: f"{perms:o}"))
_NONE = "(none allocated)\n"


class Ipcs:
    """System V IPC."""

    usage = "[-s] [-m | -M] [-q] [-n PID | TASK] [ID | ADDRESS]..."
    help = """\
Shows System V IPC; all of it when no kind is chosen.

  -m   shared memory      -M   with its pages and inode      -s   semaphores      -q   message queues
  -n PID   as this task sees it"""
    examples = ("ipcs", "ipcs -M", "ipcs -m 32769")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's ipcs."""
        for letter, name in (("s", "semaphores"), ("m", "memory"), ("M", "details"), ("q", "queues")):
            parser.add_argument(f"-{letter}", dest=name, action="store_true")
        parser.add_argument("-n", dest="task")
        parser.add_argument("wanted", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A table for each kind."""
        kernel = session.kernel
        task = session.task if arguments.task is None else session.find_tasks([arguments.task])[0]
        namespace = ipc_namespace(kernel, task)
        memory = arguments.memory or arguments.details
        every = not (memory or arguments.semaphores or arguments.queues)
        wanted = [_numbers(word) for word in arguments.wanted]
        some = not wanted
        tables: list[Rows] = []
        if memory or every:
            segments = _chosen(iter_shared_memory(kernel, namespace), wanted)
            some |= bool(segments)
            tables.append(rows_of_memory(segments, arguments.details))
        if arguments.semaphores or every:
            sets = _chosen(iter_semaphores(kernel, namespace), wanted)
            some |= bool(sets)
            tables.append(rows_of_semaphores(sets))
        if arguments.queues or every:
            queues = _chosen(iter_message_queues(kernel, namespace), wanted)
            some |= bool(queues)
            tables.append(rows_of_queues(queues))
        if not some:
            raise UsageError(f"nothing has the id or address {' '.join(arguments.wanted)}")
        for table in tables:
            if not wanted or list(table.rows):
                yield table
                yield rows_of_text("\n")


def _numbers(word: str) -> tuple[int | None, int | None]:
    """(id, address) that a word can be."""
    number, address = int(word) if word.isdigit() else None, parse_hex(word)
    if number is None and address is None:
        raise UsageError(f"{word!r} is no id or address")
    return number, address


def _chosen(found: Iterable[_One], wanted: Sequence[tuple[int | None, int | None]]) -> list[_One]:
    return [one for one in found if not wanted or any(one.id == number or one.address == at for number, at in wanted)]


def rows_of_memory(found: list[SharedMemory], details: bool) -> Rows:
    """Shared memory; details: with pages and inode."""

    def lines() -> Iterator[str]:
        heading = "SHMID_KERNEL     KEY      SHMID      UID   PERMS BYTES      NATTCH STATUS\n"
        if not details or not found:
            yield heading
        for one in found:
            if details:
                yield heading
            yield (
                f"{one.address:016x} {one.key:08x} {one.id:<10} {one.uid:<5} {one.perms:<5o} {one.size_bytes:<10}"
                f" {one.attached:<6} {one.status}".rstrip()
                + "\n"
            )
            if details:
                allocated = -(-one.size_bytes // _PAGE)
                yield f"PAGES ALLOCATED/RESIDENT/SWAPPED: {allocated}/{one.resident_pages}/{one.swapped_pages}\n"
                yield f"INODE: {one.inode:x}\n" + ("\n" if one is not found[-1] else "")
        if not found:
            yield _NONE

    columns = [
        Column("shmid_kernel", value=hex), *_HEAD, Column("size_bytes"), Column("attached"), Column("status"),
        Column("inode", value=hex), Column("resident_pages"), Column("swapped_pages"),
    ]  # fmt: skip
    return Rows(columns, found, text=lines)


def rows_of_semaphores(found: list[Semaphores]) -> Rows:
    """Sets of semaphores."""

    def lines() -> Iterator[str]:
        yield "SEM_ARRAY        KEY      SEMID      UID   PERMS NSEMS\n"
        for one in found:
            yield f"{one.address:016x} {one.key:08x} {one.id:<10} {one.uid:<5} {one.perms:<5o} {one.semaphores}\n"
        if not found:
            yield _NONE

    return Rows([Column("sem_array", value=hex), *_HEAD, Column("semaphores")], found, text=lines)


def rows_of_queues(found: list[MessageQueue]) -> Rows:
    """Queues of messages."""

    def lines() -> Iterator[str]:
        yield "MSG_QUEUE        KEY      MSQID      UID   PERMS USED-BYTES   MESSAGES\n"
        for one in found:
            head = f"{one.address:016x} {one.key:08x} {one.id:<10} {one.uid:<5} {one.perms:<5o}"
            yield f"{head} {one.used_bytes:<12} {one.messages}\n"
        if not found:
            yield _NONE

    return Rows([Column("msg_queue", value=hex), *_HEAD, Column("used_bytes"), Column("messages")], found, text=lines)


IPCS = Ipcs()
