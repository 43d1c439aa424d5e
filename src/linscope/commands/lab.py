"""`linscope lab`: a command, a shell or a memory dump of a disposable kernel with this machine's files."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from linscope.errors import UsageError
from linscope.units import format_bytes, parse_duration

if TYPE_CHECKING:
    from linscope.lab.guest import Guest, GuestOptions

_ACTIONS = ("run", "shell", "dump", "build")


class Lab:
    """The subcommand; see linscope.contracts.Command."""

    summary = "run a command in a disposable kernel with this machine's files"
    examples = (
        "linscope lab run -- uname -a",
        "linscope lab run --kernel lab -- linscope ftrace irqsoff -- ls",
        "linscope lab dump -o vmcore -- modprobe loop",
        "linscope lab shell",
    )
    formats = False
    splits = True

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        from linscope.lab.qmp import FORMATS

        add = parser.add_argument
        add("action", choices=_ACTIONS, help="run CMD, open a shell, dump the memory, build the lab's kernel")
        add("--kernel", default="debian", metavar="WHICH", help="debian (default), lab, or the path of an image")
        add("--cpus", type=int, default=1, metavar="N", help="CPUs (1; more are slow without KVM)")
        add("--mem", default="1G", metavar="SIZE", help="memory (1G)")
        add("--append", default="", metavar="ARGS", help="more for the kernel's command line")
        add("--disk", default="", metavar="FILE", help="a raw image as /dev/vda; writes reach it")
        add("--share", default="", metavar="DIR", help="a folder that the guest may really change")
        add("--timeout", default="10m", metavar="TIME", help="end the command after this time (10m)")
        add("-o", "--output", default="vmcore", metavar="FILE", help="of dump: the file (vmcore)")
        add("--form", default="elf", choices=FORMATS, help="of dump: form of the file (elf)")
        add("--jobs", type=int, default=0, metavar="N", help="of build: compilers at once (one a CPU)")

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; returns the command's exit code."""
        from linscope.lab.guest import Guest

        if arguments.action == "build":
            return _build(arguments.jobs)
        if arguments.action == "run" and not arguments.command:
            raise UsageError("no command to run", next_step="linscope lab run -- uname -a")
        if arguments.action == "shell" and not os.isatty(0):
            raise UsageError("a shell needs a terminal", next_step="linscope lab run -- CMD")
        timeout_s = parse_duration(arguments.timeout) / 1e9
        code = 0
        with Guest(_options(arguments), say=_say) as guest:
            if arguments.action == "shell":
                return _shell(guest)
            if arguments.command:
                result = guest.run(arguments.command, timeout_s=timeout_s, on_stdout=_out, on_stderr=_err)
                code = result.exit_code
            if arguments.action == "dump":
                guest.dump(arguments.output, arguments.form)
                size = format_bytes(os.path.getsize(arguments.output))
                _say(f"{size} of guest memory to {arguments.output}")
        return code


def _options(arguments: argparse.Namespace) -> GuestOptions:
    from linscope.lab.guest import GuestOptions

    return GuestOptions(
        kernel=arguments.kernel,
        cpus=arguments.cpus,
        memory=arguments.mem,
        append=arguments.append,
        disk=arguments.disk,
        share=arguments.share,
    )


def _say(text: str) -> None:
    print(f"linscope lab: {text}", file=sys.stderr)


def _out(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _err(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _shell(guest: Guest) -> int:
    """A shell on this terminal, in raw mode while it lasts."""
    import termios
    import tty

    _say(f"a shell in {guest!r}; exit ends it, and every change is forgotten")
    saved = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        guest.shell(0)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)
    return 0


def _build(jobs: int) -> int:
    from linscope.commands._progress import progress_bar
    from linscope.lab.build import build_kernel

    with progress_bar("building the lab's kernel") as step:
        image = build_kernel(jobs or os.cpu_count() or 1, _say, step)
    _say(f"built {image}; linscope lab run --kernel lab -- CMD boots it")
    return 0


LAB = Lab()
