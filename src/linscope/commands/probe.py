"""`linscope probe`: events of your own, at functions of the kernel and of programs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from linscope.commands.events import add_target_arguments, report_trace, target_options, tell, trace_and_open
from linscope.errors import UsageError
from linscope.units import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from linscope.picture.rows import Rows
    from linscope.session.tracing.options import ProbeChoice, TraceOptions
    from linscope.session.tracing.probes import ListedProbe
    from linscope.sources.probes.definition import ProbeDefinition

_ACTIONS = ("add", "del", "list", "show", "run")


class Probe:
    """The subcommand; see linscope.contracts.Command."""

    summary = "events of your own: kernel functions, programs, USDT probes"
    examples = (
        "linscope probe run 'p vfs_read file->f_path.dentry->d_name.name' -- cat FILE",
        "linscope probe show 'p tcp_sendmsg sk->__sk_common.skc_dport size'",
        "linscope probe add 'r:opened do_sys_openat2 $retval:s64'",
        "linscope probe list",
        "linscope probe del opened",
    )
    formats = True
    splits = True

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("action", choices=_ACTIONS, help="run: only while CMD runs; show: dry run; del -a: all of ours")
        text = "'p|r[:NAME] FUNCTION[+OFF] [[NAME=]ARG]... [if FILTER]'; of del and list: NAME, GROUP/NAME, GLOB"
        add("probes", nargs="*", metavar="PROBE", help=text)
        add("--args", action="store_true", help="every parameter of the function, where none is written")
        add("--filter", default="", metavar="EXPR", help="of run: for all probes; behind 'if', for one")
        add("-T", "--stacktrace", action="store_true", help="of run: the kernel's stack at each event")
        add("-m", "--buffer", metavar="SIZE", help="of run: buffer of each CPU")
        add_target_arguments(parser)

    def run(self, arguments: argparse.Namespace) -> Rows | int:
        """Do it; run returns the program's exit code."""
        action, texts = arguments.action, arguments.probes
        if arguments.command and action != "run":
            raise UsageError(f"{action} runs no command", next_step="linscope probe run PROBE -- CMD")
        if action == "list":
            return _list(texts)
        if action == "del":
            return _delete(texts, arguments.all)
        if not texts:
            raise UsageError("no probe", next_step=f"linscope probe {action} 'p vfs_read count'")
        if action == "run":
            return _run(arguments)
        for text in texts:
            if _split_filter(text)[1] or arguments.filter:
                step = "linscope events record -e linscope:NAME --filter EXPR, or linscope probe run"
                raise UsageError("a filter belongs to who records the event", next_step=step)
        return _show(texts, arguments.args) if action == "show" else _add(texts, arguments.args)


def _split_filter(text: str) -> tuple[str, str]:
    """(probe, filter) of "p vfs_read count if count > 5"."""
    probe, _, condition = text.partition(" if ")
    return probe, condition.strip()


def _definition_rows(definitions: Iterable[ProbeDefinition]) -> Rows:
    from linscope.picture.rows import Column, Rows

    columns = [Column("event", "EVENT"), Column("file", in_text=False), Column("definition", "DEFINITION")]
    return Rows(columns, [(f"{one.group}:{one.name}", one.control_file, one.text()) for one in definitions])


def _tell(probes: Sequence[ProbeChoice]) -> None:
    tell("probe", dict.fromkeys(note for probe in probes for note in probe.definition.notes))


def _add(texts: Sequence[str], all_arguments: bool) -> Rows:
    from linscope.session.tracing.instance import open_tracefs
    from linscope.session.tracing.probes import add_probes

    added = add_probes(texts, open_tracefs(), all_arguments=all_arguments)
    _tell(added)
    return _definition_rows(probe.definition for probe in added)


def _show(texts: Sequence[str], all_arguments: bool) -> Rows:
    """What add would write, without root where the kernel's types can be read."""
    from linscope.errors import SystemCallError
    from linscope.session.tracing.probes import compile_texts
    from linscope.sys.tracefs import find_tracefs

    try:
        tracefs = find_tracefs()
    except SystemCallError:
        tracefs = ""
        tell("probe", ["what this kernel takes cannot be read: as for a new one"])
    probes = compile_texts(texts, tracefs, all_arguments=all_arguments)
    _tell(probes)
    return _definition_rows(probe.definition for probe in probes)


