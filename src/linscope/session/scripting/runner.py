"""A script in the running kernel: compile, load, attach, read, stop."""

from __future__ import annotations

import os
import signal

from linscope.bpf.kernel.maps import KernelMap
from linscope.bpf.kernel.programs import load
from linscope.lang.codegen import generate
from linscope.lang.codegen.generator import EVENTS, LOST, STOP
from linscope.session.scripting.attaching import OURS, attach
from linscope.session.scripting.events import Actions
from linscope.session.scripting.output import Output
from linscope.session.scripting.resolver import Resolver
from linscope.session.scripting.script_maps import ScriptMaps

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.kernel.links import Link
    from linscope.bpf.kernel.programs import KernelProgram
    from linscope.bpf.kernel.ring_buffer import RingBuffer
    from linscope.lang import ir
    from linscope.lang import types as t
    from linscope.lang.codegen import Built, Options
    from linscope.session.scripting.child import Child

_NOTIFY = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
_COMM = "bpftrace"  # what scripts know the tracer by
_BATCH = 8192  # events that are read at once
_SECOND_MAP = 1 << 30  # see codegen/stacks.py
_POLL_MS = 1000
_BENCH_NS, _MOST_RUNS = 250_000_000, 100_000


class Runner:
    """One script.  ``run`` does all; the parts are there for those who want them."""

    def __init__(self, unit: ir.Unit, output: Output, *, unsafe: bool = False, quiet: bool = False) -> None:
        """quiet: nothing is said but what the script says."""
        self.unit = unit
        self.output = output
        self.quiet = quiet
        self.unsafe = unsafe
        self.built: Built | None = None
        self.maps: list[KernelMap] = []
        self.programs: list[KernelProgram] = []
        self.links: list[Link] = []
        self.resolver = Resolver(unit.settings)
        self.actions: Actions | None = None
        self.script_maps: ScriptMaps | None = None
        self.ring: RingBuffer | None = None
        self.stopped = 0
        self._wake: tuple[int, int] | None = None
        self._signaled = False  # SIGUSR1 came

    # -- setting up

    def load(self, options: Options | None = None) -> None:
        """Make the maps, load the programs.  Raises VerifierError and other SystemCallErrors."""
        built = self.built = generate(self.unit, options)
        for definition in built.maps:
            self.maps.append(KernelMap.create(definition))
        for program in built.programs:
            lines, program.lines = program.lines, []
            self.programs.append(self._load(program, lines))
        storages = [self.maps[place] for place in built.script_maps]
        self.script_maps = ScriptMaps(self.unit.maps, storages, self.resolver, self.output)
        self.actions = Actions(self.unit, self.resolver, self.output, self.script_maps, unsafe=self.unsafe)
        place = built.place(EVENTS)
        if place is not None:
            from linscope.bpf.kernel.ring_buffer import RingBuffer

            self.ring = RingBuffer(self.maps[place])
        if any(one.name.startswith("stk") for one in built.maps):
            self.resolver.symbols.read_stack = self._read_stack
            self.resolver.symbols.fallback_paths = sorted(
                {probe.path for program in self.unit.programs for probe in program.probes if probe.path}
            )

    def _load(self, program: object, lines: object) -> KernelProgram:
        from linscope.bpf.kernel.errors import VerifierError
        from linscope.bpf.program import Program

        assert isinstance(program, Program)
        try:
            return load(program, self.maps)
        except VerifierError as refused:
            from linscope.session.scripting.refusal import explain_refusal

            program.lines = lines  # type: ignore[assignment]
            raise explain_refusal(self.unit, program, refused) from refused

    def _read_stack(self, type: t.Stack, number: int) -> list[int]:
        """The addresses of a stack by its number."""
        assert self.built is not None
        build_id = type.mode == "build_id"
        second = 2 if number & _SECOND_MAP else 1
        place = self.built.place(f"stk{'b' if build_id else ''}_{type.depth}_{second}")
        if place is None:
            return []
        data = self.maps[place].lookup((number & ~_SECOND_MAP).to_bytes(4, "little"))
        if data is None:
            return []
        if build_id:
            return _build_ids(data)
        words = memoryview(data).cast("Q").tolist()
        return words[: words.index(0)] if 0 in words else words

    def attach(self, pid: int = 0) -> int:
        """Attach all programs; returns the number of probes.  Raises SystemCallError."""
        count = 0
        for source, program in zip(self.unit.programs, self.programs, strict=True):
            count += len(source.probes)
            if source.probes[0].kind not in OURS:
                self.links += attach(program, source, pid)
        return count

    def run_own(self, kind: str) -> None:
        """Run the programs of begin or end, in this process."""
        for source, program in zip(self.unit.programs, self.programs, strict=True):
            if source.probes[0].kind == kind:
                program.test_run()

    # -- the whole

    def run(self, *, pid: int = 0, child: Child | None = None) -> int:
        """Attach, read until something ends it, show the maps; returns the exit code.

        pid, child: whose end ends the script.  Raises SystemCallError.
        """
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(_COMM)
        self._catch_signals()
        try:
            self.run_own("begin")
            count = self.attach(pid)
            if not self.quiet:
                self.output.attached(count)
            if os.environ.get(_NOTIFY):
                self.output.write(f"{_NOTIFY}\n")
            self.output.flush(whole=True)
            if child is not None:
                child.release()
            self._run_iterators()
            self._loop(pid, child)
            self.stop()
            self.drain()
            self.run_own("end")
            self.drain()
        finally:
            self.detach()
        return self.finish()

    def stop(self) -> None:
        """From here on no program does anything, but those of end."""
        place = self.built.place(STOP) if self.built is not None else None
        if place is not None:
            self.maps[place].update(bytes(4), (1).to_bytes(8, "little"))

    def benchmark(self) -> int:
        """Run each bench probe for a while, and tell how long it takes; returns the exit code."""
        import time

        for source, program in zip(self.unit.programs, self.programs, strict=True):
            begin, count, spent_ns = time.monotonic_ns(), 0, 0
            while time.monotonic_ns() - begin < _BENCH_NS and count < _MOST_RUNS:
                spent_ns += program.test_run().duration_ns
                count += 1
                if not count % 64:
                    self.read()
            self.output.benchmark(source.probes[0].target, spent_ns // count, count)
        self.drain()
        return self.finish()

    def test(self) -> int:
        """Run each test probe once: it fails by exit() with another code than 0; returns the exit code."""
        assert self.actions is not None
        failed = False
        for source, program in zip(self.unit.programs, self.programs, strict=True):
            self.actions.exit_code = None
            program.test_run()
            self.drain()
            passed = not self.actions.exit_code
            failed = failed or not passed
            self.output.tested(source.probes[0].target, passed=passed)
        self.actions.exit_code = int(failed)
        return self.finish()

    def _run_iterators(self) -> None:
        if any(program.probes[0].kind == "iter" for program in self.unit.programs):
            from linscope.session.scripting.attaching import run_iterators

            run_iterators(self.links)

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come."""
        assert self.actions is not None
        return self.stopped > 0 or self.actions.exit_code is not None

    def _lasts(self) -> bool:
        """Whether there are probes beside begin and end."""
        return any(program.probes[0].kind not in ("begin", "end", "iter", "test") for program in self.unit.programs)

    def _loop(self, pid: int, child: Child | None) -> None:
        import select

        if not self._lasts():
            self.drain()
            return
        poll = select.poll()
        assert self._wake is not None
        poll.register(self._wake[0], select.POLLIN)
        if self.ring is not None:
            place = self.built.place(EVENTS) if self.built else None
            assert place is not None
            poll.register(self.maps[place].fd, select.POLLIN)
        watched = child.pid if child is not None else pid
        ended = os.pidfd_open(watched) if watched else -1
        if ended >= 0:
            poll.register(ended, select.POLLIN)
        while not self.is_over:
            if self.read():
                continue
            if self.is_over:
                break
            ready = {fd for fd, _ in poll.poll(_POLL_MS)}
            if self._wake[0] in ready:
                os.read(self._wake[0], 512)
            if self._signaled:
                self._signaled = False
                self.run_own("self")
            if ended in ready:
                self.read()
                break
        self.drain()
        if ended >= 0:
            os.close(ended)

    def read(self) -> int:
        """Handle the events that wait, a batch at most; returns their number."""
        if self.ring is None or self.actions is None:
            return 0
        records = self.ring.read(_BATCH)
        handle = self.actions.handle
        for record in records:
            handle(record)
        self.output.flush()
        return len(records)

    def drain(self) -> None:
        """Handle what is in the buffer now."""
        if self.ring is None:
            return
        left = self.ring.pending_bytes
        while left > 0:
            before = self.ring.pending_bytes
            if not self.read():
                return
            left -= max(before - self.ring.pending_bytes, 64)

    def detach(self) -> None:
        """Take the programs from their probes, without waiting for the kernel."""
        if self.links:
            from linscope.bpf.kernel.detach import close_all

            close_all(self.links)
            self.links = []

    def finish(self) -> int:
        """Show the maps, and what was lost; returns the exit code."""
        assert self.actions is not None and self.script_maps is not None
        if not self.output.is_json:
            self.output.write("\n\n")
        if self.unit.settings["print_maps_on_exit"]:
            self.script_maps.show_all()
        self.output.flush(whole=True)
        lost = self.lost()
        if lost:
            self.output.lost(lost)
        self.actions.summary()
        self.output.flush(whole=True)
        return self.actions.exit_code or 0

    def lost(self) -> int:
        """Events for which there was no room."""
        assert self.built is not None
        place = self.built.place(LOST)
        if place is None:
            return 0
        data = self.maps[place].lookup(bytes(4))
        return sum(memoryview(data).cast("Q").tolist()) if data else 0

    # -- signals

    def _catch_signals(self) -> None:
        self._wake = os.pipe()
        for fd in self._wake:
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        if any(program.probes[0].kind == "self" for program in self.unit.programs):
            signal.signal(signal.SIGUSR1, self._usr1)

    def _stop(self, number: int, frame: object) -> None:
        self.stopped += 1
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)  # the second time at once

    def _usr1(self, number: int, frame: object) -> None:
        self._signaled = True


def _build_ids(data: bytes) -> list[int]:
    """struct bpf_stack_build_id: i32 status, 20 bytes of build-id, u64 offset."""
    found: list[object] = []
    for at in range(0, len(data), 32):
        status = int.from_bytes(data[at : at + 4], "little")
        value = int.from_bytes(data[at + 24 : at + 32], "little")
        if status == 1:
            found.append(f"{data[at + 4 : at + 24].hex()} {value:#x}")
        elif status:
            found.append(f"{value:#x}")
        else:
            break
    return found  # type: ignore[return-value]  # shown as they are
