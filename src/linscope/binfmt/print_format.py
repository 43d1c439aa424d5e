"""The ``print fmt`` of a trace event -> a tree: the subset of C in which the kernel says how a record is written.

``"comm=%s prio=%d", REC->comm, REC->prio`` is a C string and C expressions over the record's fields, with helpers
such as ``__print_flags``.  Source: include/trace/stages/stage3_trace_output.h (helpers);
kernel/trace/trace_events.c, f_show, which shows the text.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

from linscope.errors import FormatError

_DEEPEST = 120  # levels of nesting; the kernel's own formats stay below 30
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*")
  | (?P<char>'(?:[^'\\]|\\.[^']*)')
  | (?P<number>(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*)
  | (?P<name>[A-Za-z_]\w*)
  | (?P<mark>->|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>?:(){}\[\],.;=])
  )""",
    re.X | re.S,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.S)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_BINARY = (
    ("||",),
    ("&&",),
    ("|",),
    ("^",),
    ("&",),
    ("==", "!="),
    ("<", ">", "<=", ">="),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%"),
)
_PRECEDENCE = {mark: level for level, marks in enumerate(_BINARY) for mark in marks}
_TYPE_WORDS = frozenset(
    "unsigned signed char short int long void bool _Bool const volatile struct union enum __user __force".split()
)
_SIZED = re.compile(r"_*(?:be|le)?([us])?(?:int)?(8|16|32|64)(?:_t)?$")
_UINT = re.compile(r"_*uint(8|16|32|64)(?:_t)?$")
_SIZES = {"char": 1, "short": 2, "bool": 1, "_Bool": 1}
_TYPEDEFS = {  # name -> (bytes, 0: of a long; signed).  include/linux/types.h
    "size_t": (0, False),
    "ssize_t": (0, True),
    "uintptr_t": (0, False),
    "pid_t": (4, True),
    "dev_t": (4, False),
    "gfp_t": (4, False),
    "umode_t": (2, False),
    "sector_t": (8, False),
    "blkcnt_t": (8, False),
    "loff_t": (8, True),
    "ktime_t": (8, True),
    "dma_addr_t": (8, False),
    "phys_addr_t": (8, False),
    "resource_size_t": (8, False),
    "ino_t": (0, False),
    "pgoff_t": (0, False),
}
# Names of enumerators that old kernels left unresolved in their formats; include/linux/interrupt.h, hrtimer.h.
CONSTANTS = {
    "HI_SOFTIRQ": 0,
    "TIMER_SOFTIRQ": 1,
    "NET_TX_SOFTIRQ": 2,
    "NET_RX_SOFTIRQ": 3,
    "BLOCK_SOFTIRQ": 4,
    "IRQ_POLL_SOFTIRQ": 5,
    "TASKLET_SOFTIRQ": 6,
    "SCHED_SOFTIRQ": 7,
    "HRTIMER_SOFTIRQ": 8,
    "RCU_SOFTIRQ": 9,
    "HRTIMER_NORESTART": 0,
    "HRTIMER_RESTART": 1,
    "true": 1,
    "false": 0,
    "NULL": 0,
}


class CType(NamedTuple):
    """A type as far as it changes a value."""

    size: int  # bytes; 0: not known, which leaves values as they are
    signed: bool
    pointee: CType | None = None  # of a pointer: to what


class Number(NamedTuple):
    """A constant."""

    value: int
    type: CType


class Text(NamedTuple):
    """A string literal; neighbors are joined."""

    value: str


class FieldOf(NamedTuple):
    """REC->name"""

    name: str


class Name(NamedTuple):
    """A bare word: an enumerator or macro that the format does not resolve, or a field named for a helper."""

    name: str


class Index(NamedTuple):
    """base[at]"""

    base: Node
    at: Node


class Unary(NamedTuple):
    """One operand: - + ~ ! * &"""

    operator: str
    operand: Node


class Binary(NamedTuple):
    """Two operands."""

    operator: str
    left: Node
    right: Node


class Choice(NamedTuple):
    """condition ? yes : no"""

    condition: Node
    yes: Node
    no: Node


class Cast(NamedTuple):
    """(type) operand"""

    type: CType
    operand: Node


class SizeOf(NamedTuple):
    """sizeof of an expression; that of a type is a Number already."""

    operand: Node


class Entries(NamedTuple):
    """The {value, "name"} pairs of __print_flags and __print_symbolic."""

    pairs: tuple[tuple[Node, str], ...]


class Call(NamedTuple):
    """A helper with its arguments."""

    name: str
    arguments: tuple[Node, ...]


Node: TypeAlias = Number | Text | FieldOf | Name | Index | Unary | Binary | Choice | Cast | SizeOf | Entries | Call


class PrintFormat(NamedTuple):
    """A parsed print fmt: the string and what goes into it."""

    text: str
    arguments: tuple[Node, ...]


