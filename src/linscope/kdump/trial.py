"""Try kdump out: crash a guest of the lab, capture it there, open the dump here."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from linscope.errors import LinscopeError
from linscope.lab.guest import Guest, GuestOptions

_CRASH = "echo 1 > /proc/sys/kernel/sysrq; sync; echo c > /proc/sysrq-trigger"


class TrialOptions(NamedTuple):
    """How to try."""

    kernel: str = "debian"  # see the lab
    memory: str = "1G"
    reserve: str = "256M"  # crashkernel=
    level: int = 31
    compression: str = "zstd"
    makedumpfile: bool = False
    append: str = ""
    crash: str = _CRASH  # a line for sh that crashes the guest
    output: str = "vmcore"  # where the dump goes; its log is beside it: vmcore.log
    timeout_s: float = 180


class Step(NamedTuple):
    """What was done."""

    name: str
    duration_s: float
    finding: str


def run_trial(options: TrialOptions, say: Callable[[Step], None]) -> Path:
    """Boot, load, crash, capture; returns the dump's path.  say: told each step when it is done.

    Raises LinscopeError with the step that failed and the console's last lines.
    """
    folder = Path(tempfile.mkdtemp(prefix="linscope-kdump-"))
    try:
        return _Trial(options, folder, say).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Trial:
    """One trial, with a folder that the guest shares."""

    def __init__(self, options: TrialOptions, folder: Path, say: Callable[[Step], None]) -> None:
        self._options = options
        self._folder = folder
        self._say = say
        self._begin = time.monotonic()

    def run(self) -> Path:
        options = self._options
        append = f"crashkernel={options.reserve} {options.append}".strip()
        lab = GuestOptions(kernel=options.kernel, memory=options.memory, append=append, share=str(self._folder))
        with Guest(lab) as guest:
            self._done("boot", f"{guest.machine.accelerator}, {options.memory}, crashkernel={options.reserve}")
            self._load(guest)
            console = guest.run_to_end(options.crash, timeout_s=options.timeout_s)
        return self._fetch(console)

    def _load(self, guest: Guest) -> None:
        options = self._options
        words = [sys.executable, "-m", "linscope", "kdump", "load", "--target", str(self._folder), "--then", "poweroff"]
        words += ["--kernel", str(guest.kernel.image), "-d", str(options.level), "-c", options.compression]
        words += ["--makedumpfile"] if options.makedumpfile else []
        result = guest.run(words, timeout_s=options.timeout_s)
        if result.exit_code:
            raise LinscopeError("the guest did not load a capture kernel", why=result.stderr.strip())
        self._done("load", result.stdout.strip())

    def _fetch(self, console: str) -> Path:
        """The dump out of the shared folder."""
        lines = [line for line in console.splitlines() if line.strip()]
        dump = next(self._folder.glob("crash-*/vmcore"), None)
        if dump is None:
            why = "its last words:\n" + "\n".join("    " + line for line in lines[-20:])
            raise LinscopeError("the guest left no dump", why=why)
        self._done("crash and capture", next((line for line in lines if " of memory to " in line), ""))
        target = Path(self._options.output)
        shutil.copyfile(dump, target)
        log = dump.with_name("dmesg.txt")
        if log.exists():
            shutil.copyfile(log, f"{target}.log")
        self._done("fetch", str(target))
        return target

    def _done(self, name: str, finding: str) -> None:
        now = time.monotonic()
        self._say(Step(name, now - self._begin, finding))
        self._begin = now
