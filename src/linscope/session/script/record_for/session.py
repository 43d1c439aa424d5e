"""`linscope trace --record-for`: the script runs live, and the events that run it are recorded with what it reads.

Its programs run at the very events that are recorded, and hand what they read to an event of their own ("linscope",
PERF_COUNT_SW_BPF_OUTPUT) in the same buffers, in front of the event's record.

See docs/decisions/0019-recordings-for-scripts.md.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING

from linscope.abi import perf_event as pe
from linscope.bpf.kernel.attach_perf import attach_perf_event
from linscope.errors import UsageError
from linscope.lang import ir
from linscope.lang.built import ENDED, STOP
from linscope.lang.codegen.capture import CAPTURES
from linscope.session import opening
from linscope.session.configure import sampling_attr, set_clock, tracking_attr
from linscope.session.options import RecordOptions
from linscope.session.record import _Recorder
from linscope.session.rings import ring_bytes
from linscope.session.script.attaching import _HARDWARE_EVENTS, _SOFTWARE_EVENTS, OURS, Attached
from linscope.session.script.replay.contents import CAPTURE_EVENT, SESSION_BIT
from linscope.session.script.runner import Runner
from linscope.session.synthesize import all_processes
from linscope.sources.events import Event, parse_events
from linscope.sys import perf_event_open as sys_perf
from linscope.sys.perf_event_open import Attr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.bpf.kernel.links import Link
    from linscope.lang.built import Built
    from linscope.lang.codegen import Options
    from linscope.lang.probe import Probe
    from linscope.session.script.child import Child

_SESSION_BYTES = 1 << 16  # room for what the section of the session says
_CLOCKS = ("profile", "interval")
_COUNTERS = ("software", "hardware")
_DRAIN_S = 0.02
_MOST_EVENTS = 512  # tracepoints that are recorded one by one
_RING_BYTES = 8 << 20


def check(unit: ir.Unit) -> None:
    """Raises UsageError: a probe that is no event of perf."""
    probes = [probe for program in unit.programs for probe in program.probes]
    for probe in probes:
        if probe.kind not in ("tracepoint", *_CLOCKS, *_COUNTERS, "begin", "end"):
            raise UsageError(
                f"{probe.name} cannot be recorded for a replay", why=f"{probe.kind} probes have no records",
                next_step="tracepoint, profile, interval, software and hardware probes do",
            )  # fmt: skip
    if len(probes) > _MOST_EVENTS:
        raise UsageError(
            f"{len(probes)} probes are too many to be recorded one by one",
            next_step="raw_syscalls:sys_enter stands for all system calls",
        )


class ScriptRecorder(_Recorder):
    """Records the events of a script's probes on all CPUs."""

    def __init__(self, unit: ir.Unit, output: str, *, stacks: bool) -> None:
        """output: the file; stacks: call chains, too."""
        options = RecordOptions(
            system_wide=True, output=output, clockid=time.CLOCK_MONOTONIC, call_graph="fp" if stacks else ""
        )
        super().__init__(None, options)
        self.unit = unit
        self.places: dict[tuple[int, int], int] = {}  # (program, probe) -> event
        self.session: dict[str, object] = {}

    def open(self) -> None:
        """Open all events and begin the file; nothing is counted yet but what processes do."""
        events, attrs = self._script_events()
        captures = Event(CAPTURE_EVENT, Attr(type=pe.PERF_TYPE_SOFTWARE, config=pe.PERF_COUNT_SW_BPF_OUTPUT))
        attr = sampling_attr(captures, self.options._replace(period=1, call_graph="", raw=True), 0)
        attr.flags &= ~pe.ATTR_INHERIT
        tracking = Event("dummy:u", tracking_attr(self.options))
        set_clock(tracking.attr, self.options)
        self.captures = len(events)
        events += [captures, tracking]
        attrs += [attr, tracking.attr]
        cpus = opening.online_cpus()
        size = max(ring_bytes(0, True, 0, len(cpus)), _RING_BYTES)
        for one in attrs:
            one.wakeup_events = size // 4
        self.rings.open(events, attrs, cpus, [-1], [], size)
        self.rings.enable(sideband=True)
        self._synthesize(all_processes())
        self._begin_file()
        self.rings_enabled(self.captures)

    def _script_events(self) -> tuple[list[Event], list[Attr]]:
        events: list[Event] = []
        attrs: list[Attr] = []
        known: dict[str, int] = {}
        for number, program in enumerate(self.unit.programs):
            for place, probe in enumerate(program.probes):
                if probe.kind in OURS:
                    continue
                name = f"{probe.module}:{probe.target}" if probe.kind == "tracepoint" else f"{probe.name}#{number + 1}"
                if name not in known:
                    known[name] = len(events)
                    event, attr = self._event(probe, name)
                    events.append(event)
                    attrs.append(attr)
                self.places[number, place] = known[name]
        if not events:
            raise UsageError("nothing to record: the script has no probe but begin and end")
        return events, attrs

    def _event(self, probe: Probe, name: str) -> tuple[Event, Attr]:
        if probe.kind == "tracepoint":
            event = parse_events(name, self.catalog)[0]
            return event, sampling_attr(event, self.options._replace(period=1), 0)
        period = probe.count
        if probe.kind in _CLOCKS:
            kind, config = pe.PERF_TYPE_SOFTWARE, pe.PERF_COUNT_SW_CPU_CLOCK
        else:
            table = _HARDWARE_EVENTS if probe.kind == "hardware" else _SOFTWARE_EVENTS
            kind = pe.PERF_TYPE_HARDWARE if probe.kind == "hardware" else pe.PERF_TYPE_SOFTWARE
            config, usual = table[probe.target]
            period = period or usual
        event = Event(name, Attr(type=kind, config=config))
        if probe.kind == "interval":
            event.cpus = opening.online_cpus()[:1]
        return event, sampling_attr(event, self.options._replace(period=period), 0)

    def descriptors(self, event: int) -> list[int]:
        """The descriptors of an event, one for each CPU."""
        return [one.fd for one in self.rings.descriptors if one.event == event]

    def rings_enabled(self, event: int) -> None:
        """Let an event count."""
        for fd in self.descriptors(event):
            sys_perf.enable(fd)

    def begin(self) -> None:
        """Begin the file, with room for what is known at the end only."""
        self._load_features()
        self.features[SESSION_BIT] = bytes(_SESSION_BYTES)
        self._start_file()

    def drain(self) -> None:
        """Copy what waits into the file.  Raises OutputError."""
        self._drain()

    def stop_events(self) -> None:
        """End all but the captures."""
        for event in range(len(self.rings.events) - 2):
            for fd in self.descriptors(event):
                sys_perf.disable(fd)

    def complete(self) -> None:
        """Write what waits and the sections.  Raises OutputError."""
        self.rings.disable()
        self._drain()
        if self.first_sample == 0:
            self._find_first_sample()
        self.finish()
        assert self.writer is not None
        offset, size = self.writer.section(SESSION_BIT)
        self.session["programs"] = len(self.unit.programs)
        self.session["runs"] = [
            sorted({program + 1 for (program, _), place in self.places.items() if place == event})
            for event in range(self.captures)
        ]
        text = json.dumps(self.session).encode()
        if len(text) >= size:  # all but the script is needed
            text = json.dumps({**self.session, "script": ""}).encode()
        os.pwrite(self.writer.fd, text[:size], offset)


