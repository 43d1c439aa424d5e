"""A script's text -> the typed intermediate form."""

from __future__ import annotations

from linscope.errors import SourceError
from linscope.lang import ir
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.macros import expand_macros
from linscope.lang.bpftrace.options import Options
from linscope.lang.bpftrace.parser import parse
from linscope.lang.bpftrace.problems import Problems, Wrong
from linscope.lang.bpftrace.programs import lower_group, make_groups
from linscope.lang.bpftrace.settings import read_settings
from linscope.lang.bpftrace.state import Script
from linscope.lang.definitions import Definitions
from linscope.lang.probes import expand, parse_attach_point
from linscope.lang.probes.expansion import has_wildcard

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.programs import Group
    from linscope.lang.probe import Probe

_MOST_PASSES = 50
MAP_KINDS = ("hash", "lruhash", "percpuhash", "percpulruhash")


def compile(text: str, *, where: str = "stdin", options: Options | None = None) -> ir.Unit:
    """The programs, maps and events of a script.

    where: its name in messages.  Raises SourceError with all that is wrong (up to 20 places).
    """
    options = options or Options()
    program = parse(text, where=where)
    problems = Problems(text, where)
    settings = read_settings(program.settings, options.environment, problems)
    if program.imports:
        from linscope.lang.bpftrace.imports import read_imports

        read_imports(program, options, settings, problems)
    probes, functions = expand_macros(program, problems)
    script = Script(problems, _definitions(program, options, settings, problems), settings, options)
    _declare_maps(script, program)
    if functions:
        from linscope.lang.bpftrace.functions import declare_functions

        declare_functions(script, functions)
    if not probes:
        problems.error((0, 1), "No probes to attach", "begin { ... }, kprobe:vfs_read { ... }")
    if program.definitions or program.imports or options.includes or not all(_lasts(node) for node in probes):
        options.lasting = False
    pairs = [(node, _expand(script, node)) for node in probes]
    problems.raise_errors()
    kept = list(problems.warnings)
    groups = make_groups(script, [pair for pair in pairs if pair[1]])
    learned: object = None
    for _ in range(_MOST_PASSES):
        script.begin_pass()
        programs: list[ir.Program] = []
        for group in groups:
            programs += _lower_group(script, group)
        if functions:
            from linscope.lang.bpftrace.functions import check_uncalled

            check_uncalled(script, probes)
        if not script.waiting and not script.changed:
            break
        now = (dict(script.map_types), dict(script.variable_types), set(script.hoisted))
        if now == learned or (problems.errors and not script.changed):
            if not problems.errors:  # else it may follow from what is wrong
                for unresolved in script.waiting:
                    problems.error(unresolved.span, unresolved.what, _near_map(script, unresolved.what))
            break
        learned = now
    problems.raise_errors()
    for name, declared in script.declared.items():
        if name not in script.maps:
            problems.warn(declared.span, f"Unused map: @{name}")
    maps = [script.maps[name] for name in script.map_types if name in script.maps]
    warnings: list[object] = [*kept, *problems.warnings]
    return ir.Unit(text, where, maps, list(script.events), programs, settings, warnings)


def _near_map(script: Script, what: str) -> str:
    """A hint for a map that is nowhere assigned: the one that may have been meant."""
    name = what.partition("Undefined map: @")[2]
    if not name:
        return ""
    from difflib import get_close_matches

    found = get_close_matches(name, [one for one, types in script.map_types.items() if types[1] is not None], 1)
    return f"did you mean @{found[0]}?" if found else "nothing is assigned to it"


def _lower_group(script: Script, group: Group) -> list[ir.Program]:
    try:
        return lower_group(script, group)
    except Wrong as wrong:
        script.problems.error(wrong.span, wrong.what, wrong.hint)
        return []


def _definitions(
    program: sx.Program, options: Options, settings: dict[str, str | int], problems: Problems
) -> Definitions:
    """The types and constants of the script and of the kernel; what is wrong goes to problems."""
    parts = [(definition.text, definition.span[0]) for definition in program.definitions]
    dirs, includes = list(options.include_dirs), list(options.includes)
    try:
        if options.recorded is not None:
            return options.recorded.definitions(parts, include_dirs=dirs, includes=includes)
        size = int(settings["max_strlen"]) + 1
        return Definitions(parts, include_dirs=dirs, includes=includes, string_size=size, script=program.text)
    except SourceError as error:
        problems.errors += error.diagnostics
        return Definitions([])


def _declare_maps(script: Script, program: sx.Program) -> None:
    for declared in program.maps:
        if declared.kind not in MAP_KINDS:
            script.problems.error(
                declared.span, f"Invalid map type: {declared.kind}", f"Valid map types: {', '.join(MAP_KINDS)}"
            )  # fmt: skip
        elif not 0 < declared.entries < 1 << 32:
            script.problems.error(
                declared.span, f"Invalid number of entries: {declared.entries}", "from 1 to 4294967295"
            )  # fmt: skip
        elif declared.name in script.declared:
            script.problems.error(declared.span, f"Redeclaration of existing map: @{declared.name}")
        else:
            script.declared[declared.name] = declared


def _lasts(node: sx.Probe) -> bool:
    """Whether a probe stands for the same places as long as the kernel runs: not for those of a file, or of modules."""
    user = ("u", "U")
    return all(
        not point.text.startswith(user) and (point.text[0] == "t" or not has_wildcard(point.text))
        for point in node.points
    )


def _here(script: Script, probe: Probe) -> bool:
    """Whether a probe has a place in this run."""
    options = script.options
    if probe.kind in ("test", "bench") or options.mode:
        return probe.kind == options.mode or (probe.kind in ("begin", "end") and not options.mode)
    return True


def _expand(script: Script, node: sx.Probe) -> list[Probe]:
    """All places that a probe stands for; what is wrong goes to problems."""
    found: list[Probe] = []
    missing: list[tuple[sx.AttachPoint, str, str]] = []
    for point in node.points:
        try:
            pid, recorded = script.options.pid or None, script.options.recorded
            parsed = parse_attach_point(point.text, pid=pid, parameters=script.options.parameters)
            here = expand(parsed, pid=pid) if recorded is None else recorded.expand(parsed)
            if script.options.untrampolined:
                from linscope.lang.bpftrace.kprobes_instead import replace_trampolines

                replace_trampolines(script, point, here)
            for one in here:
                one.__dict__["span"] = point.span
            found += here
        except SourceError as error:
            first = error.diagnostics[0]
            missing.append((point, first.what, first.hint))
    policy = str(script.settings["missing_probes"])
    for point, what, hint in missing:
        wildcard = found and has_wildcard(point.text)  # one of several patterns may match nothing
        if policy == "error" and not wildcard:
            script.problems.error(point.span, what, hint)
        elif policy != "ignore":
            script.problems.warn(point.span, what, hint)
    return [probe for probe in found if _here(script, probe)]
