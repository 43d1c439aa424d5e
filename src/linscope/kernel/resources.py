"""What hardware takes: ports and physical addresses; PCI buses and their devices.

Source: include/linux/ioport.h, pci.h; arch/x86/include/asm/pci.h (struct pci_sysdata); uapi/linux/pci_regs.h.
"""

from __future__ import annotations

from linscope.errors import FormatError
from linscope.kernel.told import told
from linscope.target.walks import iter_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

# PCI_EXP_TYPE_*, in crash's words
_TYPES = {
    0: "ENDPOINT", 1: "LEG_END", 4: "ROOT_PORT", 5: "UPSTREAM", 6: "DOWNSTREAM", 7: "PCI_BRIDGE", 8: "PCIE_BRIDGE",
    9: "RC_END", 10: "RC_EC",
}  # fmt: skip


class Resource(NamedTuple):
    """A range that something has."""

    resource: int  # address of the struct resource
    start: int
    end: int  # the last
    name: str
    depth: int  # how many others it is in


class PciDevice(NamedTuple):
    """A function of a device on a PCI bus."""

    device: int  # address of the struct pci_dev
    domain: int
    bus: int
    slot: int
    function: int
    class_code: int  # base class and subclass
    vendor: int
    product: int
    kind: str

    @property
    def name(self) -> str:
        """ "0000:00:1f.2"."""
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function}"


def iter_resources(kernel: Kernel, name: str) -> Iterator[Resource]:
    """The tree of "ioport_resource" or "iomem_resource", the outer before the inner; what cannot be read is told in
    kernel.problems.
    """
    yield from told(kernel, name, _iter_resources(kernel, name))


def _iter_resources(kernel: Kernel, name: str) -> Iterator[Resource]:
    pending = [(kernel.variable(name), 0)]
    seen: set[int] = set()
    while pending:
        one, depth = pending.pop()
        address = one.address_ or 0
        if address in seen:
            raise FormatError(f"the resources go in a circle at {address:#x}")
        seen.add(address)
        text = one.member_("name")
        yield Resource(address, int(one.start), int(one.end), text.string_(256) if int(text) else "", depth)
        for member, more in (("sibling", 0), ("child", 1)):
            other = one.member_(member)
            if int(other) and (depth or more):
                pending.append((other.deref_(), depth + more))


def iter_pci_buses(kernel: Kernel) -> Iterator[tuple[Object, list[PciDevice]]]:
    """(struct pci_bus, its devices), root buses first, each followed by those behind its bridges.

    What cannot be read is told in kernel.problems.  Raises UnknownNameError without CONFIG_PCI.
    """
    yield from told(kernel, "PCI buses", _iter_pci_buses(kernel, kernel.symbol("pci_root_buses")))


def _iter_pci_buses(kernel: Kernel, roots: int) -> Iterator[tuple[Object, list[PciDevice]]]:
    types = kernel.types
    offset = types.offset("struct pci_bus", "node")
    pending = list(iter_list(kernel, roots, offset))
    seen: set[int] = set()
    while pending:
        address = pending.pop(0)
        if address in seen:
            raise FormatError(f"the PCI buses go in a circle at {address:#x}")
        seen.add(address)
        bus = kernel.object("struct pci_bus", address)
        head = bus.devices.address_
        assert head is not None
        found = iter_list(kernel, head, types.offset("struct pci_dev", "bus_list"))
        devices = (_device(kernel.object("struct pci_dev", one), bus) for one in found)
        yield bus, list(told(kernel, f"devices of the PCI bus at {address:#x}", devices))
        children = bus.children.address_
        assert children is not None
        pending = list(iter_list(kernel, children, offset)) + pending


def _device(one: Object, bus: Object) -> PciDevice:
    place = int(one.devfn)
    return PciDevice(
        one.address_ or 0, pci_domain(bus), int(bus.number), place >> 3, place & 7, int(one.member_("class")) >> 8,
        int(one.vendor), int(one.device), _TYPES.get(int(one.pcie_flags_reg) >> 4 & 15, ""),
    )  # fmt: skip


def pci_domain(bus: Object) -> int:
    """Number of the domain that a bus is in.  Raises MemoryFault."""
    data = int(bus.sysdata)
    if not data or bus.space_.types.find("struct pci_sysdata") is None:
        return 0
    return int(bus.space_.object("struct pci_sysdata", data).domain)
