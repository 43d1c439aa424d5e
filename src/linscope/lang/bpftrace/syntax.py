"""The syntax tree of a bpftrace program: what was written, and where.

Every node has ``span``: first character and the one behind the last, in the program's text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]

# -- types


@dataclass(slots=True)
class NamedType:
    """``int32``, ``string[16]`` (its length), a typedef, or a macro's parameter that stands for a type."""

    span: Span
    name: str
    length: int | None = None


@dataclass(slots=True)
class TaggedType:
    """``struct task_struct``, ``union u``, ``enum e``."""

    span: Span
    tag: str
    name: str


@dataclass(slots=True)
class PointerType:
    """``type *``"""

    span: Span
    target: TypeName


@dataclass(slots=True)
class ArrayType:
    """``type[8]``; ``type[]`` has the length 0: as many as there is room for."""

    span: Span
    element: TypeName
    length: int


@dataclass(slots=True)
class TupleType:
    """``(int32, string)``"""

    span: Span
    elements: list[TypeName]


@dataclass(slots=True)
class TypeOf:
    """``typeof(expression or type)``"""

    span: Span
    of: Expression | TypeName


TypeName: TypeAlias = "NamedType | TaggedType | PointerType | ArrayType | TupleType | TypeOf"

# -- expressions


@dataclass(slots=True)
class Integer:
    """A number; text as it was written (its suffix makes it signed or not, or a duration in ns)."""

    span: Span
    value: int
    suffix: str = ""


@dataclass(slots=True)
class String:
    """A string, its escapes resolved."""

    span: Span
    value: bytes


@dataclass(slots=True)
class Parameter:
    """``$1``; ``$#`` has the number -1."""

    span: Span
    number: int


@dataclass(slots=True)
class Variable:
    """``$x``, without the dollar."""

    span: Span
    name: str


@dataclass(slots=True)
class MapAccess:
    """``@``, ``@name`` or ``@name[key]``; several keys are one tuple.  name without the @."""

    span: Span
    name: str
    key: Expression | None = None


@dataclass(slots=True)
class Identifier:
    """A builtin, an enum's value, a macro's parameter."""

    span: Span
    name: str


@dataclass(slots=True)
class Call:
    """``name(...)``; a type may be an argument (``sizeof(struct s)``)."""

    span: Span
    name: str
    arguments: list[Expression | TypeName]


@dataclass(slots=True)
class Unary:
    """``-x``, ``!x``, ``~x``, ``*x``, ``&x``, ``++x``, ``--x``."""

    span: Span
    sign: str
    operand: Expression


@dataclass(slots=True)
class Postfix:
    """``x++``, ``x--``."""

    span: Span
    sign: str
    operand: Expression


@dataclass(slots=True)
class Binary:
    """``left sign right``."""

    span: Span
    sign: str
    left: Expression
    right: Expression


@dataclass(slots=True)
class Conditional:
    """``condition ? yes : no``; ``condition ?: no`` has yes None."""

    span: Span
    condition: Expression
    yes: Expression | None
    no: Expression


@dataclass(slots=True)
class Member:
    """``of.name``, ``of->name`` (arrow), ``of.0`` (name "0")."""

    span: Span
    of: Expression
    name: str
    arrow: bool = False


@dataclass(slots=True)
class Index:
    """``of[index]``"""

    span: Span
    of: Expression
    index: Expression


@dataclass(slots=True)
class Cast:
    """``(type)operand``"""

    span: Span
    type: TypeName
    operand: Expression


@dataclass(slots=True)
class Tuple:
    """``(1, "a")``, ``(1,)``, ``()``; of a record also the names."""

    span: Span
    elements: list[Expression]
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Block:
    """``{ statement; ...; value }``; value: of a block that is an expression, None else."""

    span: Span
    statements: list[Statement]
    value: Expression | None = None


@dataclass(slots=True)
class IfExpression:
    """``if``, as a statement or as a value; comptime: decided while the program is compiled."""

    span: Span
    condition: Expression
    yes: Block
    no: Block | None
    comptime: bool = False


@dataclass(slots=True)
class Comptime:
    """``comptime expression``"""

    span: Span
    expression: Expression


Expression: TypeAlias = (
    "Integer | String | Parameter | Variable | MapAccess | Identifier | Call | Unary | Postfix | Binary | Conditional"
    " | Member | Index | Cast | Tuple | Block | IfExpression | Comptime"
)

# -- statements


@dataclass(slots=True)
class ExpressionStatement:
    """An expression for what it does."""

    span: Span
    expression: Expression


@dataclass(slots=True)
class Let:
    """``let $x: type = value``; ``let @m = hash(10)`` stands at the top only."""

    span: Span
    name: str
    type: TypeName | None
    value: Expression | None


@dataclass(slots=True)
class Assign:
    """``target sign value``, sign "=" or "+=" ...; target None: ``_ = value``."""

    span: Span
    target: Expression | None
    sign: str
    value: Expression


@dataclass(slots=True)
class While:
    """``while (condition) { ... }``"""

    span: Span
    condition: Expression
    body: Block


@dataclass(slots=True)
class Unroll:
    """``unroll(count) { ... }``"""

    span: Span
    count: Expression
    body: Block


@dataclass(slots=True)
class ForMap:
    """``for ($kv : @map) { ... }``"""

    span: Span
    variable: str
    map: MapAccess
    body: Block


@dataclass(slots=True)
class ForRange:
    """``for $i : first..last { ... }``; last is not reached."""

    span: Span
    variable: str
    first: Expression
    last: Expression
    body: Block


@dataclass(slots=True)
class Jump:
    """``break``, ``continue``, ``return value``."""

    span: Span
    word: str
    value: Expression | None = None


Statement: TypeAlias = "ExpressionStatement | Let | Assign | While | Unroll | ForMap | ForRange | Jump"

# -- the top


@dataclass(slots=True)
class AttachPoint:
    """Where a probe goes: its text ("kprobe:vfs_*")."""

    span: Span
    text: str


@dataclass(slots=True)
class Probe:
    """Attach points, a predicate, a body."""

    span: Span
    points: list[AttachPoint]
    predicate: Expression | None
    body: Block


@dataclass(slots=True)
class Macro:
    """``macro name($v, @m, expr) { ... }``; parameters with their marks."""

    span: Span
    name: str
    parameters: list[str]
    body: Block


@dataclass(slots=True)
class Subprogram:
    """``fn name($a : type) : type { ... }``"""

    span: Span
    name: str
    parameters: list[tuple[str, TypeName]]
    returns: TypeName | None
    body: Block


@dataclass(slots=True)
class MapDeclaration:
    """``let @name = hash(entries);``"""

    span: Span
    name: str
    kind: str
    entries: int


@dataclass(slots=True)
class Import:
    """``import "x.bt";``"""

    span: Span
    path: str


@dataclass(slots=True)
class Setting:
    """One line of the config block."""

    span: Span
    name: str
    value: str | int


@dataclass(slots=True)
class CDefinition:
    """A struct, union or enum in C, or a line of the preprocessor (``#include``, ``#define``), as text."""

    span: Span
    text: str


@dataclass(slots=True)
class Program:
    """The whole."""

    text: str
    definitions: list[CDefinition] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    maps: list[MapDeclaration] = field(default_factory=list)
    macros: list[Macro] = field(default_factory=list)
    functions: list[Subprogram] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
