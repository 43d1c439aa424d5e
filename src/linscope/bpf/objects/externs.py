"""What an object takes from the kernel by name: settings (``__kconfig``), variables and functions (``__ksym``).

Source: libbpf 1.5, src/libbpf.c, bpf_object__collect_externs and bpf_object__resolve_externs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf_layout import size_of
from linscope.bpf.objects import core_types
from linscope.errors import FormatError, UnknownNameError, UnsupportedError

if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf
    from linscope.bpf.objects.elf_object import ElfObject
    from linscope.bpf.objects.raw_types import RawTypes
    from linscope.bpf.objects.target import Target

KCONFIG, KSYMS = ".kconfig", ".ksyms"
_STB_WEAK = 2
_MAX_SETTING = 1 << 16  # bytes; a line of a configuration is far shorter
_TRISTATE = {"n": 0, "y": 1, "m": 2}  # enum libbpf_tristate


class Extern:
    """One name.  ``value`` is the address or the type's id; None: the kernel has it not, and it is weak."""

    __slots__ = ("name", "offset", "section", "size", "type", "value", "var", "weak")

    def __init__(self, name: str, section: str, var: int, type: int, *, weak: bool) -> None:
        """section: KCONFIG or KSYMS; var: of BTF, a variable or a function; type: of the variable, the prototype."""
        self.name = name
        self.section = section
        self.var = var
        self.type = type
        self.weak = weak
        self.size = 0
        self.offset = 0
        self.value: int | None = None


def collect(elf: ElfObject, btf: Btf | None) -> dict[int, Extern]:
    """The externs by symbol.  Raises FormatError: one without a type, or in a section that is neither."""
    undefined = {
        number: symbol
        for number, symbol in enumerate(elf.symbols)
        if number and symbol.section == 0 and symbol.bind != 0 and symbol.name
    }
    if not undefined:
        return {}
    sections: dict[int, str] = {}
    if btf is not None:
        for number in btf.iter_ids(bt.KIND_DATASEC):
            types = btf.type(number)
            assert isinstance(types, bt.DataSection)
            sections |= {each.variable: types.name for each in types.variables}
    found: dict[int, Extern] = {}
    for number, symbol in undefined.items():
        ids = btf.find(symbol.name, (bt.KIND_VAR, bt.KIND_FUNC)) if btf is not None else []
        var = next((each for each in ids if each in sections), 0)
        section = sections.get(var, "") if var else ""
        if btf is None or section not in (KCONFIG, KSYMS):
            raise FormatError(
                f"{symbol.name!r} is defined nowhere: it is neither __kconfig nor __ksym", where=elf.where
            )
        kind = btf.type(var)
        assert isinstance(kind, bt.Var | bt.Func)
        if section == KCONFIG and isinstance(kind, bt.Func):
            raise FormatError(f"the function {symbol.name!r} is __kconfig", where=elf.where)
        type_id = kind.proto if isinstance(kind, bt.Func) else btf.resolve(kind.type)
        found[number] = Extern(symbol.name, section, var, type_id, weak=symbol.bind == _STB_WEAK)
    assert btf is not None
    _place_settings([each for each in found.values() if each.section == KCONFIG], btf)
    return found


def _place_settings(externs: list[Extern], btf: Btf) -> None:
    """Lay the settings out in their map: the largest alignment first."""
    alignment = {}
    for each in externs:
        each.size = size_of(btf, each.type)
        alignment[each.name] = _align_of(btf, each.type)
        if not 0 < each.size <= _MAX_SETTING:
            raise UnsupportedError(f"the setting {each.name!r} has a type of {each.size} bytes", where=btf.where)
    at = 0
    for each in sorted(externs, key=lambda e: (-alignment[e.name], e.size, e.name)):
        step = alignment[each.name]
        each.offset = (at + step - 1) // step * step
        at = each.offset + each.size


def _align_of(btf: Btf, type_id: int) -> int:
    for _ in range(32):
        kind = btf.type(btf.resolve(type_id))
        if not isinstance(kind, bt.Array):
            return min(8, max(1, size_of(btf, type_id)))
        type_id = kind.element
    return 8


