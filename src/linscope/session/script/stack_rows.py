"""Maps whose keys have stacks, as rows of frames with a weight: what a flame graph is made of."""

from __future__ import annotations

import struct

from linscope.errors import UsageError
from linscope.lang import types as t
from linscope.session.script.values import NOT_RECORDED, make_codec

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NamedTuple

    from linscope.lang import ir
    from linscope.session.script.map_values import ScriptMap
    from linscope.session.script.resolver import Resolver

    class StackFrame(NamedTuple):
        """One frame of a stack."""

        name: str
        detail: str  # file or module, then, when it is known, a tab and file:line
        kind: str  # label, kernel, native, inlined, jit, unknown

    class StackRow(NamedTuple):
        """A key of a map."""

        frames: list[StackFrame]  # root first: the key's other parts, the user stack, the kernel stack
        weight: int
else:
    from linscope.bpf._named import named_tuple

    StackFrame = named_tuple("StackFrame", "name detail kind")
    StackRow = named_tuple("StackRow", "frames weight")

_BUILD_ID_VALID = 1  # BPF_STACK_BUILD_ID_VALID of enum bpf_stack_build_id_status, include/uapi/linux/bpf.h
# functions between an event and a program
_TRACER = ("bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_", "bpf_get_stack")


def _types(type: t.Type | None) -> Iterator[t.Type]:
    if isinstance(type, t.Tuple):
        for element in type.elements:
            yield from _types(element)
    elif type is not None:
        yield type


def _elements(type: t.Type, value: Any, missing: int) -> Iterator[tuple[t.Type, Any, bool]]:
    """Parts of a key; missing: see ScriptMap.missing."""
    if not missing or not isinstance(type, t.Tuple):
        yield from ((inner, part, bool(missing)) for inner, part in _parts(type, value))
        return
    for number, (element, part) in enumerate(zip(type.elements, value, strict=True)):
        yield from ((inner, one, bool(missing >> number & 1)) for inner, one in _parts(element, part))


def _parts(type: t.Type, value: Any) -> Iterator[tuple[t.Type, Any]]:
    if isinstance(type, t.Tuple):
        for element, part in zip(type.elements, value, strict=True):
            yield from _parts(element, part)
    else:
        yield type, value


def has_stacks(declared: ir.Map) -> bool:
    """Whether a map's keys have a stack, and its values are numbers or add up to one."""
    key, value = (type.inner if isinstance(type, t.Recorded) else type for type in (declared.key, declared.value))
    if isinstance(value, t.TimeSeries) or not isinstance(value, t.Int | t.Aggregation):
        return False
    return any(isinstance(type, t.Stack) for type in _types(key))


def stack_rows(script_map: ScriptMap, resolver: Resolver) -> list[StackRow]:
    """A row for each key; a histogram weighs as many as it counts, stats() its total.

    Raises UsageError for a map that ``has_stacks`` does not know, or whose values are below zero.
    """
    declared, key_type = script_map.declared, script_map.key_type
    if not has_stacks(declared) or key_type is None:
        raise UsageError(f"{declared.name} has no stacks to draw", next_step=f"{declared.name}[kstack] = count()")
    rows = []
    for key, value in script_map.entries():
        if value is None:  # not recorded
            continue
        labels: list[StackFrame] = []
        stacks: dict[str, list[StackFrame]] = {t.USER: [], t.KERNEL: []}
        for type, part, missing in _elements(key_type, script_map.key_codec.read(key, 0), script_map.missing(key)):
            if missing:
                labels.append(StackFrame(NOT_RECORDED, "", "label"))
            elif isinstance(type, t.Stack):
                stacks[type.kind] += stack_frames(resolver, type, part)
            else:
                labels.append(StackFrame(make_codec(type, resolver).text(part), "", "label"))
        weight = _weight(value)
        if weight < 0:
            raise UsageError(f"{declared.name} has values below zero: these have no width in a flame graph")
        rows.append(StackRow(labels + stacks[t.USER] + stacks[t.KERNEL], weight))
    return rows


def _weight(value: Any) -> int:
    if isinstance(value, dict):
        return sum(value.values())
    return int(value[1] if isinstance(value, tuple) else value)


def stack_frames(resolver: Resolver, kind: t.Stack, value: int) -> list[StackFrame]:
    """The frames of a Stack's value, root first; [] when it could not be taken.

    Innermost frames that are the tracing program itself are left out.
    """
    data = resolver.stack_data(kind, value)
    if kind.mode == "build_id":
        entries = [entry for entry in struct.iter_unpack("<i20sQ", data) if entry[0]]
        return [_of_build_id(*entry) for entry in reversed(entries)]
    pid = value >> 32 & 0xFFFFFFFF
    found: list[StackFrame] = []
    for place, (address,) in enumerate(struct.iter_unpack("<Q", data)):
        if not address:
            continue
        if kind.kind == t.USER:
            found += _in_process(resolver, address, pid, place > 0)
            continue
        frame = _in_kernel(resolver, address)
        if found or not frame.name.startswith(_TRACER):
            found.append(frame)
    return found[::-1]


def _of_build_id(status: int, build_id: bytes, offset: int) -> StackFrame:
    name = f"{build_id.hex()[:8]}+{offset:#x}" if status == _BUILD_ID_VALID else f"{offset:#x}"
    return StackFrame(name, build_id.hex() if status == _BUILD_ID_VALID else "", "unknown")


def _in_kernel(resolver: Resolver, address: int) -> StackFrame:
    symbol = resolver.kernel.find(address)
    if symbol is None:
        return StackFrame(f"{address:#x}", "", "kernel")
    return StackFrame(symbol[0], symbol[2] or "kernel", "kernel")


def _in_process(resolver: Resolver, address: int, pid: int, caller: bool) -> Iterator[StackFrame]:
    """Innermost first."""
    some = False
    for name, distance, path, line in resolver.user.frames(address, pid, caller=caller):
        some = True
        kind = "inlined" if distance < 0 else "jit" if path.startswith("/tmp/perf-") else "native"
        yield StackFrame(name, f"{path}\t{line}" if line else path, kind)
    if not some:
        mapping = resolver.user.see(pid).find(address)
        path = mapping[3] if mapping is not None else ""
        yield StackFrame(f"[{path.rpartition('/')[2].strip('[]')}]" if path else "[unknown]", path, "unknown")
