"""Fetch arguments: the small language in which the kernel is told what a probe records.

    %di  $arg1  $retval  $stack0  $comm  @symbol+4  @0xffffffff81000000  @+0x10  \\5  \\"text"  +8(%si)  +u8(+0($arg1))
    with a type behind a colon: u32 s8 x64 char string ustring symbol symstr b4@2/32 u8[4]

Checked here before the kernel sees it, so that an error can point at its place.
Source: kernel/trace/trace_probe.c, traceprobe_parse_probe_arg and parse_probe_arg; Documentation/trace/kprobetrace.rst.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from linscope.errors import ExpressionError

MAX_NAME = 32  # MAX_ARG_NAME_LEN
MAX_BODY = 63  # MAX_ARGSTR_LEN
MAX_ARRAY = 64  # MAX_ARRAY_LEN
MAX_ARGUMENTS = 128  # MAX_TRACE_ARGS
_MAX_STEPS = 15  # FETCH_INSN_MAX, without the step that stores
RESERVED_NAMES = frozenset(
    (
        *("common_type", "common_flags", "common_preempt_count", "common_pid", "common_tgid"),
        *("__probe_ip", "__probe_ret_ip", "__probe_func"),
    )
)
_NUMBERS = frozenset(f"{sign}{bits}" for sign in "usx" for bits in (8, 16, 32, 64))
_STRINGS = frozenset(("string", "ustring"))
_OTHERS = frozenset(("char", "symbol", "symstr", "%pd", "%pD"))
_KERNEL_ONLY = frozenset(("symbol", "symstr", "%pd", "%pD"))
# arch/x86/kernel/ptrace.c, regoffset_table; arch/arm64/kernel/ptrace.c
REGISTERS = {
    "x86_64": frozenset("r15 r14 r13 r12 r11 r10 r9 r8 bx cx dx si di bp ax orig_ax ip cs flags sp ss".split()),
    "aarch64": frozenset([*(f"x{n}" for n in range(31)), "sp", "pc", "pstate"]),
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_INTEGER = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)\Z")
_SYMBOL = re.compile(r"[A-Za-z_.][\w.$:]*([+-](0[xX][0-9a-fA-F]+|\d+))?\Z")
_BITFIELD = re.compile(r"b(\d+)@(\d+)/(8|16|32|64)\Z")


class Features(NamedTuple):
    """What the fetch arguments of a kernel can be; all that is known, without a kernel to ask."""

    argument_numbers: bool = True  # $arg1 at the entry of a kernel's function; v4.20
    arguments_on_return: bool = True  # $arg1 also for its return; v6.9
    user_dereference: bool = True  # +u8(...), ustring; v5.3
    types: frozenset[str] = _NUMBERS | _STRINGS | _OTHERS


def parse_features(readme: str) -> Features:
    """Features by the text of tracefs' README, in which each kernel tells what it takes."""
    start = readme.find("fetcharg:")
    text = readme[start : readme.find("efield:", start)] if start >= 0 else ""
    types = text.partition("type:")[2]
    return Features(
        "$arg<N>" in text,
        "return probes support" in text and "$arg<N>" in text.partition("return probes support")[2],
        "[u]<offset>" in text,
        _NUMBERS | {name for name in (_STRINGS | _OTHERS) if re.search(rf"(?<![\w]){name}(?!\w)", types)},
    )


class Context(NamedTuple):
    """Where the probe is; it decides what can be fetched."""

    user: bool = False  # a program's instruction, not the kernel's
    returns: bool = False
    entry: bool = True  # at the first instruction of a function
    machine: str = "x86_64"
    features: Features = Features()


