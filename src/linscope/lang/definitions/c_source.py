"""Types and constants that are written in C: structs, unions, enums, typedefs, macros.

Layout as gcc has it on 64-bit Linux.  In headers all else (functions, declarations) is passed over.
"""

from __future__ import annotations

from linscope.errors import SourceError
from linscope.lang import types as t
from linscope.lang.bpftrace.lexer import END, IDENTIFIER, NUMBER, Lexer, Token, WrongProgram
from linscope.lang.bpftrace.problems import Wrong, diagnostic_at
from linscope.lang.definitions.preprocessor import Preprocessor, evaluate
from linscope.lang.types import round_up

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.lang.definitions.definitions import Definitions, Macro

_TAGS = ("struct", "union", "enum")
_INTEGER_WORDS = ("unsigned", "signed", "char", "short", "int", "long", "__signed__")
_QUALIFIERS = ("const", "volatile", "restrict", "__restrict", "__user", "__rcu", "__iomem", "__percpu", "extern",
               "static", "inline", "__inline", "__extension__", "register")  # fmt: skip
_FIXED = {
    "u8": (1, False), "u16": (2, False), "u32": (4, False), "u64": (8, False), "s8": (1, True), "s16": (2, True),
    "s32": (4, True), "s64": (8, True), "size_t": (8, False), "ssize_t": (8, True), "uintptr_t": (8, False),
    "intptr_t": (8, True), "ptrdiff_t": (8, True), "pid_t": (4, True), "uid_t": (4, False), "gid_t": (4, False),
    "off_t": (8, True), "loff_t": (8, True), "dev_t": (4, False), "umode_t": (2, False), "gfp_t": (4, False),
    "sector_t": (8, False), "wchar_t": (4, True),
}  # fmt: skip
_MOST_DEPTH = 40


class CSource:
    """What a script's own C defines."""

    def __init__(
        self,
        parts: Sequence[tuple[str, int]],
        definitions: Definitions,
        include_dirs: Sequence[str],
        includes: Sequence[str],
    ) -> None:
        """parts: (text, place in the script).  Raises SourceError: what is wrong."""
        self.definitions = definitions
        self.types: dict[tuple[str | None, str], t.Type] = {}
        self.constants: dict[str, tuple[int, t.Type]] = {}
        self.preprocessor = Preprocessor(include_dirs, definitions.has_btf)
        self._headers: list[str] = []  # lines of headers, read when a name is not found elsewhere
        problems = []
        for name in includes:
            try:
                self._headers += self.preprocessor.line(f"#include <{name}>", (0, 1))
            except Wrong as wrong:
                problems.append(diagnostic_at("", wrong.span, wrong.what, wrong.hint))
        for text, place in parts:
            try:
                self._part(text, place)
            except Wrong as wrong:
                moved = (0, len(text.split("\n")[0])) if wrong.span == (0, 1) else wrong.span
                problems.append(diagnostic_at(text, moved, wrong.what, wrong.hint))
        if problems:
            raise SourceError(problems)

    def _part(self, text: str, place: int) -> None:
        if text.lstrip().startswith("#"):
            self._headers += self.preprocessor.line(text, (0, 1))
        elif self.preprocessor.is_active:
            self._define(self.preprocessor.expand(text), lenient=False)

    def _define(self, text: str, *, lenient: bool) -> None:
        _Parser(self, text, lenient).definitions()

    def _read_headers(self) -> bool:
        """Look at what the headers define; False: there is nothing more."""
        if not self._headers:
            return False
        text, self._headers = "\n".join(self._headers), []
        self._define(text, lenient=True)
        return True

    def find_type(self, tag: str | None, name: str) -> t.Type | None:
        """A type that is defined here; None: none is."""
        found = self.types.get((tag, name))
        if found is None and self._read_headers():
            found = self.types.get((tag, name))
        return found

    def find_constant(self, name: str) -> tuple[int | bytes, t.Type] | Macro | None:
        """An enumerator or a macro that is defined here; None: none is."""
        from linscope.lang.definitions.definitions import Macro

        if name in self.constants:
            return self.constants[name]
        found = self.preprocessor.macros.get(name)
        if found is not None and found[0] is None and found[1]:
            value = evaluate(self.preprocessor.expand(found[1]), {n: v for n, (v, _) in self.constants.items()})
            if value is not None and not any(letter.isalpha() and letter not in "xXuUlLabcdefABCDEF"
                                             for letter in self.preprocessor.expand(found[1])):  # fmt: skip
                return value, t.INT64
            return Macro(self.preprocessor.expand(found[1]))
        if self._read_headers():
            return self.find_constant(name)
        return None