def parse_print_format(text: str, long_size: int = 8) -> PrintFormat:
    """The tree of a print fmt.  long_size: bytes of a long on the machine that wrote it.

    Raises FormatError with the offset in the text at which it is not understood.
    """
    parser = _Parser(text, long_size)
    form = parser.string()
    arguments = []
    while parser.take(","):
        arguments.append(parser.expression())
    if parser.kind != "end":
        raise parser.error("expected a comma")
    return PrintFormat(form, tuple(arguments))


def unescape(literal: str) -> str:
    """The characters of a C string literal, given without its quotes."""
    if "\\" not in literal:
        return literal

    def one(found: re.Match[str]) -> str:
        word = found[1]
        if word[0] == "x" and len(word) > 1:
            return chr(int(word[1:], 16))
        if word[0] in "01234567":
            return chr(int(word, 8) & 0xFF)
        return _ESCAPES.get(word, word)

    return _ESCAPE.sub(one, literal)


class _Parser:
    """Recursive descent with one token of look-ahead."""

    def __init__(self, text: str, long_size: int) -> None:
        self.source = text
        self.long_size = long_size
        self.long = CType(long_size, True)
        self.int = CType(4, True)
        self.at = 0  # of the token
        self.end = 0  # behind the token
        self.kind = ""
        self.token = ""
        self.depth = 0
        self.advance()

    def error(self, what: str) -> FormatError:
        """The error to raise at the present token."""
        near = self.source[self.at : self.at + 24]
        return FormatError(f"print fmt: {what}", offset=self.at, why=f"near {near!r}")

    def advance(self) -> str:
        """Go on to the next token; returns the one that was the present."""
        before = self.token
        found = _TOKEN.match(self.source, self.end)
        if found is None:
            self.at = self.end
            if self.source[self.end :].strip():
                raise self.error("not a token of C")
            self.kind, self.token = "end", ""
        else:
            self.kind = str(found.lastgroup)
            self.token = found[self.kind]
            self.at, self.end = found.start(self.kind), found.end()
        return before

    def take(self, mark: str) -> bool:
        """Step over the mark if it is next."""
        if self.kind in ("mark", "name") and self.token == mark:
            self.advance()
            return True
        return False

    def expect(self, mark: str) -> None:
        """Step over the mark.  Raises FormatError if something else is next."""
        if not self.take(mark):
            raise self.error(f"expected {mark!r}")

    def string(self) -> str:
        """One or more string literals, joined."""
        if self.kind != "string":
            raise self.error("expected a string")
        parts = []
        while self.kind == "string":
            parts.append(unescape(self.advance()[1:-1]))
        return "".join(parts)

    def expression(self) -> Node:
        """A conditional expression: all that an argument can be."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.error("nested too deeply")
        condition = self.binary(0)
        if self.take("?"):
            yes = self.expression()
            self.expect(":")
            condition = Choice(condition, yes, self.expression())
        self.depth -= 1
        return condition

    def binary(self, level: int) -> Node:
        """Operators of this level of precedence and those that bind tighter."""
        left = self.unary()
        chain = 0
        while self.kind == "mark" and _PRECEDENCE.get(self.token, -1) >= level:
            chain += 1
            if chain > _DEEPEST:
                raise self.error("too long an expression")
            operator = self.advance()
            left = Binary(operator, left, self.binary(_PRECEDENCE[operator] + 1))
        return left

    def unary(self) -> Node:
        """Prefix operators, casts, sizeof, then a primary with what follows it."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.error("nested too deeply")
        made: Node
        if self.kind == "mark" and self.token in "-+~!*&":
            made = Unary(self.advance(), self.unary())
        elif self.kind == "name" and self.token == "sizeof":
            made = self.size_of()
        elif self.kind == "mark" and self.token == "(":
            type_ = self.cast()
            made = Cast(type_, self.unary()) if type_ is not None else self.postfix()
        else:
            made = self.postfix()
        self.depth -= 1
        return made

    def size_of(self) -> Node:
        """sizeof(type), sizeof(expression) or sizeof expression."""
        self.advance()
        if self.token == "(":
            type_ = self.cast(always=True)
            if type_ is not None:
                if type_.size == 0:
                    raise self.error("the size of the type is not known")
                return Number(type_.size, CType(self.long_size, False))
        return SizeOf(self.unary())

    def cast(self, *, always: bool = False) -> CType | None:
        """The type if the parenthesis that is next holds one, which is then stepped over; else None, and nothing moved.

        always: also when no operand follows (sizeof).
        """
        before = self.at, self.end, self.kind, self.token
        self.advance()
        words, stars = [], 0
        while self.kind == "name" and not stars and self.token != "REC":
            words.append(self.advance())
        while self.token in ("*", "const", "__user", "__rcu") and words:
            stars += self.advance() == "*"
        if words and self.take(")"):
            sure = stars > 0 or words[0] in _TYPE_WORDS or self.is_type(words[0])
            starts_operand = self.kind in ("name", "number", "string", "char") or self.token == "("
            if (starts_operand and words[0] not in CONSTANTS) or sure or (always and len(words) > 1):
                return self.type_of(words, stars)
        self.at, self.end, self.kind, self.token = before
        return None

    def is_type(self, word: str) -> bool:
        """True for the names of types that are known to be such."""
        return word in _TYPEDEFS or _SIZED.match(word) is not None or _UINT.match(word) is not None

    def type_of(self, words: list[str], stars: int) -> CType:
        """The type that these words name."""
        made = self.base_type([word for word in words if word not in ("const", "volatile", "__user", "__force")])
        for _ in range(stars):
            made = CType(self.long_size, False, made)
        return made

    def base_type(self, words: list[str]) -> CType:
        """The type without its stars."""
        name = words[-1] if words else ""
        if "struct" in words or "union" in words or name == "void":
            return CType(0, False)
        if "enum" in words:
            return CType(4, False)
        if name in _TYPEDEFS:
            size, signed = _TYPEDEFS[name]
            return CType(size or self.long_size, signed)
        if found := _UINT.match(name):
            return CType(int(found[1]) // 8, False)
        if found := _SIZED.match(name):
            return CType(int(found[2]) // 8, found[1] == "s" or "int" in name)
        if not set(words) & {"unsigned", "signed", "char", "short", "int", "long", "bool", "_Bool"}:
            return CType(0, False)
        signed = "unsigned" not in words and name not in ("bool", "_Bool")
        longs = words.count("long")
        if longs:
            return CType(8 if longs > 1 else self.long_size, signed)
        return CType(next((_SIZES[word] for word in words if word in _SIZES), 4), signed)

    def postfix(self) -> Node:
        """A primary, and indexes behind it."""
        made = self.primary()
        chain = 0
        while self.token == "[" and self.kind == "mark":
            chain += 1
            if chain > _DEEPEST:
                raise self.error("nested too deeply")
            self.advance()
            made = Index(made, self.expression())
            self.expect("]")
        return made

    def primary(self) -> Node:
        """A constant, string, field, helper or an expression in parentheses."""
        if self.kind == "number":
            return self.number(self.advance())
        if self.kind == "string":
            return Text(self.string())
        if self.kind == "char":
            text = unescape(self.advance()[1:-1])
            return Number(ord(text[0]) & 0xFF if text else 0, self.int)
        if self.kind == "name":
            name = self.advance()
            if name == "REC" and self.token == "->":
                return self.field_of_record()
            return self.call(name) if self.token == "(" else Name(name)
        if self.take("("):
            if self.token == "{":
                raise self.error("statements are not read")
            made = self.expression()
            self.expect(")")
            return self.field_of_record() if made == Name("REC") else made
        raise self.error("expected a value")

    def field_of_record(self) -> Node:
        """-> and a field; ``a.b`` is one of a struct, named so by libtraceevent too."""
        self.expect("->")
        if self.kind != "name":
            raise self.error("expected a field")
        name = self.advance()
        while self.take("."):
            if self.kind != "name":
                raise self.error("expected a field")
            name += "." + self.advance()
        return FieldOf(name)

    def number(self, token: str) -> Number:
        """An integer constant with the type that C gives it (C11, 6.4.4.1)."""
        digits = token.rstrip("uUlL")
        suffix = token[len(digits) :].lower()
        is_decimal = digits[:1] != "0" or digits == "0"
        if not is_decimal and digits[1:2] not in "xX" and set(digits) & set("89"):
            raise self.error("not a number")
        value = int(digits, 16) if digits[1:2] in ("x", "X") else int(digits, 10 if is_decimal else 8)
        value &= (1 << 64) - 1
        size = 8 if suffix.count("l") > 1 else self.long_size if "l" in suffix else 4
        signed = "u" not in suffix
        if signed and value >= 1 << (8 * size - 1) and not is_decimal and value < 1 << (8 * size):
            signed = False
        elif value >= 1 << (8 * size - signed):
            size, signed = 8, signed and value < 1 << 63
        return Number(value, CType(size, signed))

    def call(self, name: str) -> Node:
        """A helper's arguments; {value, "name"} pairs become Entries."""
        self.expect("(")
        arguments: list[Node] = []
        pairs: list[tuple[Node, str]] = []
        while self.token != ")" or self.kind != "mark":
            if self.take("{"):
                if self.take("}"):  # a list of none
                    continue
                value = self.expression()
                self.expect(",")
                pairs.append((value, self.entry_name()))
                self.take(",")
                self.expect("}")
            else:
                arguments.append(self.expression())
            if not self.take(","):
                break
        self.expect(")")
        if pairs or name.startswith(("__print_flags", "__print_symbolic")):
            arguments.append(Entries(tuple(pairs)))
        return Call(name, tuple(arguments))

    def entry_name(self) -> str:
        """The name of an entry; the one that ends a list may be ((void *)0)."""
        if self.kind == "string":
            return self.string()
        self.expression()
        return ""
