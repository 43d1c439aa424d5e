"""The types of a kernel by their names in C, and where their members lie.

Source: Documentation/bpf/btf.rst.
"""

from __future__ import annotations

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf_layout import Place, find_member, member_names, place_of, size_of, type_name
from linscope.errors import FormatError, UnknownNameError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from linscope.binfmt.btf import Btf
else:
    from linscope.binfmt.records import NamedTuple

_TAGS = {
    "struct": (bt.KIND_STRUCT,), "union": (bt.KIND_UNION,), "enum": (bt.KIND_ENUM, bt.KIND_ENUM64),
}  # fmt: skip
_NAMED = (bt.KIND_TYPEDEF, bt.KIND_STRUCT, bt.KIND_UNION, bt.KIND_INT, bt.KIND_ENUM, bt.KIND_ENUM64, bt.KIND_FLOAT)
_INTEGER_WORDS = frozenset(("unsigned", "signed", "long", "short", "int", "char"))
_POINTER_SIZE = 8
_PASSED = (bt.Typedef, bt.Qualifier, bt.TypeTag)


class Type(NamedTuple):
    """A type of some BTF, with so many stars behind it that BTF need not have."""

    btf: Btf
    id: int
    stars: int = 0

    def __repr__(self) -> str:
        return f"<Type {self.name}>"

    @property
    def name(self) -> str:
        """What C calls it: "struct task_struct *"."""
        name = type_name(self.btf, self.id) if self.id else "void"
        if not self.stars:
            return name
        return name + ("" if name.endswith("*") else " ") + "*" * self.stars

    @property
    def size(self) -> int:
        """Bytes; 0 for what is declared only.  Raises FormatError."""
        return _POINTER_SIZE if self.stars else size_of(self.btf, self.id)

    def pointer(self) -> Type:
        """A pointer to it."""
        return Type(self.btf, self.id, self.stars + 1)

    def bare(self) -> Type:
        """Without typedefs, const, volatile and tags.  Raises FormatError."""
        return self if self.stars else Type(self.btf, self.btf.resolve(self.id))

    def kind(self) -> int:
        """KIND_* of the bare type; that of a pointer for one of ours.  Raises FormatError."""
        return bt.KIND_PTR if self.stars else self.btf.kind(self.btf.resolve(self.id))

    def content(self) -> bt.Type | None:
        """What BTF says of the bare type; None for a pointer of ours.  Raises FormatError."""
        return None if self.stars else self.btf.type(self.btf.resolve(self.id))

    def target(self) -> Type | None:
        """What a pointer points to; None: it is none.  Raises FormatError."""
        if self.stars:
            return Type(self.btf, self.id, self.stars - 1)
        found = self.content()
        return Type(self.btf, found.target) if isinstance(found, bt.Pointer) else None

    def element(self) -> Type | None:
        """What an array is of; None: it is none.  Raises FormatError."""
        found = self.content()
        return Type(self.btf, found.element) if isinstance(found, bt.Array) else None

    @property
    def length(self) -> int:
        """Elements of an array; 0 for a flexible one, and for what is none.  Raises FormatError."""
        found = self.content()
        return found.length if isinstance(found, bt.Array) else 0


