"""What is known of a recording as a whole, in the metadata of each of its tables.

The key ``linscope`` has it as JSON; the table of a tracepoint also has its name in ``linscope.event`` and the text of
its format (/sys/kernel/tracing/events/SYSTEM/NAME/format) in ``linscope.format``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from linscope.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

FACTS, EVENT_NAME, EVENT_FORMAT = b"linscope", b"linscope.event", b"linscope.format"
VERSION = 1


@dataclass
class Facts:
    """The machine, the clock, and what events there are."""

    host: str = ""
    release: str = ""  # of the kernel: uname -r
    machine: str = ""  # uname -m
    cpus: int = 1
    long_size: int = 8  # bytes of the kernel's long
    source: str = ""  # the recording's name
    command: list[str] = field(default_factory=list)  # that was recorded, or the recorder's own
    start_ns: int | None = None  # when it began, on its clock; None: with its first event
    ahead_ns: int | None = None  # of wall time to that clock; None: not known
    has_process: bool = True  # processes are known beside threads
    has_cpu: tuple[bool, bool] = (True, True)  # all tracepoints tell it, all samples do
    kernel_stacks: bool = False
    user_stacks: bool = False
    events: list[tuple[str, bool]] = field(default_factory=list)  # (name, whether it is a tracepoint)
    session: dict[str, Any] = field(default_factory=dict)  # of a recording that was made for a script
    version: int = VERSION

    def metadata(self) -> dict[bytes, bytes]:
        """As a schema has it."""
        return {FACTS: json.dumps(asdict(self)).encode()}


def read_facts(metadata: Mapping[bytes, bytes] | None, where: str) -> Facts:
    """Of a schema's metadata.  Raises FormatError: they are not a recording's."""
    try:
        found = json.loads((metadata or {})[FACTS])
        known = {one.name: found[one.name] for one in fields(Facts) if one.name in found}
        made = Facts(**known)
        made.has_cpu = bool(made.has_cpu[0]), bool(made.has_cpu[1])
        made.events = [(str(name), bool(is_tracepoint)) for name, is_tracepoint in made.events]
    except (KeyError, ValueError, TypeError) as error:
        raise FormatError(
            "no table of a recording", where=where, why="its metadata say nothing of one",
            next_step="linscope export perf.data --to parquet -o DIR makes such tables; tools that rewrite them must "
            "keep the metadata of the schema",
        ) from error  # fmt: skip
    if made.version > VERSION:
        raise FormatError(f"tables of version {made.version}", where=where, why=f"{VERSION} is read")
    return made
