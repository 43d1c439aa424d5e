"""A running guest: boot it, run commands in it, have their output and exit codes, end it."""

from __future__ import annotations

import base64
import contextlib
import os
import selectors
import shlex
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from linscope.errors import LinscopeError, OutputError, UsageError
from linscope.lab.accelerator import choose_accelerator
from linscope.lab.kernels import Kernel, busybox, find_kernel
from linscope.lab.machine import Machine, MachineOptions
from linscope.lab.qmp import dump_memory
from linscope.units import format_bytes, parse_bytes

_HIDDEN = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "SSH_AUTH_SOCK", "TMPDIR")
_CHUNK = 1 << 16


class GuestOptions(NamedTuple):
    """How a guest is made."""

    kernel: str = "debian"  # debian, lab, or the path of an image
    cpus: int = 1  # more make TCG several times slower
    memory: str = "1G"  # files that the guest writes lie in it
    append: str = ""  # for the kernel's command line
    disk: str = ""  # a raw image, which the guest may change (/dev/vda)
    share: str = ""  # a folder of this machine that the guest may change
    boot_deadline_s: float = 120


class Result(NamedTuple):
    """How a command ended in the guest."""

    exit_code: int
    stdout: str
    stderr: str


def ignore(_: object) -> None:
    """What is said is not wanted."""