class Types:
    """All types of a kernel: those of vmlinux, and of the modules that have some."""

    def __init__(self, kernel: Btf) -> None:
        self.kernel = kernel
        self.modules: dict[str, Btf] = {}  # split BTF, by module
        self._found: dict[str, Type | None] = {}
        self._absent: set[tuple[str, str]] = set()
        self._places: dict[tuple[int, int, str], Place] = {}

    def __repr__(self) -> str:
        return f"<Types: {self.kernel!r} and {len(self.modules)} modules>"

    def find(self, name: str) -> Type | None:
        """A type by its name in C: "struct page *", "task_struct", "unsigned long"; None when there is none."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def get(self, name: str) -> Type:
        """A type by its name in C.  Raises UnknownNameError with near names."""
        found = self.find(name)
        if found is None:
            raise UnknownNameError("type", name, self._near(name.replace("*", "").split()[-1]))
        return found

    def _near(self, name: str) -> list[str]:
        kinds = (bt.KIND_STRUCT, bt.KIND_TYPEDEF)
        return [found for kind in kinds for _, found in self.kernel.iter_names(kind, name[:3])]

    def _find(self, name: str) -> Type | None:
        core = name.rstrip()
        stars = 0
        while core.endswith("*"):
            core, stars = core[:-1].rstrip(), stars + 1
        words = [word for word in core.split() if word not in ("const", "volatile")]
        if not words:
            raise UsageError(f"{name!r} is no type")
        if words == ["void"]:
            return Type(self.kernel, 0, stars)
        for btf in (self.kernel, *self.modules.values()):
            found = _find_in(btf, words)
            if found:
                return Type(btf, found, stars)
        return None

    def names(self, begin: str) -> list[str]:
        """Names of structs, unions and typedefs of the kernel that begin so."""
        kinds = (bt.KIND_STRUCT, bt.KIND_UNION, bt.KIND_TYPEDEF)
        return sorted({name for kind in kinds for _, name in self.kernel.iter_names(kind, begin) if name})

    def member_names(self, kind: Type) -> list[str]:
        """Names of the members of a struct or union, of anonymous ones, too; none of others."""
        return [] if kind.stars else member_names(kind.btf, kind.id)

    def places(self, owner: Type) -> list[tuple[str, Place]]:
        """(name, place) of the members of a struct or union in their order, "" for anonymous ones; none of others."""
        content = owner.content()
        members = content.members if isinstance(content, bt.Struct) else ()
        return [(one.name, place_of(owner.btf, one)) for one in members]

    def place(self, owner: Type, name: str) -> Place:
        """Where a member of a struct or union is, by its name (of anonymous ones, too), or a path with dots.

        Raises UnknownNameError with near names, FormatError.
        """
        key = (id(owner.btf), owner.id, name)
        found = self._places.get(key)
        if found is None:
            found = self._place(owner, name)
            self._places[key] = found
        return found

    def _place(self, owner: Type, name: str) -> Place:
        place = Place(owner.id, 0, 0)
        for part in name.split("."):
            inner = None if owner.stars else find_member(owner.btf, place.type, part)
            if inner is None:
                known = [] if owner.stars else member_names(owner.btf, place.type)
                raise UnknownNameError(f"member of {Type(owner.btf, place.type, owner.stars).name}", part, known)
            place = Place(inner.type, place.bit_offset + inner.bit_offset, inner.bitfield_size)
        return place

    def has_member(self, type_name: str, name: str) -> bool:
        """Whether a type is there and has a member: what to ask instead of a kernel's version."""
        if (type_name, name) in self._absent:
            return False
        found = self.find(type_name)
        if found is not None:
            try:
                self.place(found, name)
                return True
            except UnknownNameError:
                pass
        self._absent.add((type_name, name))
        return False

    def offset(self, type_name: str, name: str) -> int:
        """Byte offset of a member.  Raises UnknownNameError; FormatError for a bit field."""
        place = self.place(self.get(type_name), name)
        if place.bitfield_size or place.bit_offset % 8:
            raise FormatError(f"{type_name}.{name} is a bit field")
        return place.bit_offset // 8

    def first_member(self, type_name: str, *names: str) -> str:
        """The first of some names that a type has: members are renamed from kernel to kernel.

        Raises UnknownNameError when it has none of them.
        """
        for name in names:
            if self.has_member(type_name, name):
                return name
        raise UnknownNameError(f"member of {type_name}", " or ".join(names))


def _find_in(btf: Btf, words: list[str]) -> int:
    """Id of the type that some words name; 0: none."""
    tag = _TAGS.get(words[0])
    if tag is not None and len(words) == 2:
        return _complete(btf, words[1], tag)
    if all(word in _INTEGER_WORDS for word in words):
        for spelling in _spellings(words):
            found = btf.find_one(spelling, (bt.KIND_INT,))
            if found:
                return found
        return 0
    return _complete(btf, words[0], _NAMED) if len(words) == 1 else 0


def _complete(btf: Btf, name: str, kinds: tuple[int, ...]) -> int:
    """The first type of a name that has a size, else the first."""
    first = btf.find_one(name, kinds)
    if not first or size_of(btf, first):
        return first
    return next((one for one in btf.find(name, kinds) if size_of(btf, one)), first)


def _spellings(words: list[str]) -> list[str]:
    """What compilers call an integer type: gcc "long unsigned int", clang "unsigned long"."""
    longs = words.count("long")
    if "char" in words:
        return ["unsigned char"] if "unsigned" in words else ["signed char", "char"] if "signed" in words else ["char"]
    base = "short" if "short" in words else "long long" if longs > 1 else "long" if longs else "int"
    if "unsigned" not in words:
        return [base, f"{base} int"]
    return [f"unsigned {base}"] + ([] if base == "int" else [f"{base} unsigned int"])
