"""Probes in programs and libraries: functions by their symbols, addresses, lines of source, USDT notes."""

from __future__ import annotations

import os

from linscope.binfmt.elf_view import ElfView
from linscope.errors import FormatError
from linscope.lang.probe import Probe
from linscope.lang.probes.files import find_files, find_library, near_files
from linscope.lang.probes.problems import near, probe_error
from linscope.lang.probes.wildcards import has_wildcard, matches

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.lang.probes.attach_points import AttachPoint

_DEBUG = "/usr/lib/debug"
_ARCHIVE = "!/"  # x.apk!/lib/arm64/libx.so: a file in a zip archive, not compressed


def target_files(point: AttachPoint, pid: int) -> list[str]:
    """The files of an attach point.  Raises SourceError: there is none."""
    target = point.target
    if _ARCHIVE in target:
        return [target]
    if target.startswith(f"/proc/{pid}/exe"):
        try:
            target = os.readlink(target)  # noqa: PTH115 - pathlib takes 10 ms to import
        except OSError:
            raise probe_error(point.text, f"process {pid} is not there, or not to be looked at") from None
    found = find_files(target, pid or None)
    if not found:
        hint = _missing_file_hint(target)
        what = f"{point.kind} target file '{target}' does not exist or is not executable"
        raise probe_error(point.text, what, hint)
    return found if has_wildcard(target) else found[:1]


def _missing_file_hint(target: str) -> str:
    if "/" not in target and not target.startswith("lib"):
        library = find_library(f"lib{target}")
        if library:
            return f"lib{target} is the library {library}"
    found = near_files(target)
    return f"did you mean {' or '.join(found)}?" if found else ""


def _open(path: str) -> ElfView:
    """Raises OSError, FormatError."""
    archive, mark, member = path.partition(_ARCHIVE)
    if not mark:
        return ElfView(path)
    import zipfile

    try:
        with zipfile.ZipFile(archive) as found:
            entry = found.getinfo(member)
            if entry.compress_type != zipfile.ZIP_STORED:
                raise FormatError(f"{member} is compressed in the archive", where=archive)
            with found.open(entry) as file:
                start = file._orig_compress_start  # type: ignore[attr-defined]  # where its bytes begin; since 3.7
    except (zipfile.BadZipFile, KeyError) as error:
        raise FormatError(f"no {member} in the archive", where=archive, why=str(error)) from None
    return ElfView(archive, start=start, size=entry.file_size)


def debug_file(elf: ElfView) -> ElfView | None:
    """The separate file with the symbols and types of a stripped one, by its build-id; None: there is none."""
    build_id = elf.build_id
    path = f"{_DEBUG}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"
    if not build_id or not os.path.isfile(path):
        return None
    try:
        return ElfView(path)
    except (OSError, FormatError):
        return None


def iter_functions(elf: ElfView) -> Iterator[tuple[str, int]]:
    """(name, offset in the file) of the functions of a file and of its debug file; some come twice."""
    other = debug_file(elf)
    for view in (elf, other) if other is not None else (elf,):
        for symbol in view.symbols():
            offset = elf.file_offset(symbol.value)
            if offset is not None:
                yield symbol.name, offset


def _find(elf: ElfView, name: str) -> int | None:
    """The offset in the file of a function."""
    symbol = elf.find_symbol(name)
    if symbol is None:
        other = debug_file(elf)
        symbol = other.find_symbol(name) if other is not None else None
    return None if symbol is None else elf.file_offset(symbol.value)


def expand_function(point: AttachPoint, pid: int) -> list[Probe]:
    """The uprobes or uretprobes of an attach point.  Raises SourceError."""
    found: list[Probe] = []
    paths = target_files(point, pid)
    several = has_wildcard(point.target)
    for path in paths:
        try:
            with _open(path) as elf:
                found += _in_file(point, elf, path, pid)
        except (OSError, FormatError) as error:
            if not several:
                raise probe_error(point.text, f"{path} cannot be read: {error}") from None
    if found:
        return found
    if several or has_wildcard(point.function):
        raise probe_error(point.text, f"No matches for {point.kind} {point.text.partition(':')[2]}")
    raise _no_function(point, paths[0])


def _no_function(point: AttachPoint, path: str) -> Exception:
    with _open(path) as elf:
        names = {name for name, _ in iter_functions(elf)}
        stripped = elf.section(".symtab") is None
    hint = near(point.function, sorted(names))
    if not hint and stripped:
        hint = "the file has no symbol table of its own (it is stripped): its debug symbols may have the function"
    return probe_error(point.text, f"Could not resolve symbol: {path}:{point.function or point.line}", hint)


