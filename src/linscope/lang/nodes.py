"""Records without dataclasses: importing and running those would take longer than a small script to compile."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import dataclass_transform
else:

    def dataclass_transform() -> object:
        """Nothing, at run time."""
        return lambda wrapped: wrapped


@dataclass_transform()
class Node:
    """A record: its fields are the annotations of the class, those of its bases first, given by place or by name.

    A default is the class's attribute of that name, and must be a value that does not change.  Two are equal when all
    fields are; what has an identity of its own (a variable, a map) says ``__eq__ = object.__eq__``.
    """

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        own = cls.__dict__.get("__annotations__", ())  # noqa: RUF063 - inspect takes 15 ms to import
        cls._fields = (*cls._fields, *(name for name in own if name[0] != "_"))

    def __init__(self, *values: object, **named: object) -> None:
        given = self.__dict__
        given.update(zip(self._fields, values, strict=False))
        given.update(named)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n, None)!r}' for n in self._fields)})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._fields)

    __hash__ = object.__hash__
