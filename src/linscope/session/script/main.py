"""What `linscope trace` does with its command line."""

from __future__ import annotations

import os
import sys

from linscope.errors import LinscopeError, SourceError
from linscope.session.script.output import Output, error

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from linscope.lang import ir
    from linscope.lang.bpftrace.options import Options
    from linscope.lang.built import Built
    from linscope.session.script.child import Child
    from linscope.session.script.cost import Meter
    from linscope.session.script.replay.runner import Replay
    from linscope.session.script.runner import Runner

    Words = list[str]  # the name list is taken below

    class Arguments(Protocol):
        """The words of the command line; see commands/trace.py."""

        program: str | None
        cmd: str
        pid: str
        output: str
        form: str
        buffering: str
        stage: str
        replay: str
        record_for: str
        mode: str
        quiet: bool
        helper_errors: bool
        list: bool
        verbose: bool
        unsafe: bool
        dry_run: bool
        no_warnings: bool
        info: bool
        test: bool
        bench: bool
        include_dir: Words
        include: Words
        words: Words
        watcher: Watcher | None

    class Watcher(Protocol):
        """Somebody who wants more of a session than its output."""

        def prepare(self, runner: Runner | Replay) -> None:
            """All is loaded, nothing runs.  Raises UsageError: the script has not what is wanted."""

        def finish(self, runner: Runner | Replay) -> None:
            """All is over, the maps are still there."""


_MOST_PIDS = 4 * 1024 * 1024  # include/linux/threads.h, PID_MAX_LIMIT
_FORMS = ("text", "json", "parquet")
_MODES = ("line", "full", "none")


class Refused(Exception):
    """The command line cannot be done; its text is what is said."""


def main(arguments: Arguments) -> int:
    """Do what the command line asks for; returns the exit code."""
    try:
        return _main(arguments)
    except Refused as refused:
        error(f"ERROR: {refused}")
        return 1
    except SourceError as wrong:
        error(str(wrong))
        return 1
    except LinscopeError as failed:
        error(f"ERROR: {failed}")
        return 1


def _main(arguments: Arguments) -> int:
    _check(arguments)
    if arguments.info:
        from linscope.session.script.information import information

        sys.stdout.write(information())
        return 0
    if arguments.list and arguments.program is None and not _is_script(arguments):
        if arguments.replay:
            from linscope.session.script.replay.main import list_recorded

            return list_recorded(arguments.replay, arguments.words[0] if arguments.words else "")
        from linscope.session.script.listing import show_list

        return show_list(arguments.words[0] if arguments.words else "", verbose=arguments.verbose)
    pid = read_pid(arguments.pid)
    if arguments.record_for:
        from linscope.session.script.record_for.main import record_for

        return record_for(arguments, pid)
    text, where, parameters = read_script(arguments)
    if arguments.stage == "ast":
        from linscope.lang.bpftrace.ast_text import format_tree
        from linscope.lang.bpftrace.parser import parse

        sys.stdout.write(format_tree(parse(text, where=where)))
        return 0
    child = _start(arguments.cmd)
    try:
        return _compile_and_run(arguments, (text, where, parameters), pid, child)
    finally:
        if child is not None:
            child.end()


def _check(arguments: Arguments) -> None:
    if arguments.form not in _FORMS:
        raise Refused(f'Invalid output format "{arguments.form}"\nValid formats: text, json, parquet')
    if arguments.form == "parquet" and not arguments.output:
        raise Refused("USAGE: -f parquet writes files to the folder of -o DIR")
    if arguments.buffering not in _MODES:
        raise Refused("USAGE: -B must be either 'line', 'full', or 'none'.")
    other = arguments.words or arguments.list or arguments.info or arguments.record_for
    if arguments.program is None and not other:
        raise Refused("USAGE: filename or -e 'program' required.")


def _is_script(arguments: Arguments) -> bool:
    """Whether what is to be listed is a script's probes."""
    if not arguments.words:
        return False
    name = arguments.words[0]
    if os.path.isfile(name):
        return True
    if name.endswith(".bt"):
        error(
            f"WARNING: It appears that '{name}' is a filename but the file does not exist. Treating '{name}' as a "
            "search pattern."
        )
    return False


