"""Switch debug prints of the kernel for a while, follow what they say, and put every flag back.

What has to be put back is in the journal before anything is changed (see linscope.session.journal).
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from linscope.errors import PermissionDenied, UnknownNameError, UsageError
from linscope.session.journal import Journal
from linscope.session.stop import Stop
from linscope.session.workload import Workload
from linscope.sources.dynamic_debug import (
    Change,
    Query,
    Site,
    find_control,
    parse_queries,
    parse_sites,
    plan,
    restoring_queries,
    split_queries,
)
from linscope.sys.kmsg import KMSG, KmsgRecord, open_kmsg, read_kmsg
from linscope.sys.tracefs import read_bytes, write_text

_MAX_WRITE = 4000  # bytes; the kernel takes 4095 (USER_BUF_PAGE)
_PREFIX_SIZE = 63  # PREFIX_SIZE, without NUL: the kernel cuts what it puts in front of a message
_WATCH_FLAGS = "pmfl"
_OLD_FLAGS = "pmflt"  # what every kernel has
_INTERRUPTED = 130
_NOBODY = "module linscope/nobody"  # a query that takes no site


class WatchedRecord(NamedTuple):
    """A message of the kernel and the site that it comes from."""

    time_ns: int  # since boot
    site: Site
    text: str  # without the prefix that told the site


class DynamicDebug:
    """The debug prints of the running kernel; ``with DynamicDebug() as debug: debug.set(...)``, undone at the end."""

    def __init__(self, control: str = "", journal: Journal | None = None) -> None:
        """control: the control file, "" for the kernel's own; journal: what is undone at the end, None for a new one.

        Raises NotInKernel, PermissionDenied.
        """
        self.control = control or find_control()
        self.notes: list[str] = []
        self._journal = journal

    def __enter__(self) -> DynamicDebug:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Put back what was changed; notes say what could not be."""
        if self._journal is not None:
            self.notes += self._journal.close()
            self._journal = None

    def sites(self) -> list[Site]:
        """All sites with their flags.  Raises PermissionDenied, FormatError."""
        try:
            return parse_sites(read_bytes(self.control).decode("utf-8", "replace"))
        except PermissionError as error:
            what = "dynamic debug cannot be read"
            raise PermissionDenied(what, errno=error.errno or 0, where=self.control, next_step="run as root") from None

    def select(self, texts: Sequence[str]) -> list[Site]:
        """The sites that any of the queries (without flags) takes; all without a query.  Raises UsageError."""
        sites = self.sites()
        queries = [query for text in texts for query in parse_queries(text, select=True)]
        return [site for site in sites if not queries or any(query.matches(site) for query in queries)]

    def plan(self, texts: Sequence[str]) -> list[Change]:
        """What the queries would change.  Raises UsageError when one is wrong or takes no site."""
        queries = [query for text in texts for query in parse_queries(text)]
        sites = self.sites()
        for query in queries:
            if not any(query.matches(site) for site in sites):
                raise _nothing_matches(query, sites)
        return plan(sites, queries)

    def set(self, texts: Sequence[str]) -> list[Change]:
        """Apply queries; ``close`` puts the flags back unless ``keep`` is called.

        Returns the sites that are changed now.  Raises UsageError before anything is changed, PermissionDenied.
        """
        before = self.sites()
        expected = self.plan(texts)
        if not os.access(self.control, os.W_OK):
            raise PermissionDenied("dynamic debug is for root", where=self.control, next_step="run as root")
        self._check_flags(texts)
        self._remember(before, [change.site for change in expected])
        for batch in _batches([part for text in texts for part in split_queries(text)]):
            self._write(batch)
        after = self.sites()
        flags = [now.flags for now in after] if len(after) == len(before) else []
        changes = [Change(site, now) for site, now in zip(before, flags, strict=False) if site.flags != now]
        known = {change.site for change in expected}
        surprising = [change.site for change in changes if change.site not in known]
        if surprising:  # a kernel that matches in another way than those that we know
            self._remember(before, surprising)
            self.notes.append(f"{len(surprising)} sites more than expected were changed")
        return changes if flags else expected

    def keep(self) -> None:
        """The changes so far stay."""
        if self._journal is not None:
            self._journal.keep()

    def _check_flags(self, texts: Sequence[str]) -> None:
        """Raises UsageError for a flag that this kernel does not have: found by trying, where it does nothing."""
        used = {flag for text in texts for query in parse_queries(text) for flag in query.flags}
        for flag in sorted(used - set(_OLD_FLAGS)):
            try:
                write_text(self.control, f"{_NOBODY} +{flag}\n")
            except OSError as error:
                if error.errno == errno.EINVAL:
                    what = f"this kernel's dynamic debug has no flag {flag!r}"
                    raise UsageError(what, next_step=f"of {_OLD_FLAGS}") from None
                raise

    def _remember(self, sites: Sequence[Site], changed: Sequence[Site]) -> None:
        if not changed:
            return
        if self._journal is None:
            self._journal = Journal()
        self._journal.add("write", self.control, lines=_batches(restoring_queries(sites, changed)))

    def _write(self, text: str) -> None:
        try:
            write_text(self.control, text + "\n")
        except OSError as error:
            why = os.strerror(error.errno or 0)
            step = "the kernel's log says more: echo 1 > /sys/module/dynamic_debug/parameters/verbose"
            raise UsageError(f"the kernel does not take {text!r}", why=why, next_step=step) from None


