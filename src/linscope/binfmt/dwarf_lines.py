"""The addresses of a line of source, by the line tables of DWARF (.debug_line), versions 2 to 5.

Source: DWARF 5, 6.2.
"""

from __future__ import annotations

from linscope.binfmt.dwarf import AT_STMT_LIST, Dwarf, Unit, sleb, uleb

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.binfmt.elf_view import ElfView

_PATH, _DIRECTORY = 1, 2  # DW_LNCT_*
_TAIL = 8  # lines below, in which code is looked for when a line has none


class _Row:
    """A row of a line table; ``first``: of the code of its line, whatever the table repeats."""

    __slots__ = ("address", "column", "file", "is_statement", "line")

    def __init__(self, address: int, file: int, line: int, column: int, is_statement: bool) -> None:
        self.address, self.file, self.line, self.column, self.is_statement = address, file, line, column, is_statement


class _Table:
    """One line number program."""

    def __init__(self, dwarf: Dwarf, at: int) -> None:
        """Raises FormatError."""
        data = self.data = dwarf.section(".debug_line")
        self.dwarf = dwarf
        length, at, self.offset_size = dwarf.initial_length(data, at)
        self.end = min(at + length, len(data))
        if self.end < at + 20:
            raise dwarf.damaged("a line table cut short", at)
        self.version = dwarf.number(data, at, 2)
        at += 2
        self.address_size = 8 if dwarf.elf.is_64 else 4
        if self.version >= 5:
            self.address_size = data[at]
            at += 2
        header = dwarf.number(data, at, self.offset_size)
        at += self.offset_size
        self.start = at + header
        self.minimum = data[at]
        at += 2 if self.version >= 4 else 1  # maximum_operations_per_instruction
        self.default_statement, line_base, self.line_range, self.opcode_base = data[at : at + 4]
        self.line_base = line_base - 256 if line_base > 127 else line_base
        at += 4
        self.lengths = data[at : at + self.opcode_base - 1]
        at += self.opcode_base - 1
        self.files = self._files_5(at) if self.version >= 5 else self._files_4(at)

    def _files_4(self, at: int) -> list[str]:
        """Names of the files, with their folders in front; the first is number 1."""
        data = self.data
        folders = [""]
        while at < self.end and data[at]:
            end = data.index(b"\0", at)
            folders.append(data[at:end].decode("utf-8", "replace"))
            at = end + 1
        at += 1
        files = [""]
        while at < self.end and data[at]:
            end = data.index(b"\0", at)
            name = data[at:end].decode("utf-8", "replace")
            folder, at = uleb(data, end + 1)
            _, at = uleb(data, at)
            _, at = uleb(data, at)
            files.append(_joined(folders[folder] if folder < len(folders) else "", name))
        return files

    def _files_5(self, at: int) -> list[str]:
        folders, at = self._entries(at)
        names = [path for path, _ in folders]
        files, _ = self._entries(at)
        return [_joined(names[folder] if folder < len(names) else "", path) for path, folder in files]

    def _entries(self, at: int) -> tuple[list[tuple[str, int]], int]:
        """[(path, number of its folder)] of a table of folders or files, and the offset behind it."""
        data = self.data
        count = data[at]
        at += 1
        formats = []
        for _ in range(count):
            content, at = uleb(data, at)
            form, at = uleb(data, at)
            formats.append((content, form))
        number, at = uleb(data, at)
        found = []
        for _ in range(min(number, len(data))):
            path, folder = "", 0
            for content, form in formats:
                value, at = self._value(form, at)
                if content == _PATH:
                    path = str(value)
                elif content == _DIRECTORY and isinstance(value, int):
                    folder = value
            found.append((path, folder))
        return found, at

    def _value(self, form: int, at: int) -> tuple[str | int, int]:
        data, dwarf = self.data, self.dwarf
        if form == 0x08:
            end = data.index(b"\0", at)
            return data[at:end].decode("utf-8", "replace"), end + 1
        if form in (0x0E, 0x1F):
            table = dwarf.line_strings if form == 0x1F else dwarf.strings
            return dwarf.text(table, dwarf.number(data, at, self.offset_size)), at + self.offset_size
        if form == 0x0F:
            return uleb(data, at)
        sizes = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}
        if form == 0x09:
            length, at = uleb(data, at)
            return 0, at + length
        if form not in sizes:
            raise dwarf.damaged(f"form {form:#x} in a line table", at)
        return dwarf.number(data, at, sizes[form]), at + sizes[form]

    def rows(self) -> Iterator[_Row]:
        """All rows; an end of a sequence has line 0.  Raises FormatError."""
        data, at = self.data, self.start
        address, file, line, column, statement = 0, 1, 1, 0, bool(self.default_statement)
        while at < self.end:
            code = data[at]
            at += 1
            if code >= self.opcode_base:
                code -= self.opcode_base
                address += code // self.line_range * self.minimum
                line += self.line_base + code % self.line_range
                yield _Row(address, file, line, column, statement)
            elif not code:
                length, at = uleb(data, at)
                kind = data[at] if at < self.end else 0
                if kind == 1:
                    yield _Row(address, file, 0, 0, False)
                    address, file, line, column, statement = 0, 1, 1, 0, bool(self.default_statement)
                elif kind == 2:
                    address = self.dwarf.number(data, at + 1, length - 1)
                at += length
            elif code == 1:
                yield _Row(address, file, line, column, statement)
            elif code == 2:
                value, at = uleb(data, at)
                address += value * self.minimum
            elif code == 3:
                value, at = sleb(data, at)
                line += value
            elif code == 4:
                file, at = uleb(data, at)
            elif code == 5:
                column, at = uleb(data, at)
            elif code == 6:
                statement = not statement
            elif code == 8:
                address += (255 - self.opcode_base) // self.line_range * self.minimum
            elif code == 9:
                address += self.dwarf.number(data, at, 2)
                at += 2
            else:
                for _ in range(self.lengths[code - 1]):
                    _, at = uleb(data, at)


