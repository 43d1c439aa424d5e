"""Load what ``bpf.objects`` has read: types, maps and programs of an object file; attach by section names.

Source: libbpf 1.5, src/libbpf.c, bpf_object_load: the order, and what is put into maps afterwards.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from linscope.abi import bpf as b
from linscope.bpf.kernel.descriptor import Closing
from linscope.bpf.kernel.maps import KernelMap
from linscope.bpf.kernel.programs import KernelProgram, load
from linscope.bpf.kernel.types import KernelTypes, btf_bytes
from linscope.bpf.program import Map, Program
from linscope.errors import SystemCallError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from linscope.bpf.kernel.links import Link
    from linscope.bpf.objects.reader import Object, Variable



class LoadedObject(Closing):
    """An object in the kernel: ``maps`` and ``programs`` by name, and ``links`` that ``attach`` has made."""

    def __init__(self, source: Object) -> None:
        """See ``load_object``."""
        self.source = source
        self.maps: dict[str, KernelMap] = {}
        self.programs: dict[str, KernelProgram] = {}
        self.links: list[Link] = []
        self.usdt_specs: dict[bytes, int] = {}  # what is in the map of libbpf's usdt.bpf.h

    def close(self) -> None:
        """Detach all, and close programs and maps; what is pinned stays."""
        from linscope.bpf.kernel.detach import close_all

        close_all(self.links)
        self.links = []
        for program in self.programs.values():
            program.close()
        for each in self.maps.values():
            each.close()

    def attach(self, name: str, **options: int) -> Link:
        """Attach one program as its section says; the link closes with the object.

        options: cookie, pid.  Raises UnknownNameError, UsageError (the section does not say where), SystemCallError.
        """
        from linscope.bpf.kernel.attach import attach_by_section

        program = self.programs.get(name)
        if program is None:
            raise UnknownNameError("program", name, self.programs)
        link = attach_by_section(program, self.source.programs[name].section, self, **options)
        self.links.append(link)
        return link

    def attach_all(self, **options: int) -> list[Link]:
        """Attach all programs whose section says where.  Raises SystemCallError; those before it stay attached."""
        from linscope.bpf.kernel.attach import says_where

        sections = {name: self.source.programs[name].section for name in self.programs}
        return [self.attach(name, **options) for name, section in sections.items() if says_where(section)]

    def read(self, name: str) -> bytes:
        """The bytes of a global variable as they are now.  Raises UnknownNameError, SystemCallError."""
        variable, held = self._variable(name)
        value = held.lookup(bytes(4)) or b""
        return value[variable.offset : variable.offset + variable.size]

    def write(self, name: str, value: bytes) -> None:
        """Change a global variable that is no constant, and no other.

        Raises UnknownNameError, UsageError (another size), SystemCallError.
        """
        variable, held = self._variable(name)
        if len(value) != variable.size:
            raise UsageError(f"{name!r} has {variable.size} bytes, not {len(value)}")
        with held.mmap() as memory:
            memory[variable.offset : variable.offset + variable.size] = value

    def _variable(self, name: str) -> tuple[Variable, KernelMap]:
        variable = self.source.variables.get(name)
        if variable is None:
            raise UnknownNameError("variable", name, self.source.variables)
        held = next(self.maps[n] for n, each in self.source.maps.items() if each is variable.map)
        return variable, held


def load_object(
    source: Object, *, only: Collection[str] | None = None, pins: str = "",
    targets: dict[str, KernelProgram] | None = None, log_level: int = 0,
) -> LoadedObject:  # fmt: skip
    """Make an object's maps and load its programs.

    only: names of the programs to load; None: all but the manual ones.  pins: the folder of a bpf file system in which
    maps are pinned, or found again, that ask for it ("" when there are such: UsageError).  targets: for programs that
    go into another (freplace, fentry of a program), that.
    Raises VerifierError, TrampolineRefused, SystemCallError, UsageError.
    """
    if source.btf is not None and not source.btf.little_endian == (int.from_bytes(b"\1\0", "little") == 1):
        raise UsageError(f"the object {source.name!r} is for machines of the other byte order")
    loaded = LoadedObject(source)
    wanted = [name for name in source.programs if (name not in source.manual if only is None else name in only)]
    for name in only or ():
        if name not in source.programs:
            raise UnknownNameError("program", name, source.programs)
    types: KernelTypes | None = None
    try:
        if source.btf is not None:
            types = _load_types(source)
        made: dict[int, KernelMap] = {}
        for name, definition in source.maps.items():
            made[id(definition)] = loaded.maps[name] = _make_map(definition, types.fd if types else 0, pins)
        for name in wanted:
            program = source.programs[name]
            _check_type(program)
            loaded.programs[name] = load(
                program, [made[id(each)] for each in program.maps], btf_fd=types.fd if types else 0,
                log_level=log_level, target_program=(targets or {}).get(name),
            )  # fmt: skip
        for initial in source.initial:
            _put(loaded, initial.map, initial.place, initial.value)
    except BaseException:
        loaded.close()
        raise
    finally:
        if types is not None:
            types.close()
    return loaded


def _load_types(source: Object) -> KernelTypes | None:
    assert source.btf is not None
    try:
        return KernelTypes.load(btf_bytes(source.btf))
    except SystemCallError as error:
        if error.errno == 1:
            raise
        return None  # programs can do without, unless they have callbacks or locks; then the verifier says so


def _check_type(program: Program) -> None:
    if program.type == b.BPF_PROG_TYPE_UNSPEC:
        raise UsageError(
            f"the section {program.section!r} does not say what the program {program.name!r} is",
            next_step="a section as libbpf names them (SEC(\"raw_tp/sys_enter\")), or set Program.type",
        )


def _make_map(definition: Map, btf_fd: int, pins: str) -> KernelMap:
    definition = _rounded(definition)
    if not definition.pinning:
        return KernelMap.create(definition, btf_fd=btf_fd)
    if not pins:
        raise UsageError(f"the map {definition.name!r} is to be pinned", next_step="say in which folder")
    path = f"{pins}/{definition.pinning}"
    if os.path.exists(path):
        found = KernelMap.open(path)
        same = ("type", "key_size", "value_size", "max_entries")
        if any(getattr(found, name) != getattr(definition, name) for name in same):
            found.close()
            raise UsageError(f"{path} is a map of another kind than {definition!r}", next_step=f"rm {path}")
        return found
    made = KernelMap.create(definition, btf_fd=btf_fd)
    try:
        made.pin(path)
    except BaseException:
        made.close()
        raise
    return made


def _rounded(d: Map) -> Map:
    """Ring buffers are a power of two of pages, as the kernel wants them, and at least as large as asked for."""
    if d.type not in (b.BPF_MAP_TYPE_RINGBUF, b.BPF_MAP_TYPE_USER_RINGBUF) or not d.max_entries:
        return d
    size = mmap.PAGESIZE
    while size < d.max_entries:
        size *= 2
    return Map(d.name, d.type, d.key_size, d.value_size, size, flags=d.flags, pinning=d.pinning, extra=d.extra)


def _put(loaded: LoadedObject, name: str, index: int, value: str) -> None:
    """Put a map or a program into a map, by its descriptor."""
    held = loaded.maps[name]
    descriptor = loaded.programs.get(value) if held.type == b.BPF_MAP_TYPE_PROG_ARRAY else loaded.maps.get(value)
    if descriptor is not None:  # None: a program that was not to be loaded
        held.update(index.to_bytes(4, "little"), descriptor.fd.to_bytes(4, "little"))
