"""Attach points -> the probes that they stand for here: wildcards matched, files and functions found.

A plain name costs next to nothing: whether a kernel function is there, the kernel says when it is attached.
"""

from __future__ import annotations

import os

from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.definitions.tracepoints import tracing_folder
from linscope.lang.probe import Probe
from linscope.lang.probes.attach_points import AttachPoint

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable

_HERE = (0, 1)  # the compiler knows where the attach point stands
_LIBRARIES = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib")
HARDWARE = (
    "cpu-cycles", "cycles", "instructions", "cache-references", "cache-misses", "branch-instructions", "branches",
    "branch-misses", "bus-cycles", "frontend-stalls", "backend-stalls", "ref-cycles",
)  # fmt: skip
SOFTWARE = (
    "cpu-clock", "cpu", "task-clock", "page-faults", "faults", "context-switches", "cs", "cpu-migrations",
    "minor-faults", "major-faults", "alignment-faults", "emulation-faults", "dummy", "bpf-output",
)  # fmt: skip
ITERATORS = ("task", "task_file", "task_vma")


def has_wildcard(text: str) -> bool:
    """Whether a name stands for several."""
    return any(letter in text for letter in "*?[")


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that match a pattern, in order, each once."""
    from fnmatch import translate
    from re import compile as compile_pattern

    match = compile_pattern(translate(pattern)).match
    return sorted({name for name in names if match(name)})


def expand(point: AttachPoint, *, pid: int | None = None) -> list[Probe]:
    """All probes of an attach point.  pid: the process that is traced.  Raises Wrong: it is not there."""
    return _EXPANDERS.get(point.kind, _one)(point, pid or 0)


def _one(point: AttachPoint, pid: int) -> list[Probe]:
    return [
        Probe(
            point.kind, point.text, module=point.module, target=point.target, path=point.path, address=point.address,
            offset=point.offset, count=point.count, pid=pid,
        )
    ]  # fmt: skip


def _counter(point: AttachPoint, pid: int) -> list[Probe]:
    known = HARDWARE if point.kind == "hardware" else SOFTWARE
    if point.target not in known:
        raise Wrong(_HERE, f"Invalid {point.kind} probe: {point.target}", near(point.target, known))
    return _one(point, pid)


def near(name: str, known: Iterable[str]) -> str:
    """A hint: what may have been meant."""
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), 2)
    return f"did you mean {' or '.join(found)}?" if found else ""


def _iterator(point: AttachPoint, pid: int) -> list[Probe]:
    names = matching(ITERATORS, point.target) if has_wildcard(point.target) else [point.target]
    if not set(names) <= set(ITERATORS) or not names:
        raise Wrong(_HERE, f"iterator {point.target} is not available", f"there are {', '.join(ITERATORS)}")
    return [Probe(point.kind, f"iter:{name}", target=name, path=point.path) for name in names]


def _folders(folder: str) -> list[str]:
    """The folders in a folder."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def tracepoints(system: str, event: str) -> list[tuple[str, str]]:
    """(subsystem, event) of the tracepoints that match two patterns."""
    events = tracing_folder() + "/events"
    systems = matching(_folders(events), system) if has_wildcard(system) else [system]
    found = []
    for name in systems:
        if has_wildcard(event):
            found += [(name, one) for one in matching(_folders(f"{events}/{name}"), event)]
        elif os.path.isdir(f"{events}/{name}/{event}"):
            found.append((name, event))
    return found


def _tracepoint(point: AttachPoint, pid: int) -> list[Probe]:
    found = tracepoints(point.module, point.target)
    if not found:
        if has_wildcard(point.module + point.target):
            raise Wrong(_HERE, f"No matches for {point.text}")
        from linscope.bpf.kernel.near_names import near_tracepoints

        hint = near_tracepoints(point.target, point.module)
        raise Wrong(_HERE, f"Tracepoint not found: {point.module}:{point.target}", hint)
    return [Probe("tracepoint", f"tracepoint:{s}:{e}", module=s, target=e, pid=pid) for s, e in found]


def raw_tracepoints() -> list[str]:
    """Names of the raw tracepoints: those of all tracepoints that are not a system call's."""
    events = tracing_folder() + "/events"
    names = {"sys_enter", "sys_exit"}
    for system in _folders(events):
        if system not in ("syscalls", "ftrace"):
            names.update(_folders(f"{events}/{system}"))
    return sorted(names)