def _batches(queries: Sequence[str]) -> list[str]:
    """Queries joined so that the kernel takes each text in one write."""
    batches: list[str] = []
    for query in queries:
        if batches and len(batches[-1].encode()) + len(query.encode()) < _MAX_WRITE:
            batches[-1] += f"; {query}"
        else:
            batches.append(query)
    return batches


def _nothing_matches(query: Query, sites: Sequence[Site]) -> UsageError:
    """Why a query takes no site: the first of its names that there is not."""
    named = (
        ("module", query.module, {site.module for site in sites}),
        ("file", query.file, {name for site in sites for name in (site.file, site.file.rpartition("/")[2])}),
        ("function", query.function, {site.function for site in sites}),
        ("class", query.class_, {site.class_ for site in sites if site.class_}),
    )
    for kind, name, known in named:
        if name and name not in known and not set(name) & set("*?"):
            error = UnknownNameError(f"{kind} with debug prints", name, known)
            if kind == "module" and not error.why:
                error.why = "it is not loaded, or has none"
            return error
    why = "each of its names exists, but not together" if any(name for _, name, _ in named) else ""
    return UsageError("no debug print matches the query", why=why, next_step="linscope dyndbg list")


def wait(duration_ns: int = 0, command: Sequence[str] | None = None) -> int:
    """Until the command ends, the time is up, or SIGINT comes.  Returns the command's exit status, 0 without one.

    Raises UsageError when the command cannot be run.
    """
    stream = _events(duration_ns, command, ())
    while True:
        try:
            next(stream)
        except StopIteration as end:
            return int(end.value)


def watch(
    debug: DynamicDebug, texts: Sequence[str], *, duration_ns: int = 0, command: Sequence[str] | None = None,
    kmsg: str = KMSG,
) -> Generator[WatchedRecord, None, int]:  # fmt: skip
    """Switch sites on and follow what they say, until the command ends, the time is up, or SIGINT comes.

    texts: queries without flags.  The sites print with module, function and line in front, by which their records
    are told from all others; the prefix is taken off.  The flags are put back when debug is closed.
    Returns the command's exit status.  Raises UsageError, PermissionDenied before anything is changed.
    """
    fd = open_kmsg(kmsg)
    try:
        changes = debug.set([f"{part} ={_WATCH_FLAGS}" for text in texts for part in split_queries(text)])
        wanted = {*(change.site for change in changes), *debug.select(texts)}
        by_prefix = {prefix_of(site): site for site in wanted}
        stream = _events(duration_ns, command, (fd,))
        status = 0
        while True:
            try:
                next(stream)
            except StopIteration as end:
                status = int(end.value)
                yield from _drain(fd, by_prefix, debug)
                return status
            yield from _drain(fd, by_prefix, debug)
    finally:
        os.close(fd)


def _drain(fd: int, by_prefix: dict[str, Site], debug: DynamicDebug) -> Iterator[WatchedRecord]:
    while True:
        try:
            record = read_kmsg(fd)
        except BrokenPipeError:
            note = "records were lost: the kernel's log was written faster than it was read"
            if note not in debug.notes:
                debug.notes.append(note)
            continue
        if record is None:
            return
        found = recognize(record, by_prefix)
        if found is not None:
            yield found


def prefix_of(site: Site) -> str:
    """What the kernel puts in front of a message with the flags mfl (lib/dynamic_debug.c, __dynamic_emit_prefix)."""
    return f"{site.module}:{site.function}:{site.line}: "[:_PREFIX_SIZE]


def recognize(record: KmsgRecord, by_prefix: dict[str, Site]) -> WatchedRecord | None:
    """The record of one of these sites, which prefix_of() tells; None for any other."""
    head = record.text.partition(": ")[0] + ": "
    for prefix in (head, record.text[:_PREFIX_SIZE]):
        if prefix in by_prefix:
            return WatchedRecord(record.time_ns, by_prefix[prefix], record.text[len(prefix) :])
    return None


def _events(duration_ns: int, command: Sequence[str] | None, fds: Sequence[int]) -> Generator[None, None, int]:
    """Yields when one of the descriptors can be read; returns the command's exit status, 130 after Ctrl-C."""
    stop = Stop()
    workload = Workload(command, os.environ) if command else None
    poll = select.epoll()
    try:
        poll.register(stop.read_fd, select.EPOLLIN)
        for fd in fds:
            poll.register(fd, select.EPOLLIN)
        if workload is not None:
            poll.register(workload.pidfd, select.EPOLLIN)
            workload.start()
        end = time.monotonic() + duration_ns / 1e9 if duration_ns else float("inf")
        while True:
            left = end - time.monotonic()
            if left <= 0:
                break
            ready = {fd for fd, _ in poll.poll(-1 if duration_ns == 0 else left)}
            if ready & set(fds):
                yield
            if stop.read_fd in ready or (workload is not None and workload.pidfd in ready):
                break
        if workload is None:
            return 0
        workload.terminate()
        status = workload.wait()
        return _INTERRUPTED if stop.signal else status
    finally:
        poll.close()
        stop.close()
        if workload is not None:
            workload.terminate()  # when nobody reads on
            workload.close()
