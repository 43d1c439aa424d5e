"""The verifier: is a program safe to load, and if not, why, in terms of its source.

``verify`` follows all paths of a program as kernel/bpf/verifier.c does; ``explain.format_verdict`` makes text of what
it found.  It asks no kernel; ``kernel`` says which version's rules to apply.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import control_flow
from linscope.bpf.verifier.calls import check_stack_depth
from linscope.bpf.verifier.checker import Checker
from linscope.bpf.verifier.explain import accept, refuse
from linscope.bpf.verifier.global_functions import check_function_info, is_global
from linscope.bpf.verifier.kernel_functions import check_kernel_functions
from linscope.bpf.verifier.liveness import live_registers
from linscope.bpf.verifier.rejection import Rejection
from linscope.bpf.verifier.walk import walk
from linscope.bpf.verifier.well_formed import check_instructions
from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf
    from linscope.bpf.program import Program
    from linscope.bpf.verifier.verdict import Verdict

__all__ = ["verify"]

NEWEST = (6, 18)


def verify(
    program: Program, *, privileged: bool = True, kernel_btf: Btf | None = None, kernel: tuple[int, int] = NEWEST
) -> Verdict:
    """Check a program; never raises for what is in it.

    privileged: with CAP_BPF and CAP_PERFMON; without, pointers must not leak and a CPU must not speculate on them.
    kernel_btf: types of the kernel, for programs that use them; without it a load through a pointer to a kernel struct
    is taken for a number.  kernel: (major, minor) version whose rules to apply where they differ.
    """
    strict = bool(program.flags & b.BPF_F_STRICT_ALIGNMENT) and not program.flags & b.BPF_F_ANY_ALIGNMENT
    checker = Checker(program, privileged=privileged, kernel_btf=kernel_btf, kernel=kernel, strict=strict)
    try:
        depth = _check(checker)
    except Rejection as rejection:
        return refuse(checker, rejection)
    except FormatError as error:  # damaged types: the kernel's, or the program's own
        return refuse(checker, Rejection("damaged-types", str(error)))
    return accept(checker, depth)


def _check(checker: Checker) -> int:
    """Bytes of stack of an accepted program.  Raises Rejection."""
    count = len(checker.code)
    if not 0 < count <= (b.BPF_COMPLEXITY_LIMIT_INSNS if checker.capable else b.BPF_MAXINSNS):
        raise Rejection("program-size", f"a program has 1 to {b.BPF_COMPLEXITY_LIMIT_INSNS} instructions, not {count}")
    control_flow.find_functions(checker)
    check_kernel_functions(checker)
    control_flow.check_functions(checker)
    check_function_info(checker)
    check_instructions(checker)
    control_flow.check_reachability(checker)
    checker.live = live_registers(checker.code)
    for start in checker.functions[1:]:
        if is_global(checker, start):
            walk(checker, start)
    walk(checker, 0)
    return check_stack_depth(checker)
