"""Probes in the running kernel: which there are, define and keep them, remove them, define them for a while.

Source: Documentation/trace/kprobetrace.rst, uprobetracer.rst; kernel/trace/trace_kprobe.c, trace_uprobe.c.
"""

from __future__ import annotations

import errno
import fcntl
import fnmatch
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from linscope.errors import LinscopeError, SystemCallError, UnknownNameError, UsageError
from linscope.session.journal import Journal
from linscope.session.tracing.error_log import ErrorLog
from linscope.session.tracing.options import ProbeChoice
from linscope.session.tracing.probe_errors import explain_refusal, load_btf, need_probes, resolver_of
from linscope.sources.probes import definition as pd
from linscope.sources.probes.compile import DEFAULT_GROUP, MAX_EVENT_NAME, compile_probes
from linscope.sources.probes.definition import ProbeDefinition, iter_hits, parse_definitions
from linscope.sources.probes.fetch import Features, parse_features
from linscope.sys.tracefs import read_bytes, read_text, write_text

_KINDS = {"p": pd.KERNEL, "r": pd.KERNEL, "f": pd.FUNCTION, "t": pd.TRACEPOINT}
_PROFILES = {pd.KERNEL: "kprobe_profile", pd.USER: "uprobe_profile"}


class ListedProbe(NamedTuple):
    """A probe that the kernel has."""

    definition: ProbeDefinition
    hits: int | None  # None: the kernel does not count those of this kind
    missed: int | None

    @property
    def event(self) -> str:
        """GROUP:NAME."""
        return f"{self.definition.group}:{self.definition.name}"


# -- what there is


def list_probes(tracefs: str) -> list[ListedProbe]:
    """All probes of the kernel in the order in which they were made.  Raises PermissionDenied, FormatError."""
    text = _read(f"{tracefs}/dynamic_events")
    if not text:  # before v5.0 (5448d44c38557fc15d1c53b608a9c9f0e1ca8f86)
        text = _read(f"{tracefs}/kprobe_events") + _read(f"{tracefs}/uprobe_events")
    # The profiles have names without groups, in the order of the definitions.
    hits = {kind: list(iter_hits(_read(f"{tracefs}/{file}"))) for kind, file in _PROFILES.items()}
    found = []
    for definition in parse_definitions(text):
        counted = hits.get(definition.probes, [])
        at = next((at for at, one in enumerate(counted) if one.name == definition.name), -1)
        if at < 0:
            found.append(ListedProbe(definition, None, None))
            continue
        one = counted.pop(at)
        found.append(ListedProbe(definition, one.hits, one.missed if one.missed >= 0 else None))
    return found


