"""A parsed print fmt -> a Python function of a record's fields.

The tree is turned into Python's own syntax tree and compiled once an event; what the kernel wrote is never
evaluated as Python.  Arithmetic is C's: promotion, conversion to unsigned, the sizes of fields and casts.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from linscope.binfmt import print_text as texts
from linscope.binfmt.event_format import EventFormat, element_size, is_text
from linscope.binfmt.print_format import (
    CONSTANTS,
    Binary,
    Call,
    Cast,
    Choice,
    CType,
    Entries,
    FieldOf,
    Index,
    Name,
    Node,
    Number,
    SizeOf,
    Text,
    Unary,
    parse_print_format,
)
from linscope.binfmt.printf import Template, Value, make_template
from linscope.errors import FormatError

INT = CType(4, True)
BYTE = CType(1, False)
_BINARY: dict[str, tuple[type[ast.operator], Callable[[int, int], int]]] = {
    "+": (ast.Add, operator.add),
    "-": (ast.Sub, operator.sub),
    "*": (ast.Mult, operator.mul),
    "&": (ast.BitAnd, operator.and_),
    "|": (ast.BitOr, operator.or_),
    "^": (ast.BitXor, operator.xor),
    "<<": (ast.LShift, operator.lshift),
    ">>": (ast.RShift, operator.rshift),
}
_COMPARE: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    ">": ast.Gt,
    "<=": ast.LtE,
    ">=": ast.GtE,
}
_AS_IS = frozenset(("__builtin_expect", "jiffies_to_msecs", "jiffies_to_usecs"))  # worth their first argument
_OF_NS = {"__print_ns_to_secs": texts.quotient, "__print_ns_without_secs": texts.remainder}
_NS = 10**9
_STRING = frozenset(("__get_str", "__get_rel_str"))
_ARRAY = frozenset(("__get_dynamic_array", "__get_rel_dynamic_array", "__get_sockaddr", "__get_rel_sockaddr"))
_ARRAY_SIZE = frozenset(("__get_dynamic_array_len", "__get_rel_dynamic_array_len"))
_BITMASK = frozenset(("__get_bitmask", "__get_rel_bitmask", "__get_cpumask", "__get_rel_cpumask"))
_SYMBOLIC = frozenset(("__print_symbolic", "__print_symbolic_u64"))
_FLAGS = frozenset(("__print_flags", "__print_flags_u64"))


def no_symbol(address: int) -> tuple[str, int] | None:
    """Knows no address."""
    return None


@dataclass(frozen=True)
class PrintContext:
    """What the machine was like that wrote the records."""

    long_size: int = 8
    big_endian: bool = False
    strings: Mapping[int, str] = field(default_factory=dict)  # the kernel's constant strings by address
    symbol: texts.Symbol = no_symbol  # kernel address -> (name, offset), None: not known

    @property
    def order(self) -> str:
        """Byte order, in Python's word."""
        return "big" if self.big_endian else "little"


class RowPrinter(NamedTuple):
    """How an event's records become text."""

    columns: tuple[str, ...]  # the fields that are printed, in the order of text's parameters
    text: Callable[..., str]
    form: EventFormat
    problem: FormatError | None = None  # why the print fmt could not be used; then text is name=value pairs

    def rows(self, columns: Mapping[str, Any], wanted: Any) -> list[str]:
        """The texts of rows of a typed table; wanted: an array of row numbers."""
        cells = [cells_of(columns[name], wanted) for name in self.columns]
        return list(map(self.text, *cells)) if cells else [self.text()] * len(wanted)


def cells_of(column: Any, wanted: Any) -> Sequence[Any]:
    """Rows of a table's column as text(...) takes them: int, list of int, str or bytes."""
    if isinstance(column, list):
        return [column[at] for at in wanted]
    taken = column[wanted]
    if taken.dtype.kind == "S":
        known = texts.PlainTexts()
        return [known[raw] for raw in taken.tolist()]
    values: list[Any] = taken.tolist()
    return values


def row_printer(form: EventFormat, context: PrintContext) -> RowPrinter:
    """The function that writes an event's records; one whose print fmt is not understood writes name=value pairs."""
    try:
        return compile_print_format(form, context)
    except FormatError as error:
        return RowPrinter(tuple(f.name for f in form.fields), _pairs(form), form, error)