def _in_file(point: AttachPoint, elf: ElfView, path: str, pid: int) -> list[Probe]:
    """The probes of an attach point in one file."""
    if point.line:
        return _at_line(point, elf, path, pid)
    if not point.function:
        return _at_address(point, elf, path, pid)
    if point.language or "::" in point.function or "(" in point.function:
        return _demangled(point, elf, path, pid)
    if not has_wildcard(point.function):
        offset = _find(elf, point.function)
        return [] if offset is None else [_probe(point, path, point.function, offset, pid)]
    places: dict[str, int] = {}
    for name, offset in iter_functions(elf):
        if matches(point.function, name) and ".part." not in name:
            places.setdefault(name, offset)
    return [_probe(point, path, name, places[name], pid) for name in sorted(places)]


def _probe(point: AttachPoint, path: str, name: str, offset: int, pid: int) -> Probe:
    return Probe(
        point.kind, point.with_(target=path, function=name).name, target=name, path=path.partition(_ARCHIVE)[0],
        address=offset + point.offset, offset=point.offset, pid=pid,
    )  # fmt: skip


def _at_address(point: AttachPoint, elf: ElfView, path: str, pid: int) -> list[Probe]:
    """The address as linked; the symbol that it lies in gives target and offset."""
    offset = elf.file_offset(point.address)
    if offset is None:
        raise probe_error(
            point.text, f"0x{point.address:x} lies in no segment of {path}",
            "addresses are those of the symbol table (nm, objdump), not of a process",
        )  # fmt: skip
    name, inside = "", 0
    for symbol in elf.symbols():
        if symbol.value <= point.address < symbol.value + max(symbol.size, 1):
            name, inside = symbol.name, point.address - symbol.value
            break
    return [
        Probe(
            point.kind, point.with_(target=path).name, target=name, path=path.partition(_ARCHIVE)[0], address=offset,
            offset=inside, pid=pid,
        )
    ]  # fmt: skip


def _demangled(point: AttachPoint, elf: ElfView, path: str, pid: int) -> list[Probe]:
    """Functions by the names that a person reads; without their parameters unless these are written."""
    from linscope.symbols.demangle import demangle

    wanted = point.function
    places: dict[str, int] = {}
    for name, offset in iter_functions(elf):
        mangled = name.startswith(("_Z", "_R"))
        if matches(wanted, name) or (mangled and matches(wanted, demangle(name, parameters="(" in wanted))):
            places.setdefault(name, offset)
    return [_probe(point, path, name, places[name], pid) for name in sorted(places)]


def _at_line(point: AttachPoint, elf: ElfView, path: str, pid: int) -> list[Probe]:
    """Every place of a line of source, by the debug information."""
    from linscope.binfmt.dwarf_lines import find_line

    file, _, rest = point.line.partition(":")
    line, _, column = rest.partition(":")
    other = debug_file(elf)
    addresses = find_line(elf if elf.section(".debug_line") or other is None else other, file, int(line, 0),
                          int(column or "0", 0))  # fmt: skip
    if not addresses:
        raise probe_error(
            point.text, f"No code at {file}:{rest} in {path}",
            "the file needs debug information (gcc -g) that names this line",
        )  # fmt: skip
    found = []
    for address in addresses:
        at = point.with_(target=path, function="", address=address, line="")
        found += _at_address(at, elf, path, pid)
    return found


def expand_usdt(point: AttachPoint, pid: int) -> list[Probe]:
    """The places of a USDT probe.  Raises SourceError."""
    found: list[Probe] = []
    known: set[str] = set()
    several = has_wildcard(point.target) or not point.target
    at = point if point.target else point.with_(target="*")
    for path in target_files(at, pid):
        try:
            with _open(path) as elf:
                notes = list(elf.usdt_probes())
        except (OSError, FormatError) as error:
            if several:
                continue
            raise probe_error(point.text, f"{path} cannot be read: {error}") from None
        for provider, name, offset, semaphore, operands in notes:
            known.add(f"{provider}:{name}")
            if matches(point.provider or "*", provider) and matches(point.function, name):
                shown = at.with_(target=path, provider=provider, function=name).name
                found.append(
                    Probe(
                        "usdt", shown, module=provider, target=name, path=path.partition(_ARCHIVE)[0], address=offset,
                        semaphore=semaphore, arguments=operands, pid=pid,
                    )
                )  # fmt: skip
    if not found:
        wanted = f"{point.provider}:{point.function}" if point.provider else point.function
        hint = near(wanted, sorted(known), "") or ("" if known else "there are no USDT notes in it")
        raise probe_error(point.text, f"No matches for usdt {point.target}:{wanted}", hint)
    found.sort(key=lambda probe: probe.name)
    return found
