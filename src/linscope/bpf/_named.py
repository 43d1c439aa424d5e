"""collections.namedtuple without collections, whose import takes a tenth of the time to an attached program."""

from __future__ import annotations

from _operator import itemgetter  # operator itself is 0.3 ms of Python

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import Any


def named_tuple(name: str, fields: str) -> Any:
    """A class of tuples whose elements have names; fields: separated by blanks.  With _fields, _replace and _asdict."""
    names = tuple(fields.split())
    arguments = ", ".join(names)
    new = eval(f"lambda _class, {arguments}: _new(_class, ({arguments},))", {"_new": tuple.__new__})
    space = {
        "__slots__": (),
        "__new__": new,
        "__repr__": lambda self: f"{name}({', '.join(f'{n}={v!r}' for n, v in zip(names, self, strict=True))})",
        "__getnewargs__": tuple,
        "_fields": names,
        "_replace": _replace,
        "_asdict": lambda self: dict(zip(names, self, strict=True)),
        **{field: property(itemgetter(place)) for place, field in enumerate(names)},
    }
    return type(name, (tuple,), space)


def _replace(self: Any, **changes: Any) -> Any:
    """The same with some elements changed.  Raises ValueError for a name that there is not."""
    values = [changes.pop(name) if name in changes else value for name, value in zip(self._fields, self, strict=True)]
    if changes:
        raise ValueError(f"no field named {next(iter(changes))!r}")
    return type(self)(*values)
