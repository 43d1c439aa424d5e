"""The syntax tree of a bpftrace program: what was written, and where.

Every node has ``span``: first character and the one behind the last, in the program's text.
"""

from __future__ import annotations

from linscope.lang.nodes import Node

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    Span: TypeAlias = tuple[int, int]
    TypeName: TypeAlias = "NamedType | TaggedType | PointerType | ArrayType | TupleType | TypeOf"
    Expression: TypeAlias = (
        "Integer | String | Parameter | Variable | MapAccess | Identifier | Call | Unary | Postfix | Binary"
        " | Conditional | Member | Index | Cast | Tuple | Block | IfExpression | Comptime"
    )
    Statement: TypeAlias = "ExpressionStatement | Let | Assign | While | Unroll | ForMap | ForRange | Jump"

# -- types


class NamedType(Node):
    """``int32``, ``string[16]`` (its length), a typedef, or a macro's parameter that stands for a type."""

    span: Span
    name: str
    length: int | None = None


class TaggedType(Node):
    """``struct task_struct``, ``union u``, ``enum e``."""

    span: Span
    tag: str
    name: str


class PointerType(Node):
    """``type *``"""

    span: Span
    target: TypeName


class ArrayType(Node):
    """``type[8]``; ``type[]`` has the length 0: as many as there is room for."""

    span: Span
    element: TypeName
    length: int


class TupleType(Node):
    """``(int32, string)``"""

    span: Span
    elements: list[TypeName]


class TypeOf(Node):
    """``typeof(expression or type)``"""

    span: Span
    of: Expression | TypeName


# -- expressions


class Integer(Node):
    """A number; text as it was written (its suffix makes it signed or not, or a duration in ns)."""

    span: Span
    value: int
    suffix: str = ""


class String(Node):
    """A string, its escapes resolved."""

    span: Span
    value: bytes


class Parameter(Node):
    """``$1``; ``$#`` has the number -1."""

    span: Span
    number: int


class Variable(Node):
    """``$x``, without the dollar."""

    span: Span
    name: str


class MapAccess(Node):
    """``@``, ``@name`` or ``@name[key]``; several keys are one tuple.  name without the @."""

    span: Span
    name: str
    key: Expression | TypeName | None = None


class Identifier(Node):
    """A builtin, an enum's value, a macro's parameter."""

    span: Span
    name: str


class Call(Node):
    """``name(...)``; a type may be an argument (``sizeof(struct s)``)."""

    span: Span
    name: str
    arguments: list[Expression | TypeName]


class Unary(Node):
    """``-x``, ``!x``, ``~x``, ``*x``, ``&x``, ``++x``, ``--x``."""

    span: Span
    sign: str
    operand: Expression


class Postfix(Node):
    """``x++``, ``x--``."""

    span: Span
    sign: str
    operand: Expression


class Binary(Node):
    """``left sign right``."""

    span: Span
    sign: str
    left: Expression
    right: Expression


class Conditional(Node):
    """``condition ? yes : no``; ``condition ?: no`` has yes None."""

    span: Span
    condition: Expression
    yes: Expression | None
    no: Expression


class Member(Node):
    """``of.name``, ``of->name`` (arrow), ``of.0`` (name "0")."""

    span: Span
    of: Expression
    name: str
    arrow: bool = False


class Index(Node):
    """``of[index]``"""

    span: Span
    of: Expression
    index: Expression


class Cast(Node):
    """``(type)operand``"""

    span: Span
    type: TypeName
    operand: Expression


class Tuple(Node):
    """``(1, "a")``, ``(1,)``, ``()``; of a record also the names."""

    span: Span
    elements: list[Expression]
    names: Sequence[str] = ()


class Block(Node):
    """``{ statement; ...; value }``; value: of a block that is an expression, None else."""

    span: Span
    statements: list[Statement]
    value: Expression | None = None


class IfExpression(Node):
    """``if``, as a statement or as a value; comptime: decided while the program is compiled."""

    span: Span
    condition: Expression
    yes: Block
    no: Block | None
    comptime: bool = False


class Comptime(Node):
    """``comptime expression``"""

    span: Span
    expression: Expression


# -- statements


class ExpressionStatement(Node):
    """An expression for what it does."""

    span: Span
    expression: Expression


class Let(Node):
    """``let $x: type = value``; ``let @m = hash(10)`` stands at the top only."""

    span: Span
    name: str
    type: TypeName | None
    value: Expression | None


class Assign(Node):
    """``target sign value``, sign "=" or "+=" ...; target None: ``_ = value``."""

    span: Span
    target: Expression | None
    sign: str
    value: Expression


class While(Node):
    """``while (condition) { ... }``"""

    span: Span
    condition: Expression
    body: Block


class Unroll(Node):
    """``unroll(count) { ... }``"""

    span: Span
    count: Expression
    body: Block


class ForMap(Node):
    """``for ($kv : @map) { ... }``"""

    span: Span
    variable: str
    map: MapAccess
    body: Block


class ForRange(Node):
    """``for $i : first..last { ... }``; last is not reached."""

    span: Span
    variable: str
    first: Expression
    last: Expression
    body: Block


class Jump(Node):
    """``break``, ``continue``, ``return value``."""

    span: Span
    word: str
    value: Expression | None = None


# -- the top


class AttachPoint(Node):
    """Where a probe goes: its text ("kprobe:vfs_*")."""

    span: Span
    text: str


class Probe(Node):
    """Attach points, a predicate, a body."""

    span: Span
    points: list[AttachPoint]
    predicate: Expression | None
    body: Block


class Macro(Node):
    """``macro name($v, @m, expr) { ... }``; parameters with their marks."""

    span: Span
    name: str
    parameters: list[str]
    body: Block


class Subprogram(Node):
    """``fn name($a : type) : type { ... }``"""

    span: Span
    name: str
    parameters: list[tuple[str, TypeName]]
    returns: TypeName | None
    body: Block


class MapDeclaration(Node):
    """``let @name = hash(entries);``"""

    span: Span
    name: str
    kind: str
    entries: int


class Import(Node):
    """``import "x.bt";``"""

    span: Span
    path: str


class Setting(Node):
    """One line of the config block."""

    span: Span
    name: str
    value: str | int


class CDefinition(Node):
    """A struct, union or enum in C, or a line of the preprocessor (``#include``, ``#define``), as text."""

    span: Span
    text: str


class Program(Node):
    """The whole."""

    text: str
    definitions: list[CDefinition]
    settings: list[Setting]
    imports: list[Import]
    maps: list[MapDeclaration]
    macros: list[Macro]
    functions: list[Subprogram]
    probes: list[Probe]
