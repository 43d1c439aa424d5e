"""The files that a probe in user space means: a path, a program of $PATH, a library ("libc"), a pattern, a process's.

Source: what bpftrace 0.26 does with each; glibc, sysdeps/generic/dl-cache.h for /etc/ld.so.cache.
"""

from __future__ import annotations

import os

from linscope.binfmt.elf_view import is_elf
from linscope.lang.probes.wildcards import filter_names, has_wildcard

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

_CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER, _CACHE_ENTRY = 48, 24
_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")


def find_files(target: str, pid: int | None = None) -> list[str]:
    """The files that a target means, best first; empty when there is none.

    pid: the process that is traced; its own files count when it lives in another mount namespace.
    """
    if target == "*":
        return mapped_files(pid) if pid is not None else _files_of_all()
    if has_wildcard(target):
        return _matching_files(target)
    if target.startswith("lib") and "/" not in target:
        library = find_library(target, pid)
        if library:
            return [library]
    root = other_root(pid)
    candidates = [target]
    if "/" not in target:
        candidates += [f"{folder}/{target}" for folder in _search_path(pid if root else None) if folder]
    if root:
        candidates = [in_root(root, path) for path in candidates]
    return [path for path in candidates if os.path.isfile(path) and is_elf(path)]


def other_root(pid: int | None) -> str:
    """ "/proc/PID/root" when a process has a mount namespace of its own, "" when it has ours, or is gone."""
    if not pid:
        return ""
    try:
        theirs, ours = os.stat(f"/proc/{pid}/ns/mnt"), os.stat("/proc/self/ns/mnt")
    except OSError:
        return ""
    return f"/proc/{pid}/root" if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino) else ""


def in_root(root: str, path: str) -> str:
    """A path below a root; one that is there already stays."""
    return path if path.startswith("/proc/") else f"{root}/{path.lstrip('/')}"


def _search_path(pid: int | None) -> list[str]:
    """The folders of $PATH, of a process or our own."""
    value = os.environ.get("PATH", "")
    if pid is not None:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                for one in file.read().split(b"\0"):
                    if one.startswith(b"PATH="):
                        value = os.fsdecode(one[5:])
        except OSError:
            pass
    return value.split(":")


def _matching_files(pattern: str) -> list[str]:
    from glob import glob  # imports re

    patterns = [pattern]
    if "/" not in pattern:
        patterns += [f"{folder}/{pattern}" for folder in _search_path(None) if folder]
    found: dict[str, None] = {}
    for one in patterns:
        paths = sorted(glob(one))  # noqa: PTH207 - keeps "./" as it was written
        found.update(dict.fromkeys(path for path in paths if os.path.isfile(path) and is_elf(path)))
    return list(found)


# -- libraries


def find_library(name: str, pid: int | None = None) -> str:
    """The path of a library by its name without version ("libc") or with it ("libc.so.6"); "" when there is none.

    pid: what that process has mapped comes first.
    """
    if pid is not None:
        for path in mapped_files(pid):
            base = path.rpartition("/")[2]
            if base.startswith(name) and base[len(name) : len(name) + 1] in ("", ".", "-"):
                return path
    for path in _cached_libraries(name):
        if _is_ours(path):
            return path
    machine = f"{os.uname().machine}-linux-gnu"
    for folder in (f"/lib/{machine}", f"/usr/lib/{machine}", *_FOLDERS):
        try:
            names = sorted(entry.name for entry in os.scandir(folder) if entry.name.startswith(name))
        except OSError:
            continue
        for found in names:
            if _is_library(name, found) and _is_ours(f"{folder}/{found}"):
                return f"{folder}/{found}"
    return ""


def _is_library(name: str, file: str) -> bool:
    """Whether a file is called so: libc.so.6 is "libc", "libc.so" and "libc.so.6"."""
    return file == name or file.startswith((f"{name}.so", f"{name}."))


def _cached_libraries(name: str) -> Iterator[str]:
    """The paths that the loader's cache has for a name, in its order (newest version first)."""
    return (path for file, path in _cache_entries(name) if _is_library(name, file))


def _cache_entries(name: str) -> Iterator[tuple[str, str]]:
    """(file, path) of the libraries in the loader's cache whose file's name begins with a name."""
    try:
        with open(_CACHE, "rb") as file:
            data = file.read()
    except OSError:
        return
    begin = data.find(_CACHE_MAGIC)
    wanted = name.encode()
    if begin < 0 or data.find(wanted, begin) < 0:
        return
    count = int.from_bytes(data[begin + 20 : begin + 24], "little")
    for at in range(begin + _CACHE_HEADER, begin + _CACHE_HEADER + count * _CACHE_ENTRY, _CACHE_ENTRY):
        key = begin + int.from_bytes(data[at + 4 : at + 8], "little")
        if data.startswith(wanted, key):
            value = begin + int.from_bytes(data[at + 8 : at + 12], "little")
            name_end, path_end = data.find(b"\0", key), data.find(b"\0", value)
            yield os.fsdecode(data[key:name_end]), os.fsdecode(data[value:path_end])


def _is_ours(path: str) -> bool:
    """Whether a file is a library for programs of our own kind; libc.so may be a script for the linker."""
    try:
        with open(path, "rb") as file, open("/proc/self/exe", "rb") as own:
            head, mine = file.read(20), own.read(20)
    except OSError:
        return False
    return head[:6] == mine[:6] and head[18:20] == mine[18:20]


# -- processes


def mapped_files(pid: int) -> list[str]:
    """The files whose code a process has mapped, sorted; below /proc/PID/root when it lives in another namespace."""
    root = other_root(pid)
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(maxsplit=5) for line in file]
    except OSError:
        return []
    paths = {words[5].rstrip("\n") for words in lines if len(words) == 6 and "x" in words[1]}
    files = (path.removesuffix(" (deleted)") for path in paths if path.startswith("/"))
    return sorted(in_root(root, path) if root else path for path in files)


def _files_of_all() -> list[str]:
    found: set[str] = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            found.update(mapped_files(int(entry.name)))
    return sorted(path for path in found if is_elf(path))


def near_files(target: str) -> list[str]:
    """Names of programs or libraries that may have been meant."""
    if "/" in target:
        folder, _, name = target.rpartition("/")
        try:
            names = [entry.name for entry in os.scandir(folder or "/")]
        except OSError:
            return []
        known = {f"{folder}/{one}" for one in names}
    elif target.startswith("lib"):
        known = {file.partition(".so")[0] for file, _ in _cache_entries(target[:4])}
    else:
        known = set()
        for folder in _search_path(None):
            try:
                known.update(entry.name for entry in os.scandir(folder or "."))
            except OSError:
                continue
        name = target
        known = set(filter_names(f"{name[:2]}*", known))
    import difflib

    return difflib.get_close_matches(target, known, 2)
