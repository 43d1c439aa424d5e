"""Numbers of the kernel -> the texts that are printed for them: symbols, stacks, users, cgroups, times."""

from __future__ import annotations

import os
import struct

from linscope.lang import types as t
from linscope.session.script.clock import Clocks
from linscope.session.script.gfp import gfp_text

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from linscope.bpf.kernel.maps import KernelMap
    from linscope.session.script.kernel_symbols import KernelSymbols
    from linscope.session.script.user_symbols import UserSymbols

_SECOND_MAP = 1 << 30  # as lang/codegen/stacks.py marks them
_FAILED = 1 << 31
_INDENT = " " * 8
_CGROUPS = "/sys/fs/cgroup"
_BUILD_ID_VALID = 1  # BPF_STACK_BUILD_ID_VALID of enum bpf_stack_build_id_status, include/uapi/linux/bpf.h


class Resolver:
    """What the printers of one session ask; all is read at the first question and kept."""

    def __init__(self, settings: Mapping[str, str | int]) -> None:
        """settings: of the unit."""
        self.stacks: Mapping[str, KernelMap] = {}  # the maps of stacks, by the names that codegen gives them
        self.fallback_paths: list[str] = []  # programs that the probes are in: for processes that are gone
        self.trailer = str(settings.get("str_trunc_trailer", "..")).encode("utf-8", "surrogateescape")
        self.clocks = Clocks()
        self._demangle = bool(int(settings.get("cpp_demangle", 1)))
        self._lines = bool(int(settings.get("show_debug_info", 1)))
        self._kernel: KernelSymbols | None = None
        self._user: UserSymbols | None = None
        self._texts: dict[tuple[object, ...], str] = {}
        self._users: dict[int, str] = {}
        self._cgroups: dict[tuple[int, str], str] = {}

    # -- symbols

    @property
    def kernel(self) -> KernelSymbols:
        """Names of kernel addresses."""
        if self._kernel is None:
            from linscope.session.script.kernel_symbols import KernelSymbols

            self._kernel = KernelSymbols()
        return self._kernel

    @property
    def user(self) -> UserSymbols:
        """Names of processes' addresses."""
        if self._user is None:
            from linscope.session.script.user_symbols import UserSymbols

            self._user = UserSymbols(demangle=self._demangle, lines=self._lines, fallback_paths=self.fallback_paths)
        return self._user

    def kernel_symbol(self, address: int) -> str:
        """The function's name without a distance; the address where there is none."""
        found = self.kernel.find(address)
        return found[0] if found is not None else f"{address:#x}"

    def user_symbol(self, address: int, pid: int) -> str:
        """The function's name without a distance; the address where there is none."""
        frames = self.user.frames(address, pid)
        return frames[-1].name if frames else f"{address:#x}"

    # -- stacks

    def stack_text(self, kind: t.Stack) -> Callable[[int], str]:
        """Text of a Stack's value: an empty line's end, then a line for each frame; "" when it could not be taken."""

        def text(value: int) -> str:
            key = (kind.mode, kind.depth, value)
            found = self._texts.get(key)
            if found is None:
                found = self._stack(kind, value)
                if len(self._texts) > 1 << 16:
                    self._texts.clear()
                self._texts[key] = found
            return found

        return text

    def stack_data(self, kind: t.Stack, value: int) -> bytes:
        """What the kernel wrote of a stack, innermost frame first; b"" when it could not be taken.

        u64 addresses, the rest zero; in the mode build_id entries of struct bpf_stack_build_id.
        """
        number = value & 0xFFFFFFFF
        if number & _FAILED:
            return b""
        prefix = "stkb" if kind.mode == "build_id" else "stk"
        stacks = self.stacks.get(f"{prefix}_{kind.depth}_{2 if number & _SECOND_MAP else 1}")
        data = stacks.lookup(struct.pack("<I", number & ~_SECOND_MAP)) if stacks is not None else None
        return data or b""

    def _stack(self, kind: t.Stack, value: int) -> str:
        pid = value >> 32 & 0xFFFFFFFF
        data = self.stack_data(kind, value)
        if not data:
            return ""
        if kind.mode == "build_id":
            return "\n" + "".join([_build_id_line(*entry) for entry in struct.iter_unpack("<i20sQ", data) if entry[0]])
        addresses = [address for (address,) in struct.iter_unpack("<Q", data) if address]
        if kind.mode == "raw":
            return "\n" + "".join([f"{address:x}\n" for address in addresses])
        line = self._perf_line if kind.mode == "perf" else self._line
        in_user = kind.kind == t.USER
        return "\n" + "".join(
            [line(address, pid if in_user else 0, place > 0) for place, address in enumerate(addresses)]
        )

    def _line(self, address: int, pid: int, caller: bool) -> str:
        if not pid:
            found = self.kernel.find(address)
            return f"{_INDENT}{found[0]}+{found[1]}\n" if found is not None else f"{_INDENT}{address:#x}\n"
        lines = []
        for name, distance, _path, place in self.user.frames(address, pid, caller=caller):
            head = f"{_INDENT}[inlined] {name}" if distance < 0 else f"{_INDENT}{name}+{distance}"
            lines.append(f"{head}@{place}\n" if place else f"{head}\n")
        return "".join(lines) or f"{_INDENT}{address:#x}\n"

    def _perf_line(self, address: int, pid: int, caller: bool) -> str:
        if not pid:
            found = self.kernel.find(address)
            return f"\t{address:x} {f'{found[0]}+{found[1]}' if found is not None else f'{address:#x}'}\n"
        lines = []
        for name, distance, path, _place in self.user.frames(address, pid, caller=caller):
            lines.append(
                f"\t{address:x} {name} (inlined)\n" if distance < 0 else f"\t{address:x} {name}+{distance} ({path})\n"
            )
        return "".join(lines) or f"\t{address:x} {address:#x} ([unknown])\n"

    # -- names

    def timestamp(self, kind: t.Timestamp) -> Callable[[int], str]:
        """Text of a time."""
        return self.clocks.formatter(kind.format, kind.clock)

    def user_name(self, uid: int) -> str:
        """The name of a user; the number where there is none."""
        found = self._users.get(uid)
        if found is None:
            import pwd

            try:
                found = pwd.getpwuid(uid & 0xFFFFFFFF).pw_name
            except (KeyError, OverflowError):
                found = str(uid)
            self._users[uid] = found
        return found

    def cgroup_path(self, pattern: str) -> Callable[[int], str]:
        """Paths of a cgroup in all hierarchies that match: "unified:/system.slice"."""

        def text(number: int) -> str:
            key = (number, pattern)
            if key not in self._cgroups:
                self._cgroups[key] = find_cgroup(number, pattern)
            return self._cgroups[key]

        return text

    def error_text(self, number: int) -> str:
        """strerror's text."""
        return os.strerror(number)

    def syscall_name(self, number: int) -> str:
        """The name of a system call; "unknown" where there is none."""
        from linscope.abi.syscalls import NAMES

        return NAMES[number] if 0 <= number < len(NAMES) and NAMES[number] else "unknown"

    def signal_name(self, number: int) -> str:
        """SIGKILL; the number where there is none."""
        import signal

        try:
            return signal.Signals(number).name
        except ValueError:
            return str(number)

    gfp_flags = staticmethod(gfp_text)


