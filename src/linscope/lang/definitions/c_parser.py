"""Definitions in C -> types: structs, unions, enums, typedefs.

Layout as gcc has it on 64-bit Linux.  In headers all else (functions, declarations) is passed over.
Source: C11, 6.7, and what gcc adds to it.
"""

from __future__ import annotations

from linscope.lang import types as t
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.definitions.c_expressions import Evaluator, NotConstant
from linscope.lang.definitions.c_layout import Member, alignment, lay_out, set_alignment
from linscope.lang.definitions.c_tokens import END, NAME, Token, tokens

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.lang.definitions.c_source import CSource

TAGS = ("struct", "union", "enum")
_INTEGER_WORDS = frozenset(("unsigned", "signed", "char", "short", "int", "long", "__signed", "double", "_Complex"))
_QUALIFIERS = frozenset((
    "const", "volatile", "restrict", "__restrict", "__restrict__", "__user", "__rcu", "__iomem", "__percpu",
    "__kernel", "__force", "extern", "static", "inline", "__inline", "__extension__", "register", "_Noreturn",
    "__always_inline", "__const__", "_Thread_local", "__thread", "__maybe_unused", "__read_mostly",
))  # fmt: skip
_ATTRIBUTES = ("__attribute__", "__attribute", "_Alignas", "__packed", "__randomize_layout", "__aligned",
               "____cacheline_aligned", "____cacheline_aligned_in_smp", "__asm__", "__counted_by")  # fmt: skip
_CACHE_LINE, _LARGEST_ALIGN = 64, 16
_DEEPEST = 64
_MODES = {"__QI__": 1, "__HI__": 2, "__SI__": 4, "__DI__": 8, "__word__": 8, "__pointer__": 8}
_FIXED = {
    "u8": (1, False), "u16": (2, False), "u32": (4, False), "u64": (8, False), "s8": (1, True), "s16": (2, True),
    "s32": (4, True), "s64": (8, True), "uint8": (1, False), "uint16": (2, False), "uint32": (4, False),
    "uint64": (8, False), "int8": (1, True), "int16": (2, True), "int32": (4, True), "int64": (8, True),
    "size_t": (8, False), "ssize_t": (8, True), "uintptr_t": (8, False), "intptr_t": (8, True), "ptrdiff_t": (8, True),
    "pid_t": (4, True), "uid_t": (4, False), "gid_t": (4, False), "off_t": (8, True), "loff_t": (8, True),
    "dev_t": (4, False), "umode_t": (2, False), "mode_t": (4, False), "ino_t": (8, False), "gfp_t": (4, False),
    "sector_t": (8, False), "wchar_t": (4, True), "time_t": (8, True), "clockid_t": (4, True), "socklen_t": (4, False),
    "be16": (2, False), "be32": (4, False), "be64": (8, False), "le16": (2, False), "le32": (4, False),
    "le64": (8, False), "uchar": (1, False), "u_char": (1, False), "u_short": (2, False), "u_int": (4, False),
    "u_long": (8, False), "ushort": (2, False), "uint": (4, False), "ulong": (8, False), "sum16": (2, False),
    "wsum": (4, False), "dma_addr_t": (8, False), "phys_addr_t": (8, False), "blkcnt_t": (8, False),
}  # fmt: skip


def builtin_type(word: str) -> t.Type | None:
    """A type that C, stdint.h or the kernel's types.h names; None: none of them does."""
    if word in ("bool", "_Bool"):
        return t.BOOL
    if word == "void":
        return t.VOID
    if word in ("float", "_Float32"):
        return t.Void(4)
    if word in ("_Float64", "_Float32x"):
        return t.Void(8)
    if word in ("__int128", "__int128_t", "__uint128_t", "_Float128", "__float128", "_Float64x"):
        wide: t.Type = t.Array(t.UINT8, 16) if "int" in word else t.Void(16)
        set_alignment(wide, 16)
        return wide
    if word in ("__builtin_va_list", "va_list", "__gnuc_va_list"):
        return t.Array(t.UINT64, 3)
    plain = word.removeprefix("__kernel_").removeprefix("__")
    fixed = _FIXED.get(plain) or _FIXED.get(plain.removesuffix("_t"))
    return None if fixed is None else t.Int(*fixed, word)


