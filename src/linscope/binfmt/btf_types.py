"""The types that BTF describes, as values.  Types refer to each other by id; 0 is void.

Source: Documentation/bpf/btf.rst; include/uapi/linux/btf.h.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import NamedTuple, TypeAlias
else:
    from linscope.binfmt.records import NamedTuple

# BTF_KIND_*
KIND_VOID, KIND_INT, KIND_PTR, KIND_ARRAY, KIND_STRUCT, KIND_UNION, KIND_ENUM, KIND_FWD = range(8)
KIND_TYPEDEF, KIND_VOLATILE, KIND_CONST, KIND_RESTRICT, KIND_FUNC, KIND_FUNC_PROTO = range(8, 14)
KIND_VAR, KIND_DATASEC, KIND_FLOAT, KIND_DECL_TAG, KIND_TYPE_TAG, KIND_ENUM64 = range(14, 20)
KIND_MAX = KIND_ENUM64

KIND_NAMES = (
    "void", "int", "pointer", "array", "struct", "union", "enum", "forward",
    "typedef", "volatile", "const", "restrict", "function", "prototype",
    "variable", "section", "float", "declaration tag", "type tag", "enum64",
)  # fmt: skip

INT_SIGNED, INT_CHAR, INT_BOOL = 1, 2, 4  # BTF_INT_*: encoding of an Int


class Void(NamedTuple):
    """No type: what ``void *`` points to and what a function without a result returns."""


class Int(NamedTuple):
    """An integer.  bits of the size bytes are used, from bit offset on."""

    name: str
    size: int  # bytes
    bits: int
    offset: int  # bits
    encoding: int  # INT_SIGNED | INT_CHAR | INT_BOOL

    @property
    def signed(self) -> bool:
        """True for a signed integer."""
        return bool(self.encoding & INT_SIGNED)


class Float(NamedTuple):
    """A floating-point number."""

    name: str
    size: int  # bytes


class Pointer(NamedTuple):
    """A pointer to a type."""

    target: int


class Array(NamedTuple):
    """length elements; 0 for a flexible array."""

    element: int
    index_type: int
    length: int


class Member(NamedTuple):
    """A member of a struct or union."""

    name: str  # "" for an anonymous struct or union
    type: int
    bit_offset: int
    bitfield_size: int  # bits; 0: no bit field


class Struct(NamedTuple):
    """A struct or union with its members in order."""

    name: str  # "" for an anonymous one
    size: int  # bytes
    members: tuple[Member, ...]
    is_union: bool


class Enum(NamedTuple):
    """An enum (or enum64) with its (name, value) pairs in order."""

    name: str
    size: int  # bytes
    signed: bool
    values: tuple[tuple[str, int], ...]


class Forward(NamedTuple):
    """A struct or union that is declared only."""

    name: str
    is_union: bool


class Typedef(NamedTuple):
    """Another name of a type."""

    name: str
    target: int


class Qualifier(NamedTuple):
    """const, volatile or restrict in front of a type."""

    keyword: str
    target: int


class TypeTag(NamedTuple):
    """An attribute of what a pointer points to: "user", "rcu", "percpu"."""

    name: str
    target: int


class DeclTag(NamedTuple):
    """An attribute of a declaration; component -1: of the whole, else of that member or parameter."""

    name: str
    target: int
    component: int


class Parameter(NamedTuple):
    """A parameter of a function."""

    name: str  # "" where the prototype has none
    type: int


class FuncProto(NamedTuple):
    """The type of a function.  variadic: ends with "..."."""

    returns: int
    parameters: tuple[Parameter, ...]
    variadic: bool


class Func(NamedTuple):
    """A function; linkage: 0 static, 1 global, 2 extern."""

    name: str
    proto: int
    linkage: int


class Var(NamedTuple):
    """A global variable; linkage: 0 static, 1 global, 2 extern."""

    name: str
    type: int
    linkage: int


class SectionVariable(NamedTuple):
    """Where a variable lies in its section, in bytes."""

    variable: int
    offset: int
    size: int


class DataSection(NamedTuple):
    """A section of data and its variables."""

    name: str
    size: int  # bytes
    variables: tuple[SectionVariable, ...]


Type: TypeAlias = (
    Void | Int | Float | Pointer | Array | Struct | Enum | Forward | Typedef | Qualifier | TypeTag
    | DeclTag | FuncProto | Func | Var | DataSection
)  # fmt: skip
