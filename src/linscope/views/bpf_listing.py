"""What eBPF is in the kernel, as rows: programs, maps, links, types."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from linscope.bpf.kernel import listing
from linscope.errors import UnknownNameError, UsageError
from linscope.picture.rows import Column, Rows
from linscope.units import format_bytes

KINDS = {"programs": "program", "maps": "map", "links": "link", "btf": "BTF"}


def _held(holders: Sequence[listing.Holder]) -> str:
    return ", ".join(f"{one.comm}({one.pid})" for one in holders)


def _plain_holders(holders: Sequence[listing.Holder]) -> list[dict[str, Any]]:
    return [{"pid": one.pid, "comm": one.comm} for one in holders]


_HOLDERS = Column("holders", "HELD BY", format=_held, value=_plain_holders)


def _bytes(name: str, heading: str) -> Column:
    return Column(name, heading, ">", format=lambda size: format_bytes(size) if size else "")


def listing_rows(kind: str, *, measured_ns: int = 0) -> Rows:
    """Everything of a kind (KINDS), by id.

    measured_ns: of programs, how long to count their runs.  Raises PermissionDenied, NotInKernel.
    """
    return {"programs": lambda: _programs(measured_ns), "maps": _maps, "links": _links, "btf": _types}[kind]()


def _programs(measured_ns: int) -> Rows:
    before: dict[int, listing.ProgramInfo] = {}
    if measured_ns:
        with listing.RunTimes():
            before = {one.id: one for one in listing.iter_programs()}
            time.sleep(measured_ns / 1e9)
            programs = list(listing.iter_programs())
    else:
        programs = list(listing.iter_programs())
    links: dict[int, list[str]] = {}
    for link in listing.iter_links():
        links.setdefault(link.program, []).append(_attached(link))
    holders = listing.find_holders()

    def cells(one: listing.ProgramInfo) -> tuple[Any, ...]:
        runs, spent = one.runs, one.run_time_ns
        if measured_ns:
            was = before.get(one.id)
            runs, spent = runs - (was.runs if was else 0), spent - (was.run_time_ns if was else 0)
        each = spent / runs if runs else None
        share = 100 * spent / measured_ns if measured_ns else None
        held = holders.get(("program", one.id), [])
        attached = ", ".join(links.get(one.id, ()))
        sizes = one.verified_instructions, one.xlated_bytes // 8, one.jited_bytes
        maps = list(one.map_ids)
        return one.id, one.type, one.name, one.tag, *sizes, maps, runs, each, share, attached, held

    counted = bool(measured_ns)
    columns = [
        Column("id", "ID", ">"),
        Column("type", "TYPE"),
        Column("name", "NAME"),
        Column("tag", "TAG"),
        Column("verified_instructions", "VERIFIED", ">"),
        Column("instructions", "INSNS", ">"),
        _bytes("jited_bytes", "MACHINE CODE"),
        Column("map_ids", "MAPS", format=lambda ids: ",".join(map(str, ids))),
        Column("runs", "RUNS", ">", in_text=counted),
        Column("ns_per_run", "NS/RUN", ">", format=lambda v: "" if v is None else f"{v:.0f}", in_text=counted),
        Column("cpu_percent", "CPU %", ">", format=lambda v: "" if v is None else f"{v:.3f}", in_text=counted),
        Column("attached", "ATTACHED"),
        _HOLDERS,
    ]
    return Rows(columns, [cells(one) for one in programs])


def _attached(link: listing.LinkInfo) -> str:
    """One link in a few words: "raw_tracepoint sched_switch"."""
    details = link.details
    names = ("tp_name", "target_name", "tracepoint", "func", "file", "path")
    what = [str(details[name]) for name in names if details.get(name)]
    numbers = ("ifindex", "cgroup_id", "map_id", "target_btf_id")
    what += [f"{name} {details[name]}" for name in numbers if details.get(name)]
    return " ".join([str(details.get("kind", link.type)), *what[:1]])


def _maps() -> Rows:
    users: dict[int, list[int]] = {}
    for program in listing.iter_programs():
        for number in program.map_ids:
            users.setdefault(number, []).append(program.id)
    holders = listing.find_holders()

    def cells(one: listing.MapInfo) -> tuple[Any, ...]:
        sizes = one.key_size, one.value_size, one.max_entries, one.memory_bytes
        used = users.get(one.id, [])
        return one.id, one.type, one.name, *sizes, one.flags, one.frozen, used, holders.get(("map", one.id), [])

    columns = [
        Column("id", "ID", ">"),
        Column("type", "TYPE"),
        Column("name", "NAME"),
        Column("key_bytes", "KEY", ">"),
        Column("value_bytes", "VALUE", ">"),
        Column("max_entries", "ENTRIES", ">"),
        _bytes("memory_bytes", "MEMORY"),
        Column("flags", "FLAGS", ">", format=lambda flags: f"{flags:#x}" if flags else ""),
        Column("frozen", "FROZEN", format=lambda value: "yes" if value else ""),
        Column("programs", "PROGRAMS", format=lambda ids: ",".join(map(str, ids))),
        _HOLDERS,
    ]
    return Rows(columns, [cells(one) for one in listing.iter_maps()])


def _links() -> Rows:
    holders = listing.find_holders()
    names = {one.id: one.name for one in listing.iter_programs()}
    columns = [
        Column("id", "ID", ">"),
        Column("type", "TYPE"),
        Column("program", "PROGRAM", ">"),
        Column("program_name", "NAME"),
        Column("details", "DETAILS", format=lambda found: " ".join(f"{k}={v}" for k, v in found.items() if v)),
        _HOLDERS,
    ]
    rows = [
        (one.id, one.type, one.program, names.get(one.program, ""), one.details, holders.get(("link", one.id), []))
        for one in listing.iter_links()
    ]
    return Rows(columns, rows)


def _types() -> Rows:
    holders = listing.find_holders()
    columns = [
        Column("id", "ID", ">"),
        Column("name", "NAME"),
        Column("kernel", "OF", format=lambda value: "the kernel" if value else "a program"),
        _bytes("bytes", "SIZE"),
        _HOLDERS,
    ]
    rows = [(*one[:4], holders.get(("BTF", one.id), [])) for one in listing.iter_types()]
    return Rows(columns, rows)


def _candidates(kind: str) -> Iterator[tuple[int, str, str]]:
    """(id, name, tag) of all programs or maps."""
    if kind == "program":
        for program in listing.iter_programs():
            yield program.id, program.name, program.tag
    else:
        for one in listing.iter_maps():
            yield one.id, one.name, ""


def find_id(kind: str, text: str) -> int:
    """Id of the "program" or "map" that people name by id, name or tag.

    Raises UnknownNameError, UsageError (several of that name; it names their ids).
    """
    if text.isdigit():
        return int(text)
    known = list(_candidates(kind))
    found = [number for number, name, tag in known if text in (name, tag) and text]
    if not found:
        raise UnknownNameError(f"{kind} in the kernel", text, [name for _, name, _ in known if name])
    if len(found) > 1:
        numbers = ", ".join(map(str, found))
        raise UsageError(f"{len(found)} {kind}s are named {text!r}", next_step=f"one of the ids {numbers}")
    return found[0]
