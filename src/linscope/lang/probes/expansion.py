"""Attach points -> the probes that they stand for here: wildcards matched, files and functions found.

A plain name costs next to nothing: whether a kernel function is there the kernel says when it is attached, and
explanation.py says then why it did not.
"""

from __future__ import annotations

from linscope.lang.probe import Probe
from linscope.lang.probes import kernel_names as kernel
from linscope.lang.probes.attach_points import AttachPoint
from linscope.lang.probes.kinds import UNITS, event_names, find_event
from linscope.lang.probes.problems import near, probe_error
from linscope.lang.probes.wildcards import has_wildcard as has_wildcard

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

_SECOND_NS = 1_000_000_000
_VMLINUX = kernel.VMLINUX


def expand(point: AttachPoint, *, pid: int | None = None) -> list[Probe]:
    """All probes of an attach point, in order.  pid: of the process that is traced.

    Raises SourceError: it stands for nothing here; PermissionDenied, NotInKernel: nobody can tell.
    """
    if point.alternatives:
        found: list[Probe] = []
        for one in point.alternatives:
            found += expand(one, pid=pid)
        return found
    return _EXPANDERS[point.kind](point, pid or 0)


def no_matches(point: AttachPoint) -> Exception:
    """The error of an attach point with wildcards that nothing matches."""
    return probe_error(point.text, f"No matches for {point.kind} {point.text.partition(':')[2]}")


def _plain(point: AttachPoint, pid: int) -> list[Probe]:
    return [Probe(point.kind, point.name, target=point.function or point.target)]


def _counter(point: AttachPoint, pid: int) -> list[Probe]:
    kind, name = point.kind, point.target
    if not name:
        raise probe_error(point.text, f"{kind} probe must have a {kind} event name")
    if has_wildcard(name):
        raise probe_error(point.text, f"wildcards are not allowed for {kind} probe type")
    found = find_event(kind, name)
    if found is None:
        raise probe_error(point.text, f"{name} is not a {kind} probe", near(name, event_names(kind), f"{kind}:"))
    event, count = found
    return [Probe(kind, point.name, target=event, count=point.count or count, pid=pid)]


