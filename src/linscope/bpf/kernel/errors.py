"""What can go wrong in loading, beyond what the tree of errors has.

SystemCallError
|-- VerifierError            the verifier refused the program; carries its log
NotInKernel
`-- TrampolineRefused        no fentry, fexit, fmod_ret or LSM programs here; take a kprobe or a tracepoint instead
"""

from __future__ import annotations

from linscope.errors import NotInKernel, SystemCallError


class VerifierError(SystemCallError):
    """The kernel's verifier refused a program."""

    def __init__(self, name: str, *, errno: int, log: str) -> None:
        """log: the whole of what the verifier said."""
        self.log = log
        lines = [line for line in log.splitlines() if line]
        ends = ("processed ", "verification time", "stack depth", "-- ")
        said = [line for line in lines if not line.startswith(ends)]
        super().__init__(
            f"the kernel's verifier refused the program {name!r}", errno=errno, why=said[-1] if said else ""
        )


class TrampolineRefused(NotInKernel):
    """Programs that are called from a kernel function's own code cannot be loaded in this kernel."""

    def __init__(self, name: str, *, errno: int) -> None:
        super().__init__(
            f"the program {name!r} cannot be put into a kernel function",
            errno=errno,
            why="the kernel changes no code of its own (locked down, or without CONFIG_FUNCTION_TRACER)",
            next_step="a kprobe, a tracepoint or a raw tracepoint",
        )