def _raw(point: AttachPoint, pid: int) -> list[Probe]:
    if not has_wildcard(point.target):
        return [Probe(point.kind, f"rawtracepoint:{point.target}", module=point.module, target=point.target)]
    names = matching(raw_tracepoints(), point.target)
    if not names:
        raise Wrong(_HERE, f"No matches for {point.text}")
    return [Probe(point.kind, f"rawtracepoint:{name}", module=point.module, target=name) for name in names]


def kernel_functions(module: str = "") -> list[str]:
    """Functions that take probes; of a module, or all.  Raises Wrong: nobody tells."""
    place = tracing_folder() + "/available_filter_functions"
    try:
        with open(place, encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        lines = []
    if lines:
        pairs = ((line.split()[0], line.partition("[")[2].rstrip("]")) for line in lines)
        return [name for name, owner in pairs if not module or (owner or "vmlinux") == module]
    try:
        with open("/proc/kallsyms", encoding="ascii", errors="replace") as file:
            words = [line.split() for line in file]
    except OSError:
        words = []
    return [
        one[2] for one in words
        if one[1] in "tT" and (not module or (one[3].strip("[]") if len(one) > 3 else "vmlinux") == module)
    ]  # fmt: skip


def btf_functions() -> list[str]:
    """Functions that fentry and fexit can be attached to: those that BTF describes and that take probes."""
    from linscope.binfmt import btf_types as bt
    from linscope.binfmt.btf import Btf

    btf = Btf.open()
    described = {btf.name(type_id) for type_id in btf.iter_ids(bt.KIND_FUNC)}
    return sorted(described & set(kernel_functions()))


def _kernel_function(point: AttachPoint, pid: int) -> list[Probe]:
    kind, module = point.kind, point.module
    if point.address or not has_wildcard(point.target + module):
        made = _one(point, pid)
        if kind in ("fentry", "fexit") and not module:
            made[0].name = f"{kind}:vmlinux:{point.target}"
        return made
    tracing = kind in ("fentry", "fexit")
    names = btf_functions() if tracing else kernel_functions("" if has_wildcard(module) else module)
    names = matching(names, point.target)
    if not names:
        raise Wrong(_HERE, f"No matches for {point.text}")
    middle = f"{module}:" if module and not has_wildcard(module) else "vmlinux:" if tracing else ""
    module = "" if has_wildcard(module) else module
    return [Probe(kind, f"{kind}:{middle}{name}", module=module, target=name) for name in names]


# -- user space


def find_program(name: str, pid: int) -> list[str]:
    """The files that a path of a probe means: a path, a program of $PATH, a library ("libc"), a pattern.

    Raises Wrong: there is none.
    """
    if has_wildcard(name):
        if pid:
            return matching(_mapped_files(pid), name if name != "*" else "*")
        from pathlib import Path

        base = Path("/") if name[:1] == "/" else Path()
        found = sorted(str(path) for path in base.glob(name.lstrip("/")) if path.is_file())
        if not found:
            raise Wrong(_HERE, f"uprobe target file '{name}' does not exist")
        return found
    if "/" in name:
        if not os.path.isfile(name):
            raise Wrong(_HERE, f"uprobe target file '{name}' does not exist or is not executable")
        return [name]
    for folder in os.environ.get("PATH", "").split(":"):
        path = f"{folder}/{name}"
        if folder and os.path.isfile(path) and os.access(path, os.X_OK):
            return [path]
    library = _find_library(name)
    if library:
        return [library]
    if os.path.isfile(name):
        return [name]
    raise Wrong(_HERE, f"uprobe target file '{name}' does not exist or is not executable")


def _find_library(name: str) -> str:
    """The path of a library by its name: libc, libssl, libc.so.6."""
    machine = f"{os.uname().machine}-linux-gnu"
    for folder in [f"{place}/{machine}" for place in ("/lib", "/usr/lib")] + list(_LIBRARIES):
        try:
            names = sorted(entry.name for entry in os.scandir(folder))
        except OSError:
            continue
        for found in names:
            if (found == name or found.startswith(f"{name}.so")) and _is_elf(f"{folder}/{found}"):
                return f"{folder}/{found}"
    return ""


def _is_elf(path: str) -> bool:
    """Whether a file is a program or library: libc.so may be a script for the linker."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _mapped_files(pid: int) -> list[str]:
    """The files whose code a process has mapped."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
            lines = [line.split(maxsplit=5) for line in file]
    except OSError:
        return []
    return sorted({one[5].rstrip("\n") for one in lines if len(one) == 6 and "x" in one[1] and one[5][:1] == "/"})


def _user(point: AttachPoint, pid: int) -> list[Probe]:
    from linscope.errors import FormatError
    from linscope.lang.probes.elf_functions import Elf

    found: list[Probe] = []
    several = has_wildcard(point.path)
    for path in find_program(point.path, pid):
        try:
            elf = Elf(path)
        except (FormatError, OSError) as error:
            if several:
                continue
            raise Wrong(_HERE, f"{path}: {error}") from None
        shown = path if several else point.path if "/" in point.path else path
        found += _functions(point, elf, path, shown, pid)
    if not found:
        hint = "" if has_wildcard(point.target) or several else _near_function(point)
        raise Wrong(_HERE, f"No matches for {point.text}" if several or has_wildcard(point.target)
                    else f"Could not resolve symbol: {point.path}:{point.target}", hint)  # fmt: skip
    return found


def _functions(point: AttachPoint, elf: object, path: str, shown: str, pid: int) -> list[Probe]:
    """The probes of an attach point in one file."""
    from linscope.lang.probes.elf_functions import Elf

    assert isinstance(elf, Elf)
    kind = point.kind
    if not point.target:
        offset = elf.file_offset(point.address)
        name = f"{kind}:{shown}:{point.address:#x}"
        return [Probe(kind, name, path=path, address=point.address if offset is None else offset, pid=pid)]
    if point.language == "cpp" or "::" in point.target or "(" in point.target:
        return _demangled(point, elf, path, shown, pid)
    if not has_wildcard(point.target):
        place = elf.find_function(point.target)
        if place is None:
            return []
        suffix = f"+{point.offset}" if point.offset else ""
        name = f"{kind}:{shown}:{point.target}{suffix}"
        address = place[0] + point.offset
        return [Probe(kind, name, target=point.target, path=path, address=address, offset=point.offset, pid=pid)]
    places = {name: place for name, place, _ in elf.functions()}
    return [
        Probe(kind, f"{kind}:{shown}:{name}", target=name, path=path, address=places[name], pid=pid)
        for name in matching(places, point.target)
    ]


def _demangled(point: AttachPoint, elf: object, path: str, shown: str, pid: int) -> list[Probe]:
    """Functions of C++, by the name that a person reads; without its arguments all of that name."""
    from linscope.lang.probes.elf_functions import Elf
    from linscope.symbols.demangle import demangle

    assert isinstance(elf, Elf)
    found = {}
    for name, place, _ in elf.functions():
        if not name.startswith("_Z"):
            continue
        plain = demangle(name)
        bare = plain.partition("(")[0]
        wanted = plain if "(" in point.target else bare
        if wanted == point.target or (has_wildcard(point.target) and matching([wanted], point.target)):
            found[place] = name
    return [
        Probe(point.kind, f"{point.kind}:{shown}:{name}", target=name, path=path, address=place, pid=pid)
        for place, name in sorted(found.items())
    ]


def _near_function(point: AttachPoint) -> str:
    from linscope.lang.probes.elf_functions import Elf

    for path in find_program(point.path, 0):
        return near(point.target, {name for name, _, _ in Elf(path).functions()})
    return ""


def _usdt(point: AttachPoint, pid: int) -> list[Probe]:
    from linscope.errors import FormatError
    from linscope.lang.probes.elf_functions import Elf

    found: list[Probe] = []
    several = has_wildcard(point.path)
    known: set[str] = set()
    for path in find_program(point.path, pid):
        try:
            notes = list(Elf(path).usdt_probes())
        except (FormatError, OSError) as error:
            if several:
                continue
            raise Wrong(_HERE, f"{path}: {error}") from None
        shown = path if several else point.path
        for provider, name, place, semaphore, operands in notes:
            known.add(f"{provider}:{name}")
            if not matching([provider], point.module or "*") or not matching([name], point.target):
                continue
            text = f"usdt:{shown}:{provider}:{name}"
            found.append(
                Probe(
                    "usdt", text, module=provider, target=name, path=path, address=place, semaphore=semaphore,
                    arguments=operands, pid=pid,
                )
            )  # fmt: skip
    if not found:
        raise Wrong(_HERE, f"No USDT probe {point.module}:{point.target} in {point.path}", near(point.target, known))
    return found


_EXPANDERS = {
    "hardware": _counter, "software": _counter, "iter": _iterator, "tracepoint": _tracepoint, "rawtracepoint": _raw,
    "kprobe": _kernel_function, "kretprobe": _kernel_function, "fentry": _kernel_function, "fexit": _kernel_function,
    "uprobe": _user, "uretprobe": _user, "usdt": _usdt,
}  # fmt: skip
