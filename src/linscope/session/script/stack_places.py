"""Where the process of a user stack or user symbol lies in the bytes of a type, and a look at those in a map."""

from __future__ import annotations

from linscope.lang import types as t

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.lang import ir
    from linscope.session.script.map_values import Storage
    from linscope.session.script.resolver import Resolver


def pid_places(type: t.Type, at: int = 0) -> list[int]:
    """Offsets of u32 process ids in a value.

    >>> pid_places(t.Tuple((t.INT64, t.Stack(t.USER, "bpftrace", 127))))
    [12]
    """
    if isinstance(type, t.Stack):
        return [at + 4] if type.kind == t.USER and type.mode in ("bpftrace", "perf") else []
    if isinstance(type, t.UserSymbol):
        return [at + 8]
    if isinstance(type, t.Tuple):
        return [
            place
            for element, offset in zip(type.elements, type.offsets, strict=True)
            for place in pid_places(element, at + offset)
        ]
    return []


def make_look(source: ir.Map, storage: Storage, resolver: Resolver) -> Callable[[], None] | None:
    """A function that keeps the mappings of processes whose stacks a map holds; None: it holds none."""
    key_places = pid_places(source.key) if source.key is not None else []
    value_places = pid_places(source.value)
    if not key_places and not value_places:
        return None

    def look() -> None:
        user = resolver.user
        for key, value in storage.items():
            for data, places in ((key, key_places), (value, value_places)):
                for place in places:
                    pid = int.from_bytes(data[place : place + 4], "little")
                    if pid and not user.seen(pid):
                        user.see(pid)

    return look
