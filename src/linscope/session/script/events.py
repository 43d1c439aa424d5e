"""Events of a script's programs: for each kind, what is done with a record.

``make_handlers`` gives one function for each event, by its number; it takes the whole record.
"""

from __future__ import annotations

import os
import struct
import time

from linscope.lang import types as t
from linscope.lang.bpftrace.problems import diagnostic_at
from linscope.lang.unit import event_layout, is_variable
from linscope.session.script.output import error
from linscope.session.script.printf import Plain, make_formatter
from linscope.session.script.values import make_codec, scalar_code

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from linscope.errors import Diagnostic
    from linscope.lang import ir
    from linscope.session.script.map_values import ScriptMap
    from linscope.session.script.output import TextForm
    from linscope.session.script.resolver import Resolver

    Handler = Callable[[bytes], None]

_E2BIG, _ENOENT = 7, 2
_MAP_FULL = (
    "Map full; can't update element. Try increasing max_map_keys config or manually setting the max entries in a map "
    "declaration e.g. `let @a = hash(5000)`"
)
_SHOWN = 5  # times that one mistake of a program is told; then it is counted


class Handlers:
    """What the handlers of one session share."""

    def __init__(
        self, unit: ir.Unit, form: TextForm, resolver: Resolver, maps: Mapping[ir.Map, ScriptMap], *,
        warnings: bool = True, unsafe: bool = False,
    ) -> None:  # fmt: skip
        """maps: the script's; warnings: False leaves out warnf and what goes wrong in programs; unsafe: system()."""
        self.unit = unit
        self.form = form
        self.resolver = resolver
        self.maps = maps
        self.warnings = warnings
        self.unsafe = unsafe
        self.exit_code: int | None = None  # what exit() said
        self.told: dict[tuple[ir.Event, int], int] = {}  # mistakes by place and result: how often they came
        self.many: dict[int, Callable[[bytes, int], None]] = {}  # by an event's number: handlers of (records, stride)
        self.unwatched: list[int] = []  # addresses, for the session to stop watching

    def handler(self, event: ir.Event) -> Handler:
        """The function that is given an event's records.  Raises KeyError for a kind that there is not."""
        return _KINDS[event.kind](self, event)

    def places(self, event: ir.Event, message: str, severity: str) -> list[Diagnostic]:
        """The place of an event, and of the macro calls around it."""
        found = [diagnostic_at(self.unit.text, event.span, message, severity=severity)]
        return found + [
            diagnostic_at(self.unit.text, span, "expanded from", severity=severity) for span in event.within
        ]

    def is_told(self, event: ir.Event, result: int = 0) -> bool:
        """Count a mistake; whether it is one of the first, which are shown."""
        count = self.told[event, result] = self.told.get((event, result), 0) + 1
        return self.warnings and count <= _SHOWN

    def summary(self) -> None:
        """Tell how often mistakes came that were not shown any more."""
        for (event, result), count in self.told.items():
            if count > _SHOWN and self.warnings and self.form.name == "text":
                place = diagnostic_at(self.unit.text, event.span, "")
                name = event.format.decode("utf-8", "replace")
                error(f"WARNING: {self.unit.where}:{place.line}: {name} ({result}): {count} times in all")


def make_handlers(shared: Handlers) -> list[Handler]:
    """One function for each of the unit's events; it is made when the event comes for the first time."""
    handlers: list[Handler] = []

    def lazily(number: int, event: ir.Event) -> Handler:
        def first(record: bytes) -> None:
            handlers[number] = made = shared.handler(event)
            made(record)

        return first

    handlers += [lazily(number, event) for number, event in enumerate(shared.unit.events)]
    return handlers


def _formatter(shared: Handlers, event: ir.Event) -> Callable[[bytes], bytes]:
    return make_formatter(event.format, event.values, shared.resolver)


def _integers(event: ir.Event) -> Callable[[bytes], tuple[int, ...]]:
    """The values of an event that has numbers only."""
    offsets, _end = event_layout(event.values)
    codes = [
        (offset, struct.Struct("<" + scalar_code(type))) for offset, type in zip(offsets, event.values, strict=True)
    ]
    return lambda record: tuple([code.unpack_from(record, offset)[0] for offset, code in codes])


def _printf(shared: Handlers, event: ir.Event) -> Handler:
    formatted, form = _formatter(shared, event), shared.form
    if form.name == "text":
        pieces = form.output.pieces
        if isinstance(formatted, Plain):
            plain = formatted
            shared.many[shared.unit.events.index(event)] = lambda data, stride: pieces.append(plain.many(data, stride))
        return lambda record: pieces.append(formatted(record))
    return lambda record: form.put("printf", formatted(record))


def _print(shared: Handlers, event: ir.Event) -> Handler:
    form = shared.form
    type = event.values[0]
    codec = make_codec(type, shared.resolver)
    write = codec.json if form.name == "json" else codec.text
    (offset,), end = event_layout(event.values)
    if isinstance(type, t.String) and is_variable(type):
        cut = None
        if type.limit:
            from linscope.session.script.values import limited

            cut = limited(type, shared.resolver)
        return lambda record: form.value(write(cut(record[end:]) if cut is not None else record[end:]))
    if is_variable(type):
        return lambda record: form.value(write(record[end:]))
    read = codec.read
    return lambda record: form.value(write(read(record, offset)))