def fix_types(raw: RawTypes, externs: dict[int, Extern], sections: dict[str, int]) -> None:
    """Make BTF say what the kernel wants of externs: variables that are there, at places that do not overlap.

    sections: DATASEC types by name.
    """
    if not externs:
        return
    by_var = {each.var: each for each in externs.values()}
    if KCONFIG in sections:
        number = sections[KCONFIG]
        for place in range(3, 3 + 3 * raw.count(number), 3):
            one = by_var.get(raw.get(number, place))
            if one is not None:
                raw.set(one.var, 3, 1)  # linkage: global, allocated
                raw.set(number, place + 1, one.offset)
                raw.set(number, place + 2, one.size)
        settings = [each for each in externs.values() if each.section == KCONFIG]
        raw.set(number, 2, max((each.offset + each.size for each in settings), default=0))
    if KSYMS not in sections:
        return
    number = sections[KSYMS]
    integer = raw.find(bt.KIND_INT, "int") or raw.find(bt.KIND_INT) or raw.add(bt.KIND_INT, "int", 4, 1 << 24 | 32)
    dummy = 0
    for index, place in enumerate(range(3, 3 + 3 * raw.count(number), 3)):
        var = raw.get(number, place)
        if raw.kind(var) == bt.KIND_FUNC:
            dummy = dummy or raw.add(bt.KIND_VAR, "dummy_ksym", integer, 1)
            proto = raw.get(var, 2)
            for parameter in range(3, 3 + 2 * raw.count(proto), 2):
                if raw.get(proto, parameter + 1) and not raw.get(proto, parameter):
                    raw.set(proto, parameter, raw.string("dummy_ksym"))
            raw.set(var, 1, bt.KIND_FUNC << 24 | 1)  # linkage: global
            raw.set(number, place, dummy)
        elif raw.kind(var) == bt.KIND_VAR:
            raw.set(var, 3, 1)
            raw.set(var, 2, integer)
        raw.set(number, place + 1, 4 * index)
        raw.set(number, place + 2, 4)
    raw.set(number, 2, 4 * raw.count(number))


def resolve(externs: dict[int, Extern], btf: Btf | None, target: Target) -> bytes:
    """Give every extern its value; the contents of the map of settings.

    btf: the object's.  Raises UnknownNameError: the target has it not, and it is not weak; UnsupportedError: the
    target does not know, the types differ, or it is in a module.
    """
    typeless: list[Extern] = []
    contents = bytearray(max((e.offset + e.size for e in externs.values() if e.section == KCONFIG), default=0))
    for each in externs.values():
        assert btf is not None
        if each.section == KCONFIG:
            value = _setting(each, btf, target)
            if value is not None:
                contents[each.offset : each.offset + each.size] = value.ljust(each.size, b"\0")[: each.size]
                each.value = each.offset
        elif each.type:
            each.value = _typed_symbol(each, btf, target)
        else:
            typeless.append(each)
    if typeless:
        addresses = target.addresses({each.name for each in typeless})
        if addresses is None:
            raise UnsupportedError("addresses of kernel symbols are not known", next_step="run as root")
        for each in typeless:
            each.value = addresses.get(each.name)
    for each in externs.values():
        if each.value is None and not each.weak:
            kind = "setting" if each.section == KCONFIG else "kernel symbol"
            raise UnknownNameError(kind, each.name, next_step="declare it __weak when the program can do without")
    return bytes(contents)


def _setting(extern: Extern, btf: Btf, target: Target) -> bytes | None:
    order: _Order = "little" if btf.little_endian else "big"
    kind = btf.type(extern.type)
    if not extern.name.startswith("CONFIG_"):
        fact = target.fact(extern.name)
        return None if fact is None else fact.to_bytes(extern.size, order)
    config = target.config()
    if config is None:
        raise UnsupportedError(
            f"the kernel's configuration is not known, {extern.name} is asked for",
            next_step="CONFIG_IKCONFIG_PROC, or the file /boot/config-$(uname -r)",
        )
    text = config.get(extern.name)
    if text is None:
        return None
    tristate = isinstance(kind, bt.Enum) and kind.name == "libbpf_tristate"
    if text in _TRISTATE:
        boolean = isinstance(kind, bt.Int) and bool(kind.encoding & bt.INT_BOOL)
        if tristate or (boolean and text != "m"):
            return _TRISTATE[text].to_bytes(extern.size, order)
        if isinstance(kind, bt.Int) and extern.size == 1 and not boolean:
            return text.encode()
    elif text.startswith('"') and isinstance(kind, bt.Array):
        return text[1:-1].encode()[: extern.size - 1]
    elif isinstance(kind, bt.Int) and not kind.encoding & bt.INT_BOOL:
        try:
            number = int(text, 0)
            return number.to_bytes(extern.size, order, signed=number < 0 or kind.signed)
        except (ValueError, OverflowError):
            pass
    raise UnsupportedError(f"the setting {extern.name} is {text}, which its type does not hold", where=btf.where)


def _typed_symbol(extern: Extern, btf: Btf, target: Target) -> int | None:
    """The id of the variable or function in the kernel's types; None when it is not there."""
    kernel = target.btf
    if kernel is None:
        raise UnsupportedError("the kernel's types are not known", next_step="CONFIG_DEBUG_INFO_BTF")
    function = btf.kind(extern.var) == bt.KIND_FUNC
    wanted = bt.KIND_FUNC if function else bt.KIND_VAR
    found = kernel.find_one(extern.name, (wanted,))
    if not found:
        for module in target.modules:
            if module.find_one(extern.name, (wanted,)):
                raise UnsupportedError(f"{extern.name} is in the module {module.where}; only the kernel's own are read")
        return None
    kind = kernel.type(found)
    assert isinstance(kind, bt.Func | bt.Var)
    there = kind.proto if isinstance(kind, bt.Func) else kernel.resolve(kind.type)
    if not core_types.compatible(btf, extern.type, kernel, there):
        raise UnsupportedError(f"{extern.name} has another type in the kernel", where=btf.where)
    return found


if TYPE_CHECKING:
    from typing import Literal

    _Order = Literal["little", "big"]
