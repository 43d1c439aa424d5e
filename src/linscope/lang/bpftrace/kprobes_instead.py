"""fentry and fexit probes as kprobes and kretprobes, where the kernel puts no program into the function itself."""

from __future__ import annotations

from linscope.lang.bpftrace.arguments import FENTRY
from linscope.lang.probes import kernel_names as kernel
from linscope.lang.probes.alternatives import find_alternative
from linscope.lang.probes.problems import probe_error

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace import syntax as sx
    from linscope.lang.bpftrace.state import Script
    from linscope.lang.probe import Probe

_KINDS = {"fentry": "kprobe", "fexit": "kretprobe"}


def replace_trampolines(script: Script, point: sx.AttachPoint, probes: list[Probe]) -> None:
    """Change the kind of those whose functions take no such program; a warning says so.

    Raises SourceError: there are no kprobes either.
    """
    refused = script.options.untrampolined
    changed: list[Probe] = []
    why = ""
    for probe in probes:
        reason = refused.get(probe.target, refused.get("*"))
        if probe.kind in _KINDS and probe.module != "bpf" and reason is not None:
            probe.kind, probe.arguments = _KINDS[probe.kind], FENTRY
            changed.append(probe)
            why = why or reason
    if not changed:
        return
    first = changed[0]
    if not kernel.has_kprobes():
        what = f"{first.name}: {why}; and there are no kprobes (CONFIG_KPROBES, CONFIG_KPROBE_EVENTS)"
        raise probe_error(point.text, what, say_alternative(first))
    which = first.name if len(probes) == 1 else f"{len(changed)} of {len(probes)} probes of {point.text}"
    verb = "runs" if len(probes) == 1 else "run"
    script.problems.warn(point.span, f"{which} {verb} as {first.kind}: {why}")


def say_alternative(probe: Probe) -> str:
    """A hint: the tracepoint that tells the same as a probe on a function; "" when there is none."""
    found = find_alternative(probe.target, returns=probe.kind in ("kretprobe", "fexit"))
    return f"{found} tells the same" if found else ""
