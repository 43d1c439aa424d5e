"""Probes in a recording: attach points -> the recorded events that they stand for.

Nothing here asks the running kernel, but for the formats of system calls when a recording has them only by number
(raw_syscalls): their arguments are the kernel's ABI.
"""

from __future__ import annotations

from linscope.lang.definitions.recorded import RecordedDefinitions
from linscope.lang.probe import Probe
from linscope.lang.probes.expansion import expand
from linscope.lang.probes.problems import near, probe_error
from linscope.lang.probes.wildcards import has_wildcard, matches

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from linscope.lang.probes.attach_points import AttachPoint

# of another name in a recording, and those of which the kind says all
_OWN = ("begin", "end", "interval", "self", "test", "bench")
_SAMPLED = ("profile", "software", "hardware")
_CLOCKS = ("cpu-clock", "task-clock", "cycles", "cpu-cycles")
# names of one event: bpftrace's, and perf's
_SAME = (
    ("cpu-clock", "cpu"), ("page-faults", "faults"), ("context-switches", "cs"), ("cpu-cycles", "cycles"),
    ("branch-instructions", "branches"), ("cpu-migrations", "migrations"),
    ("frontend-stalls", "stalled-cycles-frontend"), ("backend-stalls", "stalled-cycles-backend"),
)  # fmt: skip
SYSCALL_SIDES = ("sys_enter", "sys_exit")


class RecordedEvents:
    """The events of a recording, as the compiler asks for them (bpftrace.options.Recorded)."""

    def __init__(
        self, tracepoints: Sequence[str], counters: Sequence[str], read_format: Callable[[str, str], str | None], *,
        same_kernel: bool = False, captures: bool = False, same_calls: bool = True,
    ) -> None:  # fmt: skip
        """tracepoints: "subsystem:event"; counters: the names of other events, which samples were taken of.

        read_format: the text of a tracepoint's format; same_kernel: the running kernel is the recorded one.
        captures: it has what the script read live; same_calls: its system calls have the numbers of this machine.
        """
        self.tracepoints = list(tracepoints)
        self.counters = list(counters)
        self._read_format = read_format
        self._same_kernel = same_kernel
        self.captures = captures
        self._same_calls = same_calls

    def definitions(
        self, parts: Sequence[tuple[str, int]], *, include_dirs: Sequence[str] = (), includes: Sequence[str] = ()
    ) -> RecordedDefinitions:
        """The types of the script and of the recording.  Raises SourceError."""
        return RecordedDefinitions(
            parts, self.format, include_dirs=include_dirs, includes=includes, same_kernel=self._same_kernel
        )

    def format(self, system: str, event: str) -> str | None:
        """The text of a tracepoint's format, that of a system call too when only their numbers were recorded."""
        found = self._read_format(system, event)
        if found is None and system == "syscalls" and self.raw_syscalls(event):
            from linscope.errors import LinscopeError
            from linscope.lang.definitions.tracepoints import read_format

            try:
                return read_format(system, event)
            except LinscopeError:
                return None
        return found

    def raw_syscalls(self, event: str) -> str:
        """The raw_syscalls event that has what a system call's tracepoint has, when only it was recorded; else ""."""
        if not self._same_calls:
            return ""
        for side in SYSCALL_SIDES:
            if event.startswith(side + "_") and f"raw_syscalls:{side}" in self.tracepoints:
                return "" if f"syscalls:{event}" in self.tracepoints else f"raw_syscalls:{side}"
        return ""

    def expand(self, point: AttachPoint) -> list[Probe]:
        """All probes of an attach point, in order.  Raises SourceError: nothing of it was recorded."""
        if point.alternatives:
            return [probe for one in point.alternatives for probe in self.expand(one)]
        if point.kind in _OWN:
            return expand(point)
        if point.kind in _SAMPLED:
            return self._sampled(point)
        if point.kind == "tracepoint":
            return self._tracepoints(point)
        raise probe_error(
            point.text,
            f"{point.kind} probes are not in a recording",
            "tracepoints, samples, interval, begin and end are",
        )

    def _sampled(self, point: AttachPoint) -> list[Probe]:
        found = expand(point)
        if any(name.partition("#")[0] == probe.name for probe in found for name in self.counters):
            return found  # recorded for a script
        if not any(sampled_by(probe, name) for probe in found for name in self.counters):
            raise probe_error(point.text, f"no samples of {point.name} were recorded", ", ".join(self.counters))
        return found

    def _tracepoints(self, point: AttachPoint) -> list[Probe]:
        system, event = point.target, point.function
        if not has_wildcard(system) and not has_wildcard(event):
            if f"{system}:{event}" in self.tracepoints or (system == "syscalls" and self.format(system, event)):
                return [Probe("tracepoint", point.name, module=system, target=event)]
            hint = near(f"{system}:{event}", self.tracepoints, "tracepoint:")
            recorded = "the recording has " + (", ".join(self.tracepoints[:8]) or "no tracepoint")
            if any(name.startswith("tracepoint:") for name in self.tracepoints):
                recorded = (
                    "the recording was cut off in front of the names of its events, and was not made by the kernel "
                    f"that runs here: {', '.join(self.tracepoints[:8])}"
                )
            raise probe_error(point.text, f"tracepoint not recorded: {system}:{event}", hint or recorded)
        pairs = [tuple(one.split(":", 1)) for one in self.tracepoints]
        pairs += self._calls_by_number(event) if matches(system, "syscalls") else []
        found = [
            Probe("tracepoint", point.with_(target=one, function=name).name, module=one, target=name)
            for one, name in sorted(set(pairs))
            if matches(system, one) and matches(event, name)
        ]
        if not found:
            raise probe_error(point.text, f"No recorded tracepoint matches {point.text.partition(':')[2]}")
        return found

    def _calls_by_number(self, event: str) -> list[tuple[str, str]]:
        """The system calls that a pattern stands for, when they were recorded by number."""
        from linscope.errors import LinscopeError
        from linscope.lang.probes.kernel_names import match_tracepoints

        try:
            pairs = match_tracepoints("syscalls", event)
        except LinscopeError:
            return []
        return [pair for pair in pairs if self.raw_syscalls(pair[1])]


def sampled_by(probe: Probe, event: str) -> bool:
    """Whether the samples of a recorded event run a probe: those of a clock a profile, else those of its own event.

    event: as perf names it, such as "cpu-clock:u" or "cycles/period=100/".
    """
    head, _, inner = event.partition("/")
    names = {part.partition(":")[0].strip("/") for part in (head, inner)}  # cpu_core/cycles:p/ too
    if probe.kind == "profile":
        return not names.isdisjoint(_CLOCKS)
    same = next((group for group in _SAME if probe.target in group), (probe.target,))
    return not names.isdisjoint(same)
