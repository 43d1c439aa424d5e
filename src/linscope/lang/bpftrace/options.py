"""What the command line gives to the compiler."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from linscope.lang.definitions import Definitions
    from linscope.lang.probe import Probe
    from linscope.lang.probes.attach_points import AttachPoint

    class Recorded(Protocol):
        """What a recording gives to the compiler instead of the kernel; see probes/recorded.py."""

        captures: bool  # what the script read live is known

        def definitions(
            self, parts: Sequence[tuple[str, int]], *, include_dirs: Sequence[str] = (), includes: Sequence[str] = ()
        ) -> Definitions: ...

        def expand(self, point: AttachPoint) -> list[Probe]: ...


class Options:
    """How a script is to be compiled."""

    def __init__(
        self,
        *,
        parameters: Sequence[str] = (),
        pid: int = 0,
        child: int = 0,
        unsafe: bool = False,
        include_dirs: Sequence[str] = (),
        includes: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        mode: str = "",
        replay: bool = False,
        untrampolined: Mapping[str, str] | None = None,
        start_ns: int | None = None,
        recorded: Recorded | None = None,
        one_by_one: bool = False,
    ) -> None:
        """parameters: positional ones, with named ones (--name=value) among them; pid: only this process, 0 for all.

        untrampolined: functions that take no fentry and fexit program, with the reason ("*": none does).
        child: pid of the command that is started (cpid); environment: BPFTRACE_* settings; mode: test or bench; replay:
        the programs run over a recording; start_ns: what elapsed counts from (CLOCK_MONOTONIC; None: now).
        recorded: the events that there are instead of this kernel's; one_by_one: no program runs for all system calls.
        """
        self.parameters = [word for word in parameters if not word.startswith("--")]
        self.named = dict(_split(word) for word in parameters if word.startswith("--") and len(word) > 2)
        self.lasting = True  # whether another run would be compiled to the same: no address or time of now is in it
        self.known: set[str] = set()  # names of the parameters that the script asks for
        self.pid = pid
        self.child = child
        self.unsafe = unsafe
        self.include_dirs = include_dirs
        self.includes = includes
        self.environment = environment or {}
        self.mode = mode
        self.replay = replay
        self.untrampolined = dict(untrampolined or {})
        self.start_ns = start_ns
        self.recorded = recorded
        self.one_by_one = one_by_one


def _split(word: str) -> tuple[str, str | None]:
    name, given, value = word[2:].partition("=")
    return name.replace("-", "_"), value if given else None
