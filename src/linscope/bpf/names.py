"""What people call types of programs, maps, attachments and links: the kernel's constants without their prefix.

"xdp" is BPF_PROG_TYPE_XDP; bpftool's and libbpf's names are the same but for a few.
"""

from __future__ import annotations

from linscope.abi import bpf as b

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Mapping


def _named(prefix: str) -> dict[str, int]:
    """Constants that begin with a prefix, in the order of their numbers."""
    found = {name.removeprefix(prefix).lower(): value for name, value in vars(b).items() if name.startswith(prefix)}
    found.pop("unspec", None)
    return dict(sorted(found.items(), key=lambda item: item[1]))


PROGRAM_TYPES = _named("BPF_PROG_TYPE_")
MAP_TYPES = _named("BPF_MAP_TYPE_")
LINK_TYPES = _named("BPF_LINK_TYPE_")


def type_name(names: Mapping[str, int], number: int) -> str:
    """The name of a number in one of the tables above; "type 99" when it has none."""
    return next((name for name, value in names.items() if value == number), f"type {number}")
