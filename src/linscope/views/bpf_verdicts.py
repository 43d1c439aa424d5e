"""What the verifier says of programs, ours and the running kernel's, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from linscope.bpf.kernel.errors import VerifierError
from linscope.bpf.names import PROGRAM_TYPES, type_name
from linscope.bpf.program import Program
from linscope.bpf.verifier import verify
from linscope.bpf.verifier.explain import format_verdict
from linscope.errors import LinscopeError
from linscope.picture.rows import Column, Rows

if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf
    from linscope.bpf.verifier.verdict import Verdict

KernelAnswer = tuple[bool | None, str]  # None: it could not be asked; the log, or why not


def verdict_rows(
    programs: Sequence[Program], *, privileged: bool = True, kernel_btf: Btf | None = None, ask_kernel: bool = False
) -> Rows:
    """A row a program: accepted or not, where and why not; exit code 1 when one is refused, by us or by the kernel.

    privileged: as somebody with CAP_BPF and CAP_PERFMON; ask_kernel: the running kernel, too.
    """
    made: list[tuple[Program, Verdict, KernelAnswer]] = []
    for program in programs:
        verdict = verify(program, privileged=privileged, kernel_btf=kernel_btf)
        made.append((program, verdict, _ask(program) if ask_kernel else (None, "")))
    columns = [
        Column("program"),
        Column("type"),
        Column("accepted"),
        Column("instructions", align=">"),
        Column("states", align=">"),
        Column("stack_bytes", align=">"),
        Column("rule"),
        Column("message"),
        Column("slot", align=">"),
        Column("instruction"),
        Column("file"),
        Column("line", align=">"),
        Column("source"),
        Column("register", align=">"),
        Column("known"),
        Column("path"),
        Column("suggestion"),
        Column("kernel_accepted"),
        Column("kernel_log"),
    ]

    def text() -> Iterator[str]:
        for number, (program, verdict, answer) in enumerate(made):
            yield f"{chr(10) if number else ''}{program.name or 'program'} ({type_name(PROGRAM_TYPES, program.type)}): "
            yield format_verdict(verdict).rstrip("\n") + "\n"
            yield from _kernel_text(verdict, answer, ask_kernel)

    refused = any(not verdict.accepted or answer[0] is False for _, verdict, answer in made)
    return Rows(columns, [_cells(*one) for one in made], text=text, exit_code=lambda: int(refused))


def _cells(program: Program, verdict: Verdict, answer: KernelAnswer) -> tuple[Any, ...]:
    line = verdict.line
    path = [{"slot": s.slot, "text": s.text, "taken": s.taken, "values": s.values} for s in verdict.path]
    return (
        program.name, type_name(PROGRAM_TYPES, program.type), verdict.accepted, verdict.instructions, verdict.states,
        verdict.stack_depth, verdict.rule, verdict.message, verdict.slot, verdict.text, line.file if line else "",
        line.line if line else None, line.text if line else "", verdict.register, verdict.known, path,
        verdict.suggestion, *answer,
    )  # fmt: skip


def _kernel_text(verdict: Verdict, answer: KernelAnswer, asked: bool) -> Iterator[str]:
    if not asked:
        return
    accepted, log = answer
    if accepted is None:
        yield f"  the running kernel could not be asked: {log}\n"
        return
    same = "agrees" if accepted == verdict.accepted else "DISAGREES"
    yield f"  the running kernel {same}: it {'accepts' if accepted else 'refuses'} the program\n"
    lines = [line for line in log.splitlines() if line.strip()]
    yield from (f"    {line}\n" for line in lines[-8:])


def _ask(program: Program) -> KernelAnswer:
    """Load it, and let go of it at once."""
    from linscope.bpf.kernel.programs import load

    try:
        with load(program):
            return True, ""
    except VerifierError as error:
        return False, error.log
    except LinscopeError as error:
        return None, str(error).replace("\n", "; ")
