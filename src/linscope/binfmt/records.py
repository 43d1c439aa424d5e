"""Named tuples without ``typing``, whose import takes longer than the kernel's types take to be searched.

A module says ``from typing import NamedTuple`` for who checks types, and takes this one when it runs.
"""

from __future__ import annotations

from _operator import itemgetter


class NamedTuple(tuple[object, ...]):
    """A tuple whose items have the names of the class's annotations, in their order; defaults as class attributes."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()
    _defaults: tuple[object, ...] = ()  # of the last fields

    def __init_subclass__(cls) -> None:
        own = cls.__dict__
        names = tuple(own.get("__annotations__", ()))
        cls._fields = names
        cls.__match_args__ = names  # type: ignore[attr-defined, misc]  # what ``match`` reads
        cls._defaults = tuple(own[name] for name in names if name in own)
        for place, name in enumerate(names):
            setattr(cls, name, property(itemgetter(place)))

    def __new__(cls, *values: object, **named: object) -> NamedTuple:
        if named or len(values) != len(cls._fields):
            values = cls._complete(values, named)
        return tuple.__new__(cls, values)

    @classmethod
    def _complete(cls, values: tuple[object, ...], named: dict[str, object]) -> tuple[object, ...]:
        """The values of all fields.  Raises TypeError: too many, too few, or of no field's name."""
        given = list(values)
        first_default = len(cls._fields) - len(cls._defaults)
        for place, name in enumerate(cls._fields[len(values) :], len(values)):
            if name in named:
                given.append(named.pop(name))
            elif place >= first_default:
                given.append(cls._defaults[place - first_default])
            else:
                raise TypeError(f"{cls.__name__} has no value for {name!r}")
        if named or len(given) > len(cls._fields):
            raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}")
        return tuple(given)

    def _replace(self, **named: object) -> NamedTuple:
        """The same with other values in some fields.  Raises TypeError: no such field."""
        values = [named.pop(name, value) for name, value in zip(self._fields, self, strict=True)]
        return type(self)(*values, **named)

    def __getnewargs__(self) -> tuple[object, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({', '.join(shown)})"
