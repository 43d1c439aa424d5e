"""Maps of an object: those that ``.maps`` declares by their types, and the sections of global variables.

Source: libbpf 1.5, src/libbpf.c, parse_btf_map_def, and src/bpf_helpers.h, __uint, __type, __array;
Documentation/bpf/map_hash.rst for the syntax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf_layout import size_of
from linscope.bpf.program import Map
from linscope.errors import FormatError

if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf
    from linscope.bpf.objects.elf_object import ElfObject

MAPS = ".maps"
_MAX_SIZE = (1 << 31) - 1
_MAP_OF_MAPS = (b.BPF_MAP_TYPE_ARRAY_OF_MAPS, b.BPF_MAP_TYPE_HASH_OF_MAPS)
_PINNING = ("", "by name")  # LIBBPF_PIN_NONE, LIBBPF_PIN_BY_NAME


class Declared(NamedTuple):
    """A map of ``.maps`` and where its variable lies in the section."""

    map: Map
    offset: int
    values_at: int  # where its initial values begin (maps in it, programs), bytes from the variable's begin; -1 none


def declared_maps(elf: ElfObject, btf: Btf) -> list[Declared]:
    """The maps of the section ``.maps``.  Raises FormatError: what a definition lacks."""
    section = elf.section(MAPS)
    if section is None:
        return []
    where = btf.find_one(MAPS, (bt.KIND_DATASEC,))
    if not where:
        raise elf.fail("maps without their types", section)
    types = btf.type(where)
    assert isinstance(types, bt.DataSection)
    found = []
    for variable in types.variables:
        var = btf.type(variable.variable)
        if not isinstance(var, bt.Var) or not var.name:
            raise elf.fail("a map that is no variable", section, variable.offset)
        if variable.offset + variable.size > section.size:
            raise elf.fail(f"map {var.name!r} beyond its section", section, variable.offset)

        def fail(why: str, name: str = var.name, at: int = variable.offset) -> FormatError:
            return elf.fail(f"map {name!r}: {why}", section, at)

        if var.linkage == 0:
            raise fail("is static")
        definition, values_at = _parse(btf, btf.resolve(var.type), var.name, fail)
        found.append(Declared(definition, variable.offset, values_at))
    return found


def _parse(btf: Btf, type_id: int, name: str, fail: _Fail, *, inner: bool = False) -> tuple[Map, int]:
    struct = btf.type(type_id)
    if not isinstance(struct, bt.Struct) or struct.is_union:
        raise fail("is no struct")
    numbers: dict[str, int] = {}
    inner_map: Map | None = None
    values_at = -1
    for member in struct.members:
        if member.name in ("key", "value"):
            pointer = btf.type(btf.resolve(member.type))
            if not isinstance(pointer, bt.Pointer):
                raise fail(f"{member.name} is no pointer to a type")
            size = size_of(btf, pointer.target)
            if numbers.setdefault(f"{member.name}_size", size) != size:
                raise fail(f"{member.name} and {member.name}_size do not agree")
            numbers[f"{member.name}_type"] = pointer.target
        elif member.name == "values":
            inner_map = _parse_values(btf, member, name, numbers, fail, inner=inner)
            values_at = member.bit_offset // 8
        elif member.name in ("type", "max_entries", "map_flags", "numa_node", "key_size", "value_size", "pinning",
                             "map_extra"):  # fmt: skip
            number = _number(btf, member, fail)
            if numbers.setdefault(member.name, number) != number:
                raise fail(f"{member.name} does not agree with the type")
        else:
            raise fail(f"has a member {member.name!r}, which says nothing of a map")
    kind = numbers.get("type", 0)
    if not kind:
        raise fail("has no type")
    pinning = numbers.get("pinning", 0)
    if pinning >= len(_PINNING) or (pinning and inner):
        raise fail(f"pinning {pinning} is not known")
    key_size, value_size = numbers.get("key_size", 0), numbers.get("value_size", 0)
    if max(key_size, value_size) > _MAX_SIZE:
        raise fail("its keys or values are too large")
    made = Map(
        name, kind, key_size, value_size, numbers.get("max_entries", 0), flags=numbers.get("map_flags", 0),
        inner=inner_map, key_type=numbers.get("key_type", 0), value_type=numbers.get("value_type", 0),
        pinning=name if pinning else "", extra=numbers.get("map_extra", 0),
    )  # fmt: skip
    return made, values_at


def _number(btf: Btf, member: bt.Member, fail: _Fail) -> int:
    """__uint(name, value) is a member of the type int (*name)[value]."""
    pointer = btf.type(btf.resolve(member.type))
    array = btf.type(pointer.target) if isinstance(pointer, bt.Pointer) else None
    if not isinstance(array, bt.Array):
        raise fail(f"{member.name} is no number as __uint() makes it")
    return array.length


def _parse_values(
    btf: Btf, member: bt.Member, name: str, numbers: dict[str, int], fail: _Fail, *, inner: bool
) -> Map | None:
    """__array(values, ...): the model of the maps in a map, or the type of a program array's programs."""
    kind = numbers.get("type", 0)
    if inner or (kind not in _MAP_OF_MAPS and kind != b.BPF_MAP_TYPE_PROG_ARRAY):
        raise fail("values are for maps of maps and arrays of programs")
    if numbers.setdefault("value_size", 4) != 4:
        raise fail("its values are of 4 bytes")
    array = btf.type(btf.resolve(member.type))
    if not isinstance(array, bt.Array) or array.length:
        raise fail("values is no array of length 0")
    pointer = btf.type(btf.resolve(array.element))
    if not isinstance(pointer, bt.Pointer):
        raise fail("values are no pointers")
    if kind == b.BPF_MAP_TYPE_PROG_ARRAY:
        return None
    return _parse(btf, btf.resolve(pointer.target), f"{name}.inner", fail, inner=True)[0]


if TYPE_CHECKING:
    from collections.abc import Callable

    _Fail = Callable[[str], FormatError]


def data_map(name: str, object_name: str, size: int, contents: bytes, btf: Btf | None) -> Map:
    """The map that holds a section of variables.

    name: of the section (".data", ".rodata.more", ".bss", ".kconfig").  The kernel sees the object's name in front, as
    far as there is room.  An array of zeros is not written.
    """
    constant = name.startswith(".rodata") or name == ".kconfig"
    own = name[1:].count(".") > 0
    short = name if own else object_name[: max(0, b.BPF_OBJ_NAME_LEN - 1 - len(name))] + name
    type_id = btf.find_one(name, (bt.KIND_DATASEC,)) if btf is not None else 0
    return Map(
        short, b.BPF_MAP_TYPE_ARRAY, 4, size, 1, flags=b.BPF_F_MMAPABLE | (b.BPF_F_RDONLY_PROG if constant else 0),
        value_type=type_id, initial=contents, frozen=constant,
    )  # fmt: skip