def _read(path: str) -> str:
    try:
        return read_bytes(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def users_of(tracefs: str, group: str, name: str) -> list[str]:
    """Names of the instances in which an event is enabled; "the top-level buffer" for the one without a name."""
    found = []
    folders = {"the top-level buffer": tracefs}
    with os.scandir(f"{tracefs}/instances") as entries:
        folders |= {f"instance {entry.name}": entry.path for entry in entries}
    for label, folder in folders.items():
        if _read(f"{folder}/events/{group}/{name}/enable").strip() not in ("", "0"):
            found.append(label)
    return found


# -- from text to definitions


def compile_texts(texts: Sequence[str], tracefs: str, *, all_arguments: bool = False) -> list[ProbeChoice]:
    """Definitions of what a person wrote, in the default group; a USDT probe may give several.

    tracefs: "" when it cannot be read; then the kernel is taken for a new one.  Raises UsageError, NotInKernel.
    """
    btf = load_btf()
    resolver = resolver_of(btf, tracefs)
    features = parse_features(read_text(f"{tracefs}/README")) if tracefs else Features()
    machine = os.uname().machine
    made = []
    for text in texts:
        definitions = compile_probes(
            text, btf, resolver, features=features, machine=machine, all_arguments=all_arguments
        )
        made += [ProbeChoice(text, _with_note(one)) for one in definitions]
    return made


def _with_note(definition: ProbeDefinition) -> ProbeDefinition:
    """The definition; with a note when it is for a module that is not loaded."""
    module, colon, _ = definition.target.partition(":")
    if not colon or definition.probes != pd.KERNEL or os.path.isdir(f"/sys/module/{module}"):
        return definition
    return definition._replace(notes=(*definition.notes, f"the probe waits for the module {module} to be loaded"))


def choose_names(probes: Sequence[ProbeChoice], tracefs: str, group: str = DEFAULT_GROUP) -> list[ProbeChoice]:
    """The same probes with events that do not exist yet: a number behind names that nobody chose.

    group: for those that name none.  Raises UsageError for a chosen name that is taken.
    """
    taken: set[tuple[str, str]] = set()
    made = []
    for text, definition in probes:
        if definition.group == DEFAULT_GROUP:
            definition = definition._replace(group=group)
        chosen = ":" in text.split()[0]
        name, number = definition.name, 0
        while (definition.group, name) in taken or _exists(tracefs, definition.group, name):
            if chosen and (definition.group, name) in taken:
                break  # one event of several places, as the kernel allows
            if chosen:
                event = f"{definition.group}:{name}"
                raise UsageError(
                    f"there is an event {event} already", next_step=f"linscope probe del {event}, or another name"
                )
            number += 1
            tail = f"_{number}"
            name = definition.name[: MAX_EVENT_NAME - len(tail)] + tail
        taken.add((definition.group, name))
        made.append(ProbeChoice(text, definition._replace(name=name)))
    return made


def _exists(tracefs: str, group: str, name: str) -> bool:
    return os.path.exists(f"{tracefs}/events/{group}/{name}")


# -- changes


@contextmanager
def _alone(tracefs: str) -> Iterator[None]:
    """Only one of us at a time chooses names: the kernel would join two probes of one name to one event."""
    fd = os.open(f"{tracefs}/README", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def define_probes(journal: Journal, tracefs: str, probes: Sequence[ProbeChoice]) -> None:
    """Give the kernel definitions; what removes them is in the journal.

    Raises ExpressionError with the kernel's reason at its place in what was written, NotInKernel, PermissionDenied.
    """
    for probe in probes:
        definition = probe.definition
        need_probes(definition.probes, tracefs)
        log = ErrorLog(tracefs)
        journal.add("write", definition.control_file, text=definition.removal())
        try:
            write_text(f"{tracefs}/{definition.control_file}", definition.text())
        except OSError as error:
            journal.forget()
            raise explain_refusal(probe, error, *log.reason(), tracefs) from None


def add_probes(texts: Sequence[str], tracefs: str, *, all_arguments: bool = False) -> list[ProbeChoice]:
    """Define probes and leave them there; when one is refused, none stays.

    Returns them under the names they got.  Raises as compile_texts and define_probes do.
    """
    _need_kinds(texts, tracefs)
    probes = compile_texts(texts, tracefs, all_arguments=all_arguments)
    with _alone(tracefs), Journal() as journal:
        probes = choose_names(probes, tracefs)
        define_probes(journal, tracefs, probes)
        journal.keep()
    return probes


def prepare_probes(texts: Sequence[str], tracefs: str, *, all_arguments: bool = False) -> list[ProbeChoice]:
    """Probes for TraceOptions: in a group of this process, unless another was chosen.  Raises as compile_texts."""
    _need_kinds(texts, tracefs)
    probes = compile_texts(texts, tracefs, all_arguments=all_arguments)
    return choose_names(probes, tracefs, f"{DEFAULT_GROUP}_{os.getpid()}")


def _need_kinds(texts: Sequence[str], tracefs: str) -> None:
    """Raises NotInKernel for a text of a kind that the kernel has not, before anything else can be wrong with it."""
    for text in texts:
        words = text.split()
        if len(words) > 1 and "/" not in words[1]:
            kind = _KINDS.get(words[0].partition(":")[0].rstrip("0123456789"))
            if kind:
                need_probes(kind, tracefs)


def select_probes(names: Sequence[str], tracefs: str) -> list[ProbeDefinition]:
    """One definition of each event that is meant: NAME and GLOB are of the default group, GROUP/NAME of any.

    Raises UnknownNameError.
    """
    events = {(one.definition.group, one.definition.name): one.definition for one in list_probes(tracefs)}
    found: dict[tuple[str, str], ProbeDefinition] = {}
    for text in names:
        group, _, name = text.replace(":", "/", 1).rpartition("/")
        pattern = (group or DEFAULT_GROUP, name)
        matching = {
            event: one
            for event, one in events.items()
            if event == pattern or all(map(fnmatch.fnmatchcase, event, pattern))
        }
        if not matching:
            known = [name if group == DEFAULT_GROUP else f"{group}:{name}" for group, name in events]
            raise UnknownNameError("probe", text, known, next_step="linscope probe list")
        found |= matching
    return list(found.values())


def delete_probes(definitions: Sequence[ProbeDefinition], tracefs: str) -> tuple[list[ProbeDefinition], list[str]]:
    """Remove events with all their places.  Returns (those that are gone, why others are not)."""
    gone, complaints = [], []
    for one in definitions:
        try:
            write_text(f"{tracefs}/{one.control_file}", one.removal())
        except OSError as error:
            if error.errno == errno.ENOENT:  # somebody else was faster
                continue
            complaints.append(str(_not_removed(one, error, tracefs)))
        else:
            gone.append(one)
    return gone, complaints


def _not_removed(definition: ProbeDefinition, error: OSError, tracefs: str) -> LinscopeError:
    event = f"{definition.group}:{definition.name}"
    if error.errno != errno.EBUSY:
        return SystemCallError(f"cannot remove {event}", errno=error.errno or 0)
    users = users_of(tracefs, definition.group, definition.name)
    why = f"it is enabled in {' and '.join(users)}" if users else "perf or a BPF program uses it"
    return SystemCallError(f"cannot remove {event}", errno=errno.EBUSY, why=why)


# -- while they are recorded


def tell_missed(tracefs: str, probes: Sequence[ProbeChoice]) -> list[str]:
    """A sentence for each probe that did not fire although its place was reached, by any task of the system."""
    ours = {(probe.definition.group, probe.definition.name): probe.definition for probe in probes}
    if not ours:
        return []
    notes = []
    for one in list_probes(tracefs):
        definition = one.definition
        if one.missed and (definition.group, definition.name) in ours:
            more = f": r{max(64, 4 * definition.maxactive)} can hold more calls at once" if definition.returns else ""
            notes.append(f"{definition.name}: {one.hits:,} hits, {one.missed:,} MISSED, in the whole system{more}")
    return notes
