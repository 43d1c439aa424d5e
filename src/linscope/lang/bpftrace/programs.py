"""Which eBPF programs a script becomes: probes that can share a program do.

``kprobe:vfs_*`` is one program, unless it asks for the probe's name; tracepoints whose arguments are used share one
when these lie at the same places; those of system calls become one program on all of them (ir.Program.dispatch), which
is attached in less than a millisecond where each tracepoint takes the kernel 30.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.arguments import REGISTERS, probe_arguments
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.state import Body, NeedsOneProbe, Script
from linscope.lang.bpftrace.statements import block, predicate
from linscope.lang.bpftrace.type_names import type_text
from linscope.lang.nodes import Node
from linscope.lang.probe import TYPED, Probe

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_ALONE = ("begin", "end", "self", "test", "bench", "fentry", "fexit", "usdt", "iter")  # each has its own program


class Group:
    """Probes that run one program."""

    def __init__(self, node: sx.Probe, probes: list[Probe], name: str, syscalls: str = "") -> None:
        """syscalls: sys_enter or sys_exit when the program runs for all system calls."""
        self.node = node
        self.probes = probes
        self.name = name
        self.syscalls = syscalls


def make_groups(script: Script, nodes: Iterable[tuple[sx.Probe, list[Probe]]]) -> list[Group]:
    """The programs of a script's probes, which are given with the places that they stand for."""
    pairs = list(nodes)
    direct = not (script.options.replay or script.options.one_by_one)
    many = _syscalls_of(pairs) if direct else ""
    groups: list[Group] = []
    for number, (node, probes) in enumerate(pairs):
        used = _used(script, node)
        sorted_: dict[object, list[Probe]] = {}
        typed = any(probe.kind == "rawtracepoint" for probe in probes) and _needs_types(_whole(script, node))
        for probe in [_as_attached(probe, used, typed) for probe in probes] if direct else probes:
            sorted_.setdefault(_key(script, probe, used, many), []).append(probe)
        for place, (key, members) in enumerate(sorted_.items()):
            syscalls = str(key[1]) if isinstance(key, tuple) and key[0] == "syscalls" else ""
            groups.append(Group(node, members, f"{members[0].kind}_{number + 1}_{place + 1}", syscalls))
    return groups


def _as_attached(probe: Probe, used: frozenset[str], typed: bool) -> Probe:
    """raw_syscalls:sys_enter and sys_exit as raw tracepoints, unless their list of arguments is asked for."""
    if probe.kind == "rawtracepoint" and typed:
        return Probe(probe.kind, probe.name, module=probe.module, target=probe.target, arguments=TYPED)
    if probe.kind != "tracepoint" or probe.module != "raw_syscalls" or not used <= {"id", "ret"}:
        return probe
    return Probe("rawtracepoint", probe.name, target=probe.target, arguments=REGISTERS)


def _syscalls_of(pairs: list[tuple[sx.Probe, list[Probe]]]) -> str:
    """sys_enter sys_exit: those that there are."""
    found = []
    for side in ("sys_enter", "sys_exit"):
        count = sum(_side(probe) == side for _, probes in pairs for probe in probes)
        if count:
            found.append(side)
    return " ".join(found)


def _side(probe: Probe) -> str:
    """sys_enter or sys_exit, of a system call's tracepoint; "" for all others."""
    if probe.kind != "tracepoint" or probe.module != "syscalls":
        return ""
    return next((side for side in ("sys_enter", "sys_exit") if probe.target.startswith(side + "_")), "")


def _key(script: Script, probe: Probe, used: frozenset[str], many: str) -> object:
    """Equal for probes that can run one program."""
    side = _side(probe)
    if side and side in many.split():
        return "syscalls", side
    if probe.kind in _ALONE or probe.arguments == TYPED:
        return probe.kind, probe.name, probe.address, id(probe)
    if probe.kind in ("interval", "profile", "software", "hardware"):
        return probe.kind, probe.target, probe.count
    if used:
        return probe.kind, _layout(script, probe, used)
    return probe.kind, probe.path if probe.is_in_user_space and probe.arguments else ""


def _layout(script: Script, probe: Probe, used: frozenset[str]) -> object:
    """Where the arguments that a program uses lie, and of what type they are."""
    found = probe_arguments(script.definitions, probe)
    if found is None:
        return probe.name
    fields = [found.find(name) for name in sorted(used)] if "*" not in used else list(found.fields)
    return tuple((f.name, f.offset, f.location, type_text(f.type)) if f is not None else None for f in fields)


def _whole(script: Script, node: sx.Probe) -> object:
    """A probe with the functions of the script that it calls."""
    if not script.functions:
        return node
    from linscope.lang.bpftrace.functions import with_functions

    return with_functions(script, node)


def _used(script: Script, node: sx.Probe) -> frozenset[str]:
    return names_of_arguments(_whole(script, node))


def _needs_types(node: object) -> bool:
    """Whether a program calls what takes a pointer only of which the verifier knows the type."""
    if isinstance(node, list | tuple):
        return any(map(_needs_types, node))
    if isinstance(node, sx.Call) and node.name.removeprefix("__builtin_") in ("skboutput", "socket_cookie"):
        return True
    return isinstance(node, Node) and any(_needs_types(getattr(node, name, None)) for name in node._fields)


def names_of_arguments(node: object) -> frozenset[str]:
    """The fields of ``args`` that a program uses; "*" when it uses args as a whole."""
    return frozenset(_names(node))


def _names(node: object) -> Iterator[str]:
    if isinstance(node, list | tuple):
        for one in node:
            yield from _names(one)
    elif isinstance(node, sx.Member) and isinstance(node.of, sx.Identifier) and node.of.name == "args":
        yield node.name
    elif isinstance(node, sx.Identifier | sx.Call) and node.name.removeprefix("__builtin_") == "args":
        yield "*"
    elif isinstance(node, Node):
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, Node | list | tuple):
                yield from _names(value)


def lower_group(script: Script, group: Group) -> list[ir.Program]:
    """The programs of a group: one, or one for each probe when they ask for what they do not share."""
    if group.syscalls:
        return [_lower_syscalls(script, group)]
    try:
        return [ir.Program(group.name, group.probes, _lower(script, group, group.probes, group.name))]
    except NeedsOneProbe:
        return [
            ir.Program(f"{group.name}_{place}", [probe], _lower(script, group, [probe], f"{group.name}_{place}"))
            for place, probe in enumerate(group.probes, 1)
        ]


def _lower(script: Script, group: Group, probes: list[Probe], name: str) -> list[ir.Statement]:
    body = Body(script, probes, name)
    body.syscalls, body.all_probes = group.syscalls, group.probes
    inner = block(body, group.node.body)
    return inner if group.node.predicate is None else predicate(body, group.node.predicate, inner)


def _lower_syscalls(script: Script, group: Group) -> ir.Program:
    """One program for many system calls: those whose arguments are alike share their statements."""
    used = _used(script, group.node)
    alike: dict[object, list[Probe]] = {}
    for probe in group.probes:
        alike.setdefault(_layout(script, probe, used) if used else "", []).append(probe)
    dispatch: dict[int, list[ir.Statement]] = {}
    for place, members in enumerate(alike.values()):
        lowered = _lower(script, group, members, f"{group.name}_{place}")
        for probe in members:
            number = script.definitions.syscall_number(probe.target)
            if number is not None:
                dispatch[number] = lowered
    if not dispatch:
        raise Wrong(group.node.span, "the numbers of these system calls are not known")
    return ir.Program(group.name, group.probes, [], dispatch)
