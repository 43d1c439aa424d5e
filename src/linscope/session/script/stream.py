"""A script as a stream of batches, for programs: ``linscope.trace``."""

from __future__ import annotations

import os
import select
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linscope.errors import UsageError
from linscope.session.script.batches import Batch, Collected
from linscope.session.script.output import Output
from linscope.units import parse_duration

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import pyarrow as pa

    from linscope.lang import ir
    from linscope.session.script.child import Child
    from linscope.session.script.columns import MapColumns
    from linscope.session.script.runner import Runner

_TICK_S = 0.2
_GATHER_S = 0.002  # in which more events come to a batch
_GRACE_S = 0.005  # in which events still count after exit()


class MapView:
    """A map of the script: the kernel's while the session is open, what it held at the end from then on."""

    def __init__(self, columns: MapColumns) -> None:
        self.name = columns.map.name
        self.schema = columns.schema
        self._columns: MapColumns | None = columns
        self._kept: pa.RecordBatch | None = None

    def __repr__(self) -> str:
        return f"<Map {self.name}: {', '.join(self.schema.names)}>"

    def to_arrow(self) -> pa.RecordBatch:
        """A row for each key (of histograms: key and bucket), in the order in which bpftrace prints them."""
        if self._columns is not None:
            return self._columns.table()
        assert self._kept is not None
        return self._kept

    def to_pandas(self) -> Any:
        """The same as a DataFrame."""
        return self.to_arrow().to_pandas()

    def keep(self) -> None:
        """Hold on to what it has now."""
        if self._columns is not None:
            self._kept, self._columns = self._columns.table(), None