def _print_map(shared: Handlers, event: ir.Event) -> Handler:
    assert event.map is not None
    script_map, numbers = shared.maps[event.map], _integers(event)
    return lambda record: shared.form.map(script_map, *numbers(record))


def _clear(shared: Handlers, event: ir.Event) -> Handler:
    assert event.map is not None
    script_map = shared.maps[event.map]
    return lambda record: script_map.clear()


def _zero(shared: Handlers, event: ir.Event) -> Handler:
    assert event.map is not None
    script_map = shared.maps[event.map]
    return lambda record: script_map.zero()


def _time(shared: Handlers, event: ir.Event) -> Handler:
    format = event.format.decode("utf-8", "surrogateescape")

    def handle(record: bytes) -> None:
        shared.form.put("time", time.strftime(format).encode("utf-8", "surrogateescape"))

    return handle


def _join(shared: Handlers, event: ir.Event) -> Handler:
    _, end = event_layout(event.values)
    lengths = struct.Struct(f"<8x{len(event.values)}I").unpack_from
    between = event.format

    def handle(record: bytes) -> None:
        words, at = [], end
        for length in lengths(record):
            if not length:  # the length counts the end too: 0 is where there are no more
                break
            words.append(record[at : at + length].partition(b"\0")[0])
            at += length
        shared.form.join(between.join(words))

    return handle


def _cat(shared: Handlers, event: ir.Event) -> Handler:
    formatted = _formatter(shared, event)
    most = int(shared.unit.settings.get("max_cat_bytes", 10240))

    def handle(record: bytes) -> None:
        path = formatted(record)
        try:
            data = _head(path, most)
        except OSError as failed:
            shared.form.output.flush(end=True)
            error(f"ERROR: failed to open file '{os.fsdecode(path)}' ({failed.strerror})")
            return
        shared.form.put("cat", data)

    return handle


def _head(path: bytes, most: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts, left = [], most
        while left > 0 and (part := os.read(fd, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def _system(shared: Handlers, event: ir.Event) -> Handler:
    formatted = _formatter(shared, event)

    def handle(record: bytes) -> None:
        if shared.unsafe:
            shared.form.output.flush(end=True)
            shared.form.put("syscall", run_shell(formatted(record)))

    return handle


def run_shell(command: bytes) -> bytes:
    """Run a command by /bin/sh; what it writes to its output.  Raises OSError: it cannot be started."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            "/bin/sh", [b"sh", b"-c", command], os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)], setsigdef=[13],  # SIGPIPE, which Python ignores
        )  # fmt: skip
    finally:
        os.close(write_end)
    parts = []
    try:
        while part := os.read(read_end, 1 << 16):
            parts.append(part)
    finally:
        os.close(read_end)
        os.waitpid(pid, 0)
    return b"".join(parts)


def _exit(shared: Handlers, event: ir.Event) -> Handler:
    numbers = _integers(event)

    def handle(record: bytes) -> None:
        if shared.exit_code is None:
            shared.exit_code = numbers(record)[0] & 255

    return handle


def _told(shared: Handlers, event: ir.Event) -> Handler:
    """errorf, warnf"""
    formatted = _formatter(shared, event)
    severity = "ERROR" if event.kind == "errorf" else "WARNING"

    def handle(record: bytes) -> None:
        if severity == "ERROR" or shared.warnings:
            message = formatted(record).decode("utf-8", "surrogateescape")
            shared.form.problem(event.kind, shared.places(event, message.rstrip("\n"), severity), shared.unit.where)

    return handle


def _runtime_error(shared: Handlers, event: ir.Event) -> Handler:
    message = event.format.decode("utf-8", "replace")

    def handle(record: bytes) -> None:
        if shared.is_told(event):
            shared.form.problem("runtime_error", shared.places(event, message, "WARNING"), shared.unit.where)

    return handle


def helper_message(helper: str, code: int) -> str:
    """What a helper's failure means; code: a negative errno."""
    if helper == "map_update_elem" and code == -_E2BIG:
        return _MAP_FULL
    if helper == "map_delete_elem" and code == -_ENOENT:
        return "Can't delete map element because it does not exist."
    if helper == "map_lookup_elem":
        return "Can't lookup map element because it does not exist."
    return os.strerror(-code)


def _helper_error(shared: Handlers, event: ir.Event) -> Handler:
    numbers, helper = _integers(event), event.format.decode("utf-8", "replace")

    def handle(record: bytes) -> None:
        code = numbers(record)[0]
        if shared.is_told(event, code):
            message = helper_message(helper, code)
            places = shared.places(event, message, "WARNING")
            shared.form.helper_error(places, shared.unit.where, message, helper, code)

    return handle


def _unwatch(shared: Handlers, event: ir.Event) -> Handler:
    numbers = _integers(event)
    return lambda record: shared.unwatched.append(numbers(record)[0] & (1 << 64) - 1)


_KINDS: dict[str, Callable[[Handlers, ir.Event], Handler]] = {
    "printf": _printf, "print": _print, "print_map": _print_map, "clear": _clear, "zero": _zero, "time": _time,
    "join": _join, "cat": _cat, "system": _system, "exit": _exit, "errorf": _told, "warnf": _told,
    "runtime_error": _runtime_error, "helper_error": _helper_error, "unwatch": _unwatch,
}  # fmt: skip
