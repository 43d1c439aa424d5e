"""C expressions over a function's parameters as fetch arguments, with types from BTF.

    size                        -> $arg3:u64
    sk->__sk_common.skc_dport   -> +12($arg1):u16
    file->f_path.dentry->d_name.name -> +0(+40(+72($arg1))):string
    skb->pkt_type               -> +128($arg1):b3@0/8

Source: kernel/trace/trace_probe.c for what the kernel can fetch; System V psABI x86-64 and AAPCS64 for registers.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.binfmt.btf_layout import element_place, find_member, member_names, size_of, type_name
from linscope.errors import UnknownNameError
from linscope.sources.probes.fetch import MAX_ARRAY, Checker

_TOKEN = re.compile(r"\s*(?:(?P<name>\$?[A-Za-z_]\w*)|(?P<mark>->|[][.()&*])|(?P<number>0[xX][0-9a-fA-F]+|\d+))")
_ARGUMENT_REGISTERS = {
    "x86_64": ("di", "si", "dx", "cx", "r8", "r9"),
    "aarch64": tuple(f"x{number}" for number in range(8)),
}
_TEXT = ("char", "unsigned char", "signed char")  # what strings are made of; names in the kernel's file systems


class Fetched(NamedTuple):
    """What an expression became."""

    fetch: str
    type: str
    field: str  # the last name in it: a name for the argument


class _Value(NamedTuple):
    """A value on the way: in a register (bit_offset None: fetch gives it), or in memory at fetch + bit_offset."""

    fetch: str
    type: int
    bit_offset: int | None = None
    bitfield_size: int = 0
    user: bool = False  # the memory is the program's

    def load(self, bit_offset: int | None = None) -> str:
        """The fetch argument that gives the value itself, or what is at another offset."""
        if self.bit_offset is None:
            return self.fetch
        offset = self.bit_offset if bit_offset is None else bit_offset
        return f"+{'u' if self.user else ''}{offset // 8}({self.fetch})"


def prototype_of(btf: Btf, name: str, *, tracepoint: bool = False) -> bt.FuncProto | None:
    """The parameters and the result of a function, or the parameters of a tracepoint; None when BTF has none.

    Raises FormatError when the types are damaged.  Source of the tracepoints' names: include/linux/tracepoint.h and
    include/trace/bpf_probe.h; their prototypes begin with a pointer of their own, and only the first has names.
    """
    func = btf.type(btf.find_one(f"__traceiter_{name}" if tracepoint else name, (bt.KIND_FUNC,)))
    proto = btf.type(func.proto) if isinstance(func, bt.Func) else None
    if tracepoint and proto is None:
        pointer = btf.type(btf.resolve(btf.find_one(f"btf_trace_{name}", (bt.KIND_TYPEDEF,))))
        proto = btf.type(pointer.target) if isinstance(pointer, bt.Pointer) else None
    if not isinstance(proto, bt.FuncProto):
        return None
    return proto._replace(parameters=proto.parameters[1:]) if tracepoint else proto


class Function:
    """The parameters and the result of one function of the kernel, for the expressions over it."""

    def __init__(self, btf: Btf, name: str, proto: bt.FuncProto, checker: Checker) -> None:
        """proto: of prototype_of(); checker: of the text that the expressions are in."""
        self.btf = btf
        self.name = name
        self.proto = proto
        self.checker = checker

    def parameter_names(self) -> list[str]:
        """Names of the parameters in order; arg1... where BTF has none."""
        return [one.name or f"arg{number}" for number, one in enumerate(self.proto.parameters, 1)]

    def has(self, name: str) -> bool:
        """True for the name of a parameter."""
        return name in self.parameter_names()

    def compile(self, text: str, at: int, *, user: bool = False, type_: str = "") -> Fetched:
        """The fetch argument of an expression.

        at: where it begins in the whole text; user: its last step reads the program's memory; type_: the kernel's type
        that was asked for, "" for the one that fits C's.  Raises ExpressionError at the wrong place, FormatError.
        """
        return _Compiler(self, text, at, user).compile(type_)

    def parameter(self, name: str, at: int) -> _Value:
        """Where a parameter is when the function begins.  Raises ExpressionError."""
        names = self.parameter_names()
        if name not in names:
            near = UnknownNameError("parameter", name, names)
            known = f"{self.name}({', '.join(names)})"
            raise self.checker.fail(f"{self.name} has no parameter {name!r}", at, why=near.why, next_step=known)
        number = names.index(name)
        return _Value(self._place(number, at), self.proto.parameters[number].type)

    def _place(self, number: int, at: int) -> str:
        context = self.checker.context
        for before in self.proto.parameters[:number]:
            if size_of(self.btf, before.type) > 8:
                why = f"a struct or a wide number is passed by value in front of it ({before.name})"
                raise self.checker.fail(f"where {self.parameter_names()[number]} is, is not known", at, why=why)
        if context.returns and not context.features.arguments_on_return:
            why = "this kernel keeps no arguments until the function returns"
            raise self.checker.fail("a parameter at a return", at, why=why, next_step="a second probe at the entry")
        if not context.entry:
            why = "only at its entry are they where the ABI says"
            raise self.checker.fail("a parameter inside a function", at, why=why, next_step="a register, as %ax")
        if context.features.argument_numbers:
            return f"$arg{number + 1}"
        registers = _ARGUMENT_REGISTERS.get(context.machine, ())
        if number >= len(registers):
            raise self.checker.fail("this parameter is in no register", at, why="this kernel has no $argN")
        return f"%{registers[number]}"

    def result(self, at: int) -> _Value:
        """What the function returns.  Raises ExpressionError when it returns nothing."""
        if not self.btf.resolve(self.proto.returns):
            raise self.checker.fail(f"{self.name} returns nothing", at)
        return _Value("$retval", self.proto.returns)


class _Compiler:
    """One expression; one step for each operator."""

    def __init__(self, function: Function, text: str, at: int, user: bool) -> None:
        self.function = function
        self.btf = function.btf
        self.text = text
        self.at = at
        self.user = user
        self.position = 0
        self.field = ""

    # -- words

    def fail(self, what: str, position: int, *, why: str = "", next_step: str = "") -> Exception:
        return self.function.checker.fail(what, self.at + position, why=why, next_step=next_step)

    def next(self) -> tuple[str, str, int]:
        """(kind, word, where) of the next word; kind "" at the end."""
        match = _TOKEN.match(self.text, self.position)
        if match is None:
            if self.text[self.position :].strip():
                raise self.fail(f"{self.text[self.position :]!r} is no part of an expression", self.position)
            return "", "", len(self.text)
        kind = match.lastgroup or ""
        self.position = match.end()
        return kind, match[kind], match.start(kind)

    # -- steps

    def compile(self, type_: str) -> Fetched:
        value = self.unary()
        kind, word, where = self.next()
        if kind:
            raise self.fail(f"{word!r} is not expected here", where, next_step="->member .member [index]")
        return self.finish(value, type_)

    def unary(self) -> _Value:
        """``*pointer``, ``&member``, or what postfix operators follow."""
        kind, word, where = self.next()
        if word not in ("*", "&"):
            return self.postfix(kind, word, where)
        value = self.unary()
        if word == "*":
            return self.pointed(value, 0, where)
        if value.bit_offset != 0 or value.bitfield_size:
            raise self.fail("the kernel cannot fetch the address of that", where, why="it can only read memory")
        return _Value(value.fetch, 0)

    def postfix(self, kind: str, word: str, where: int) -> _Value:
        """A parameter or a bracket, then members and indexes."""
        if word == "(":
            value = self.unary()
            _, closing, at = self.next()
            if closing != ")":
                raise self.fail("a bracket is not closed", at)
        elif kind == "name":
            value = self.first(word, where)
            self.field = word.removeprefix("$")
        else:
            known = ", ".join(self.function.parameter_names())
            raise self.fail("an expression begins with a parameter", where, next_step=known)
        while True:
            before = self.position
            kind, word, where = self.next()
            if word not in ("->", ".", "["):
                self.position = before
                return value
            value = self.step(value, word, where)

    def first(self, name: str, where: int) -> _Value:
        if name == "$retval":
            return self.function.result(self.at + where)
        if name.startswith("$arg") and name[4:].isdigit():
            names = self.function.parameter_names()
            number = int(name[4:])
            if not 0 < number <= len(names):
                raise self.fail(f"{self.function.name} has {len(names)} parameters", where)
            return self.function.parameter(names[number - 1], self.at + where)
        return self.function.parameter(name, self.at + where)

    def step(self, value: _Value, mark: str, where: int) -> _Value:
        """One of ``->name``, ``.name``, ``[number]``."""
        kind, word, at = self.next()
        if mark == "[":
            if kind != "number":
                raise self.fail("an index is a number", at)
            index, closing = int(word, 0), self.next()
            if closing[1] != "]":
                raise self.fail("a bracket is not closed", closing[2])
            return self.element(value, index, where)
        if kind != "name":
            raise self.fail("a member is missing", at)
        pointer = self.btf.type(self.btf.resolve(value.type))
        if mark == "->":
            value = self.pointed(value, 0, where)
        elif isinstance(pointer, bt.Pointer):
            raise self.fail("it is a pointer", where, why=type_name(self.btf, value.type), next_step=f"->{word}")
        self.field = word
        return self.member(value, word, at)

    def pointed(self, value: _Value, bit_offset: int, where: int) -> _Value:
        """What a pointer (or the first element of an array) refers to."""
        kind = self.btf.type(self.btf.resolve(value.type))
        if isinstance(kind, bt.Array) and value.bit_offset is not None:
            return value._replace(type=kind.element)
        if not isinstance(kind, bt.Pointer):
            dot = "." if isinstance(kind, bt.Struct) else ""
            why = f"it is {type_name(self.btf, value.type)}"
            raise self.fail("no pointer", where, why=why, next_step=dot and "a dot instead of ->")
        return _Value(value.load(), kind.target, bit_offset, user=value.user or self.is_user(kind.target))

    def is_user(self, type_id: int) -> bool:
        """True when the kernel was built with a compiler that writes __user down."""
        kind = self.btf.type(type_id)
        return isinstance(kind, bt.TypeTag) and kind.name == "user"

    def member(self, value: _Value, name: str, where: int) -> _Value:
        place = find_member(self.btf, value.type, name)
        if place is None:
            names = member_names(self.btf, value.type)
            struct = type_name(self.btf, value.type)
            if not names:
                raise self.fail(f"{struct} has no members", where, why="BTF has no more of it, or it is no struct")
            near = UnknownNameError("member", name, names)
            some = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise self.fail(f"{struct} has no member {name!r}", where, why=near.why, next_step=some)
        if value.bit_offset is None:
            raise self.fail("a struct that is passed by value", where, why="its members are not in memory")
        offset = value.bit_offset + place.bit_offset
        return _Value(value.fetch, place.type, offset, place.bitfield_size, value.user)

    def element(self, value: _Value, index: int, where: int) -> _Value:
        kind = self.btf.type(self.btf.resolve(value.type))
        if isinstance(kind, bt.Pointer):
            return self.pointed(value, 8 * index * size_of(self.btf, kind.target), where)
        place = element_place(self.btf, value.type, index)
        if place is None or value.bit_offset is None:
            raise self.fail("no array", where, why=f"it is {type_name(self.btf, value.type)}")
        if isinstance(kind, bt.Array) and kind.length and index >= kind.length:
            raise self.fail(f"no element {index}", where, why=f"the array has {kind.length}")
        return value._replace(type=place.type, bit_offset=value.bit_offset + place.bit_offset)

    # -- the type that the kernel is told

    def finish(self, value: _Value, type_: str) -> Fetched:
        if not value.type:  # an address
            return Fetched(value.fetch, type_ or "x64", self.field)
        kind = self.btf.type(self.btf.resolve(value.type))
        if isinstance(kind, bt.Pointer) and (
            type_ in ("string", "ustring") or (not type_ and self.is_text(kind.target, _TEXT))
        ):
            user = self.user or value.user or self.is_user(kind.target)
            deref = "+u0" if user and type_ == "string" else "+0"
            return Fetched(f"{deref}({value.load()})", type_ or ("ustring" if user else "string"), self.field)
        if self.user:
            if value.bit_offset is None:
                why = f"it is {type_name(self.btf, value.type)}, and no pointer was followed"
                raise self.fail("nothing is read from the program", 0, why=why)
            value = value._replace(user=True)
        if type_:
            return Fetched(value.load(), type_, self.field)
        if value.bitfield_size:
            return self.bitfield(value)
        if isinstance(kind, bt.Array):
            return self.array(value, kind)
        if isinstance(kind, bt.Pointer):
            target = self.btf.type(self.btf.resolve(kind.target))
            symbol = isinstance(target, bt.FuncProto) and "symbol" in self.function.checker.context.features.types
            return Fetched(value.load(), "symbol" if symbol else "x64", self.field)
        scalar = self.scalar(value.type)
        if not scalar:
            names = member_names(self.btf, value.type)
            some = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            what = f"{type_name(self.btf, value.type)} is no number, pointer or text"
            raise self.fail(what, len(self.text), next_step=f"a member: {some}" if names else "")
        return Fetched(value.load(), scalar, self.field)

    def scalar(self, type_id: int) -> str:
        """The kernel's type of a number; "" when it is none."""
        match self.btf.type(self.btf.resolve(type_id)):
            case bt.Int(size=size, signed=signed) if size <= 8:
                return f"{'s' if signed else 'u'}{8 * size}"
            case bt.Enum(size=size):
                return f"s{8 * size}"
            case bt.Pointer():
                return "x64"
        return ""

    def is_text(self, type_id: int, names: tuple[str, ...]) -> bool:
        """True for a char that is written as such: u8 is for numbers."""
        kind = self.btf.type(type_id)
        while isinstance(kind, bt.Qualifier | bt.TypeTag):
            kind = self.btf.type(kind.target)
        return isinstance(kind, bt.Int) and kind.name in names

    def array(self, value: _Value, kind: bt.Array) -> Fetched:
        if self.is_text(kind.element, _TEXT[:1]):
            return Fetched(value.load(), "ustring" if value.user else "string", self.field)
        scalar = self.scalar(kind.element)
        if not scalar:
            what = f"{type_name(self.btf, value.type)} is no array of numbers"
            raise self.fail(what, len(self.text), next_step="an element: [0]")
        return Fetched(value.load(), f"{scalar}[{min(kind.length, MAX_ARRAY)}]" if kind.length else scalar, self.field)

    def bitfield(self, value: _Value) -> Fetched:
        """The smallest integer that holds all its bits; what crosses 64 cannot be fetched."""
        assert value.bit_offset is not None  # only members have bit fields
        for size in (8, 16, 32, 64):
            start = value.bit_offset // size * size
            first = value.bit_offset - start
            if first + value.bitfield_size <= size:
                return Fetched(value.load(start), f"b{value.bitfield_size}@{first}/{size}", self.field)
        raise self.fail("a bit field that crosses 64 bits", len(self.text))