def compile_print_format(form: EventFormat, context: PrintContext) -> RowPrinter:
    """The function that writes an event's records.  Raises FormatError when the print fmt is not understood."""
    parsed = parse_print_format(form.print_format, context.long_size)
    generator = _Generator(form, context)
    values = [generator.value(argument) for argument in parsed.arguments]
    template = make_template(parsed.text, values, generator)
    names = generator.fields or [f.name for f in form.fields[:1]]
    return RowPrinter(tuple(names), generator.function(names, template), form)


def compile_template(form: EventFormat, text: str, names: Sequence[str], context: PrintContext) -> Callable[..., str]:
    """A function of the named fields that writes them by a printf format.  Raises FormatError."""
    generator = _Generator(form, context)
    return generator.function(names, make_template(text, [generator.field(name) for name in names], generator))


def compile_piece(form: EventFormat, text: str, arguments: Sequence[Node], context: PrintContext) -> RowPrinter:
    """The function that writes a part of a printf format with its arguments.  Raises FormatError."""
    generator = _Generator(form, context)
    template = make_template(text, [generator.value(argument) for argument in arguments], generator)
    return RowPrinter(tuple(generator.fields), generator.function(generator.fields, template), form)


def _pairs(form: EventFormat) -> Callable[..., str]:
    """name=value of all fields."""
    names = [f.name for f in form.fields]

    def text(*values: Any) -> str:
        shown = [v.hex() if isinstance(v, bytes) else v for v in values]
        return " ".join(f"{name}={value}" for name, value in zip(names, shown, strict=True))

    return text


