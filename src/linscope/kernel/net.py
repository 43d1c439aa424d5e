"""Network interfaces with their addresses, and the neighbors that the kernel knows.

Source: include/linux/netdevice.h, inetdevice.h; include/net/net_namespace.h, if_inet6.h, neighbour.h;
include/uapi/linux/if_arp.h, neighbour.h.
"""

from __future__ import annotations

from linscope.errors import FormatError, LinscopeError
from linscope.kernel.told import told
from linscope.target.walks import iter_hlist, iter_objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_DEVICE = "struct net_device"
_MOST_BUCKETS_SHIFT, _MOST_NEIGHBORS = 20, 1 << 20
_ETHER = 1
# ARPHRD_*
_HARDWARE = {
    0: "NETROM", 1: "ETHER", 2: "EETHER", 3: "AX25", 4: "PRONET", 5: "CHAOS", 6: "IEEE802", 7: "ARCNET", 8: "APPLETLK",
    15: "DLCI", 23: "METRICOM",
}  # fmt: skip
# NUD_*
_STATES = {
    0: "NONE", 1: "INCOMPLETE", 2: "REACHABLE", 4: "STALE", 8: "DELAY", 0x10: "PROBE", 0x20: "FAILED", 0x40: "NOARP",
    0x80: "PERMANENT",
}  # fmt: skip
_UP = 1  # IFF_UP


class Interface(NamedTuple):
    """A network interface."""

    device: int  # address of the net_device
    name: str
    number: int
    addresses: tuple[str, ...]  # "10.0.0.1/24", IPv4 before IPv6
    hardware_address: str
    is_up: bool
    mtu: int


class Neighbor(NamedTuple):
    """A neighbor in an ARP (IPv4) or ND (IPv6) table."""

    neighbor: int  # address of the struct neighbour
    address: str
    hardware: str  # "ETHER", "UNKNOWN"
    hardware_address: str
    device: str
    state: str


def net_namespace(kernel: Kernel, task: Object) -> Object:
    """The struct net of a task; the first one for a task that has ended.  Raises MemoryFault."""
    proxy = task.nsproxy
    return proxy.net_ns.deref_() if int(proxy) else kernel.variable("init_net")


def iter_interfaces(kernel: Kernel, namespace: Object) -> Iterator[Interface]:
    """The interfaces of a namespace (struct net); what cannot be read is told in kernel.problems."""
    devices = iter_objects(kernel, namespace.dev_base_head, _DEVICE, "dev_list")
    for device in told(kernel, "network interfaces", devices):
        try:
            length = min(int(device.addr_len), 32)
            hardware = kernel.memory.read(int(device.dev_addr), length) if length and int(device.dev_addr) else b""
            yield Interface(
                device.address_ or 0, device.member_("name").string_(), int(device.ifindex),
                (*_addresses(kernel, device), *_addresses6(kernel, device)), hardware.hex(":"),
                bool(int(device.member_("flags")) & _UP), int(device.mtu),
            )  # fmt: skip
        except LinscopeError as error:
            kernel.problems.append(f"network interface at {device.address_:#x}: {error}")


def _addresses(kernel: Kernel, device: Object) -> Iterator[str]:
    inside = device.ip_ptr
    one = inside.ifa_list if int(inside) else None
    seen: set[int] = set()
    while one is not None and int(one):
        if int(one) in seen:
            raise FormatError(f"the addresses of {device.member_('name').string_()} go in a circle at {int(one):#x}")
        seen.add(int(one))
        yield f"{format_ip(one.ifa_local.bytes_())}/{int(one.ifa_prefixlen)}"
        one = one.ifa_next


def _addresses6(kernel: Kernel, device: Object) -> Iterator[str]:
    types = kernel.types
    if not types.has_member(_DEVICE, "ip6_ptr") or not types.has_member("struct inet6_ifaddr", "if_list"):
        return
    inside = device.ip6_ptr
    if int(inside):
        for one in iter_objects(kernel, inside.addr_list, "struct inet6_ifaddr", "if_list"):
            yield f"{format_ip(one.addr.bytes_())}/{int(one.prefix_len)}"


def format_ip(data: bytes) -> str:
    """The text of 4 or 16 bytes: "10.0.0.1", "fe80::1"."""
    import socket

    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


def iter_neighbors(kernel: Kernel, table: str) -> Iterator[Neighbor]:
    """The neighbors of "arp_tbl" or "nd_tbl"; what cannot be read is told in kernel.problems.

    Raises MemoryFault; FormatError for a table of something else, UnknownNameError without one.
    """
    owner = kernel.variable(table)
    size = int(owner.key_len)
    if size not in (4, 16):
        raise FormatError(f"{table} has keys of {size} bytes")
    key = kernel.types.offset("struct neighbour", "primary_key")
    for address in told(kernel, f"neighbors of {table}", _iter_entries(kernel, owner.nht.deref_())):
        try:
            one = kernel.object("struct neighbour", address)
            device = one.dev
            hardware = int(device.member_("type")) if int(device) else -1
            length = min(int(device.addr_len), 32) if hardware == _ETHER else 6
            yield Neighbor(
                address, format_ip(kernel.memory.read(address + key, size)), _HARDWARE.get(hardware, "UNKNOWN"),
                one.ha.bytes_()[:length].hex(":" if hardware == _ETHER else " "),
                device.member_("name").string_() if int(device) else "",
                _STATES.get(int(one.nud_state), f"{int(one.nud_state):#x}"),
            )  # fmt: skip
        except LinscopeError as error:
            kernel.problems.append(f"neighbor at {address:#x}: {error}")


def _iter_entries(kernel: Kernel, table: Object) -> Iterator[int]:
    """Addresses of all in a hash table.  Source: one chain a bucket until v6.12, hash lists since v6.13."""
    shift = int(table.hash_shift)
    if shift > _MOST_BUCKETS_SHIFT:
        raise FormatError(f"the table of neighbors at {table.address_:#x} has 2**{shift} buckets")
    buckets = 1 << shift
    types = kernel.types
    if types.has_member("struct neigh_hash_table", "hash_heads"):
        first = int(table.hash_heads)
        offset = types.offset("struct neighbour", "hash")
        for place in range(buckets):
            yield from iter_hlist(kernel, first + 8 * place, offset)
        return
    seen: set[int] = set()
    first = int(table.hash_buckets)
    link = types.offset("struct neighbour", "next")
    for place in range(buckets):
        at = kernel.u64(first + 8 * place)
        while at:
            if at in seen or len(seen) > _MOST_NEIGHBORS:
                raise FormatError(f"the neighbors go in a circle at {at:#x}")
            seen.add(at)
            yield at
            at = kernel.u64(at + link)
