"""Text -> eBPF instructions: what linscope.bpf.dis writes, in any of its forms, also mixed line by line.

A line is empty, a comment (``#`` or ``;`` or ``//`` to its end), a label (``again:``), or one instruction.  Numbers,
code bytes and opcodes in front, as verifier logs, bpftool and llvm-objdump print them, are passed over.  Jumps and
calls go to a label, or by a distance (``+3``, ``pc-2``); the label ``exit``, where there is none, is the last exit.
In the C-like forms a hexadecimal number makes a wide load of
``r1 = 0x5`` and a decimal one a plain move, as the kernel writes them; ``ll`` behind a number makes any wide.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf._asm_forms import parse_statement
from linscope.bpf._asm_operands import Statement
from linscope.bpf._asm_text import Scanner, WrongText
from linscope.bpf.instructions import Instruction
from linscope.errors import Diagnostic, SourceError

_MOST_DIAGNOSTICS = 1000
_SHORT = 1 << 15


def assemble(text: str, *, where: str = "") -> list[Instruction]:
    """The instructions of a text, a slot each.

    where: name of the file, for messages.  Raises SourceError with the line, column and reason of all that is wrong.
    """
    labels: dict[str, int] = {}
    statements: list[tuple[int, Statement, int, str]] = []  # slot, statement, line, source
    problems: list[Diagnostic] = []
    slot = 0
    last_exit = -1
    for number, line in enumerate(text.splitlines(), 1):
        if len(problems) >= _MOST_DIAGNOSTICS:
            break
        scanner = Scanner(line)
        try:
            for name in scanner.labels():
                if name in labels:
                    raise WrongText(f"there are two labels {name!r}", 0)
                labels[name] = slot
            if scanner.at_end():
                continue
            statement = parse_statement(scanner)
            if not scanner.at_end():
                raise WrongText(f"{scanner.rest()!r} behind the instruction", scanner.at)
        except WrongText as wrong:
            problems.append(Diagnostic(wrong.what, line=number, column=wrong.at + 1, source=line, hint=wrong.hint))
            continue
        statements.append((slot, statement, number, line))
        slot += len(statement.instructions)
    for slot, statement, _, _ in statements:
        if statement.instructions[0].code == b.BPF_JMP | b.BPF_EXIT:
            last_exit = slot
    if last_exit >= 0:
        labels.setdefault("exit", last_exit)
    made: list[Instruction] = []
    for slot, statement, number, line in statements:
        try:
            made += _placed(statement, slot, labels)
        except WrongText as wrong:
            problems.append(Diagnostic(wrong.what, line=number, column=wrong.at + 1, source=line, hint=wrong.hint))
    if problems:
        raise SourceError(sorted(problems, key=lambda one: (one.line, one.column)), where=where)
    return made


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
