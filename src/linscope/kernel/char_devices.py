"""Character devices: who has which numbers, and what opens them.

Source: fs/char_dev.c (struct char_device_struct, cdev_map); drivers/base/map.c (struct kobj_map).
"""

from __future__ import annotations

from linscope.errors import FormatError, LinscopeError
from linscope.kernel.block import MINOR_BITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_BUCKETS = 255  # CHRDEV_MAJOR_HASH_SIZE, and that of struct kobj_map


class CharDevice(NamedTuple):
    """A range of numbers that a driver has."""

    major: int
    minor: int  # the first
    minors: int
    name: str
    cdev: int  # address of the struct cdev, 0: none
    operations: int  # of its file_operations


def iter_char_devices(kernel: Kernel) -> Iterator[CharDevice]:
    """All of them, as the kernel keeps them; what cannot be read is told in kernel.problems.

    Raises MemoryFault, UnknownNameError.
    """
    for pointer in kernel.elements("chrdevs", _BUCKETS):
        try:
            for one in _chain(pointer):
                major, minor = int(one.major), int(one.baseminor)
                cdev = int(one.cdev) or _find_cdev(kernel, major, minor)
                operations = int(kernel.object("struct cdev", cdev).ops) if cdev else 0
                yield CharDevice(major, minor, int(one.minorct), one.member_("name").string_(), cdev, operations)
        except LinscopeError as error:
            kernel.problems.append(f"character devices at {int(pointer):#x}: {error}")


def _chain(first: Object) -> Iterator[Object]:
    """Structs that are linked by their member next."""
    seen: set[int] = set()
    while int(first):
        if int(first) in seen:
            raise FormatError(f"the chain goes in a circle at {int(first):#x}")
        seen.add(int(first))
        yield first
        first = first.next


def _find_cdev(kernel: Kernel, major: int, minor: int) -> int:
    """The struct cdev that has a device number; 0: none."""
    number = major << MINOR_BITS | minor
    for probe in _chain(kernel.variable("cdev_map").probes[major % _BUCKETS]):
        first = int(probe.dev)
        if first <= number < first + int(probe.range):
            return int(probe.data)
    return 0
