"""What `linscope trace --record-for SCRIPT -o FILE -- COMMAND` does with its command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from linscope.errors import UsageError
from linscope.session.script.output import Output, error

if TYPE_CHECKING:
    from linscope.session.script.child import Child
    from linscope.session.script.main import Arguments

_USUAL_OUTPUT = "trace.data"


def record_for(arguments: Arguments, pid: int) -> int:
    """Run the script and record what its replay needs; returns the exit code.

    Raises SourceError, UsageError, and what record() raises.
    """
    from linscope.session.script.child import Child

    try:
        with open(arguments.record_for, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as failed:
        why = os.strerror(failed.errno or 0)
        raise UsageError("cannot read the script", where=arguments.record_for, why=why) from failed
    child: Child | None = None
    if arguments.words:
        try:
            child = Child(arguments.words)
        except OSError as failed:
            raise UsageError(f"cannot run {arguments.words[0]}", why=os.strerror(failed.errno or 0)) from failed
    try:
        return _record(arguments, text, pid, child)
    finally:
        if child is not None:
            child.end()


def _record(arguments: Arguments, text: str, pid: int, child: Child | None) -> int:
    from linscope.lang.bpftrace.compiler import compile
    from linscope.lang.bpftrace.options import Options
    from linscope.lang.codegen import Options as CodeOptions
    from linscope.session.script.record_for import session
    from linscope.session.script.record_for.captures import with_captures

    options = Options(
        pid=pid, child=child.pid if child else 0, unsafe=arguments.unsafe, include_dirs=arguments.include_dir,
        includes=arguments.include, environment=os.environ, one_by_one=True,
    )  # fmt: skip
    unit = compile(text, where=arguments.record_for, options=options)
    if not arguments.no_warnings:
        for warning in unit.warnings:
            error(warning.text(unit.where))  # type: ignore[attr-defined]  # a Diagnostic
    session.check(unit)
    unit = with_captures(unit)
    output = Output(1, arguments.buffering)
    runner = session.RecordingRunner(
        unit, output, json=arguments.form == "json", unsafe=arguments.unsafe, quiet=arguments.quiet,
        warnings=not arguments.no_warnings,
    )  # fmt: skip
    runner.child = child
    known: dict[str, object] = {
        "child": child.pid if child else 0, "pid": pid, "elapsed_ns": options.start_ns or 0, "script": text[:32768]
    }  # fmt: skip
    made = CodeOptions(helper_errors=arguments.helper_errors, captures=True)
    return session.run(unit, runner, arguments.output or _USUAL_OUTPUT, made, known)
