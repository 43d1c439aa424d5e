"""struct, union, *: what a type is, and what an object of it holds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf_c import declaration
from linscope.crash.session import Session, parse_hex
from linscope.errors import LinscopeError, UnknownNameError, UsageError
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object
from linscope.target.show import Shower
from linscope.target.types import Type


class Struct:
    """A type, or objects of it at addresses."""

    usage = "NAME[.MEMBER[,MEMBER]...] [-o] [-l OFFSET] [-x | -d] [-r] [ADDRESS | SYMBOL | SYMBOL:CPU] [COUNT]"
    help = """\
Shows what a struct or union is made of, or with an address what it holds there.

  -o          where the members lie; with an address, the address of each
  -l OFFSET   the address is that of a member: OFFSET is a number of bytes, or NAME.MEMBER
  -x, -d      numbers to the base 16 or 10        -r   the bytes as they are
  COUNT       so many one behind the other (negative: in front); SYMBOL:CPU, SYMBOL:a for per-CPU variables"""
    examples = ("struct list_head", "struct task_struct.pid,comm 1", "struct rq.nr_running runqueues:a")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's struct."""
        parser.add_argument("-o", dest="offsets", action="store_true")
        parser.add_argument("-l", dest="offset")
        parser.add_argument("-x", dest="base", action="store_const", const=16, default=10)
        parser.add_argument("-d", dest="base", action="store_const", const=10)
        parser.add_argument("-r", dest="raw", action="store_true")
        parser.add_argument("name")
        parser.add_argument("address", nargs="?")
        parser.add_argument("count", nargs="?", type=int, default=1)

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """The type's members, or an answer for each object."""
        name, _, rest = arguments.name.partition(".")
        kind = find_struct(session, name)
        members = [one for one in rest.split(",") if one]
        for member in members:
            session.kernel.types.place(kind, member)
        if arguments.address is None:
            yield rows_of_type(session, kind, members, offsets=arguments.offsets)
            return
        for address in _addresses(session, kind, arguments):
            one = session.kernel.object(kind, address)
            if arguments.raw:
                from linscope.crash.rd import rows_of_memory

                yield rows_of_memory(session, address, one.bytes_(), 8)
            elif arguments.offsets:
                yield rows_of_type(session, kind, members, offsets=True, base=address)
            else:
                yield rows_of_object(session, one, members, arguments.base)


def find_struct(session: Session, name: str) -> Type:
    """A struct, union or typedef of one by its name.  Raises UnknownNameError."""
    types = session.kernel.types
    for text in (f"struct {name}", f"union {name}", name):
        kind = types.find(text)
        if kind is not None and kind.kind() in (bt.KIND_STRUCT, bt.KIND_UNION):
            return kind.bare()
    raise UnknownNameError("struct or union", name, types.names(name[:3]))


def _addresses(session: Session, kind: Type, arguments: argparse.Namespace) -> list[int]:
    """Where the objects are.  Raises UsageError, UnknownNameError."""
    word, colon, cpus = arguments.address.partition(":")
    if colon:
        from linscope.crash.bt import parse_cpus

        chosen = session.kernel.cpus() if cpus in ("a", "") else sorted(parse_cpus(cpus))
        return [session.kernel.per_cpu_address(session.kernel.symbol(word), cpu) for cpu in chosen]
    if kind.name == "struct task_struct" and word.isdigit() and len(word) < 8:
        address = session.find_tasks([word])[0].address_
        assert address is not None
    else:
        address = session.address(word)
    if arguments.offset is not None:
        address -= offset_of(session, arguments.offset)
    count = arguments.count
    if not count:
        raise UsageError("a count of 0 shows nothing")
    places = range(count) if count > 0 else range(count + 1, 1)
    return [address + place * kind.size for place in places]


def offset_of(session: Session, text: str) -> int:
    """Bytes of "16" or "task_struct.tasks".  Raises UsageError, UnknownNameError."""
    owner, dot, member = text.partition(".")
    if dot:
        kind = find_struct(session, owner)
        return session.kernel.types.place(kind, member).bit_offset // 8
    number = int(text) if text.isdigit() else parse_hex(text)
    if number is None:
        raise UsageError(f"{text!r} is no offset: a number of bytes, or STRUCT.MEMBER")
    return number


