"""A script in the running kernel: load, attach, read, stop.

The order is bpftrace's: all is loaded, begin runs, the other probes are attached, the command is let go; at the end the
programs stop, end runs, and the maps are printed.
"""

from __future__ import annotations

import os
import time

from linscope.bpf.kernel.maps import KernelMap
from linscope.errors import SystemCallError, UsageError
from linscope.lang.built import ENDED, EVENTS, LOST, PACKETS, STOP
from linscope.session.script.attaching import FUNCTIONS, OURS, Attached, attach, load_program
from linscope.session.script.events import Handlers, make_handlers
from linscope.session.script.map_values import ScriptMap
from linscope.session.script.output import JsonForm, Output, TextForm, error
from linscope.session.script.resolver import Resolver

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.bpf.kernel.programs import KernelProgram
    from linscope.bpf.kernel.ring_buffer import RingBuffer
    from linscope.lang import ir
    from linscope.lang.built import Built
    from linscope.lang.codegen import Options
    from linscope.session.script.child import Child
    from linscope.session.script.events import Handler
    from linscope.session.script.packets import Packets
    from linscope.session.script.sampling import Sampler
    from linscope.session.script.signals import Signals
    from linscope.session.script.trampolines import Refusals

_PAGE = 4096
_NOTIFY = "__BPFTRACE_NOTIFY_PROBES_ATTACHED"
_COMM = "bpftrace"  # what scripts know the tracer by
_BATCH = 8192  # events that are read at once
_BUSY = 64  # events in a batch from which on more is waited for: a wakeup for each would halve the programs' speed
_BUSY_S = 0.002
_LEAST_RECORD = 16  # bytes of an event in the ring buffer, with the kernel's header
_TICK_S, _FIRST_TICK_S = 0.2, 0.01  # between two looks at new processes and lost events
_GRACE_S = 0.005  # in which events still count after exit(), which scripts rely on: it was never at once
_BENCH_NS, _MOST_RUNS = 250_000_000, 100_000