class Guest:
    """A guest from boot to power off: ``with Guest() as guest: guest.run("uname -r")``.

    The guest sees this machine's files, may change them as it likes, and every change is forgotten with it.
    """

    def __init__(self, options: GuestOptions | None = None, *, say: Callable[[str], None] = ignore) -> None:
        """say: told what takes time.  Raises LinscopeError when QEMU, the kernel or the rights are missing."""
        self.options = options or GuestOptions()
        if self.options.cpus < 1:
            raise UsageError("a guest needs a CPU")
        self.kernel: Kernel = find_kernel(self.options.kernel, say)
        share = self.options.share and os.path.realpath(self.options.share)
        if share and not os.path.isdir(share):
            raise UsageError(f"no folder {self.options.share} to share")
        machine = MachineOptions(
            kernel=self.kernel,
            busybox=busybox(say),
            cpus=self.options.cpus,
            memory_bytes=parse_bytes(self.options.memory),
            append=self.options.append,
            disk=self.options.disk and os.path.realpath(self.options.disk),
            share=share,
        )
        if machine.memory_bytes < 256 << 20:
            raise UsageError(f"{format_bytes(machine.memory_bytes)} are too little for a guest", next_step="--mem 512M")
        self.machine = Machine(machine, choose_accelerator)
        self._mark = b""
        self._jobs = 0
        self._control = b""  # of a line that has not ended

    def __enter__(self) -> Guest:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<guest {self.options.kernel}: {self.machine.state}>"

    def boot(self) -> None:
        """Start it and wait until it takes commands.  Raises LinscopeError with the console's last lines."""
        try:
            self.machine.start()
            deadline = time.monotonic() + self.options.boot_deadline_s
            answer = self._line(deadline)
            while not answer.startswith("READY "):
                answer = self._line(deadline)
            self._mark = answer.removeprefix("READY ").encode()
        except BaseException:
            self.machine.stop()
            raise

    def close(self) -> None:
        """Power off, and end what does not do so by itself."""
        if self.machine.running:
            with contextlib.suppress(OSError):
                self.machine.ports["control"].sendall(b"OFF\n")
        self.machine.stop(grace_s=5)

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout_s: float = 600,
        environment: Mapping[str, str] | None = None,
        cwd: str = "",
        on_stdout: Callable[[bytes], object] | None = None,
        on_stderr: Callable[[bytes], object] | None = None,
    ) -> Result:
        """Run a command (words, or a line for sh) and wait for its end.

        environment, cwd: as here when left out.  on_stdout, on_stderr: given the output as it comes, which Result then
        lacks.  Ctrl-C goes to the command; a second one ends the guest.  Raises LinscopeError when the guest dies or
        the time is over (the command is killed, the guest lives on).
        """
        self._jobs += 1
        script = make_script(command, os.environ if environment is None else environment, cwd or str(Path.cwd()))
        line = f"RUN {self._jobs} {base64.b64encode(script.encode()).decode()}\n"
        self.machine.ports["control"].sendall(line.encode())
        streams = {
            "stdout": _Stream(self._mark, on_stdout),
            "stderr": _Stream(self._mark, on_stderr),
        }
        code: int | None = None
        deadline = time.monotonic() + timeout_s
        interrupted = killed = False
        while code is None or not all(stream.closed for stream in streams.values()):
            try:
                ready = self._wait(deadline)
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                self._kill("INT")
                continue
            if not ready:
                if killed:
                    raise self._died("the guest does not answer")
                killed = True
                deadline = time.monotonic() + 10
                self._kill("KILL")
            for name, data in ready:
                if name == "control":
                    self._control += data
                else:
                    streams[name].take(data)
            while b"\n" in self._control:
                words = self._line(deadline).split()
                if words[:2] == ["EXIT", str(self._jobs)]:
                    code = int(words[2])
        if killed:
            raise LinscopeError(f"the command did not end within {timeout_s:g} s", next_step="--timeout")
        return Result(130 if interrupted else code, streams["stdout"].text(), streams["stderr"].text())

    def run_to_end(self, command: str | Sequence[str], *, timeout_s: float = 600) -> str:
        """Run a command that ends the guest, by a crash for instance; returns all that its console said.

        Raises LinscopeError when the guest still runs when the time is over.
        """
        self._jobs += 1
        script = make_script(command, os.environ, str(Path.cwd()))
        line = f"RUN {self._jobs} {base64.b64encode(script.encode()).decode()}\n"
        self.machine.ports["control"].sendall(line.encode())
        deadline = time.monotonic() + timeout_s
        ended = False
        while not ended:
            ready = self.machine.selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                raise self._died(f"the guest did not end within {timeout_s:g} s")
            ended = any(not _receive(key.fileobj) for key, _ in ready)
        return (self.machine.folder / "console").read_text(errors="replace").replace("\r", "")

    def shell(self, terminal: int) -> None:
        """Connect a terminal's descriptor to an interactive shell, whose end is the guest's."""
        width, height = os.get_terminal_size(terminal)
        command = f"stty rows {height} cols {width} 2>/dev/null; exec \"${{SHELL:-/bin/sh}}\" -i"
        script = make_script(command, os.environ, str(Path.cwd()))
        line = f"SHELL {base64.b64encode(script.encode()).decode()}\n"
        self.machine.ports["control"].sendall(line.encode())
        port = self.machine.ports["shell"]
        with selectors.DefaultSelector() as selector:
            selector.register(terminal, selectors.EVENT_READ)
            selector.register(port, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == terminal:
                        port.sendall(os.read(terminal, _CHUNK))
                        continue
                    data = port.recv(_CHUNK)
                    if not data:
                        return
                    os.write(1, data)

    def dump(self, target: str, form: str = "elf") -> None:
        """Write the guest's memory to a new file, whole or not at all; it goes on afterwards.

        form: one of qmp.FORMATS.  Raises LinscopeError, OutputError.
        """
        part = f"{target}.part"
        try:
            with open(part, "wb"):
                pass  # says at once when it cannot be written
            dump_memory(f"{self.machine.folder}/qmp", os.path.realpath(part), form)
            Path(part).replace(target)
        except OSError as error:
            raise OutputError("cannot write the dump", where=target, why=error.strerror or "") from None
        finally:
            with contextlib.suppress(OSError):
                os.unlink(part)

    def _kill(self, name: str) -> None:
        self.machine.ports["control"].sendall(f"KILL {self._jobs} {name}\n".encode())

    def _wait(self, deadline: float) -> list[tuple[str, bytes]]:
        """(port, what came) of the ports that have something; empty at the deadline.  Raises LinscopeError."""
        found = []
        for key, _ in self.machine.selector.select(max(deadline - time.monotonic(), 0)):
            data = _receive(key.fileobj)
            if not data:
                raise self._died("the guest has died")
            found.append((key.data, data))
        return found

    def _line(self, deadline: float) -> str:
        """The next line on the control port.  Raises LinscopeError."""
        while b"\n" not in self._control:
            ready = self._wait(deadline)
            if not ready:
                raise self._died(f"the guest did not boot within {self.options.boot_deadline_s:g} s")
            self._control += b"".join(data for name, data in ready if name == "control")
        line, self._control = self._control.split(b"\n", 1)
        return line.decode(errors="replace")

    def _died(self, what: str) -> LinscopeError:
        """The error with what the console and QEMU said last."""
        return LinscopeError(what, why="its last words:\n" + self.machine.last_words())


def _receive(port: object) -> bytes:
    """What came on a port; nothing when the guest has gone."""
    assert isinstance(port, socket.socket)
    try:
        return port.recv(_CHUNK)
    except ConnectionResetError:
        return b""


class _Stream:
    """One output of a command, up to the mark behind its end."""

    def __init__(self, mark: bytes, sink: Callable[[bytes], object] | None) -> None:
        """sink: given the output as it comes; None: it is kept."""
        self.closed = False
        self._mark = mark
        self._kept: list[bytes] = []
        self._sink = sink or self._kept.append
        self._tail = b""  # what may be the mark's beginning

    def take(self, data: bytes) -> None:
        """What came next."""
        data = self._tail + data
        end = data.find(self._mark)
        if end >= 0:
            self.closed = True
        else:
            end = len(data) - _overlap(data, self._mark)
            self._tail = data[end:]
        if end:
            self._sink(data[:end])

    def text(self) -> str:
        """What was kept."""
        return b"".join(self._kept).decode(errors="replace")


def _overlap(data: bytes, mark: bytes) -> int:
    """How many of the last bytes may be the mark's first ones."""
    for size in range(min(len(data), len(mark) - 1), 0, -1):
        if data.endswith(mark[:size]):
            return size
    return 0


def make_script(command: str | Sequence[str], environment: Mapping[str, str], cwd: str) -> str:
    """The sh script that runs a command (words, or a line) with this environment in this folder."""
    lines = [
        f"export {name}={shlex.quote(value)}"
        for name, value in environment.items()
        if name not in _HIDDEN and name.replace("_", "a").isalnum() and not name[0].isdigit()
    ]
    lines.append("PATH=$PATH:/run/lab/bin")  # busybox, for what this machine lacks: modprobe, say
    lines.append(f"cd {shlex.quote(cwd)} || exit 127")
    lines.append(command if isinstance(command, str) else "exec " + shlex.join(command))
    return "\n".join(lines) + "\n"
