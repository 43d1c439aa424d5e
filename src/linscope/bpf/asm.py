"""Text -> eBPF instructions: what linscope.bpf.dis writes, in any of its forms, also mixed line by line.

A line is empty, a comment (``#`` or ``;`` or ``//`` to its end), a label (``again:``), a directive, or one instruction.
Numbers, code bytes and opcodes in front, as verifier logs, bpftool and llvm-objdump print them, are passed over.  Jumps
and calls go to a label, or by a distance (``+3``, ``pc-2``); the label ``exit``, where there is none, is the last exit.
In the C-like forms a hexadecimal number makes a wide load of ``r1 = 0x5`` and a decimal one a plain move, as the kernel
writes them; ``ll`` behind a number makes any wide.

Directives are about the whole program: ``.type xdp``, ``.license MIT``, ``.name filter``, and maps, which
instructions name by ``map[counts]``: ``.map counts hash 4 8 1024`` (type, bytes of key and value, entries).
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf._asm_forms import parse_statement
from linscope.bpf._asm_operands import Statement
from linscope.bpf._asm_text import Scanner, WrongText
from linscope.bpf.instructions import Instruction
from linscope.bpf.names import MAP_TYPES, PROGRAM_TYPES
from linscope.bpf.program import Function, Line, Map, Program
from linscope.errors import Diagnostic, SourceError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_DIAGNOSTICS = 1000
_SHORT = 1 << 15
_LARGEST = (1 << 32) - 1


def assemble(text: str, *, where: str = "") -> list[Instruction]:
    """The instructions of a text, a slot each.

    where: name of the file, for messages.  Raises SourceError with the line, column and reason of all that is wrong.
    """
    return _Assembler(text, where).instructions


def assemble_program(text: str, *, where: str = "") -> Program:
    """A text as a program with its maps, type (BPF_PROG_TYPE_SOCKET_FILTER by default), functions and source lines.

    Raises SourceError, as ``assemble``.
    """
    made = _Assembler(text, where)
    return Program(
        made.instructions,
        type=made.type,
        name=made.name,
        license=made.license,
        maps=made.maps,
        functions=made.functions(),
        lines=made.lines,
    )


class _Assembler:
    """One text on its way: lines to statements, statements to instructions once all labels are known."""

    def __init__(self, text: str, where: str) -> None:
        self.instructions: list[Instruction] = []
        self.lines: list[Line] = []
        self.maps: list[Map] = []
        self.type = b.BPF_PROG_TYPE_SOCKET_FILTER
        self.name = ""
        self.license = "GPL"
        self._where = where
        self._labels: dict[str, int] = {}
        self._places: dict[str, int] = {}  # of maps, by name
        self._statements: list[tuple[Statement, int, str]] = []  # statement, line, source
        self._problems: list[Diagnostic] = []
        self._read(text)
        self._place()
        if self._problems:
            raise SourceError(sorted(self._problems, key=lambda one: (one.line, one.column)), where=where)

    def _read(self, text: str) -> None:
        """All lines; what is wrong goes to the problems."""
        slot = 0
        for number, source in enumerate(text.splitlines(), 1):
            if len(self._problems) >= _MOST_DIAGNOSTICS:
                break
            line = Scanner(source, self._places)
            try:
                for name in line.labels():
                    if name in self._labels:
                        raise WrongText(f"there are two labels {name!r}", 0)
                    self._labels[name] = slot
                if line.at_end():
                    continue
                if line.peek_word() in _DIRECTIVES:
                    _DIRECTIVES[line.word()](self, line)
                    statement = None
                else:
                    statement = parse_statement(line)
                if not line.at_end():
                    raise WrongText(f"{line.rest()!r} behind the instruction", line.at)
            except WrongText as wrong:
                self._tell(wrong, number, source)
                continue
            if statement is not None:
                self.lines.append(Line(slot, self._where, number, 1, source.strip()))
                self._statements.append((statement, number, source))
                slot += len(statement.instructions)

    def _tell(self, wrong: WrongText, line: int, source: str) -> None:
        found = Diagnostic(wrong.what, line=line, column=wrong.at + 1, source=source, hint=wrong.hint)
        self._problems.append(found)

    def _place(self) -> None:
        """Put the distances to labels in."""
        exits = [line.slot for line, (one, _, _) in zip(self.lines, self._statements, strict=True) if _is_exit(one)]
        if exits:
            self._labels.setdefault("exit", exits[-1])
        for line, (statement, number, source) in zip(self.lines, self._statements, strict=True):
            try:
                self.instructions += _placed(statement, line.slot, self._labels)
            except WrongText as wrong:
                self._tell(wrong, number, source)

    def functions(self) -> list[Function]:
        """The main function, and the labels that are called."""
        called = {
            slot + 1 + one.imm
            for slot, one in enumerate(self.instructions)
            if one.code == b.BPF_JMP | b.BPF_CALL and one.src == b.BPF_PSEUDO_CALL
        }
        names = {slot: label for label, slot in reversed(self._labels.items())}
        return [Function(slot, names.get(slot, self.name or "main"), 0) for slot in sorted(called | {0})]

    def map_directive(self, line: Scanner) -> None:
        """.map NAME TYPE KEY VALUE ENTRIES"""
        at = line.at
        name = line.word()
        if not name or name in self._places:
            raise WrongText(f"there are two maps {name!r}" if name else "the map has no name", at)
        kind = _chosen(line, MAP_TYPES, "type of map")
        key, value, entries = (line.number(0, _LARGEST, what) for what in ("bytes of a key", "of a value", "entries"))
        flags = 0 if line.at_end() else line.number(0, _LARGEST, "flags")
        self._places[name] = len(self.maps)
        self.maps.append(Map(name, kind, key, value, entries, flags=flags))

    def type_directive(self, line: Scanner) -> None:
        """.type TYPE"""
        self.type = _chosen(line, PROGRAM_TYPES, "type of program")

    def name_directive(self, line: Scanner) -> None:
        """.name NAME"""
        self.name = line.word()

    def license_directive(self, line: Scanner) -> None:
        """.license TEXT"""
        self.license = line.rest().strip().strip('"')
        line.at = len(line.line)


_DIRECTIVES = {
    ".map": _Assembler.map_directive,
    ".type": _Assembler.type_directive,
    ".name": _Assembler.name_directive,
    ".license": _Assembler.license_directive,
}


def _chosen(line: Scanner, names: Mapping[str, int], what: str) -> int:
    at = line.at
    word = line.word()
    if word not in names:
        import difflib

        near = difflib.get_close_matches(word, names, n=2)
        raise WrongText(f"no {what} {word!r}", at, f"did you mean {' or '.join(near)}?" if near else ", ".join(names))
    return names[word]


def _is_exit(statement: Statement) -> bool:
    return statement.instructions[0].code == b.BPF_JMP | b.BPF_EXIT


def _placed(statement: Statement, slot: int, labels: dict[str, int]) -> list[Instruction]:
    """The statement's instructions with the distance to its label put in."""
    label = statement.label
    if not label:
        return statement.instructions
    if label not in labels:
        import difflib

        near = difflib.get_close_matches(label, labels, n=2)
        raise WrongText(f"no label {label!r}", statement.label_at, f"did you mean {' or '.join(near)}?" if near else "")
    distance = labels[label] - slot - 1
    first = statement.instructions[0]
    if statement.label_in == "imm":
        return [first._replace(imm=distance), *statement.instructions[1:]]
    if not -_SHORT <= distance < _SHORT:
        raise WrongText(f"{label!r} is {distance} instructions away", statement.label_at, "gotol reaches further")
    return [first._replace(off=distance)]