class Runner:
    """One script.  ``run`` does all; the parts are there for those who want them.  ``close`` releases everything."""

    def __init__(
        self, unit: ir.Unit, output: Output, *, json: bool = False, unsafe: bool = False, quiet: bool = False,
        warnings: bool = True, form: TextForm | None = None,
    ) -> None:  # fmt: skip
        """output: stays the caller's; quiet: nothing is said but what the script says; warnings: also at run time.

        form: instead of text and JSON.
        """
        self.unit = unit
        self.output = output
        self.form = form or (JsonForm(output) if json else TextForm(output))
        self.quiet = quiet
        self.unsafe = unsafe
        self.warnings = warnings
        self.built: Built | None = None
        self.maps: list[KernelMap] = []
        self.programs: list[KernelProgram] = []
        self.links: list[Attached] = []
        self.resolver = Resolver(unit.settings)
        self.script_maps: dict[ir.Map, ScriptMap] = {}
        self.ring: RingBuffer | None = None
        self.packets: Packets | None = None
        self.stopped = False
        self.lost_events = 0
        self._shared: Handlers | None = None
        self._handlers: list[Handler] = []
        self._many = 0  # bytes of the records that come one after the other; 0: they differ
        self._signals: Signals | None = None
        self._looks: list[Callable[[], None]] = []  # at the processes that maps tell of
        self.sampler: Sampler | None = None  # looks at histograms from time to time
        self.hidden: set[str] = set()  # maps that are not printed at the end
        self._early: set[int] | None = None  # programs that were attached before begin

    # -- setting up

    def load(self, options: Options | None = None, *, built: Built | None = None) -> None:
        """Make the maps, load the programs.  built: the code, when it is there already.

        Raises SourceError (the verifier's no), SystemCallError, NoTrampoline.
        """
        if built is None:
            from linscope.lang.codegen import generate

            built = generate(self.unit, options)
        self.built = built
        for definition in built.maps:
            self.maps.append(KernelMap.create(definition))
        refusals: Refusals | None = None
        for source, program in zip(self.unit.programs, built.programs, strict=True):
            try:
                self.programs.append(load_program(self.unit, source, program, self.maps))
            except SystemCallError as refused:
                refusals = refusals or _refusals()
                refusals.take(source, refused)
        if refusals is not None:
            refusals.done()
        self.resolver.stacks = {one.name: one for one in self.maps if one.name.startswith("stk")}
        if self.resolver.stacks:
            self.resolver.fallback_paths = sorted(
                {probe.path for program in self.unit.programs for probe in program.probes if probe.path}
            )
        real = not os.environ.get("BPFTRACE_DUMMY_TS_MAP")  # else times are those of a map, from 1970 on
        self.script_maps = {
            source: ScriptMap(source, self.maps[place], self.resolver, real_series=real)
            for source, place in zip(self.unit.maps, built.script_maps, strict=True)
        }
        self._shared = Handlers(
            self.unit, self.form, self.resolver, self.script_maps, warnings=self.warnings, unsafe=self.unsafe
        )
        self._handlers = make_handlers(self._shared)
        place = built.place(EVENTS)
        if place is not None:
            from linscope.bpf.kernel.ring_buffer import RingBuffer

            self.ring = RingBuffer(self.maps[place])
        place = built.place(PACKETS)
        if place is not None:
            from linscope.session.script.packets import Packets

            self.packets = Packets(self.unit, self.maps[place], ring_bytes=ring_size(self.unit))

    @property
    def shared(self) -> Handlers:
        """What the events did: the exit code.  Only when it is loaded."""
        assert self._shared is not None
        return self._shared

    def attach_functions(self) -> None:
        """Attach what goes into functions of the kernel before begin runs: nothing happens there until all is attached.

        Raises NoTrampoline: some functions take no program, and begin must not run twice; SystemCallError.
        """
        if self._early is not None:
            return
        self._early = {place for place, one in enumerate(self.unit.programs) if one.probes[0].kind in FUNCTIONS}
        if not self._early:
            return
        self._put_stop(ENDED)
        refusals: Refusals | None = None
        for place in sorted(self._early):
            source = self.unit.programs[place]
            for attached in attach(self.programs[place], source):
                if isinstance(attached, tuple):
                    refusals = refusals or _refusals()
                    refusals.take(source, attached[1])
                else:
                    self.links.append(attached)
        if refusals is not None:
            refusals.done()

    def attach(self, pid: int = 0) -> int:
        """Attach all programs that are not yet; returns the number of probes.

        Raises SourceError for the first that cannot be, unless missing_probes says warn or ignore.
        """
        assert self.built is not None
        missing = str(self.unit.settings.get("missing_probes", "error"))
        count = 0
        for place, source in enumerate(self.unit.programs):
            count += len(source.probes)
            if source.probes[0].kind in OURS or place in (self._early or ()):
                continue
            for attached in attach(self.programs[place], source, pid):
                if not isinstance(attached, tuple):
                    self.links.append(attached)
                    continue
                probes, refused = attached
                if missing == "error":
                    from linscope.session.script.refusal import explain_attach

                    raise explain_attach(self.unit, probes[0], refused) from refused
                count -= len(probes)
                if missing == "warn" and self.warnings:
                    error(f"WARNING: Unable to attach probe: {probes[0].name}. Skipping. {refused}")
        if not count:
            raise UsageError("No probes attached")
        if self._early and self._get_stop() == ENDED:  # begin may have called exit()
            self._put_stop(0)
        return count

    def handle(self, number: int, handler: Handler) -> None:
        """Let an event's records be taken by another function.  Only when it is loaded."""
        self._handlers[number] = handler

    def run_own(self, kind: str, target: str = "") -> None:
        """Run the programs of begin, end or self, in this process.  target: only those of it (a signal)."""
        for source, program in zip(self.unit.programs, self.programs, strict=True):
            if source.probes[0].kind == kind and target in ("", source.probes[0].target):
                program.test_run()

    # -- the whole

    def run(self, *, pid: int = 0, child: Child | None = None) -> int:
        """Attach, read until something ends it, show the maps; returns the exit code.

        pid, child: whose end ends the script.  Raises SourceError, SystemCallError, NoTrampoline.
        """
        from linscope.session.script.signals import Signals, numbers_of

        self._signals = Signals(numbers_of(self.unit))
        name = _rename(_COMM)
        watched = child.pid if child is not None else pid
        ended = os.pidfd_open(watched) if watched else -1
        try:
            self.attach_functions()
            self.run_own("begin")
            count = self.attach(pid)
            if not self.quiet:
                self.form.attached(count)
            if os.environ.get(_NOTIFY):
                self.form.raw(f"{_NOTIFY}\n".encode())
            self.output.flush(end=True)
            if self.sampler is not None:
                self.sampler.start()
            if child is not None:
                child.release()
            self.run_iterators()
            self._loop(pid, child, ended)
            if self.shared.exit_code is not None and self.lasts():
                time.sleep(_GRACE_S)
            self.stop()
            self.drain()
            if self.sampler is not None:
                self.sampler.take()
            self.run_own("end")
            self.drain()
        finally:
            self.detach()
            _rename(name)
            self._signals.close()
            if ended >= 0:
                os.close(ended)
        return self.finish()

    def stop(self) -> None:
        """From here on no program does anything, but those of end."""
        self._put_stop(ENDED)

    def _put_stop(self, value: int) -> None:
        place = self.built.place(STOP) if self.built is not None else None
        if place is not None:
            self.maps[place].update(bytes(4), value.to_bytes(8, "little"))

    def _get_stop(self) -> int:
        place = self.built.place(STOP) if self.built is not None else None
        data = self.maps[place].lookup(bytes(4)) if place is not None else None
        return int.from_bytes(data or b"", "little")

    def benchmark(self) -> int:
        """Run each bench probe for a while, and tell how long it takes; returns the exit code."""
        for source, program in zip(self.unit.programs, self.programs, strict=True):
            begin, count, spent_ns = time.monotonic_ns(), 0, 0
            while time.monotonic_ns() - begin < _BENCH_NS and count < _MOST_RUNS:
                spent_ns += program.test_run().duration_ns
                count += 1
                if not count % 64:
                    self.read()
            self.form.benchmark(source.probes[0].target, spent_ns // count, count)
        self.drain()
        return self.finish()

    def test(self) -> int:
        """Run each test probe once: it fails by exit() with another code than 0; returns the exit code."""
        failed = False
        for source, program in zip(self.unit.programs, self.programs, strict=True):
            self.shared.exit_code = None
            program.test_run()
            self.drain()
            passed = not self.shared.exit_code
            failed = failed or not passed
            self.form.tested(source.probes[0].target, passed=passed)
        self.shared.exit_code = int(failed)
        return self.finish()

    def run_iterators(self) -> None:
        """Run the programs of iter, which end by themselves."""
        for one in self.links:
            if one.probe.kind == "iter":
                from linscope.session.script.attaching import run_iterator

                run_iterator(one)

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come."""
        return self.stopped or self.output.closed or self.shared.exit_code is not None

    def lasts(self) -> bool:
        """Whether there are probes beside begin and end."""
        return any(program.probes[0].kind not in ("begin", "end", "iter", "test") for program in self.unit.programs)

    def _loop(self, pid: int, child: Child | None, ended: int) -> None:
        """ended: of the process whose end ends the script, -1 without."""
        if not self.lasts():
            self.drain()
            return
        import select

        self.watch_processes(pid, child)
        poll = select.poll()
        assert self._signals is not None
        poll.register(self._signals.fd, select.POLLIN)
        if self.ring is not None:
            poll.register(self.ring_fd, select.POLLIN)
        for fd in self.packets.fds if self.packets is not None else ():
            poll.register(fd, select.POLLIN)
        if ended >= 0:
            poll.register(ended, select.POLLIN)
        tick = time.monotonic() + _FIRST_TICK_S
        while not self.is_over:
            count = self.read()
            now = time.monotonic()
            if now >= tick:
                tick = now + _TICK_S
                self.tick()
                if self.sampler is not None:
                    tick = min(tick, self.sampler.look())
            ready = [fd for fd, _ in poll.poll(0 if count else max(tick - now, 0) * 1000)]
            if self._signals.fd in ready:
                self._take_signals()
            if ended in ready:
                break
            if _BUSY <= count < _BATCH // 2:
                time.sleep(_BUSY_S)
        self.drain()

    @property
    def ring_fd(self) -> int:
        """Can be waited for with poll: events are there; -1 when the script tells nothing."""
        place = self.built.place(EVENTS) if self.built is not None else None
        return self.maps[place].fd if place is not None else -1

    def read(self) -> int:
        """Handle the events that wait, a batch at most; returns their number."""
        packets = self.packets.read() if self.packets is not None else 0
        if self.ring is None:
            return packets
        handlers = self._handlers
        if self._many and self.output.mode != "none":
            found = self._read_alike()
            if found:
                self.output.flush()
                return found
        records = self.ring.read(_BATCH)
        if self.output.mode == "none":
            for record in records:
                handlers[int.from_bytes(record[:4], "little")](record)
                self.output.flush()
        else:
            for record in records:
                handlers[record[0] | record[1] << 8 | record[2] << 16](record)
            self.output.flush()
            if len(records) >= _BUSY:
                self._many = len(records[-1])
        if self.shared.unwatched:
            self._unwatch()
        return len(records)

    def _read_alike(self) -> int:
        """Handle the events that wait as long as they are of one size and one number; how many there were."""
        assert self.ring is not None
        chunk = self.ring.read_chunk(self._many, _BATCH)
        if chunk is None:
            self._many = 0
            return 0
        data, stride, count = chunk.data, chunk.stride, chunk.records
        number = int.from_bytes(data[:4], "little")
        together = self.shared.many.get(number)
        if together is not None and all(data[at::stride].count(data[at]) == count for at in (0, 1, 2)):
            together(data.ljust(count * stride, b"\0"), stride)
            return count
        handlers, size = self._handlers, chunk.size
        for at in range(0, count * stride, stride):
            handlers[data[at] | data[at + 1] << 8 | data[at + 2] << 16](data[at : at + size])
        return count

    def drain(self) -> None:
        """Handle what is in the buffers now."""
        if self.packets is not None:
            self.packets.read()
        if self.ring is None:
            return
        left = self.ring.pending_bytes
        while left > 0:
            before = self.ring.pending_bytes
            if not self.read():
                return
            left -= max(before - self.ring.pending_bytes, _LEAST_RECORD)

    def _unwatch(self) -> None:
        from linscope.bpf.kernel.detach import close_all

        addresses, self.shared.unwatched = set(self.shared.unwatched), []
        gone = [one for one in self.links if one.probe.kind == "watchpoint" and one.probe.address in addresses]
        self.links = [one for one in self.links if one not in gone]
        close_all([one.link for one in gone])

    # -- what is looked at from time to time

    def watch_processes(self, pid: int, child: Child | None) -> None:
        """Keep the mappings of processes whose stacks are in maps: they may end before the maps are printed."""
        from linscope.session.script.stack_places import make_look

        for source, script_map in self.script_maps.items():
            made = make_look(source, script_map.storage, self.resolver)
            if made is not None:
                self._looks.append(made)
        known = child.pid if child is not None else pid
        if known and (self._looks or self.resolver.stacks):
            user = self.resolver.user

            def look() -> None:
                user.see(known, again=True)

            self._looks.append(look)

    def tick(self) -> None:
        """Look at processes and lost events; five times a second is enough."""
        for look in self._looks:
            look()
        self.tell_lost()

    def tell_lost(self) -> None:
        """Events for which there was no room, since the last look."""
        place = self.built.place(LOST) if self.built is not None else None
        data = self.maps[place].lookup(bytes(4)) if place is not None else None
        count = sum(memoryview(data).cast("Q").tolist()) if data else 0
        count += self.packets.lost if self.packets is not None else 0
        if count > self.lost_events:
            self.form.lost(count - self.lost_events)
            self.lost_events = count

    def _take_signals(self) -> None:
        from linscope.session.script.signals import SIGINT, SIGTERM, number_of

        assert self._signals is not None
        for number in self._signals.read():
            if number in (SIGINT, SIGTERM):
                self.stopped = True
                self._signals.release((SIGINT, SIGTERM))  # the second time at once
                continue
            for source in self.unit.programs:
                probe = source.probes[0]
                if probe.kind == "self" and number_of(probe.target) == number:
                    self.run_own("self", probe.target)

    # -- the end

    def detach(self) -> None:
        """Take the programs from their probes, without waiting for the kernel."""
        if self.links:
            from linscope.bpf.kernel.detach import close_all

            close_all([one.link for one in self.links])
            self.links = []

    def finish(self) -> int:
        """Show the maps, and what was lost; returns the exit code."""
        self.form.end()
        if self.unit.settings["print_maps_on_exit"]:
            self.show_maps()
        self.output.flush(end=True)
        self.tell_lost()
        self.shared.summary()
        self.output.flush(end=True)
        return self.shared.exit_code or 0

    def show_maps(self) -> None:
        """All maps by name; not those without keys, and scalar ones that were cleared."""
        for script_map in sorted(self.script_maps.values(), key=lambda one: one.name):
            if script_map.name in self.hidden:
                continue
            if not ((script_map.cleared or not script_map.is_scalar) and script_map.is_empty()):
                self.form.map(script_map)

    def close(self) -> None:
        """Release everything; harmless when repeated."""
        self.detach()
        if self.ring is not None:
            self.ring.close()
            self.ring = None
        if self.packets is not None:
            self.packets.close()
            self.packets = None
        for program in self.programs:
            program.close()
        for one in self.maps:
            one.close()
        self.programs, self.maps = [], []


def ring_size(unit: ir.Unit) -> int:
    """The setting perf_rb_pages as bytes, a power of two; 0 when linscope is to choose."""
    pages = int(unit.settings.get("perf_rb_pages", 0))
    return 1 << (pages * _PAGE - 1).bit_length() if pages else 0


def _refusals() -> Refusals:
    from linscope.session.script.trampolines import Refusals

    return Refusals()


def _rename(name: str) -> str:
    """Call this process by a name (at most 15 characters); the one that it had, "" when that fails."""
    try:
        with open("/proc/self/comm", "r+", encoding="ascii", errors="replace") as file:
            before = file.read().strip()
            file.seek(0)
            file.write(name)
        return before
    except OSError:
        return ""