def rows_of_type(
    session: Session, kind: Type, members: list[str], *, offsets: bool = False, base: int | None = None
) -> Rows:
    """A row a member; base: an object's address, to which offsets are added."""
    types = session.kernel.types
    places = [(name, types.place(kind, name)) for name in members] if members else types.places(kind)
    rows = []
    for name, place in places:
        text = declaration(kind.btf, place.type, name.rpartition(".")[2]).replace("\t", "  ")
        bits = f": {place.bitfield_size}" if place.bitfield_size else ""
        size = Type(kind.btf, place.type).size
        rows.append((name, place.bit_offset // 8, place.bitfield_size, size, f"{text}{bits}"))

    def lines() -> Iterator[str]:
        yield f"{kind.name} {{\n"
        for _, offset, _, _, text in rows:
            mark = (f"[{offset}] " if base is None else f"[{base + offset:x}] ") if offsets else ""
            yield f"    {mark}" + text.replace("\n", "\n" + " " * (4 + len(mark))) + ";\n"
        yield "}\n" if members else f"}}\nSIZE: {kind.size}\n"

    columns = [
        Column("member"), Column("offset_bytes"), Column("bits"), Column("size_bytes"), Column("declaration"),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


def shower(session: Session, base: int = 10) -> Shower:
    """Shows objects with the names of what pointers to functions point to."""

    def name_of(address: int) -> str:
        place = session.kernel.place_of(address)
        return "" if place is None else place.in_decimal

    return Shower(base=base, name_of=name_of)


def rows_of_object(session: Session, one: Object, members: list[str], base: int = 10) -> Rows:
    """A row for an object, or one for each of some members."""
    made = shower(session, base)
    if not members:
        text = made.show(one)
        row = (f"{one.address_:#x}", one.type_.name, "", one)
        return Rows(_COLUMNS, [row], text=lambda: iter((f"{one.type_.name} {text}\n",)))
    rows, parts = [], []
    for name in members:
        found = one.member_(name)
        rows.append((f"{one.address_:#x}", one.type_.name, name, found))
        parts.append(f"  {name} = {made.show(found, 2)},\n")
    return Rows(_COLUMNS, rows, text=lambda: iter(parts))


def rows_of_members(session: Session, text: str, address: int, base: int = 10) -> Rows:
    """What text, "task_struct" or "task_struct.pid,comm", is at an address.  Raises UnknownNameError."""
    name, _, rest = text.partition(".")
    one = session.kernel.object(find_struct(session, name), address)
    return rows_of_object(session, one, [member for member in rest.split(",") if member], base)


_COLUMNS = [Column("address"), Column("type"), Column("member"), Column("value", value=lambda one: data_of(one))]
_MOST_DATA = 4096  # elements of an array that become data


def data_of(one: Object) -> object:
    """An object as JSON has it: structs as objects, arrays as lists, pointers as hexadecimal text.

    What cannot be read is {"error": ...}.
    """
    try:
        kind = one.type_.kind()
        if kind in (bt.KIND_STRUCT, bt.KIND_UNION):
            found: dict[str, object] = {}
            for name, place in one.space_.types.places(one.type_):
                value = data_of(one.part_(place))
                if name:
                    found[name] = value
                elif isinstance(value, dict):
                    found.update(value)
            return found
        if kind == bt.KIND_PTR:
            return f"{int(one):#x}"
        if kind == bt.KIND_ARRAY:
            element = one.type_.element()
            content = None if element is None else element.content()
            if isinstance(content, bt.Int) and content.size == 1 and content.name == "char":
                return one.string_()
            return [data_of(one[place]) for place in range(min(one.type_.length, _MOST_DATA))]
        if kind in (bt.KIND_ENUM, bt.KIND_ENUM64):
            return one.enumerator_()
        return one.value_()
    except LinscopeError as error:
        return {"error": str(error)}


STRUCT = Struct()