def read_script(arguments: Arguments) -> tuple[str, str, Sequence[str]]:
    """(text, name, parameters).  Raises Refused: there is no such file."""
    if arguments.program is not None:
        return arguments.program, "stdin", arguments.words
    name = arguments.words[0]
    if name == "-":
        return sys.stdin.read(), "stdin", arguments.words[1:]
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            return file.read(), name, arguments.words[1:]
    except OSError as failed:
        raise Refused(f"failed to open file '{name}': {failed.strerror}") from None


def read_pid(text: str) -> int:
    """A process's number; 0 for "".  Raises Refused."""
    if not text:
        return 0
    digits = len(text) - len(text.lstrip("0123456789"))
    if not digits:
        raise Refused(f"Failed to parse pid: invalid integer: {text}")
    if digits != len(text):
        raise Refused(f"Failed to parse pid: invalid trailing bytes: {text}")
    number = int(text)
    if not 0 < number <= _MOST_PIDS:
        raise Refused(f"Pid out of range: {number}")
    if not os.path.exists(f"/proc/{number}"):
        raise Refused(f"Failed to find process with pid {number}")
    return number


def _start(command: str) -> Child | None:
    if not command:
        return None
    from linscope.session.script.child import Child

    return Child(command.split())  # as bpftrace has it: quotes are the command's own


def _compile_and_run(
    arguments: Arguments, script: tuple[str, str, Sequence[str]], pid: int, child: Child | None
) -> int:  # fmt: skip
    text, where, parameters = script
    key = _cache_key(arguments, script, pid)
    if key is not None:
        from linscope.session.script.compiled import find

        kept = find(key)
        if kept is not None:
            unit, built = kept
            _warn(arguments, unit)
            return _run_somehow(arguments, (unit, built), "", (pid, child), None, key)
    from linscope.lang.bpftrace.compiler import compile

    mode = arguments.mode or ("test" if arguments.test else "bench" if arguments.bench else "")
    options = _options(arguments, parameters, (pid, child), mode)
    if arguments.replay:
        return _replay(arguments, (text, where), options)
    unit = compile(text, where=where, options=options)
    _warn(arguments, unit)
    if arguments.list:
        for program in unit.programs:
            for probe in program.probes:
                print(probe.name)
        return 0
    if arguments.stage:
        return _show_stage(arguments.stage, unit)
    built = _generate(arguments, unit)
    if key is not None and options.lasting:
        from linscope.session.script.compiled import keep

        keep(key, unit, built)
    return _run_somehow(arguments, (unit, built), mode, (pid, child), options, key)


def _options(
    arguments: Arguments, parameters: Sequence[str], processes: tuple[int, Child | None], mode: str
) -> Options:
    from linscope.lang.bpftrace.options import Options

    pid, child = processes
    return Options(
        parameters=parameters, pid=pid, child=child.pid if child else 0, unsafe=arguments.unsafe,
        include_dirs=arguments.include_dir, includes=arguments.include, environment=os.environ, mode=mode,
    )  # fmt: skip


def _run_somehow(
    arguments: Arguments, compiled: tuple[ir.Unit, Built], mode: str, processes: tuple[int, Child | None],
    options: Options | None, key: bytes | None,
) -> int:  # fmt: skip
    """Run a script, with kprobes where the kernel lets no program into a function.  options: None when it was kept."""
    from linscope.session.script.attaching import NoTrampoline

    unit, built = compiled
    while True:
        try:
            return _run(arguments, unit, mode, processes, built)
        except NoTrampoline as no:
            options = options or _options(arguments, read_script(arguments)[2], processes, mode)
            if set(no.refused) <= set(options.untrampolined):
                raise no.error from None
            options.untrampolined.update(no.refused)
        from linscope.lang.bpftrace.compiler import compile

        told = [str(one) for one in unit.warnings]
        unit = compile(unit.text, where=unit.where, options=options)
        _warn(arguments, unit, told)
        built = _generate(arguments, unit)
        if key is not None and options.lasting:
            from linscope.session.script.compiled import keep

            keep(key, unit, built)


def _warn(arguments: Arguments, unit: ir.Unit, told: Sequence[str] = ()) -> None:
    """told: what was said before."""
    if not arguments.no_warnings:
        for warning in unit.warnings:
            if str(warning) in told:
                continue
            error(warning.text(unit.where))  # type: ignore[attr-defined]  # a Diagnostic


