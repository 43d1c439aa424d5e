"""How much memory to reserve for the kernel that captures, and why.

Measured in the lab, where each part can be seen alone; docs/kdump.md has the numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from linscope.kdump.load import LoadPlan

_MB = 1 << 20
_STEP = 16 * _MB
_KERNEL_OWN = 40 * _MB  # beside image and struct pages, one CPU
_DRIVERS = 16 * _MB  # a network card or a host adapter takes some, even when nobody uses it
_PROGRAM = 64 * _MB  # linscope kdump capture: 40 MB of its own, the rest files that it has read
_STRUCT_PAGES = 64 / 4096


class Part(NamedTuple):
    """One reason for memory."""

    name: str
    size_bytes: int
    why: str


def iter_parts(plan: LoadPlan) -> list[Part]:
    """What a capture kernel needs memory for; the last one is what to reserve in all."""
    archive = len(plan.initramfs)
    parts = [
        Part("kernel image", plan.image.memory_bytes, f"init_size of {plan.image.path}"),
        Part("initramfs", 2 * archive, f"{archive / _MB:.1f} MB, and its files unpacked beside it"),
        Part("kernel's own", _KERNEL_OWN, "slabs, per-CPU areas, page tables, buffers of one CPU (measured)"),
        Part("drivers", _DRIVERS, "queues of disks and network cards (a reserve)"),
        Part("capture program", _PROGRAM, "linscope, its files, 128 MB of struct pages at a time (measured)"),
    ]
    needed = sum(part.size_bytes for part in parts)
    parts.append(Part("struct pages", round(needed * _STRUCT_PAGES), "64 bytes for each 4 KB of the reserved memory"))
    needed += parts[-1].size_bytes
    total = -(-needed // _STEP) * _STEP
    why = f"crashkernel={total // _MB}M, however large the machine is: its memory is captured in pieces"
    return [*parts, Part("in all", total, why)]


def recommend(plan: LoadPlan) -> int:
    """Bytes to reserve."""
    return iter_parts(plan)[-1].size_bytes