class Checker:
    """Checks the words of one definition; positions count in the whole text."""

    def __init__(self, text: str, context: Context) -> None:
        self.text = text
        self.context = context

    def fail(self, what: str, position: int, *, why: str = "", next_step: str = "") -> ExpressionError:
        """The error for a place of the text."""
        return ExpressionError(what, text=self.text, position=position, why=why, next_step=next_step)

    def check_name(self, name: str, at: int, taken: set[str]) -> None:
        """Raises ExpressionError for what cannot be a field's name, or is one already."""
        if not _NAME.match(name):
            raise self.fail(f"{name!r} cannot be a name", at, next_step="letters, digits and _, no digit first")
        if len(name) > MAX_NAME:
            raise self.fail(f"a name of {len(name)} characters", at, why=f"the kernel takes {MAX_NAME}")
        if name in RESERVED_NAMES or name in taken:
            why = "each event has a field of that name" if name in RESERVED_NAMES else "an argument before has it"
            raise self.fail(f"the name {name!r} is taken", at, why=why, next_step=f"{name}2={name}")

    def check(self, fetch: str, at: int, type_: str, type_at: int) -> None:
        """Raises ExpressionError where the kernel would refuse."""
        last = self._check_fetch(fetch, at, 0)
        length = len(fetch) + (len(type_) + 1 if type_ else 0)
        if length > MAX_BODY:
            raise self.fail(f"an argument of {length} characters", at, why=f"the kernel takes {MAX_BODY}")
        if type_:
            self._check_type(type_, type_at, last)

    def _check_fetch(self, fetch: str, at: int, depth: int) -> str:
        """The kind of the outermost step: "memory", "value", "comm" or "text"."""
        if depth > _MAX_STEPS:
            raise self.fail("too many dereferences", at, why=f"the kernel takes {_MAX_STEPS}")
        first = fetch[:1]
        if first == "$":
            return self._check_variable(fetch[1:], at)
        if first == "%":
            known = REGISTERS.get(self.context.machine)
            if known is not None and fetch[1:] not in known:
                raise self.fail(
                    f"no register {fetch!r}", at, next_step="names of struct pt_regs: %" + self._registers()
                )
            return "value"
        if first == "@":
            return self._check_memory(fetch[1:], at + 1)
        if first == "\\":
            return self._check_constant(fetch[1:], at + 1)
        if first in ("+", "-") and first:
            return self._check_dereference(fetch, at, depth)
        what = f"{fetch!r} is nothing that can be fetched" if fetch else "nothing to fetch"
        raise self.fail(what, at, next_step="%register, $arg1, $retval, $stack0, $comm, @symbol, \\5, +8(...)")

    def _registers(self) -> str:
        return "di %si %dx %cx %r8 %r9 %ax %sp %ip ..." if self.context.machine == "x86_64" else "x0 %x1 ... %sp %pc"

    def _check_variable(self, name: str, at: int) -> str:
        context = self.context
        if name == "comm":
            return "comm"
        if name == "retval":
            if not context.returns:
                raise self.fail("$retval before the function returns", at, next_step="begin with r instead of p")
            return "value"
        if name == "stack" or (name.startswith("stack") and name[5:].isdigit()):
            return "value"
        if name.startswith("arg") and name[3:].isdigit():
            self._check_argument_number(int(name[3:]), at)
            return "value"
        raise self.fail(f"no variable ${name}", at, next_step="$arg1, $retval, $stack, $stack0, $comm")

    def _check_argument_number(self, number: int, at: int) -> None:
        context = self.context
        if context.user:
            raise self.fail("$argN in a program's function", at, next_step="%di %si %dx %cx %r8 %r9 hold the first six")
        if not context.features.argument_numbers:
            raise self.fail("this kernel has no $argN", at, next_step="%di %si %dx %cx %r8 %r9 hold the first six")
        if not number:
            raise self.fail("arguments count from $arg1", at)
        if not context.entry:
            raise self.fail("$argN inside a function", at, why="only at its entry are they where the ABI says")
        if context.returns and not context.features.arguments_on_return:
            why = "this kernel keeps no arguments until the function returns"
            raise self.fail("$argN at a return", at, why=why, next_step="a second probe at the entry")

    def _check_memory(self, place: str, at: int) -> str:
        if place.startswith("+"):
            if not self.context.user:
                raise self.fail("an offset in a file", at, why="the kernel has no file; @+ is for programs")
            if not _INTEGER.match(place[1:]):
                raise self.fail(f"not an offset: {place[1:]!r}", at + 1)
        elif not _INTEGER.match(place):
            if self.context.user:
                raise self.fail(
                    "a symbol of the kernel in a program", at, next_step="@ADDRESS, or @+OFFSET in its file"
                )
            if not _SYMBOL.match(place):
                raise self.fail(f"not a symbol or an address: {place!r}", at)
        return "memory"

    def _check_constant(self, constant: str, at: int) -> str:
        if constant.startswith('"'):
            if len(constant) < 2 or not constant.endswith('"'):
                raise self.fail("the text does not end", at + len(constant), next_step='\\"text"')
            return "text"
        if not _INTEGER.match(constant.removeprefix("-").removeprefix("+")):
            raise self.fail(f"not a number: {constant!r}", at)
        return "value"

    def _check_dereference(self, fetch: str, at: int, depth: int) -> str:
        start = 1
        if fetch[1:2] == "u":
            if not self.context.features.user_dereference:
                raise self.fail("this kernel does not know +u", at + 1)
            start = 2
        bracket = fetch.find("(")
        if bracket < 0:
            raise self.fail("an offset needs brackets", at + len(fetch), next_step=f"{fetch}(...)")
        if not _INTEGER.match(fetch[start:bracket]):
            raise self.fail(f"not an offset: {fetch[start:bracket]!r}", at + start)
        if not fetch.endswith(")"):
            raise self.fail("a bracket is not closed", at + len(fetch))
        inner = self._check_fetch(fetch[bracket + 1 : -1], at + bracket + 1, depth + 1)
        if inner in ("comm", "text"):
            raise self.fail("text cannot be dereferenced", at + bracket + 1)
        return "memory"

    def _check_type(self, type_: str, at: int, last: str) -> None:
        element, bracket, count = type_.partition("[")
        if bracket:
            self._check_array(count, at + len(element) + 1)
            if last != "memory":
                raise self.fail("an array of what is not in memory", at, next_step="+0(...) in front")
        if element.startswith("b") and element[1:2].isdigit():
            match = _BITFIELD.match(element)
            if not match:
                raise self.fail(f"not a bit field: {element!r}", at, next_step="b4@2/32: 4 bits from bit 2 of 32")
            width, offset, container = (int(group) for group in match.groups())
            if not width or width + offset > container:
                raise self.fail(f"{width} bits from bit {offset} are not in {container}", at)
            return
        if element not in _NUMBERS | _STRINGS | _OTHERS:
            raise self.fail(
                f"no type {element!r}", at, next_step="u8..u64 s8..s64 x8..x64 string ustring symbol b4@2/32"
            )
        if self.context.user and element in _KERNEL_ONLY:
            raise self.fail(f"the type {element!r} in a program", at, why="it names what lies in the kernel")
        if element not in self.context.features.types:
            raise self.fail(f"this kernel has no type {element!r}", at)
        if last in ("comm", "text") and (element != "string" or bracket):
            raise self.fail("text is a string", at)
        if element in _STRINGS and last == "value":
            raise self.fail("a string is read where a pointer points to", at, next_step="+0(...):string")

    def _check_array(self, count: str, at: int) -> None:
        number = count.removesuffix("]")
        if not count.endswith("]"):
            raise self.fail("a bracket is not closed", at + len(count))
        if not _INTEGER.match(number) or not 0 < int(number, 0) <= MAX_ARRAY:
            raise self.fail(f"no array of {number!r} elements", at, why=f"the kernel takes 1 to {MAX_ARRAY}")
