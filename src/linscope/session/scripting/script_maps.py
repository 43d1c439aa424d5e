"""The script's maps while it runs: shown, cleared, set to zero."""

from __future__ import annotations

from linscope.lang import types as t
from linscope.session.scripting.map_contents import read_entries
from linscope.session.scripting.map_text import MapPrinter

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Protocol

    from linscope.lang import ir
    from linscope.session.scripting.output import Output
    from linscope.session.scripting.resolver import Resolver

    class Storage(Protocol):
        """A map of the kernel, or of the user-space machine."""

        width: int

        def items(self) -> Iterable[tuple[bytes, bytes]]: ...

        def delete(self, key: bytes) -> object: ...

        def update(self, key: bytes, value: bytes) -> object: ...


class ScriptMaps:
    """All maps of a script, by what they were declared as."""

    def __init__(
        self, sources: Sequence[ir.Map], storages: Sequence[Storage], resolver: Resolver, output: Output
    ) -> None:
        """storages: in the order of sources."""
        self.storages = dict(zip(sources, storages, strict=True))
        self.resolver = resolver
        self.output = output
        self.cleared: set[ir.Map] = set()
        self._printers: dict[ir.Map, MapPrinter] = {}

    def entries(self, source: ir.Map) -> list[tuple[Any, Any]]:
        """What a map holds, decoded."""
        return read_entries(source, self.storages[source].items(), self.resolver)

    def printer(self, source: ir.Map) -> MapPrinter:
        """What shows a map."""
        found = self._printers.get(source)
        if found is None:
            found = self._printers[source] = MapPrinter(source, self.resolver)
        return found

    def show(self, source: ir.Map, top: int = 0, div: int = 0, *, asked: bool = False) -> None:
        """Print a map.  asked: by the script; else an empty one, and a scalar that was cleared, are left out."""
        found = self.entries(source)
        printer = self.printer(source)
        if not asked and source in self.cleared and source.key is None and _is_zero(source, found):
            return
        if self.output.is_json:
            self.output.message(printer.json_type, printer.json(found, top, div))
        else:
            self.output.write(printer.text(found, top, div))

    def show_all(self) -> None:
        """Print all, by name, at the end."""
        for source in sorted(self.storages, key=lambda one: one.name):
            self.show(source)

    def clear(self, source: ir.Map) -> None:
        """Take all entries out; a scalar becomes zero, and is not shown at the end while it is."""
        storage = self.storages[source]
        self.cleared.add(source)
        if source.key is None:
            self.zero(source)
            return
        for key in [key for key, _ in storage.items()]:
            storage.delete(key)

    def zero(self, source: ir.Map) -> None:
        """Set all values to zero."""
        storage = self.storages[source]
        for key in [key for key, _ in storage.items()]:
            storage.update(key, bytes(storage.width))


def _is_zero(source: ir.Map, found: list[tuple[Any, Any]]) -> bool:
    """Whether a scalar map holds nothing."""
    if isinstance(source.value, t.Aggregation):
        return all(not value or (isinstance(value, tuple) and not any(value)) for _, value in found)
    return all(not value or (isinstance(value, tuple | list) and not any(value)) for _, value in found)
