"""The subcommands: one file each (arguments, call, rows; no logic) and one line here."""

from __future__ import annotations

from linscope.tables import Entry, Group, Table

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from linscope.contracts import Command

COMMANDS = Table(
    "command",
    {
        "record": Entry("linscope.commands.record:RECORD", "record samples and events of a program to perf.data"),
        "stat": Entry("linscope.commands.stat:STAT", "count events while a program runs"),
        "report": Entry("linscope.commands.report:REPORT", "where the time went, as a table with call graphs"),
        "script": Entry("linscope.commands.script:SCRIPT", "every event of a recording, one by one, in time order"),
        "flame": Entry("linscope.commands.flame:FLAME", "where the time went, as a flame graph (HTML, SVG, text)"),
        "heat": Entry("linscope.commands.heat:HEAT", "latencies between two events over time, as a heat map"),
        "export": Entry("linscope.commands.export:EXPORT", "write a recording in another format"),
        "trace": Entry("linscope.commands.trace:TRACE", "scripts of the bpftrace language, live or over a recording"),
        "events": Entry("linscope.commands.events:EVENTS", "the kernel's trace events: list, show, record, stream"),
        "ftrace": Entry("linscope.commands.ftrace:FTRACE", "the kernel's tracers: functions, call graphs, latencies"),
        "hist": Entry("linscope.commands.hist:HIST", "histograms that the kernel itself counts, as tables with bars"),
        "probe": Entry("linscope.commands.probe:PROBE", "events of your own: kernel functions, programs, USDT probes"),
        "dyndbg": Entry("linscope.commands.dyndbg:DYNDBG", "the kernel's debug prints: list, switch, follow"),
        "bpf": Entry("linscope.commands.bpf:BPF", "eBPF: assemble, read, verify and run programs; BTF; what is loaded"),
        "crash": Entry("linscope.commands.crash:CRASH", "a kernel's memory: dumps, guests, the running kernel"),
        "kdump": Entry("linscope.commands.kdump:KDUMP", "dumps of crashes: ready or not, load, capture, try it out"),
        "lab": Entry("linscope.commands.lab:LAB", "run a command in a disposable kernel with this machine's files"),
        "doctor": Entry("linscope.commands.doctor:DOCTOR", "what this machine allows, and what to change; --clean"),
    },
)


def find_command(words: Sequence[str]) -> tuple[str, Command | Group, list[str]]:
    """The command that a line begins with: its full name ("bpf dis"), itself, the words behind.

    A group comes back as itself when no subcommand follows, or an option.  Raises UnknownNameError.
    """
    name, rest = words[0], list(words[1:])
    found: Command | Group = COMMANDS[name]
    if isinstance(found, Group) and rest and not rest[0].startswith("-"):
        return f"{name} {rest[0]}", found[rest[0]], rest[1:]
    return name, found, rest


def iter_commands() -> Iterator[tuple[str, Command]]:
    """(full name, command) of all, those of groups one by one."""
    for name in COMMANDS:
        found: Command | Group = COMMANDS[name]
        if isinstance(found, Group):
            yield from ((f"{name} {one}", found[one]) for one in found)
        else:
            yield name, found