class _Parser:
    """Definitions in C."""

    def __init__(self, source: CSource, text: str, lenient: bool) -> None:
        self.source = source
        self.text = text
        self.lenient = lenient
        self.lexer = Lexer(text)
        self.token: Token = Token(END, "", 0, 0)
        self._advance()

    def _advance(self) -> Token:
        token = self.token
        while True:
            try:
                self.token = self.lexer.next()
                break
            except WrongProgram as wrong:
                if not self.lenient:
                    raise Wrong((wrong.at, wrong.at + 1), wrong.what, wrong.hint) from None
                self.lexer.at = wrong.at + 1
        return token

    def _take(self, text: str) -> bool:
        if self.token.text == text and self.token.kind != END:
            self._advance()
            return True
        return False

    def _wrong(self, what: str) -> Wrong:
        return Wrong((self.token.start, max(self.token.end, self.token.start + 1)), what)

    def definitions(self) -> None:
        """All definitions of the text."""
        while self.token.kind != END:
            start = self.token.start
            try:
                self._definition()
            except Wrong:
                if not self.lenient:
                    raise
                self._skip()
            if self.token.start == start and self.token.kind != END:
                self._advance()

    def _skip(self) -> None:
        """Pass over what is no definition, to the end of a declaration or of a function."""
        depth = 0
        while self.token.kind != END:
            text = self._advance().text
            if text in ("{", "("):
                depth += 1
            elif text in ("}", ")"):
                depth -= 1
                if text == "}" and depth <= 0:
                    self._take(";")
                    return
            elif text == ";" and depth <= 0:
                return

    def _definition(self) -> None:
        if self._take(";"):
            return
        typedef = self._take("typedef")
        if not typedef and self.token.text not in _TAGS:
            raise self._wrong(f"no definition: {self.token.text!r}")
        base = self._base()
        if self._take(";") or self.token.kind == END:
            return
        while True:
            name, type, _ = self._declarator(base)
            if typedef and name:
                named = isinstance(type, t.Int) and type.name != "char"
                self.source.types[None, name] = t.Int(type.size, type.signed, name) if named else type
            if not self._take(","):
                break
        if not self._take(";") and self.token.kind != END and not self.lenient:
            raise self._wrong(f"expected ';', found {self.token.text!r}")

    # -- types

    def _base(self) -> t.Type:
        """What stands in front of the declared names."""
        self._qualifiers()
        word = self.token.text
        if word in _TAGS:
            return self._tagged()
        if word in ("typeof", "__typeof__", "_Atomic"):
            raise self._wrong(f"{word} is not understood")
        self._advance()
        if word in _INTEGER_WORDS:
            words = [word]
            while self.token.text in (*_INTEGER_WORDS, *_QUALIFIERS, "double"):
                more = self._advance().text
                if more not in _QUALIFIERS:
                    words.append(more)
            return _integer(words)
        self._qualifiers()
        return self._named(word)

    def _named(self, word: str) -> t.Type:
        plain: dict[str, t.Type] = {
            "void": t.VOID, "bool": t.BOOL, "_Bool": t.BOOL, "float": t.Void(4), "double": t.Void(8),
            "__int128": t.Array(t.UINT8, 16),
        }  # fmt: skip
        if word in plain:
            return plain[word]
        found = self.source.types.get((None, word))
        if found is not None:
            return found
        fixed = word.removeprefix("__").removesuffix("_t") if "int" in word else word.removeprefix("__")
        for sign, prefix in ((False, "uint"), (True, "int")):
            if fixed.startswith(prefix) and fixed[len(prefix) :] in ("8", "16", "32", "64"):
                return t.Int(int(fixed[len(prefix) :]) // 8, sign, word)
        if fixed in _FIXED:
            return t.Int(*_FIXED[fixed], word)
        kernel = self.source.definitions._kernel_type(None, word) if not self.lenient else None
        if kernel is None:
            raise self._wrong(f"unknown type name '{word}'")
        return kernel

    def _qualifiers(self) -> None:
        while self.token.text in _QUALIFIERS or self.token.text.startswith("__attribute"):
            self._attribute() if self.token.text.startswith("__attribute") else self._advance()

    def _attribute(self) -> str:
        """The text in the brackets of __attribute__((...))."""
        self._advance()
        start = self.token.start
        depth = 0
        while self.token.kind != END:
            text = self._advance().text
            depth += (text == "(") - (text == ")")
            if not depth:
                break
        return self.text[start : self.token.start]

    def _tagged(self) -> t.Type:
        tag = self._advance().text
        packed = False
        if self.token.text.startswith("__attribute"):
            packed = "packed" in self._attribute()
        name = self._advance().text if self.token.kind == IDENTIFIER else ""
        if tag == "enum" and self._take(":"):
            self._base()
        if not self._take("{"):
            return self._reference(tag, name)
        if tag == "enum":
            return self._enum(name)
        made = t.Struct(name, 0, list, tag)
        if name:
            self.source.types[tag, name] = made
        members = self._members(tag)
        while self.token.text.startswith("__attribute") or self.token.text in ("__packed", "__randomize_layout"):
            packed = packed or "packed" in self.token.text
            if self.token.text.startswith("__attribute"):
                packed = "packed" in self._attribute() or packed
            else:
                self._advance()
        fields, size, align = lay_out(members, tag == "union", packed)
        made.__dict__.update(width=size, read_fields=lambda: fields, _align=align)
        return made

    def _reference(self, tag: str, name: str) -> t.Type:
        """A type that was, or will be, defined elsewhere."""
        known = self.source.types.get((tag, name))
        if known is not None:
            return known
        return _Later(self.source, tag, name)

    def _enum(self, name: str) -> t.Type:
        values: dict[int, str] = {}
        value = -1
        names: list[tuple[str, int]] = []
        while not self._take("}"):
            if self.token.kind != IDENTIFIER:
                raise self._wrong(f"expected a name, found {self.token.text!r}")
            label = self._advance().text
            value += 1
            if self._take("="):
                value = self._constant((",", "}"))
            names.append((label, value))
            values.setdefault(value, label)
            self.source.constants[label] = (value, t.INT32)
            if not self._take(","):
                if not self._take("}"):
                    raise self._wrong(f"expected '}}', found {self.token.text!r}")
                break
        signed = any(v < 0 for v in values)
        wide = any(v >= 1 << 32 or v < -(1 << 31) for v in values)
        made = t.Enum(name, 8 if wide else 4, signed, values)
        for label, number in names:
            self.source.constants[label] = (number, made)
        if name:
            self.source.types["enum", name] = made
        return made

    def _constant(self, ends: tuple[str, ...]) -> int:
        """A constant expression up to one of some signs."""
        start, depth = self.token.start, 0
        while self.token.kind != END and (depth or self.token.text not in ends):
            depth += (self.token.text in "([") - (self.token.text in ")]")
            self._advance()
        text = self.source.preprocessor.expand(self.text[start : self.token.start])
        value = evaluate(text, {n: v for n, (v, _) in self.source.constants.items()})
        if value is None:
            raise self._wrong(f"no constant: {text.strip()}")
        return value

    def _members(self, tag: str) -> list[tuple[str, t.Type, int]]:
        """(name, type, bits of a bit field or -1) of all members."""
        found: list[tuple[str, t.Type, int]] = []
        while not self._take("}"):
            if self.token.kind == END:
                raise self._wrong(f"a {tag} that does not end")
            if self._take(";"):
                continue
            base = self._base()
            if self.token.text in (";", "}"):
                found.append(("", base, -1))
                continue
            while True:
                name, type, bits = self._declarator(base)
                found.append((name, type, bits))
                if not self._take(","):
                    break
            if self.token.text not in (";", "}"):
                raise self._wrong(f"expected ';', found {self.token.text!r}")
        return found

    def _declarator(self, base: t.Type) -> tuple[str, t.Type, int]:
        """(name, type, bits or -1): stars, a name, arrays; a pointer to a function."""
        type = base
        while self._take("*"):
            type = t.Pointer(type)
            self._qualifiers()
        self._qualifiers()
        name = ""
        if self._take("("):
            while self._take("*"):
                pass
            self._qualifiers()
            name = self._advance().text if self.token.kind == IDENTIFIER else ""
            while not self._take(")") and self.token.kind != END:
                self._advance()
            type = t.Pointer(t.VOID)
        elif self.token.kind == IDENTIFIER:
            name = self._advance().text
        counts: list[int] = []
        while self._take("["):
            counts.append(0 if self.token.text == "]" else self._constant(("]",)))
            if not self._take("]"):
                raise self._wrong(f"expected ']', found {self.token.text!r}")
        if self.token.text == "(":
            depth = 0
            while self.token.kind != END:
                text = self._advance().text
                depth += (text == "(") - (text == ")")
                if not depth:
                    break
            type = t.Pointer(t.VOID)
        for place, count in enumerate(reversed(counts)):
            characters = not place and isinstance(type, t.Int) and type.name == "char" and count
            type = t.String(count) if characters else t.Array(type, count)
        bits = -1
        if self._take(":"):
            token = self._advance()
            if token.kind != NUMBER or not isinstance(token.value, int):
                raise self._wrong("expected the number of bits")
            bits = token.value
        if self.token.text.startswith("__attribute"):
            self._attribute()
        return name, type, bits


class _Later(t.Struct):
    """A struct that is named before it is defined; the kernel's, when the script does not define it."""

    def __init__(self, source: CSource, tag: str, name: str) -> None:
        super().__init__(name, 0, list, tag)
        self._source = source

    def _found(self) -> t.Type | None:
        found = self._source.types.get((self.tag, self.name))
        return found if found is not None else self._source.definitions._kernel_type(self.tag, self.name)

    @property
    def size(self) -> int:
        """Bytes; 0 when it is nowhere defined."""
        found = self._found()
        return found.size if found is not None else 0

    @property
    def fields(self) -> list[t.Field]:
        """All fields."""
        found = self._found()
        return found.fields if isinstance(found, t.Struct) else []


def _integer(words: list[str]) -> t.Type:
    if "double" in words:
        return t.Void(16)
    signed = "unsigned" not in words
    if "char" in words:
        return t.Int(1, signed, "char" if words == ["char"] else " ".join(words))
    width = 2 if "short" in words else 8 if "long" in words else 4
    return t.Int(width, signed, " ".join(words))


def lay_out(
    members: list[tuple[str, t.Type, int]], is_union: bool, packed: bool
) -> tuple[list[t.Field], int, int]:  # fmt: skip
    """(fields, size, align) of a struct's members."""
    fields: list[t.Field] = []
    bit, size, align = 0, 0, 1  # bit: where the next member may begin
    for name, type, bits in members:
        own = 1 if packed else min(_alignment(type), 8)
        if is_union:
            bit = 0
        if bits >= 0:
            unit = 8 * type.size
            if not bits:
                bit = round_up(bit, unit)
                continue
            if not packed and bit // unit != (bit + bits - 1) // unit:
                bit = round_up(bit, unit)
            offset = bit // unit * type.size
            if name:
                fields.append(t.Field(name, type, offset, bit - 8 * offset, bits))
            bit += bits
        else:
            bit = round_up(bit, 8 * own)
            fields.append(t.Field(name, type, bit // 8))
            bit += 8 * type.size
        align = max(align, own)
        size = max(size, (bit + 7) // 8)
    return fields, round_up(size, align), align


def _alignment(type: t.Type) -> int:
    if isinstance(type, t.Void):
        return type.size or 1
    if isinstance(type, t.Array):
        return _alignment(type.element)
    if isinstance(type, t.Struct):
        return int(type.__dict__.get("_align", 0)) or max((_alignment(field.type) for field in type.fields), default=1)
    return type.align
