"""Objects as gdb prints them, which is how crash shows structs.

Source: gdb's manual, "Print Settings": pretty, at most 200 elements; as crash sets it, what repeats is written out.
"""

from __future__ import annotations

from linscope.binfmt import btf_types as bt
from linscope.errors import LinscopeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.target.objects import Object

MOST_ELEMENTS = 200
_ESCAPES = {
    7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 27: "\\033", 34: '\\"', 92: "\\\\",
}  # fmt: skip


class Shower:
    """Makes text of objects.  name_of: what to call an address of code behind a pointer to it, "" for nothing."""

    def __init__(self, *, base: int = 10, name_of: Callable[[int], str] | None = None) -> None:
        """base: 10 or 16, of integers."""
        self.base = base
        self.name_of = name_of

    def show(self, one: Object, indent: int = 0) -> str:
        """The text of an object; what cannot be read says so in its place.  indent: of the lines after the first."""
        try:
            return self._show(one, indent)
        except LinscopeError as error:
            return f"<{error}>"

    def _show(self, one: Object, indent: int) -> str:
        kind = one.type_.kind()
        if kind in (bt.KIND_STRUCT, bt.KIND_UNION):
            return self._struct(one, indent)
        if kind == bt.KIND_ARRAY:
            return self._array(one, indent)
        if kind == bt.KIND_PTR:
            return self._pointer(one)
        if kind in (bt.KIND_ENUM, bt.KIND_ENUM64):
            return _enum(one)
        value = one.value_()
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return self._integer(one, value)
        return str(value)

    def _integer(self, one: Object, value: int) -> str:
        content = one.type_.content()
        if isinstance(content, bt.Int) and content.size == 1 and "char" in content.name:
            return f"{self._number(value, 1)} {_char(value & 255)}"
        return self._number(value, one.type_.size or 8)

    def _number(self, value: int, size: int) -> str:
        return f"{value & (1 << 8 * size) - 1:#x}" if self.base == 16 else str(value)

    def _pointer(self, one: Object) -> str:
        address = int(one)
        text = f"{address:#x}"
        target = one.type_.target()
        if target is None or not address:
            return text
        content = target.content()
        if isinstance(content, bt.FuncProto) and self.name_of is not None:
            name = self.name_of(address)
            return f"{text} <{name}>" if name else text
        if isinstance(content, bt.Int) and content.name == "char":
            try:
                return f"{text} {_quoted(one.string_(MOST_ELEMENTS).encode())}"
            except LinscopeError:
                return text
        return text

    def _struct(self, one: Object, indent: int) -> str:
        inner = " " * (indent + 2)
        lines = []
        for name, place in one.space_.types.places(one.type_):
            text = self.show(one.part_(place), indent + 2)
            lines.append(f"{inner}{name} = {text}" if name else f"{inner}{text}")
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}" if lines else "{}"

    def _array(self, one: Object, indent: int) -> str:
        element = one.type_.element()
        assert element is not None
        length = one.type_.length
        if not length:
            return f"{one.address_:#x}"
        content = element.content()
        if isinstance(content, bt.Int) and content.size == 1 and content.name in ("char", "unsigned char"):
            return _text(one.bytes_()[:MOST_ELEMENTS], whole=length <= MOST_ELEMENTS)
        is_block = isinstance(content, bt.Struct | bt.Array)
        step = 4 if isinstance(content, bt.Struct) else 0
        inner = indent + step - 2 if step else indent
        shown = [self.show(one[place], inner) for place in range(min(length, MOST_ELEMENTS))]
        joined = ", ".join(shown)
        return "{" + joined + ("..." if length > MOST_ELEMENTS else "") + "}" if shown or is_block else "{}"


def _enum(one: Object) -> str:
    number = int(one)
    content = one.type_.content()
    assert isinstance(content, bt.Enum)
    names = {value: name for name, value in content.values}
    if number in names:
        return names[number]
    parts, rest = [], number
    for value, name in sorted(names.items()):
        if value > 0 and not value & (value - 1) and rest & value:
            parts.append(name)
            rest &= ~value
    if parts:
        return "(" + " | ".join([*parts, *([f"unknown: {rest:#x}"] if rest else [])]) + ")"
    return str(number)


def _char(code: int) -> str:
    if code == 39:
        return "'\\''"
    return f"'{_escaped(code)}'" if code != 34 else "'\"'"


def _escaped(code: int) -> str:
    if code in _ESCAPES:
        return _ESCAPES[code]
    return chr(code) if 32 <= code < 127 else f"\\{code:03o}"


def _quoted(data: bytes) -> str:
    return '"' + "".join(map(_escaped, data)) + '"'


def _text(data: bytes, *, whole: bool) -> str:
    """An array of char; one NUL at the end is left out."""
    if whole and data.endswith(b"\0"):
        data = data[:-1]
    return _quoted(data) + ("" if whole else "...")