def _cache_key(arguments: Arguments, script: tuple[str, str, Sequence[str]], pid: int) -> bytes | None:
    """What a compiled script is kept under; None: it is compiled anew."""
    other = arguments.list or arguments.stage or arguments.replay or arguments.mode or arguments.test
    if other or arguments.bench or arguments.include or arguments.include_dir or arguments.cmd:
        return None
    from linscope.session.script.compiled import key_of

    text, where, parameters = script
    settings = sorted(one for one in os.environ.items() if one[0].startswith("BPFTRACE_"))
    try:
        return key_of(text, where, list(parameters), pid, arguments.unsafe, arguments.helper_errors, settings)
    except OSError:
        return None


def _generate(arguments: Arguments, unit: ir.Unit) -> Built:
    from linscope.lang.codegen import Options as CodeOptions
    from linscope.lang.codegen import generate
    from linscope.session.script.runner import ring_size

    made = CodeOptions(helper_errors=arguments.helper_errors)
    made.ring_bytes = ring_size(unit) or made.ring_bytes
    return generate(unit, made)


def _replay(arguments: Arguments, script: tuple[str, str], options: Options) -> int:
    from linscope.session.script.replay.main import replay

    fd = _open_output(arguments)
    try:
        return replay(arguments, script, options, fd)
    finally:
        if fd != 1:
            os.close(fd)


def _open_output(arguments: Arguments) -> int:
    """Where the output goes.  Raises Refused."""
    if not arguments.output or arguments.form == "parquet":
        return 1
    try:
        return os.open(arguments.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as failed:
        raise Refused(f"failed to open output file '{arguments.output}': {failed.strerror}") from None


def _run(
    arguments: Arguments, unit: ir.Unit, mode: str, processes: tuple[int, Child | None], built: Built
) -> int:  # fmt: skip
    from linscope.session.script.runner import Runner

    fd = _open_output(arguments)
    output, folder = Output(fd, arguments.buffering), None
    if arguments.form == "parquet":
        from linscope.session.script.folder import FolderOutput

        output = folder = FolderOutput(arguments.output)
    runner = Runner(
        unit, output, json=arguments.form == "json", unsafe=arguments.unsafe, quiet=arguments.quiet,
        warnings=not arguments.no_warnings, form=folder.form if folder is not None else None,
    )  # fmt: skip
    try:
        meter = _meter(arguments, unit)
        runner.load(built=built)
        if folder is not None:
            folder.connect(runner)
        if arguments.dry_run:
            return 0
        if mode:
            return runner.benchmark() if mode == "bench" else runner.test()
        if meter is not None:
            for line in meter.lines(built):
                error(f"linscope: {line}")
        runner.attach_functions()
        watcher = arguments.watcher
        if watcher is None:
            return runner.run(pid=processes[0], child=processes[1])
        watcher.prepare(runner)
        code = runner.run(pid=processes[0], child=processes[1])
        watcher.finish(runner)
        return code
    finally:
        if folder is not None:
            folder.close()
        runner.close()
        if fd != 1:
            os.close(fd)


def _meter(arguments: Arguments, unit: ir.Unit) -> Meter | None:
    """What measures how often the script's probes are hit, when that may be often and is to be said."""
    from linscope.session.script.attaching import may_cost

    if arguments.quiet or arguments.no_warnings or not may_cost(unit):
        return None
    from linscope.session.script.cost import Meter

    return Meter(unit)


def _show_stage(stage: str, unit: ir.Unit) -> int:
    from linscope.lang.codegen import generate

    if stage == "ir":
        from linscope.lang.ir_text import format_unit

        sys.stdout.write(format_unit(unit))
        return 0
    built = generate(unit)
    for program in built.programs:
        print(f"# {program.name}: {len(program.instructions)} slots")
        if stage == "asm":
            from linscope.bpf.dis import iter_text

            for slot, line in iter_text(program.instructions):
                print(f"{slot:5}: {line}")
        else:
            from linscope.bpf.verifier import verify
            from linscope.bpf.verifier.explain import format_verdict

            print(format_verdict(verify(program)))
    return 0
