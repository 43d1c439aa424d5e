"""The modules of a kernel: where they lie, their symbols, their types, their rows of ORC.

Source: include/linux/module.h (struct module: core_layout until v6.3, mem[] since v6.4, ac3b43283923), kernel/module/;
kernel/bpf/btf.c (btf_modules); arch/x86/include/asm/module.h.
"""

from __future__ import annotations

from bisect import bisect_right

from linscope.binfmt.btf import Btf
from linscope.errors import FormatError, LinscopeError, MemoryFault
from linscope.target.walks import iter_objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object

_SYMBOL_SIZE = 24  # Elf64_Sym
_MOST_SYMBOLS = 1 << 20
_MOST_TYPES = 1 << 26  # bytes of BTF
_FUNCTION = 2  # STT_FUNC
_PARTS = (
    "MOD_TEXT", "MOD_DATA", "MOD_RODATA", "MOD_RO_AFTER_INIT", "MOD_INIT_TEXT", "MOD_INIT_DATA", "MOD_INIT_RODATA",
)  # fmt: skip


class Module:
    """One module."""

    def __init__(self, kernel: Kernel, object_: Object) -> None:
        self.kernel = kernel
        self.object = object_  # struct module
        self.name = object_.name.string_()
        self.parts = self._find_parts()  # (name, address, bytes) of what it has in memory
        self._symbols: list[tuple[int, int, str, bool]] | None = None

    def __repr__(self) -> str:
        return f"<Module {self.name}: {self.size:,} bytes at {self.base:#x}>"

    @property
    def base(self) -> int:
        """Where its code begins."""
        return self.parts[0][1] if self.parts else 0

    @property
    def size(self) -> int:
        """Bytes in memory, without what was needed for its start only."""
        return sum(size for name, _, size in self.parts if not name.startswith("MOD_INIT"))

    def _find_parts(self) -> list[tuple[str, int, int]]:
        found = []
        if self.kernel.types.has_member("struct module", "mem"):
            for name, part in zip(_PARTS, self.object.mem, strict=False):
                if int(part.base):
                    found.append((name, int(part.base), int(part.size)))
        else:
            for name, part in (("MOD_TEXT", self.object.core_layout), ("MOD_INIT_TEXT", self.object.init_layout)):
                if int(part.base):
                    found.append((name, int(part.base), int(part.size)))
        return found

    def has(self, address: int) -> bool:
        """Whether an address is within it."""
        return any(start <= address < start + size for _, start, size in self.parts)

    def text_ranges(self) -> list[tuple[int, int]]:
        """(first, behind the last) addresses of its code."""
        if self.kernel.types.has_member("struct module", "mem"):
            return [(start, start + size) for name, start, size in self.parts if name.endswith("TEXT")]
        found = []
        for part in (self.object.core_layout, self.object.init_layout):
            if int(part.base):
                found.append((int(part.base), int(part.base) + int(part.text_size)))
        return found

    def symbols(self) -> list[tuple[int, int, str, bool]]:
        """(address, bytes, name, whether a function) by address.  Raises MemoryFault, FormatError."""
        if self._symbols is None:
            self._symbols = sorted(self._read_symbols())
        return self._symbols

    def _read_symbols(self) -> Iterator[tuple[int, int, str, bool]]:
        import struct

        table = self.object.kallsyms
        if not int(table):
            return
        table = table.deref_()
        count = int(table.num_symtab)
        if not 0 <= count <= _MOST_SYMBOLS:
            raise FormatError(f"module {self.name} tells of {count} symbols")
        data = self.kernel.memory.read(int(table.symtab), count * _SYMBOL_SIZE)
        strings = int(table.strtab)
        kinds = int(table.typetab) if self.kernel.types.has_member("struct mod_kallsyms", "typetab") else 0
        letters = self.kernel.memory.read(kinds, count) if kinds else b""
        rows = list(struct.iter_unpack("<IBBHQQ", data))
        last = max((row[0] for row in rows), default=0)
        text = self._strings(strings, last)
        for place, (name, info, _, section, value, size) in enumerate(rows):
            if not section or not value:
                continue
            found = text[name : text.find(b"\0", name)].decode("utf-8", "replace")
            if found:
                letter = letters[place : place + 1]
                yield value, size, found, letter in (b"t", b"T", b"w", b"W") if kinds else info & 15 == _FUNCTION

    def _strings(self, address: int, last: int) -> bytes:
        """The string table to behind the string that begins at last."""
        data = self.kernel.memory.read(address, last + 1)
        return data + self.kernel.string(address + last + 1, 512).encode() + b"\0"

    def find_place(self, address: int) -> tuple[int, int, str, bool] | None:
        """The symbol that an address belongs to; None: before the first.  Raises MemoryFault, FormatError."""
        symbols = self.symbols()
        place = bisect_right(symbols, address, key=lambda one: one[0]) - 1
        return symbols[place] if place >= 0 else None


def read_modules(kernel: Kernel) -> tuple[list[Module], list[str]]:
    """All modules by address, and what could not be read of them."""
    found: list[Module] = []
    problems: list[str] = []
    try:
        for one in iter_objects(kernel, kernel.symbol("modules"), "struct module", "list"):
            try:
                found.append(Module(kernel, one))
            except MemoryFault as fault:
                problems.append(f"module at {one.address_:#x}: {fault}")
    except LinscopeError as error:
        problems.append(f"list of modules: {error}")
    return sorted(found, key=lambda one: one.base), problems


def read_types(kernel: Kernel) -> tuple[dict[str, Btf], list[str]]:
    """The split BTF of each module that has some, and what could not be read."""
    found: dict[str, Btf] = {}
    problems: list[str] = []
    head = kernel.find_symbol("btf_modules")
    if head is None or kernel.types.find("struct btf_module") is None:
        return found, problems
    try:
        for one in iter_objects(kernel, head, "struct btf_module", "list"):
            size = int(one.btf.data_size)
            name = one.module.name.string_()
            if 0 < size < _MOST_TYPES:
                data = kernel.memory.read(int(one.btf.data), size)
                found[name] = Btf(data, kernel.types.kernel, where=f"BTF of {name}")
    except LinscopeError as error:
        problems.append(f"types of modules: {error}")
    return found, problems