class RecordingRunner(Runner):
    """A live session that records."""

    recorder: ScriptRecorder
    child: Child | None = None
    _thread: threading.Thread | None = None

    def load(self, options: Options | None = None, *, built: Built | None = None) -> None:
        """Make the maps, load the programs, open the events.  Raises as Runner.load and record() do."""
        super().load(options, built=built)
        self.recorder.open()
        assert self.built is not None
        place = self.built.place(CAPTURES)
        if place is not None:
            for cpu, fd in zip(opening.online_cpus(), self.recorder.descriptors(self.recorder.captures), strict=True):
                self.maps[place].update(cpu.to_bytes(4, "little"), fd.to_bytes(4, "little"))
        self.recorder.begin()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="recorder", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while not self._ended.wait(_DRAIN_S):
            self.recorder.drain()

    def attach(self, pid: int = 0) -> int:
        """Run the programs at the events that are recorded; returns the number of probes."""
        count = 0
        self._set_stop(ENDED)  # until all is attached and counts: what comes before is told to be none of the script's
        for number, source in enumerate(self.unit.programs):
            count += len(source.probes)
            for place, probe in enumerate(source.probes):
                event = self.recorder.places.get((number, place))
                if event is not None:
                    for link in self._links(number, probe, self.recorder.descriptors(event)):
                        self.links.append(Attached(probe, link))
        for event in sorted(set(self.recorder.places.values())):
            self.recorder.rings_enabled(event)
        self.recorder.session["start_ns"] = time.monotonic_ns()
        self._set_stop(0)
        return count

    def _set_stop(self, value: int) -> None:
        place = self.built.place(STOP) if self.built is not None else None
        if place is not None:
            self.maps[place].update(bytes(4), value.to_bytes(8, "little"))

    def _links(self, number: int, probe: Probe, descriptors: Sequence[int]) -> list[Link]:
        program = self.programs[number]
        chosen = descriptors[:1] if probe.kind == "tracepoint" else descriptors  # those of a tracepoint share programs
        return [attach_perf_event(program, os.dup(fd), what=probe.name) for fd in chosen]

    def stop(self) -> None:
        """From here on no program does anything, but those of end, and nothing is recorded but what they read."""
        super().stop()
        self.recorder.stop_events()
        self.recorder.session["end_ns"] = time.monotonic_ns()

    def detach(self) -> None:
        """Take the programs from their events, and end the recording."""
        super().detach()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ended.set()
            thread.join()
            self.recorder.complete()


def run(unit: ir.Unit, runner: RecordingRunner, path: str, options: Options, session: dict[str, object]) -> int:
    """Run a script and record it to a file; returns the exit code.

    unit: with captures; session: what its replay is to know (child, pid, parameters); the command is the runner's.
    Raises what Runner.run and session.record.record raise.
    """
    from linscope.session.script.replay.plan import uses

    runner.recorder = ScriptRecorder(unit, path, stacks=uses(unit, (ir.StackTrace, ir.StackLength)))
    runner.recorder.session.update(session, tracer=os.getpid())
    try:
        runner.load(options)
        return runner.run(pid=int(str(session["pid"])), child=runner.child)
    finally:
        runner.close()
        runner.recorder.close()
