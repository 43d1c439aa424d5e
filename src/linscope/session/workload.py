"""The command that is measured: found, forked, held back until everything is open, then let go."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from linscope.errors import SystemCallError, UsageError

PYTHON_SWITCH = "PYTHONPERFSUPPORT"


def find_program(name: str, path: str | None = None) -> str:
    """The file that execvp(3) would run.  Raises UsageError when there is none."""
    if "/" in name:
        if os.access(name, os.X_OK) and not os.path.isdir(name):
            return name
        why = "it is not executable" if os.path.exists(name) else "no such file"
        raise UsageError(f"cannot run {name}", why=why)
    for folder in (path if path is not None else os.environ.get("PATH", os.defpath)).split(":"):
        candidate = f"{folder or '.'}/{name}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise UsageError(f"cannot run {name}", why="no such command in PATH")


def python_version(program: str) -> tuple[int, int] | None:
    """(3, 12) when program is a Python interpreter, or a script that names one in its first line; else None.

    The version comes from the interpreter's own file name behind all links; (0, 0): a Python of
    unknown version.
    """
    real = os.path.realpath(program)
    base = real.rpartition("/")[2]
    if base.startswith("python"):
        major, _dot, minor = base[6:].partition(".")
        digits = minor.rstrip("abdmtu")
        if major.isdigit() and digits.isdigit():
            return int(major), int(digits)
        return 0, 0
    try:
        with open(real, "rb") as file:
            head = file.read(256)
    except OSError:
        return None
    if not head.startswith(b"#!"):
        return None
    words = head[2:].split(b"\n", 1)[0].decode("utf-8", "replace").split()
    if words and words[0].endswith("/env"):
        words = [w for w in words[1:] if not w.startswith("-") and "=" not in w]
        try:
            words = [find_program(words[0])] if words else []
        except UsageError:
            return None
    if not words or not words[0].rpartition("/")[2].startswith("python"):
        return None
    return python_version(words[0])


def python_environment(program: str, environment: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """(environment, note): CPython's perf trampoline switched on when program is a Python that has it (3.12).

    An older Python gets a note instead; an explicit setting of the user stays.
    Source: docs.python.org, "Python support for the Linux perf profiler".
    """
    changed = dict(environment)
    version = python_version(program)
    if version is None or PYTHON_SWITCH in changed:
        return changed, ""
    if (0, 0) < version < (3, 12):
        return changed, (
            f"Python {version[0]}.{version[1]} shows no Python functions to perf: "
            "run it with 3.12 or newer (-X perf)"
        )
    changed[PYTHON_SWITCH] = "1"
    return changed, ""


class Workload:
    """A forked child that waits for ``start()`` before it executes the command."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Raises UsageError when there is no such command, SystemCallError when fork fails."""
        self.command = list(command)
        self.program = find_program(self.command[0])
        self.status: int | None = None
        self.user_seconds = 0.0
        self.system_seconds = 0.0
        gate_read, self._gate = os.pipe()
        self._errors, errors_write = os.pipe()
        try:
            self.pid = os.fork()
        except OSError as error:
            raise SystemCallError("cannot start a process", errno=error.errno or 0) from error
        if self.pid == 0:
            self._run_child(gate_read, errors_write, environment)
        os.close(gate_read)
        os.close(errors_write)
        self.pidfd = os.pidfd_open(self.pid)

    def _run_child(self, gate: int, errors: int, environment: Mapping[str, str]) -> None:
        """In the child: wait, then become the command.  Never returns."""
        try:
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
                signal.signal(number, signal.SIG_DFL)
            os.close(self._gate)
            if os.read(gate, 1) == b"!":
                os.execve(self.program, self.command, dict(environment))
        except OSError as error:
            os.write(errors, str(error.errno).encode())
        finally:
            os._exit(127)

    def start(self) -> None:
        """Let the child execute the command.  Raises UsageError when the kernel cannot run that file."""
        os.write(self._gate, b"!")
        self._close_gate()
        message = os.read(self._errors, 16)  # end of file as soon as the exec has happened
        os.close(self._errors)
        self._errors = -1
        if message:
            self.wait()
            raise UsageError(f"cannot run {self.command[0]}", why=os.strerror(int(message)))

    def _close_gate(self) -> None:
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def terminate(self) -> bool:
        """Ask the command to end (SIGTERM); False, and nothing done, when it has ended."""
        if self.status is None:
            try:
                os.kill(self.pid, signal.SIGTERM)
            except ProcessLookupError:
                return False
        return self.status is None

    def wait(self) -> int:
        """Wait for the end.  Returns the exit status, 128 + N after signal N."""
        if self.status is None:
            _pid, status, usage = os.wait4(self.pid, 0)
            self.user_seconds, self.system_seconds = usage.ru_utime, usage.ru_stime
            code = os.waitstatus_to_exitcode(status)
            self.status = code if code >= 0 else 128 - code
        return self.status

    def close(self) -> None:
        """Release the descriptors; a child that was never started ends by itself."""
        self._close_gate()
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1
        if self.status is None:
            self.wait()
        os.close(self.pidfd)