def _joined(folder: str, name: str) -> str:
    return name if not folder or name.startswith("/") else f"{folder}/{name}"


def _is_file(path: str, wanted: str) -> bool:
    """Whether a path ends in what was written, part by part: /src/a.c is a.c and src/a.c."""
    return path == wanted or path.endswith("/" + wanted.removeprefix("./"))


def find_line(elf: ElfView, file: str, line: int, column: int = 0) -> list[int]:
    """The addresses, as linked, at which the code of a line begins: the lowest one in each function; sorted.

    column: 0 for any.  A line without code stands for the next one that has some, up to 8 further down.  Empty: the
    file has no such line, or no debug information.  Raises FormatError.
    """
    dwarf = Dwarf(elf)
    found: dict[int, list[int]] = {}  # line -> addresses
    for unit in dwarf.units():
        try:
            for row in _rows_of(dwarf, unit, file):
                near = line <= row.line <= line + _TAIL
                if near and row.is_statement and (not column or row.column == column):
                    found.setdefault(row.line, []).append(row.address)
        except (IndexError, ValueError, ZeroDivisionError):
            raise dwarf.damaged("a line table that cannot be", unit.offset) from None
    if not found or (column and line not in found):
        return []
    return _first_in_functions(elf, found[min(found)])


def _rows_of(dwarf: Dwarf, unit: Unit, file: str) -> Iterator[_Row]:
    at = unit.root.attributes.get(AT_STMT_LIST)
    if not isinstance(at, int):
        return
    table = _Table(dwarf, at)
    numbers = {number for number, path in enumerate(table.files) if path and _is_file(path, file)}
    if numbers:
        yield from (row for row in table.rows() if row.file in numbers and row.line)


def _first_in_functions(elf: ElfView, addresses: list[int]) -> list[int]:
    """The lowest address in each function."""
    functions = sorted((one.value, one.size) for one in elf.symbols())
    lowest: dict[int, int] = {}
    for address in sorted(addresses):
        owner = next((start for start, size in functions if start <= address < start + max(size, 1)), address)
        lowest.setdefault(owner, address)
    return sorted(lowest.values())