def _list(names: Sequence[str]) -> Rows:
    from linscope.picture.rows import Column, Rows
    from linscope.session.tracing.probes import list_probes, select_probes, users_of
    from linscope.sys.tracefs import find_tracefs

    tracefs = find_tracefs()
    listed = list_probes(tracefs)
    if names:
        wanted = {(one.group, one.name) for one in select_probes(names, tracefs)}
        listed = [one for one in listed if (one.definition.group, one.definition.name) in wanted]

    def cells(one: ListedProbe) -> tuple[Any, ...]:
        definition = one.definition
        users = users_of(tracefs, definition.group, definition.name)
        arguments = " ".join(argument.text() for argument in definition.arguments)
        return _kind(definition), one.event, definition.target, one.hits, one.missed, users, arguments

    columns = [
        Column("kind", "KIND"),
        Column("event", "EVENT"),
        Column("target", "TARGET"),
        Column("hits", "HITS", ">"),
        Column("missed", "MISSED", ">"),
        Column("enabled", "ENABLED IN", format=", ".join),
        Column("args", "ARGUMENTS"),
    ]
    return Rows(columns, [cells(one) for one in listed])


def _kind(definition: ProbeDefinition) -> str:
    from linscope.sources.probes import definition as pd

    names = {pd.KERNEL: "kprobe", pd.USER: "uprobe", pd.FUNCTION: "fprobe", pd.TRACEPOINT: "tprobe"}
    name = names[definition.probes]
    return f"{name[0]}ret{name[1:]}" if definition.returns and name[0] in "ku" else name


def _delete(names: Sequence[str], everything: bool) -> Rows:
    from linscope.picture.rows import Column, Rows
    from linscope.session.tracing.instance import open_tracefs
    from linscope.session.tracing.probes import delete_probes, list_probes, select_probes
    from linscope.sources.probes.compile import DEFAULT_GROUP

    if bool(names) == everything:
        raise UsageError("remove which probes?", next_step="linscope probe del NAME, GROUP/NAME, GLOB, or --all")
    tracefs = open_tracefs()
    if everything and not any(one.definition.group == DEFAULT_GROUP for one in list_probes(tracefs)):
        tell("probe", ["there are none of ours"])
        return Rows([Column("removed")], [])
    gone, complaints = delete_probes(select_probes(names or ["*"], tracefs), tracefs)
    tell("probe", complaints)
    rows = Rows([Column("removed", "REMOVED")], [(f"{one.group}:{one.name}",) for one in gone])
    rows.exit_code = lambda: 1 if complaints else 0
    return rows


def _run(arguments: argparse.Namespace) -> Rows | int:
    from linscope.session.tracing.record import record_trace

    options = _options(arguments)
    if arguments.output:
        return report_trace(record_trace(arguments.command, options, arguments.output), "probe run")
    recording, code = trace_and_open(arguments.command, options, "probe run")
    rows = recording.script()
    rows.exit_code = lambda: code
    return rows


def _options(arguments: argparse.Namespace) -> TraceOptions:
    from linscope.session.tracing.instance import open_tracefs
    from linscope.session.tracing.options import EventChoice
    from linscope.session.tracing.probes import prepare_probes

    options = target_options(arguments)
    if not arguments.command and not options.pids and not options.system_wide:
        raise UsageError("nothing to trace", next_step="-- CMD, -p PID, or -a for the whole system")
    filters = {text: condition for text, condition in map(_split_filter, arguments.probes) if condition}
    texts = [_split_filter(text)[0] for text in arguments.probes]
    probes = prepare_probes(texts, open_tracefs(), all_arguments=arguments.args)
    _tell(probes)
    events = {
        f"{one.definition.group}:{one.definition.name}": _both(filters.get(one.text, ""), arguments.filter)
        for one in probes
    }
    return options._replace(
        probes=tuple(probes),
        events=tuple(EventChoice(event, condition) for event, condition in events.items()),
        options=("stacktrace",) if arguments.stacktrace else (),
        buffer_size=parse_bytes(arguments.buffer) if arguments.buffer else 0,
    )


def _both(one: str, other: str) -> str:
    return f"({one}) && ({other})" if one and other else one or other


PROBE = Probe()