class TraceSession:
    """One script in the kernel; iterate over it for its batches.  ``linscope.trace`` makes it.

    In a ``with``: it runs from its beginning to its end, at the latest to the end of the block.  Any thread may do
    that; ``stop`` and the maps may be used from others.
    """

    def __init__(
        self, program: str | os.PathLike[str], *, pid: int | None = None, command: str | Sequence[str] | None = None,
        duration: float | str | None = None, parameters: Sequence[object] = (), unsafe: bool = False,
        warnings: bool = True, interval: float | str = 0.1, include_dirs: Sequence[str] = (),
        includes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """program: a script, or the path of one (a Path, or a name that ends in .bt).

        pid, command: trace this, and end with it; duration: seconds or "1.5s"; parameters: $1, $2 ..., "--name=value";
        interval: how long batches grow; warnings: also warnf() and what goes wrong in programs.
        """
        if pid is not None and command is not None:
            raise UsageError("either a process or a command", next_step="leave pid or command out")
        self.text, self.where = _script(program)
        self.exit_code: int | None = None  # what exit() said; None: it was not called
        self.lost_events = 0
        self.warnings: list[str] = []  # of the compiler
        self.maps: Mapping[str, MapView] = {}
        self._pid = pid or 0
        self._command = shlex.split(command) if isinstance(command, str) else command
        self._duration_s = _seconds(duration) if duration is not None else None
        self._interval_s = _seconds(interval)
        self._options = {
            "parameters": [str(one) for one in parameters], "unsafe": unsafe, "include_dirs": include_dirs,
            "includes": includes,
        }  # fmt: skip
        self._warn = warnings
        self._form = Collected(Output(-1))
        self._runner: Runner | None = None
        self._child: Child | None = None
        self._ended = self._wake = -1
        self._runs = False  # begin ran, end has not
        self._over = False

    def __repr__(self) -> str:
        state = "over" if self._over else "running" if self._runner is not None else "not started"
        return f"<TraceSession {self.where}: {state}>"

    def __enter__(self) -> Self:
        """Compile, load and attach.  Raises SourceError, SystemCallError, UsageError."""
        from linscope.session.script.child import Child

        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            if self._command:
                self._child = _start(Child, self._command)
            self._runner = runner = self._load()
            self._form.connect(runner)
            self.maps = {name: MapView(columns) for name, columns in sorted(self._form.tables.items())}
            watched = self._child.pid if self._child is not None else self._pid
            self._ended = _open_process(watched) if watched else -1
            runner.run_own("begin")
            self._runs = True
            runner.attach(self._pid)
            runner.watch_processes(self._pid, self._child)
            if self._child is not None:
                self._child.release()
            self._started = time.monotonic()
            runner.run_iterators()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self) -> Runner:
        """All programs in the kernel, those of functions attached: with kprobes where it lets no program into these."""
        from linscope.lang.codegen import Options as CodeOptions
        from linscope.session.script.attaching import NoTrampoline
        from linscope.session.script.runner import Runner, ring_size

        refused: dict[str, str] = {}
        while True:
            unit = self._compile(refused)
            runner = Runner(
                unit, self._form.output, quiet=True, unsafe=bool(self._options["unsafe"]), warnings=self._warn,
                form=self._form,
            )  # fmt: skip
            made = CodeOptions()
            made.ring_bytes = ring_size(unit) or made.ring_bytes
            try:
                runner.load(made)
                runner.attach_functions()
                return runner
            except NoTrampoline as no:
                runner.close()
                if set(no.refused) <= set(refused):
                    raise no.error from None
                refused |= no.refused
            except BaseException:
                runner.close()
                raise

    def _compile(self, untrampolined: Mapping[str, str]) -> ir.Unit:
        from linscope.lang.bpftrace.compiler import compile
        from linscope.lang.bpftrace.options import Options

        options = Options(
            pid=self._pid, child=self._child.pid if self._child else 0, untrampolined=untrampolined,
            **self._options,  # type: ignore[arg-type]
        )  # fmt: skip
        unit = compile(self.text, where=self.where, options=options)
        self.warnings = [one.text(unit.where) for one in unit.warnings]  # type: ignore[attr-defined]  # a Diagnostic
        if any(one.probes[0].kind == "self" for one in unit.programs):
            raise UsageError("self probes wait for signals, which belong to the program that calls trace()")
        return unit

    def __iter__(self) -> Iterator[Batch]:
        """Batches as they come, to the end: exit(), the end of the command, process or duration, or stop()."""
        if self._runner is None and not self._over:
            raise UsageError("the session does not run", next_step="with linscope.trace(...) as session:")
        runner = self._runner
        if runner is None or self._over:
            return
        poll = select.poll()
        for fd in (self._wake, self._ended, runner.ring_fd):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        last = runner.lasts()
        due = tick = time.monotonic() + self._interval_s
        while last and not runner.is_over:
            count = runner.read()
            now = time.monotonic()
            end = self._started + self._duration_s if self._duration_s is not None else now + _TICK_S
            if now >= tick:
                tick = now + _TICK_S
                runner.tick()
            if now >= due:
                due = now + self._interval_s
                yield from self._form.take()
            if now >= end:
                break
            ready = [fd for fd, _ in poll.poll(0 if count else max(min(due, tick, end) - now, 0) * 1000)]
            if self._ended in ready or self._wake in ready:
                break
            if count:
                time.sleep(_GATHER_S)
        self._finish()
        yield from self._form.take()

    def stop(self) -> None:
        """End it, from any thread: who iterates gets what is there, and no more."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def _finish(self) -> None:
        """Stop the programs, run end, read what is left.  The maps stay."""
        runner = self._runner
        if runner is None or self._over:
            return
        self._over, self._runs = True, False
        if runner.shared.exit_code is not None and runner.lasts():
            time.sleep(_GRACE_S)
        runner.stop()
        runner.drain()
        runner.run_own("end")
        runner.drain()
        runner.detach()
        runner.tell_lost()
        self.exit_code = runner.shared.exit_code
        self.lost_events = runner.lost_events

    def close(self) -> None:
        """End it and release everything; maps keep what they have.  Harmless when repeated."""
        runner = self._runner
        try:
            if runner is not None and self._runs:
                self._finish()
            if runner is not None and self.maps:
                for one in self.maps.values():
                    one.keep()
        finally:
            self._over = True
            if runner is not None:
                runner.close()
            self._runner = None
            if self._child is not None:
                self._child.end()
                self._child = None
            for fd in (self._wake, self._ended):
                if fd >= 0:
                    os.close(fd)
            self._wake = self._ended = -1


def _script(program: str | os.PathLike[str]) -> tuple[str, str]:
    """(text, name) of a script."""
    if isinstance(program, str) and ("\n" in program or not program.endswith(".bt")):
        return program, "script"
    path = Path(program)
    try:
        return path.read_text(encoding="utf-8", errors="replace"), os.fspath(path)
    except OSError as failed:
        raise UsageError("cannot read the script", where=os.fspath(path), why=failed.strerror or "") from None


def _seconds(given: float | str) -> float:
    return parse_duration(given) / 1e9 if isinstance(given, str) else float(given)


def _open_process(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError as failed:
        raise UsageError(f"there is no process {pid}", why=failed.strerror or "") from None


def _start(child: type[Child], words: Sequence[str]) -> Child:
    try:
        return child(words)
    except OSError as failed:
        raise UsageError(f"cannot run {words[0]!r}", why=failed.strerror or "") from None
