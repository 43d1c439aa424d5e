"""Arguments of USDT probes as fetch arguments.

An argument is a size and an operand in the assembler's words: ``-4@%edi 8@-8(%rbp) 4@$5``.
Source: sourceware.org/systemtap/wiki/UserSpaceProbeImplementation; registers of the System V psABI x86-64.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from linscope.sources.probes.definition import ProbeArgument

if TYPE_CHECKING:
    from linscope.binfmt.usdt import UsdtProbe

_ARGUMENT = re.compile(r"(?:(?P<sign>-?)(?P<size>[1248])(?P<float>f?)@)?(?P<operand>\S+)")
_MEMORY = re.compile(r"(-?)(0[xX][0-9a-fA-F]+|\d+)?\(%(\w+)\)\Z")
_CONSTANT = re.compile(r"\$(-?(?:0[xX][0-9a-fA-F]+|\d+))\Z")
_OLD_REGISTERS = ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")


def usdt_arguments(probe: UsdtProbe) -> tuple[tuple[ProbeArgument, ...], tuple[str, ...]]:
    """(fetch arguments, notes on those that the kernel cannot fetch); names are arg1, arg2..."""
    arguments, notes = [], []
    for number, match in enumerate(_ARGUMENT.finditer(probe.arguments), 1):
        fetch = "" if match["float"] else _fetch(match["operand"])
        if fetch:
            size = 8 * int(match["size"] or 8)
            arguments.append(ProbeArgument(f"arg{number}", fetch, f"{'s' if match['sign'] else 'u'}{size}"))
        else:
            notes.append(f"argument {number} of {probe.provider}:{probe.name} cannot be fetched: {match[0]}")
    return tuple(arguments), tuple(notes)


def _fetch(operand: str) -> str:
    """The fetch argument of an operand; "" when there is none: an index, a symbol, a floating-point register."""
    if operand.startswith("%"):
        register = _register(operand[1:])
        return f"%{register}" if register else ""
    if constant := _CONSTANT.match(operand):
        return f"\\{constant[1]}"
    if memory := _MEMORY.match(operand):
        register = _register(memory[3])
        return f"{memory[1] or '+'}{memory[2] or '0'}(%{register})" if register else ""
    return ""


def _register(name: str) -> str:
    """The kernel's name of a register that may be named by its lower part; "" for others (%ah, %xmm0, %rip)."""
    if match := re.match(r"(r\d+)[dwb]?\Z", name):
        return match[1]
    for register in _OLD_REGISTERS:
        if name in (register, f"e{register}", f"r{register}", f"{register}l", f"{register[0]}l"):
            low = name == f"{register[0]}l"
            return register if not low or register[1] == "x" else ""
    return ""
