"""What is done with the events that programs send: printed, or acted on."""

from __future__ import annotations

import os

from linscope.lang import types as t
from linscope.lang.bpftrace.problems import diagnostic_at
from linscope.lang.unit import event_layout
from linscope.session.script.values import json_string, make_codec
from linscope.session.scripting.output import error
from linscope.session.scripting.printf import compile_format, value_readers

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from linscope.lang import ir
    from linscope.session.scripting.output import Output
    from linscope.session.scripting.resolver import Resolver
    from linscope.session.scripting.script_maps import ScriptMaps

_E2BIG = 7
_FULL = (
    "Map full; can't update element. Try increasing max_map_keys config or manually setting the max entries in a map "
    "declaration e.g. `let @a = hash(5000)`"
)
_SHOWN = 5  # times that one mistake is told; then it is counted


class Actions:
    """Handlers by an event's number; ``exit_code`` is not None once the script wants to end."""

    def __init__(
        self, unit: ir.Unit, resolver: Resolver, output: Output, maps: ScriptMaps, *, unsafe: bool = False
    ) -> None:
        self.unit = unit
        self.resolver = resolver
        self.output = output
        self.maps = maps
        self.unsafe = unsafe
        self.exit_code: int | None = None
        self.told: dict[tuple[int, int], int] = {}
        self.handlers: list[Callable[[bytes], None] | None] = []

    def handle(self, record: bytes) -> None:
        """Do what an event asks for."""
        number = record[0] | record[1] << 8 | record[2] << 16
        if number >= len(self.handlers):
            self.handlers += [None] * (len(self.unit.events) - len(self.handlers))
        handler = self.handlers[number]
        if handler is None:
            handler = self.handlers[number] = self._make(number, self.unit.events[number])
        handler(record)

    def _make(self, number: int, event: ir.Event) -> Callable[[bytes], None]:
        makers = {
            "printf": self._printf, "print": self._print, "print_map": self._print_map, "clear": self._clear,
            "zero": self._zero, "time": self._time, "join": self._join, "exit": self._exit, "cat": self._cat,
            "system": self._system, "errorf": self._errorf, "warnf": self._errorf,
        }  # fmt: skip
        if event.kind in makers:
            return makers[event.kind](event)
        return self._mistake(number, event)

    # -- output

    def _printf(self, event: ir.Event) -> Callable[[bytes], None]:
        shown = compile_format(event.format, event.values, self.resolver)
        output = self.output
        if output.is_json or output.mode == "none":
            return lambda record: output.text("printf", shown(record))
        add = output.parts.append
        return lambda record: add(shown(record))

    def _print(self, event: ir.Event) -> Callable[[bytes], None]:
        type = event.values[0]
        (read,) = value_readers(event.values, self.resolver)
        codec = make_codec(type, self.resolver)
        output = self.output
        text = isinstance(type, t.String)
        if output.is_json:
            shown: Callable[[Any], str] = json_string if text else codec.json
            return lambda record: output.message("value", shown(read(record)))
        if text:
            return lambda record: output.write(f"{read(record)}\n")
        return lambda record: output.write(f"{codec.text(read(record))}\n")

    def _print_map(self, event: ir.Event) -> Callable[[bytes], None]:
        readers = value_readers(event.values, self.resolver)
        source = event.map
        assert source is not None
        return lambda record: self.maps.show(source, *(read(record) for read in readers), asked=True)

    def _clear(self, event: ir.Event) -> Callable[[bytes], None]:
        source = event.map
        assert source is not None
        return lambda record: self.maps.clear(source)

    def _zero(self, event: ir.Event) -> Callable[[bytes], None]:
        source = event.map
        assert source is not None
        return lambda record: self.maps.zero(source)

    def _time(self, event: ir.Event) -> Callable[[bytes], None]:
        import time

        format = event.format.decode("utf-8", "replace")
        return lambda record: self.output.text("time", time.strftime(format))

    def _join(self, event: ir.Event) -> Callable[[bytes], None]:
        offsets, end = event_layout(event.values)
        delimiter = event.format

        def handler(record: bytes) -> None:
            words, at = [], end
            for offset in offsets:
                length = int.from_bytes(record[offset : offset + 4], "little")
                if not length:
                    break
                words.append(record[at : at + length - 1])
                at += length
            text = delimiter.join(words).decode("utf-8", "surrogateescape")
            self.output.text("join", text if self.output.is_json else f"{text}\n")

        return handler

    def _exit(self, event: ir.Event) -> Callable[[bytes], None]:
        (read,) = value_readers(event.values, self.resolver)

        def handler(record: bytes) -> None:
            if self.exit_code is None:
                self.exit_code = int(read(record)) & 0xFF

        return handler

    def _cat(self, event: ir.Event) -> Callable[[bytes], None]:
        shown = compile_format(event.format, event.values, self.resolver)
        most = int(self.unit.settings["max_cat_bytes"])

        def handler(record: bytes) -> None:
            path = shown(record)
            try:
                with open(path, "rb") as file:
                    data = file.read(most)
            except OSError as failed:
                self.output.flush(whole=True)
                error(f"ERROR: failed to open file '{path}' ({failed.strerror})")
                return
            self.output.text("cat", data.decode("utf-8", "surrogateescape"))

        return handler

    def _system(self, event: ir.Event) -> Callable[[bytes], None]:
        shown = compile_format(event.format, event.values, self.resolver)

        def handler(record: bytes) -> None:
            if self.unsafe:
                self.output.flush(whole=True)
                with os.popen(shown(record)) as stream:
                    self.output.text("syscall", stream.read())

        return handler

    def _errorf(self, event: ir.Event) -> Callable[[bytes], None]:
        shown = compile_format(event.format, event.values, self.resolver)
        severity = "ERROR" if event.kind == "errorf" else "WARNING"

        def handler(record: bytes) -> None:
            self._tell(event, shown(record).rstrip("\n"), severity)

        return handler

    # -- mistakes

    def _tell(self, event: ir.Event, what: str, severity: str, data: str = "") -> None:
        text = self.unit.text
        self.output.problem(event.kind, diagnostic_at(text, event.span, what, severity=severity), data)
        if not self.output.is_json:
            for span in event.within:
                problem = diagnostic_at(text, span, "expanded from", severity=severity)
                self.output.problem(event.kind, problem)

    def _mistake(self, number: int, event: ir.Event) -> Callable[[bytes], None]:
        """helper_error, runtime_error: told a few times, then counted."""
        readers = value_readers(event.values, self.resolver)

        def handler(record: bytes) -> None:
            result = int(readers[0](record)) if readers else 0
            key = number, result
            self.told[key] = self.told.get(key, 0) + 1
            if self.told[key] <= _SHOWN:
                self._tell_mistake(event, result)

        return handler

    def _tell_mistake(self, event: ir.Event, result: int) -> None:
        name = event.format.decode("utf-8", "replace")
        if event.kind == "runtime_error":
            self._tell(event, name, "WARNING")
            return
        reason = os.strerror(-result) if result < 0 else str(result)
        place = diagnostic_at(self.unit.text, event.span, "")
        what = f"Failed to {name}: {reason} ({result})"
        if name == "map_update_elem" and result == -_E2BIG:
            what = _FULL
        where = json_string(self.unit.where)
        data = (
            f'"msg": {json_string(reason)}, "helper": {json_string(name)}, "retcode": {result}, '
            f'"filename": {where}, "line": {place.line}, "col": {place.column}'
        )
        self._tell(event, what, "WARNING", data)

    def summary(self) -> None:
        """Tell how often mistakes came that are not told any more."""
        for (number, result), count in self.told.items():
            if count > _SHOWN:
                event = self.unit.events[number]
                place = diagnostic_at(self.unit.text, event.span, "")
                name = event.format.decode("utf-8", "replace")
                if self.output.warnings and not self.output.is_json:
                    error(f"WARNING: {self.unit.where}:{place.line}: {name} ({result}): {count} times in all")