def _build_id_line(status: int, build_id: bytes, offset: int) -> str:
    if status != _BUILD_ID_VALID:
        return f"{offset:x}\n"
    return f"{build_id.hex()} 0x{offset:02x}\n"


def find_cgroup(number: int, pattern: str = "") -> str:
    """Paths of the cgroups with an id (the inode of their folder), each behind its hierarchy's name; ";" between.

    pattern: shell wildcards on the hierarchy's name, "" for all.
    """
    found = []
    for name, place in _hierarchies():
        if pattern:
            from fnmatch import fnmatchcase

            if not fnmatchcase(name, pattern):
                continue
        path = _find_folder(place, number)
        if path is not None:
            found.append(f"{name}:{path}")
    return ";".join(found)


def _hierarchies() -> list[tuple[str, str]]:
    """(name, where it is mounted): the unified one and those of version 1."""
    found = []
    try:
        with open("/proc/self/mounts", encoding="utf-8") as file:
            for line in file:
                fields = line.split()
                if fields[2] == "cgroup2":
                    found.append(("unified", fields[1]))
                elif fields[2] == "cgroup":
                    found.append((fields[1].rpartition("/")[2], fields[1]))
    except OSError:
        pass
    return found or [("unified", _CGROUPS)]


def _find_folder(place: str, number: int) -> str | None:
    pending = [place]
    while pending:
        folder = pending.pop()
        try:
            if os.stat(folder).st_ino == number:
                return folder[len(place) :] or "/"
            with os.scandir(folder) as entries:
                pending += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # gone since
    return None
