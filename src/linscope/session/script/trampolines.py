"""Kernel functions that take no fentry or fexit program.

A kernel may be without them altogether (no ftrace, locked down); single functions are marked notrace or lie in a file
that is compiled without room for the call; some the verifier refuses.  The script is then compiled again, with kprobes.
Source: kernel/bpf/trampoline.c, register_fentry; kernel/bpf/verifier.c, check_attach_btf_id.
"""

from __future__ import annotations

from errno import EBUSY

from linscope.bpf.kernel.errors import TrampolineRefused, VerifierError
from linscope.errors import PermissionDenied
from linscope.session.script.attaching import FUNCTIONS, NoTrampoline

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.errors import SystemCallError
    from linscope.lang import ir

ALL = "*"
_NOT_LOOKED_AT = "processed 0 insns"  # of the verifier's log: the function was refused, not the program


class Refusals:
    """Those that were found, until all have been tried."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.error: SystemCallError | None = None

    def take(self, source: ir.Program, error: SystemCallError) -> None:
        """Note that a program found no place.  Raises the error when it is not about its function."""
        probe = source.probes[0]
        if probe.kind not in FUNCTIONS or probe.module == "bpf" or isinstance(error, PermissionDenied):
            raise error
        self.error = self.error or error
        if isinstance(error, TrampolineRefused):
            self.refused[ALL] = error.why
            raise NoTrampoline(self.refused, error)
        self.refused[probe.target] = _reason(probe.target, error)

    def done(self) -> None:
        """Raises NoTrampoline when there was any."""
        if self.error is not None:
            raise NoTrampoline(self.refused, self.error)


def is_about_the_function(source: ir.Program, error: VerifierError) -> bool:
    """Whether the verifier refused the function that a program is for, before it looked at the program."""
    return source.probes[0].kind in FUNCTIONS and _NOT_LOOKED_AT in error.log


def _reason(function: str, error: SystemCallError) -> str:
    if isinstance(error, VerifierError):
        said = [line for line in error.log.splitlines() if line and not line.startswith(("processed ", "verification"))]
        return said[-1] if said else f"the kernel lets no program into {function}"
    if error.errno == EBUSY:
        return f"{function} has no room for a program's call (it is marked notrace, or compiled without)"
    return str(error)
