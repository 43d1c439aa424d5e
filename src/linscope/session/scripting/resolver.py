"""Numbers -> names: symbols, users, cgroups, errors, system calls, signals, times; each looked up when first shown."""

from __future__ import annotations

import os

from linscope.session.script.clock import Clocks

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.lang import types as t
    from linscope.session.scripting.stacks import Symbols


class Resolver:
    """What the numbers of one script's output mean."""

    def __init__(self, settings: dict[str, str | int]) -> None:
        self.settings = settings
        self.trailer = str(settings.get("str_trunc_trailer", "..")).encode()
        self.stack_indent = 8  # blanks before the frames of a stack; 4 in the keys of maps
        self._clocks = Clocks()
        self._users: dict[int, str] | None = None
        self._symbols: Symbols | None = None

    @property
    def symbols(self) -> Symbols:
        """Addresses and stacks."""
        if self._symbols is None:
            from linscope.session.scripting.stacks import Symbols

            self._symbols = Symbols(self.settings)
        return self._symbols

    def kernel_symbol(self, address: int) -> str:
        """The symbol that a kernel address lies in."""
        return self.symbols.kernel(address)

    def user_symbol(self, address: int, pid: int) -> str:
        """The symbol that a process's address lies in."""
        return self.symbols.user(address, pid)

    def stack_text(self, type: t.Stack) -> Callable[[int], str]:
        """What shows a stack."""
        return lambda value: self.symbols.stack(type, value, self.stack_indent)

    def timestamp(self, type: t.Timestamp) -> Callable[[int], str]:
        """What shows a time."""
        return self._clocks.formatter(type.format, type.clock)

    def user_name(self, uid: int) -> str:
        """A user's name; the number when it has none."""
        if self._users is None:
            self._users = {}
            try:
                with open("/etc/passwd", encoding="utf-8", errors="replace") as file:
                    for line in file:
                        parts = line.split(":")
                        if len(parts) > 2 and parts[2].isdigit():
                            self._users.setdefault(int(parts[2]), parts[0])
            except OSError:
                return str(uid)
        return self._users.get(uid, str(uid))

    def syscall_name(self, number: int) -> str:
        """A system call's name."""
        from linscope.abi.syscalls import NAMES

        return (NAMES[number] if 0 <= number < len(NAMES) else "") or str(number)

    def signal_name(self, number: int) -> str:
        """A signal's name."""
        import signal

        try:
            return signal.Signals(number).name
        except ValueError:
            return str(number)

    def error_text(self, number: int) -> str:
        """The text of an errno."""
        return os.strerror(number)

    def gfp_flags(self, flags: int) -> str:
        """Allocation flags by their names."""
        from linscope.session.script.gfp import gfp_text

        return gfp_text(flags)

    def cgroup_path(self, pattern: str) -> Callable[[int], str]:
        """What shows a cgroup: its paths in the hierarchies whose names match a pattern ("" for all)."""
        return lambda number: cgroup_paths(number, pattern)


def cgroup_paths(number: int, pattern: str) -> str:
    """ "unified:/path" for each hierarchy."""
    from fnmatch import fnmatchcase

    found = []
    for name, root in _hierarchies():
        if not pattern or fnmatchcase(name, pattern):
            path = _find_inode(root, number)
            if path is not None:
                found.append(f"{name}:{path}")
    return ";".join(found)


def _hierarchies() -> list[tuple[str, str]]:
    """(name, where it is mounted) of the cgroup hierarchies."""
    found = []
    with open("/proc/mounts", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.split()
            if fields[2] == "cgroup2":
                found.append(("unified", fields[1]))
            elif fields[2] == "cgroup":
                found.append((fields[1].rpartition("/")[2], fields[1]))
    return found


def _find_inode(root: str, number: int) -> str | None:
    """The path below root of the folder with an inode."""
    for folder, _, _ in os.walk(root):
        try:
            if os.stat(folder).st_ino == number:
                return folder.removeprefix(root) or "/"
        except OSError:
            continue
    return None
