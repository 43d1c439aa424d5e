"""kmem -s, -S: caches, slabs, objects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from linscope.crash.bt import parse_cpus
from linscope.crash.command import rows_of_text
from linscope.crash.session import Session, parse_hex
from linscope.errors import LinscopeError, UnknownNameError
from linscope.kernel.slab import CacheFacts, Slab, SlabObject, Slabs
from linscope.kernel.told import told
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object

_CACHES = [
    Column("cache", value=hex), Column("name"), Column("object_bytes"), Column("allocated"), Column("total"),
    Column("slabs"), Column("slab_bytes"),
]  # fmt: skip
_OBJECTS = [
    Column("cache"), Column("slab", value=hex), Column("list"), Column("node"), Column("object", value=hex),
    Column("free"), Column("cpu"),
]  # fmt: skip
_HEAD = "CACHE             OBJSIZE  ALLOCATED     TOTAL  SLABS  SSIZE  NAME\n"
_SLAB_HEAD = "  SLAB              MEMORY            NODE  TOTAL  ALLOCATED  FREE\n"


def rows_of_caches(session: Session, words: list[str], ignored: str, objects: bool, cpus: str | None) -> Iterator[Rows]:
    """All caches, those that are named, or the objects at addresses.

    words: names of caches, addresses, or "list"; ignored: names to leave out; objects: with what is in them;
    cpus: of these CPUs' slabs only.  Raises UnknownNameError, UsageError.
    """
    slabs = Slabs(session.kernel)
    if words == ["list"]:
        caches = [(cache.address_ or 0, name) for cache, name in iter_named(session, slabs)]
        lines = [f"{address:016x} {name}\n" for address, name in caches]
        yield Rows([Column("cache", value=hex), Column("name")], caches, text=lambda: iter(lines))
        return
    left_out = set(ignored.split(",")) if ignored else set()
    named = list(iter_named(session, slabs))
    chosen: list[tuple[Object, str]] = []
    for word in words:
        some = [(cache, name) for cache, name in named if name == word or cache.address_ == parse_hex(word)]
        if some:
            chosen += some
            continue
        address = parse_hex(word)
        found = None if address is None else rows_of_object(session, slabs, address)
        if found is None:
            raise UnknownNameError("slab cache", word, {name for _, name in named})
        yield found
    if words and not chosen:
        return
    caches_wanted = [(cache, name) for cache, name in chosen or named if name not in left_out]
    if not objects:
        yield _rows_of_facts(session, slabs, [cache for cache, _ in caches_wanted])
        return
    wanted = None if cpus is None or cpus in ("a", "all") else parse_cpus(cpus)
    for cache, _ in caches_wanted:
        try:
            yield from _rows_of_cache(session, slabs, cache, wanted)
        except LinscopeError as error:
            session.problems.append(f"slab cache at {cache.address_:#x}: {error}")


def iter_named(session: Session, slabs: Slabs) -> Iterator[tuple[Object, str]]:
    """(cache, name) of all; what cannot be read is told."""
    for cache in told(session.kernel, "list of slab caches", slabs.iter_caches()):
        try:
            yield cache, slabs.name_of(cache)
        except LinscopeError as error:
            session.problems.append(f"slab cache at {cache.address_:#x}: {error}")


def _rows_of_facts(session: Session, slabs: Slabs, caches: list[Object]) -> Rows:
    rows = []
    for cache in caches:
        try:
            rows.append(slabs.facts(cache))
        except LinscopeError as error:
            session.problems.append(f"slab cache at {cache.address_:#x}: {error}")
    return Rows(_CACHES, rows, text=lambda: iter([_HEAD, *map(_facts_line, rows)]))


def _facts_line(one: CacheFacts) -> str:
    return (
        f"{one.cache:016x} {one.object_bytes:8} {one.allocated:10} {one.total:9} {one.slabs:6}"
        f" {f'{one.slab_bytes // 1024}k':>6}  {one.name}\n"
    )


def _rows_of_cache(session: Session, slabs: Slabs, cache: Object, cpus: set[int] | None) -> Iterator[Rows]:
    facts = slabs.facts(cache)
    yield Rows(_CACHES, [facts], text=lambda: iter((_HEAD, _facts_line(facts))))
    rows = partial(_rows_of_slabs, slabs, cache, facts.name)
    counted = 0
    for cpu, (address, current, listed) in enumerate(slabs.iter_cpu_slabs(cache)):
        counted += current is not None
        if cpus is None or cpu in cpus:
            yield rows_of_text(f"CPU {cpu} KMEM_CACHE_CPU:\n  {address:016x}\nCPU {cpu} SLAB:\n")
            yield rows([] if current is None else [current], f"cpu {cpu}")
            yield rows_of_text(f"CPU {cpu} PARTIAL:\n")
            yield rows(listed, f"cpu {cpu} partial")
    for lists in slabs.iter_node_lists(cache) if cpus is None else ():
        yield rows_of_text(
            "KMEM_CACHE_NODE   NODE  SLABS  PARTIAL  PER-CPU\n"
            f"{lists.address:016x} {lists.node:5} {lists.slabs:6} {len(lists.partial):8} {counted:8}\n"
            f"NODE {lists.node} PARTIAL:\n"
        )
        yield rows(lists.partial, f"node {lists.node} partial")
        yield rows_of_text(f"NODE {lists.node} FULL:\n")
        if lists.full is None:
            yield rows_of_text("  (not tracked)\n")
        else:
            yield rows(lists.full, f"node {lists.node} full")
    yield rows_of_text("\n")


def _rows_of_slabs(slabs: Slabs, cache: Object, name: str, found: list[Slab], where: str) -> Rows:
    """The objects of some slabs."""
    listed = [(slab, slabs.objects_of(cache, slab)) for slab in found]
    rows = [
        (name, slab.slab, where, slab.node, one.address, one.is_free, None if one.cpu < 0 else one.cpu)
        for slab, objects in listed
        for one in objects
    ]

    def lines() -> Iterator[str]:
        if not listed:
            yield "  (empty)\n"
        for slab, objects in listed:
            yield from slab_lines(slab, objects)

    return Rows(_OBJECTS, rows, text=lines)


def slab_lines(slab: Slab, objects: list[SlabObject]) -> Iterator[str]:
    """A slab and some of its objects, as crash shows them."""
    yield _SLAB_HEAD
    yield (
        f"  {slab.slab:016x}  {slab.memory:016x} {slab.node:5} {slab.total:6} {slab.allocated:10}"
        f" {slab.total - slab.allocated:5}\n  FREE / [ALLOCATED]\n"
    )
    for one in objects:
        if not one.is_free:
            yield f"  [{one.address:016x}]\n"
        else:
            yield f"   {one.address:016x}" + (f"  (cpu {one.cpu} cache)\n" if one.cpu >= 0 else "\n")


def rows_of_object(session: Session, slabs: Slabs, address: int) -> Rows | None:
    """The slab object that an address is in; None: in none.  Raises FormatError, MemoryFault."""
    found = slabs.find(address)
    if found is None:
        return None
    cache, slab = found
    facts = slabs.facts(cache)
    one = slabs.find_object(cache, slab, address)
    rows = [] if one is None else [
        (facts.name, slab.slab, "", slab.node, one.address, one.is_free, None if one.cpu < 0 else one.cpu)
    ]  # fmt: skip

    def lines() -> Iterator[str]:
        yield _HEAD + _facts_line(facts)
        yield from slab_lines(slab, [] if one is None else [one])

    return Rows(_OBJECTS, rows, text=lines)