def _clock(point: AttachPoint, pid: int) -> list[Probe]:
    kind, unit = point.kind, point.target
    if unit not in UNITS:
        raise probe_error(point.text, f"{unit} is not an accepted unit of time", "hz, us, ms or s")
    if point.count <= 0:
        raise probe_error(point.text, f"{kind} frequency should be a positive integer")
    period_ns = UNITS[unit] * point.count if UNITS[unit] else max(_SECOND_NS // point.count, 1)
    return [Probe(kind, point.name, target=unit, count=period_ns, pid=pid)]


def _iterator(point: AttachPoint, pid: int) -> list[Probe]:
    name = point.function
    if has_wildcard(name):  # only a listing takes them
        raise probe_error(point.text, "iter probe type does not support wildcards")
    if name not in kernel.ITERATORS and not kernel.has_iterator(name):
        known = kernel.all_iterators()
        hint = near(name, known, "iter:") or f"there are {', '.join(known)}"
        raise probe_error(point.text, f"iter {name} not available for your kernel version.", hint)
    return [Probe("iter", point.name, target=name, path=point.pin)]


def _tracepoint(point: AttachPoint, pid: int) -> list[Probe]:
    system, event = point.target, point.function
    if not has_wildcard(system) and not has_wildcard(event):
        if not kernel.has_tracepoint(system, event):
            from linscope.bpf.kernel.near_names import near_tracepoints

            what = f"tracepoint not found: {system}:{event}"
            raise probe_error(point.text, what, near_tracepoints(event, system))
        return [Probe("tracepoint", point.name, module=system, target=event, pid=pid)]
    found = kernel.match_tracepoints(system, event)
    if not found:
        raise no_matches(point)
    return [
        Probe("tracepoint", point.with_(target=system, function=event).name, module=system, target=event, pid=pid)
        for system, event in found
    ]


def _rawtracepoint(point: AttachPoint, pid: int) -> list[Probe]:
    if point.has_wildcard and not (point.target == "*" and not has_wildcard(point.function)):
        pairs = kernel.match_raw_tracepoints(point.target, point.function)
        if not pairs:
            raise no_matches(point)
    elif point.target == "*":
        from linscope.binfmt.btf_types import KIND_TYPEDEF

        modules = kernel.owners(f"btf_trace_{point.function}", KIND_TYPEDEF)
        pairs = [(module, point.function) for module in modules or [_VMLINUX]]
    else:
        pairs = [(point.target, point.function)]
    return [
        Probe("rawtracepoint", point.with_(target=module, function=event).name, module=_module(module), target=event)
        for module, event in pairs
    ]


def _module(name: str) -> str:
    """A module as Probe has it."""
    return "" if name == _VMLINUX else name


def _kprobe(point: AttachPoint, pid: int) -> list[Probe]:
    kind = point.kind
    if not point.has_wildcard:
        return [
            Probe(
                kind, point.name, module=_module(point.target), target=point.function, address=point.address,
                offset=point.offset, pid=pid,
            )
        ]  # fmt: skip
    pairs = kernel.match_functions(point.target, point.function)
    if not pairs:
        raise no_matches(point)
    if not point.target:  # the same name in two modules is one probe, as it has one name
        pairs = [("", name) for name in dict.fromkeys(name for _, name in pairs)]
    return [
        Probe(
            kind, point.with_(target=module, function=name).name, module=_module(module), target=name,
            offset=point.offset, pid=pid,
        )
        for module, name in pairs
    ]  # fmt: skip


def _fentry(point: AttachPoint, pid: int) -> list[Probe]:
    if point.target == "bpf":
        return _of_program(point)
    if point.has_wildcard:
        pairs = kernel.match_btf_functions(point.target, point.function)
        if not pairs:
            raise no_matches(point)
    elif point.target:
        if not kernel.has_function(point.target, point.function):
            raise _no_function(point)
        pairs = [(point.target, point.function)]
    else:
        from linscope.binfmt.btf_types import KIND_FUNC

        modules = kernel.owners(point.function, KIND_FUNC)
        if len(modules) > 1:
            raise probe_error(
                point.text, f"ambiguous attach point, please specify module containing the function '{point.function}'",
                " or ".join(f"{point.kind}:{module}:{point.function}" for module in modules),
            )  # fmt: skip
        if not modules:
            raise _no_function(point)
        pairs = [(modules[0], point.function)]
    return [
        Probe(point.kind, point.with_(target=module, function=name).name, module=_module(module), target=name)
        for module, name in pairs
    ]


def _no_function(point: AttachPoint) -> Exception:
    """The error of a function that BTF does not know."""
    from linscope.bpf.kernel.near_names import near_functions

    what = f"No BTF found for {point.kind}:{point.target or _VMLINUX}:{point.function}"
    return probe_error(point.text, what, near_functions(point.function))


def _of_program(point: AttachPoint) -> list[Probe]:
    """Probes on eBPF programs: module "bpf", count: the program's id."""
    from linscope.lang.probes.wildcards import matches

    found = [
        (number, name) for number, name in kernel.bpf_programs()
        if matches(point.function, name) and point.program_id in (0, number)
    ]  # fmt: skip
    if not found:
        raise no_matches(point)
    return [
        Probe(
            point.kind, point.with_(program_id=number, function=name).name, module="bpf", target=name, count=number
        )
        for number, name in found
    ]  # fmt: skip


def _watchpoint(point: AttachPoint, pid: int) -> list[Probe]:
    modes = ("r", "w", "x", "rw") if _is_arm() else ("rw", "w", "x")
    if point.mode not in modes:
        raise probe_error(
            point.text, f"invalid watchpoint mode: {point.mode}", f"supported modes: {','.join(sorted(modes))}"
        )
    return [Probe("watchpoint", point.name, target=point.mode, address=point.address, count=point.length, pid=pid)]


def _is_arm() -> bool:
    import os

    return os.uname().machine == "aarch64"


def _user(point: AttachPoint, pid: int) -> list[Probe]:
    from linscope.lang.probes.user_probes import expand_function, expand_usdt

    return expand_usdt(point, pid) if point.kind == "usdt" else expand_function(point, pid)


_EXPANDERS: dict[str, Callable[[AttachPoint, int], list[Probe]]] = {
    "begin": _plain, "end": _plain, "self": _plain, "test": _plain, "bench": _plain, "hardware": _counter,
    "software": _counter, "interval": _clock, "profile": _clock, "iter": _iterator, "tracepoint": _tracepoint,
    "rawtracepoint": _rawtracepoint, "kprobe": _kprobe, "kretprobe": _kprobe, "fentry": _fentry, "fexit": _fentry,
    "uprobe": _user, "uretprobe": _user, "usdt": _user, "watchpoint": _watchpoint,
}  # fmt: skip