class Parser:
    """Definitions in one text."""

    def __init__(self, source: CSource, text: str, *, is_header: bool) -> None:
        """is_header: what is no definition is passed over, and what cannot be understood, too."""
        self.source = source
        self.is_header = is_header
        self.tokens = tokens(text)
        self.at = 0
        self._depth = 0
        self._mode = 0  # bytes that an attribute gives to the integer that is being declared; 0: as it is

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.at]

    def _next(self) -> Token:
        token = self.tokens[self.at]
        if token.kind != END:
            self.at += 1
        return token

    def _take(self, text: str) -> bool:
        if self.tokens[self.at].text == text and self.tokens[self.at].kind != END:
            self.at += 1
            return True
        return False

    def wrong(self, what: str, hint: str = "") -> Wrong:
        """What is wrong at the next token."""
        return Wrong((self.token.start, max(self.token.end, self.token.start + 1)), what, hint)

    def definitions(self) -> None:
        """All definitions of the text.  Raises Wrong."""
        while self.token.kind != END:
            start = self.at
            try:
                self._definition()
            except Wrong:
                if not self.is_header:
                    raise
                self.at = start
                self._pass_over()
            if self.at == start:
                self._next()

    def _pass_over(self) -> None:
        """Go to the end of a declaration or of a function."""
        depth = 0
        while self.token.kind != END:
            text = self._next().text
            if text in ("{", "(", "["):
                depth += 1
            elif text in ("}", ")", "]"):
                depth -= 1
                if text == "}" and depth <= 0:
                    self._take(";")
                    return
            elif text == ";" and depth <= 0:
                return

    def _definition(self) -> None:
        if self._take(";"):
            return
        typedef = self._take("typedef") or (self.token.text == "__extension__" and self._typedef_behind_extension())
        if not typedef and self.token.text not in TAGS:
            if self.is_header:
                self._pass_over()
                return
            raise self.wrong(f"no definition: {self.token.text!r}", "struct, union, enum or typedef")
        base = self.base()
        if self._take(";") or self.token.kind == END:
            return
        while True:
            self._mode = 0
            name, type, align = self.declarator(base)
            if typedef and name:
                self._name(name, type, align)
            if not self._take(","):
                break
        if not self._take(";") and self.token.kind != END and not typedef:
            raise self.wrong(f"expected ';', found {self.token.text!r}")

    def _typedef_behind_extension(self) -> bool:
        if self.tokens[self.at + 1].text != "typedef":
            return False
        self.at += 2
        return True

    def _name(self, name: str, type: t.Type, align: int) -> None:
        """A typedef."""
        if isinstance(type, t.Int) and type.name != "char":
            type = t.Int(self._mode or type.size, type.signed, name)
        elif isinstance(type, t.Struct) and not type.name:  # typedef struct { ... } name;
            whole = type
            type = t.Struct(name, whole.width, whole.read_fields, whole.tag)
            set_alignment(type, alignment(whole))
        if align and isinstance(type, t.Int | t.Array | t.Struct):
            set_alignment(type, align)
        self.source.types[None, name] = type

    # -- types

    def base(self) -> t.Type:
        """What stands in front of the declared names.  Raises Wrong."""
        self._enter()
        try:
            return self._base()
        finally:
            self._depth -= 1

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.wrong("definitions too deep in each other")

    def _base(self) -> t.Type:
        self._qualifiers()
        word = self.token.text
        if word in TAGS:
            found = self._tagged()
            self._qualifiers()
            return found
        if self.token.kind != NAME:
            raise self.wrong(f"expected a type, found {word!r}")
        if word in ("typeof", "__typeof__", "_Atomic", "_Static_assert", "__auto_type"):
            raise self.wrong(f"{word} is not understood")
        if word in _INTEGER_WORDS:
            words = []
            while self.token.text in _INTEGER_WORDS or self.token.text in _QUALIFIERS:
                words.append(self._next().text)
            return _integer(words)
        found = self._named(word)
        self._next()
        while self.token.text in _INTEGER_WORDS and isinstance(found, t.Int | t.Array):  # __int128 unsigned
            self._next()
        self._qualifiers()
        return found

    def _named(self, word: str) -> t.Type:
        found = self.source.types.get((None, word)) or builtin_type(word)
        if found is None and not self.is_header:
            found = self.source.find_elsewhere(None, word)
        if found is None:
            raise self.wrong(f"unknown type name '{word}'", self.source.near_type(word))
        return found

    def _qualifiers(self) -> tuple[bool, int]:
        """Pass over const and the like; (packed, alignment or 0) that attributes among them ask for."""
        is_packed, align = False, 0
        while True:
            text = self.token.text
            if text in _QUALIFIERS:
                self._next()
            elif text in _ATTRIBUTES:
                packed, more = self._attribute()
                is_packed, align = is_packed or packed, max(align, more)
            else:
                return is_packed, align

    def _attribute(self) -> tuple[bool, int]:
        """(packed, alignment or 0) of an attribute."""
        word = self._next().text
        if word == "__packed":
            return True, 0
        if word.startswith("____cacheline_aligned"):
            return False, _CACHE_LINE
        if self.token.text != "(":
            return False, 0
        start, depth = self.at, 0
        while self.token.kind != END:
            text = self._next().text
            depth += (text == "(") - (text == ")")
            if not depth:
                break
        inside = self.tokens[start : self.at]
        is_packed, align = False, 0
        for place, token in enumerate(inside):
            if token.text in ("packed", "__packed__"):
                is_packed = True
            elif token.text in _MODES:
                self._mode = _MODES[token.text]
            elif token.text in ("aligned", "__aligned__") or (word in ("_Alignas", "__aligned") and not place):
                align = _LARGEST_ALIGN
                behind = place + 1 if token.text != "(" else place
                if inside[behind : behind + 1] and inside[behind].text == "(":
                    align = self._value_at(start + behind + 1)
        return is_packed, align

    def _value_at(self, at: int) -> int:
        """The value of the constant expression at a place.  Raises Wrong."""
        try:
            return self._evaluator().expression(at)[0][0]
        except NotConstant:
            raise self.wrong("no constant expression") from None

    def _tagged(self) -> t.Type:
        tag = self._next().text
        is_packed, align = self._qualifiers()
        name = self._next().text if self.token.kind == NAME else ""
        if tag == "enum" and self._take(":"):
            self.base()
        if not self._take("{"):
            if not name:
                raise self.wrong(f"expected a name, found {self.token.text!r}")
            return self.source.reference(tag, name)
        if tag == "enum":
            found = self._enum(name)
            self._qualifiers()
            return found
        made = t.Struct(name, 0, list, tag)
        previous = self.source.types.get((tag, name))
        if name:
            self.source.types[tag, name] = made
        try:
            members = self._members(tag)
        except Wrong:
            if name:
                self.source.types.pop((tag, name), None)
                if previous is not None:
                    self.source.types[tag, name] = previous
            raise
        packed, more = self._qualifiers()
        fields, size, align = lay_out(
            members, is_union=tag == "union", is_packed=is_packed or packed, least=max(align, more)
        )
        made.__dict__.update(width=size, read_fields=lambda: fields)
        set_alignment(made, align)
        return made

    def _enum(self, name: str) -> t.Type:
        values: dict[int, str] = {}
        value = -1
        names: list[tuple[str, int]] = []
        while not self._take("}"):
            if self.token.kind != NAME:
                raise self.wrong(f"expected a name, found {self.token.text!r}")
            label = self._next().text
            self._qualifiers()
            value += 1
            if self._take("="):
                value = self._constant()
            names.append((label, value))
            values.setdefault(value, label)
            self.source.constants[label] = (value, t.INT32)
            if not self._take(","):
                if not self._take("}"):
                    raise self.wrong(f"expected '}}', found {self.token.text!r}")
                break
        signed = any(number < 0 for number in values)
        wide = any(number >= 1 << (31 if signed else 32) or number < -(1 << 31) for number in values)
        made = t.Enum(name, 8 if wide else 4, signed, values)
        for label, number in names:
            self.source.constants[label] = (number, made)
        if name:
            self.source.types["enum", name] = made
        return made

    # -- constants

    def _evaluator(self) -> Evaluator:
        return Evaluator(self.tokens, self._constant_of, self.find_type)

    def _constant_of(self, name: str) -> int | None:
        found = self.source.constants.get(name)
        return found[0] if found is not None else None

    def find_type(self, found: Sequence[Token], at: int) -> tuple[int, bool, int] | None:
        """(bytes, signed, place behind it) of the type that is named at a place; None: none is."""
        word = found[at]
        if word.kind != NAME or word.text in self.source.constants:
            return None
        kept_tokens, kept_at = self.tokens, self.at
        self.tokens, self.at = list(found), at
        try:
            name, type, _ = self.declarator(self.base())
            return None if name else (type.size, type.signed, self.at)
        except Wrong:
            return None
        finally:
            self.tokens, self.at = kept_tokens, kept_at

    def _constant(self) -> int:
        """A constant expression.  Raises Wrong."""
        start = self.token
        try:
            (value, _, _), self.at = self._evaluator().expression(self.at)
        except NotConstant:
            raise Wrong((start.start, max(self.token.end, start.end)), "expected a constant expression") from None
        return value

    # -- members

    def _members(self, tag: str) -> list[Member]:
        found: list[Member] = []
        while not self._take("}"):
            if self.token.kind == END:
                raise self.wrong(f"expected '}}' at the end of the {tag}")
            if self._take(";"):
                continue
            if self.token.text == "_Static_assert":
                self._pass_over()
                continue
            base = self.base()
            if self.token.text in (";", "}"):
                found.append(Member("", base))
                continue
            while True:
                found.append(self._member(base))
                if not self._take(","):
                    break
            if self.token.text not in (";", "}"):
                raise self.wrong(f"expected ';', found {self.token.text!r}")
        return found

    def _member(self, base: t.Type) -> Member:
        is_packed, before = self._qualifiers()
        name, type, align = ("", base, 0) if self.token.text == ":" else self.declarator(base)
        bits = -1
        if self._take(":"):
            bits = self._constant()
            if not 0 <= bits <= 8 * max(type.size, 1):
                raise self.wrong(f"{bits} bits do not fit into the type")
        packed, more = self._qualifiers()
        return Member(name, type, bits, max(align, before, more), is_packed or packed)

    def declarator(self, base: t.Type) -> tuple[str, t.Type, int]:
        """(name or "", type, alignment that is asked for or 0): stars, a name, arrays, functions.  Raises Wrong."""
        self._enter()
        try:
            return self._declarator(base)
        finally:
            self._depth -= 1

    def _declarator(self, base: t.Type) -> tuple[str, t.Type, int]:
        type = base
        align = 0
        while True:
            align = max(align, self._qualifiers()[1])
            if not self._take("*"):
                break
            type = t.Pointer(type)
        if self.token.text == "(" and self._is_declarator(self.at + 1):
            inner = self.at + 1
            self._skip_brackets()
            type = self._suffixes(type)
            behind, self.at = self.at, inner
            name, type, more = self.declarator(type)
            if not self._take(")"):
                raise self.wrong(f"expected ')', found {self.token.text!r}")
            self.at = behind
            align = max(align, more)
        else:
            name = self._next().text if self.token.kind == NAME else ""
            type = self._suffixes(type)
        return name, type, max(align, self._qualifiers()[1])

    def _is_declarator(self, at: int) -> bool:
        """Whether a bracket in a declarator holds a declarator, and not parameters."""
        token = self.tokens[at]
        return token.text in ("*", "(", "[", "^") or token.text in _ATTRIBUTES or (
            token.kind == NAME and token.text not in _INTEGER_WORDS and token.text not in _QUALIFIERS
            and token.text not in TAGS and token.text != "void" and self.tokens[at + 1].text in (")", "[", "(")
            and (None, token.text) not in self.source.types and builtin_type(token.text) is None
        )  # fmt: skip

    def _skip_brackets(self) -> None:
        depth = 0
        while self.token.kind != END:
            text = self._next().text
            depth += (text == "(") - (text == ")")
            if not depth:
                return

    def _suffixes(self, type: t.Type) -> t.Type:
        """Arrays and parameters behind a name."""
        if self.token.text == "(":
            self._skip_brackets()
            return self._suffixes(t.VOID)  # a function: pointers to it lead to nothing that can be read
        counts: list[int] = []
        while self._take("["):
            while self.token.text in _QUALIFIERS:
                self._next()
            counts.append(0 if self.token.text == "]" else self._constant())
            if not self._take("]"):
                raise self.wrong(f"expected ']', found {self.token.text!r}")
        if len(counts) > _DEEPEST:
            raise self.wrong(f"an array of {len(counts)} dimensions")
        for place, count in enumerate(reversed(counts)):
            if count < 0:
                raise self.wrong("an array of less than nothing")
            characters = not place and isinstance(type, t.Int) and type.name == "char" and count
            type = t.String(count) if characters else t.Array(type, count)
        return type


def _integer(words: list[str]) -> t.Type:
    """The type of a few words of C: unsigned long long."""
    if "double" in words:
        return t.Void(16 if "long" in words else 8)
    signed = "unsigned" not in words
    words = [word for word in words if word not in _QUALIFIERS]
    name = " ".join(words)
    if "char" in words:
        return t.Int(1, signed, name)
    width = 2 if "short" in words else 8 if "long" in words else 4
    return t.Int(width, signed, name)
