"""A program or a probe that the kernel refuses: why, and which line of the script it is."""

from __future__ import annotations

from linscope.errors import Diagnostic, SourceError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.kernel.errors import VerifierError
    from linscope.bpf.program import Program
    from linscope.errors import SystemCallError
    from linscope.lang import ir
    from linscope.lang.probe import Probe


def explain_refusal(unit: ir.Unit, program: Program, refused: VerifierError) -> SourceError:
    """The kernel's no in the script's terms: our verifier's explanation, else the end of the kernel's log."""
    log = [line for line in refused.log.strip().split("\n") if line]
    reason = next((line for line in reversed(log) if not line.startswith(("processed ", "verification time"))), "")
    slot = next((int(line.split(":")[0]) for line in reversed(log) if line.split(":")[0].isdigit()), -1)
    from linscope.bpf.verifier import verify

    hint = ""
    verdict = verify(program)
    if not verdict.accepted:
        reason, slot = verdict.text or reason, verdict.slot
        hint = verdict.suggestion or ""
    place = next((line for line in reversed(program.lines) if line.slot <= slot), None)
    if place is None:
        return SourceError(
            [Diagnostic(f"the kernel refuses {program.name}: {reason}", line=1, column=1)], where=unit.where
        )
    source = unit.text.split("\n")[place.line - 1]
    what = f"the kernel refuses {program.name}: {reason}"
    problem = Diagnostic(what, line=place.line, column=place.column, source=source, hint=hint, end=place.column + 1)
    return SourceError([problem], where=unit.where)


def explain_attach(unit: ir.Unit, probe: Probe, refused: SystemCallError) -> SourceError:
    """A probe that could not be attached, at its place; why, and what tells the same in this kernel."""
    from linscope.lang.bpftrace.kprobes_instead import say_alternative
    from linscope.lang.bpftrace.problems import diagnostic_at
    from linscope.lang.probes.explanation import explain, missing_kind

    setting = "If this is expected, set the 'missing_probes' config variable to 'warn'."
    what = f"Unable to attach probe: {probe.name}. {setting}"
    why = explain(probe) or refused.why or refused.what
    if missing_kind(probe.kind) and (other := say_alternative(probe)):
        why += f"; {other}"
    return SourceError([diagnostic_at(unit.text, probe.span, what, why)], where=unit.where)
