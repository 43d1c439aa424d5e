"""A command that is started for a script, and stands still at its first instruction until the probes are attached."""

from __future__ import annotations

import ctypes
import os

from linscope.session.script.output import error
from linscope.session.script.signals import set_defaults

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

_TRACEME, _DETACH = 0, 17  # include/uapi/linux/ptrace.h
_NOT_FOUND = 127
_SIGINT, _SIGKILL, _SIGPIPE, _SIGTERM, _SIGXFSZ = 2, 9, 13, 15, 25  # Python ignores two of them


class Child:
    """One command; ``pid`` is its process, which has its program's memory but has not run."""

    def __init__(self, words: Sequence[str]) -> None:
        """Raises OSError: it cannot be started."""
        self.pid = os.fork()
        if not self.pid:
            self._become(words)
        _, status = os.waitpid(self.pid, 0)
        self._stands = os.WIFSTOPPED(status)
        if not self._stands:
            raise FileNotFoundError(2, "cannot be run", words[0] if words else "")

    def _become(self, words: Sequence[str]) -> None:
        """In the new process: the command, which stops as soon as its program is loaded."""
        try:
            ctypes.CDLL(None).ptrace(_TRACEME, 0, None, None)
            set_defaults((_SIGINT, _SIGTERM, _SIGPIPE, _SIGXFSZ))
            os.execvp(words[0], list(words))
        except (OSError, IndexError) as failed:
            error(f"ERROR: failed to execute command '{' '.join(words)}': {failed}")
        finally:
            os._exit(_NOT_FOUND)

    def release(self) -> None:
        """Let it run."""
        if self._stands:
            self._stands = False
            ctypes.CDLL(None).ptrace(_DETACH, self.pid, None, None)

    def end(self) -> None:
        """End it when it still runs, and wait for it."""
        try:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return
            os.kill(self.pid, _SIGKILL if self._stands else _SIGTERM)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):  # contextlib would take 3 ms to import
            pass