class _Generator:
    """Turns nodes into values: Python code with what C would know of it."""

    def __init__(self, form: EventFormat, context: PrintContext) -> None:
        self.context = context
        self.fields: list[str] = []  # in the order of their first use
        self._by_name = {f.name: f for f in form.fields}
        self._names: dict[str, Any] = {}  # what the code refers to
        self.long = CType(context.long_size, True)
        self.unsigned_long = CType(context.long_size, False)

    def error(self, what: str) -> FormatError:
        """The error for a tree that means nothing."""
        return FormatError(f"print fmt: {what}")

    def function(self, names: Sequence[str], template: Template) -> Callable[..., str]:
        """Compile: parameters are the fields, the result is their text."""
        body: ast.expr = (
            ast.Constant(template.text % ())
            if not template.values
            else ast.BinOp(ast.Constant(template.text), ast.Mod(), ast.Tuple(list(template.values), ast.Load()))
        )
        parameters = [ast.arg(self._parameter(name)) for name in names]
        code = ast.Expression(
            ast.Lambda(ast.arguments(posonlyargs=[], args=parameters, kwonlyargs=[], kw_defaults=[], defaults=[]), body)
        )
        compiled = compile(ast.fix_missing_locations(code), "<print fmt>", "eval")
        made: Callable[..., str] = eval(compiled, {"__builtins__": {}, **self._names})
        return made

    def _parameter(self, name: str) -> str:
        return f"f{self.fields.index(name)}" if name in self.fields else "unused"

    def call(self, function: Callable[..., Any], *arguments: ast.expr | str | int) -> ast.expr:
        """Code that calls a helper."""
        name = self.keep(function.__name__, function)
        given = [a if isinstance(a, ast.expr) else ast.Constant(a) for a in arguments]
        return ast.Call(name, given, [])

    def keep(self, name: str, thing: Any) -> ast.expr:
        """Code for a thing that the function needs; tables get a number, helpers keep their name."""
        if name in self._names and self._names[name] is not thing:
            name = f"{name}{len(self._names)}"
        self._names[name] = thing
        return ast.Name(name, ast.Load())

    # values

    def value(self, node: Node) -> Value:
        """The value of any expression.  Raises FormatError for one that has none."""
        if isinstance(node, Number):
            return Value(ast.Constant(node.value), "int", node.type)
        if isinstance(node, Text):
            return Value(ast.Constant(node.value), "text", BYTE)
        if isinstance(node, FieldOf):
            return self.field(node.name)
        if isinstance(node, Name):  # libtraceevent counts what it does not know as 0
            return Value(ast.Constant(CONSTANTS.get(node.name, 0)), "int", INT)
        if isinstance(node, Unary):
            return self.unary(node)
        if isinstance(node, Binary):
            return self.binary(node)
        if isinstance(node, Choice):
            return self.choice(node)
        if isinstance(node, Cast):
            return self.cast(self.value(node.operand), node.type)
        if isinstance(node, Index):
            return self.index(self.value(node.base), self.value(node.at))
        if isinstance(node, SizeOf):
            return self.size_of(node.operand)
        if isinstance(node, Call):
            return self.helper(node)
        raise self.error("a list where a value belongs")

    def field(self, name: str) -> Value:
        """A field of the record."""
        found = self._by_name.get(name)
        if found is None:
            raise self.error(f"no field {name}")
        if name not in self.fields:
            self.fields.append(name)
        code = ast.Name(self._parameter(name), ast.Load())
        if is_text(found) and (found.dynamic or found.length or found.size == 0):
            return Value(code, "text", BYTE)
        size = found.size // found.length if found.length else found.size
        if found.dynamic or size == 0:
            return Value(code, "data", CType(element_size(found.type, self.context.long_size), found.signed))
        if size not in (1, 2, 4, 8):
            return Value(code, "data", BYTE)
        return Value(code, "list" if found.length else "int", CType(size, found.signed))

    def integer(self, value: Value) -> Value:
        """The value as a number, promoted.  Raises FormatError for others."""
        if value.kind != "int":
            raise self.error("an array or text where a number belongs")
        return self.convert(value, INT) if 0 < value.type.size < 4 else value

    def convert(self, value: Value, type_: CType) -> Value:
        """The number as one of another type."""
        size, signed = type_.size, type_.signed
        old = value.type
        if size == 0 or not old.size:
            return value if size == 0 else Value(self._wrap(value.code, type_), "int", type_)
        fits = (old.size < size and (signed or not old.signed)) or (old.size == size and old.signed == signed)
        number = known_number(value.code)
        if number is not None and 0 <= number < 1 << (8 * size - 1):
            fits = True
        return Value(value.code if fits else self._wrap(value.code, type_), "int", type_)

    def _wrap(self, code: ast.expr, type_: CType) -> ast.expr:
        masked = self._operate("&", code, ast.Constant((1 << 8 * type_.size) - 1))
        if not type_.signed:
            return masked
        sign = ast.Constant(1 << (8 * type_.size - 1))
        return self._operate("-", self._operate("^", masked, sign), sign)

    def _operate(self, mark: str, left: ast.expr, right: ast.expr) -> ast.expr:
        """left mark right, done now if both are known."""
        node, function = _BINARY[mark]
        one, other = known_number(left), known_number(right)
        if one is not None and other is not None:
            return ast.Constant(function(one, other))
        return ast.BinOp(left, node(), right)

    def common(self, left: Value, right: Value) -> CType:
        """The type in which two promoted numbers meet (C11, 6.3.1.8)."""
        a, b = left.type, right.type
        if not a.size or not b.size:
            return CType(8, a.signed and b.signed)
        if a.signed == b.signed or a.size != b.size:
            return CType(a.size, a.signed) if a.size >= b.size else CType(b.size, b.signed)
        return CType(a.size, False)

    def condition(self, value: Value) -> ast.expr:
        """Code that is true or false; what is an address is true."""
        return value.code if value.kind == "int" else ast.Constant(True)

    def unary(self, node: Unary) -> Value:
        """- + ~ ! * &"""
        if node.operator == "*":
            return self.index(self.value(node.operand), Value(ast.Constant(0), "int", INT))
        value = self.value(node.operand)
        if node.operator == "&":
            if value.kind == "int":  # the field's bytes
                size = ast.Constant(value.type.size or self.context.long_size)
                one = ast.List([value.code], ast.Load())
                return Value(self.call(texts.list_bytes, one, size, self.context.order), "data", value.type)
            return value
        if node.operator == "!":
            return Value(ast.UnaryOp(ast.Not(), self.condition(value)), "int", INT)
        value = self.integer(value)
        if node.operator == "+":
            return value
        number = known_number(value.code)
        if number is not None:
            done: ast.expr = ast.Constant(-number if node.operator == "-" else ~number)
        else:
            done = ast.UnaryOp(ast.USub() if node.operator == "-" else ast.Invert(), value.code)
        return Value(done if value.type.signed else self._wrap(done, value.type), "int", value.type)

    def binary(self, node: Binary) -> Value:
        """Two operands."""
        left, right, mark = self.value(node.left), self.value(node.right), node.operator
        if mark in ("&&", "||"):
            both = [ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), self.condition(v))) for v in (left, right)]
            return Value(ast.BoolOp(ast.And() if mark == "&&" else ast.Or(), list(both)), "int", INT)
        if mark in ("==", "!=") and "int" in (left.kind, right.kind) and left.kind != right.kind:
            return Value(ast.Constant(int(mark == "!=")), "int", INT)  # an address against NULL
        left, right = self.integer(left), self.integer(right)
        if mark in ("<<", ">>"):
            by = self._operate("&", right.code, ast.Constant(63))
            shifted = self._operate(mark, left.code, by)
            unsigned = mark == "<<" and not left.type.signed and left.type.size
            return Value(self._wrap(shifted, left.type) if unsigned else shifted, "int", left.type)
        meet = self.common(left, right)
        left, right = self.convert(left, meet), self.convert(right, meet)
        if mark in _COMPARE:
            return Value(ast.Compare(left.code, [_COMPARE[mark]()], [right.code]), "int", INT)
        if mark in ("/", "%"):
            function = texts.quotient if mark == "/" else texts.remainder
            return Value(self.call(function, left.code, right.code), "int", meet)
        made = self._operate(mark, left.code, right.code)
        wraps = mark in "+-*" and not meet.signed
        return Value(self._wrap(made, meet) if wraps else made, "int", meet)

    def choice(self, node: Choice) -> Value:
        """condition ? yes : no"""
        condition = self.condition(self.value(node.condition))
        yes, no = self.value(node.yes), self.value(node.no)
        if yes.kind == no.kind == "int":
            yes, no = self.integer(yes), self.integer(no)
            meet = self.common(yes, no)
            yes, no = self.convert(yes, meet), self.convert(no, meet)
        elif yes.kind != no.kind:
            yes, no = self.text(yes), self.text(no)
        return Value(ast.IfExp(condition, yes.code, no.code), yes.kind, yes.type)

    def cast(self, value: Value, type_: CType) -> Value:
        """(type) value; a pointer to elements of another size makes other elements of an array."""
        if value.kind == "int":
            return self.convert(value, type_)
        if type_.pointee is None:
            raise self.error("an array's address is not recorded")
        if not type_.pointee.size or (value.kind == "text" and type_.pointee.size == 1):
            return value
        return Value(self.data(value), "data", type_.pointee)

    def index(self, base: Value, at: Value) -> Value:
        """base[at]"""
        where = self.integer(at).code
        if base.kind == "list":
            return Value(self.call(texts.item, base.code, where), "int", base.type)
        if base.kind == "text":
            return Value(self.call(texts.letter, base.code, where), "int", BYTE)
        if base.kind == "data" and base.type.size:
            size, signed = base.type.size, int(base.type.signed)
            code = self.call(texts.element, base.code, where, size, signed, self.context.order)
            return Value(code, "int", CType(size, base.type.signed))
        raise self.error("a number is indexed")

    def size_of(self, node: Node) -> Value:
        """sizeof a field."""
        found = self._by_name.get(node.name) if isinstance(node, FieldOf) else None
        if found is None or found.dynamic:
            raise self.error("the size is not known")
        return Value(ast.Constant(found.size), "int", self.unsigned_long)

    def text(self, value: Value) -> Value:
        """The value as %s shows it."""
        if value.kind == "text":
            return value
        if value.kind == "int":
            table = self.keep("strings", texts.StringTexts(self.context.strings))
            address = self.convert(value, self.unsigned_long).code
            return Value(ast.Subscript(table, address, ast.Load()), "text", BYTE)
        return Value(self.call(texts.text_of, self.data(value)), "text", BYTE)

    def data(self, value: Value) -> ast.expr:
        """The bytes of an array."""
        if value.kind == "data":
            return value.code
        if value.kind == "list":
            return self.call(texts.list_bytes, value.code, value.type.size, self.context.order)
        if value.kind == "text":
            return self.call(text_bytes, value.code)
        raise self.error("a number where an array belongs")

    # helpers

    def named_field(self, node: Call) -> Value:
        """The field that a helper's first argument names."""
        first = node.arguments[0] if node.arguments else None
        if isinstance(first, (Name, FieldOf)):
            return self.field(first.name)
        raise self.error(f"{node.name} of something that is no field")

    def helper(self, node: Call) -> Value:
        """A call."""
        name, arguments = node.name, node.arguments
        if name in _AS_IS and arguments:
            return self.value(arguments[0])
        if name in _OF_NS and arguments:
            value = self.convert(self.integer(self.value(arguments[0])), CType(8, False))
            return Value(self.call(_OF_NS[name], value.code, _NS), "int", CType(8, False))
        if name in _STRING:
            return self.text(self.named_field(node))
        if name in _ARRAY:
            return self.named_field(node)
        if name in _ARRAY_SIZE:
            return Value(self.call(size_of_data, self.data(self.named_field(node))), "int", INT)
        if name in _BITMASK:
            data = self.data(self.named_field(node))
            code = self.call(texts.bitmask_text, data, self.context.long_size, self.context.order)
            return Value(code, "text", BYTE)
        if name in _FLAGS or name in _SYMBOLIC:
            return self.names(node)
        if name in ("__print_hex", "__print_hex_str") and len(arguments) == 2:
            data, size = self.data(self.value(arguments[0])), self.integer(self.value(arguments[1])).code
            code = self.call(texts.hex_text, data, size, " " if name == "__print_hex" else "")
            return Value(code, "text", BYTE)
        if name == "__print_array" and len(arguments) == 3:
            return self.array_text(self.value(arguments[0]), self.value(arguments[1]), self.value(arguments[2]))
        if name == "__print_dynamic_array" and len(arguments) == 2:
            base = self.named_field(node)
            count = Value(self.call(size_of_data, self.data(base)), "int", INT)
            return self.array_text(base, count, self.value(arguments[1]))
        raise self.error(f"{name} is not known")

    def array_text(self, base: Value, count: Value, size: Value) -> Value:
        """__print_array; never more elements than there are."""
        code = self.call(
            texts.array_text, self.data(base), self.integer(count).code, self.integer(size).code, self.context.order
        )
        return Value(code, "text", BYTE)

    def names(self, node: Call) -> Value:
        """__print_flags and __print_symbolic: a look-up in a table made now."""
        entries = node.arguments[-1] if node.arguments else None
        if not isinstance(entries, Entries) or len(node.arguments) < 2:
            raise self.error(f"{node.name} without its names")
        value = self.integer(self.value(node.arguments[0]))
        size = value.type.size or 8
        value = self.convert(value, CType(size, False))
        known = [(at, name) for at, name in self._known(entries, size) if name or at]
        if node.name in _SYMBOLIC:
            table = self.keep("names", texts.SymbolTexts(known))
        else:
            delimiter = self.value(node.arguments[1]).code if len(node.arguments) > 2 else ast.Constant("")
            if not isinstance(delimiter, ast.Constant):
                raise self.error("a delimiter that is no constant")
            text = delimiter.value if isinstance(delimiter.value, str) else ""
            table = self.keep("flags", texts.FlagTexts(text, known))
        return Value(ast.Subscript(table, value.code, ast.Load()), "text", BYTE)

    def _known(self, entries: Entries, size: int) -> list[tuple[int, str]]:
        """(value, name) of the entries whose value is known; negative ones as the value's type has them."""
        known = []
        for node, name in entries.pairs:
            if isinstance(node, Name) and node.name not in CONSTANTS:
                continue
            number = known_number(self.integer(self.value(node)).code)
            if number is None:
                raise self.error("a name for a value that is not constant")
            known.append((number & ((1 << 8 * size) - 1) if number < 0 else number, name))
        return known


def known_number(code: ast.expr) -> int | None:
    """The number that code is, when it is known already."""
    return int(code.value) if isinstance(code, ast.Constant) and isinstance(code.value, int) else None


def text_bytes(text: str) -> bytes:
    """What text was in memory, its NUL included."""
    return text.encode(errors="replace") + b"\0"


def size_of_data(data: bytes) -> int:
    """Bytes of an array."""
    return len(data)
