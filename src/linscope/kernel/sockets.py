"""Sockets: family, type, ends.

Source: include/linux/net.h, socket.h; include/net/sock.h, inet_sock.h, af_unix.h; include/uapi/linux/netlink.h.
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.kernel.files import iter_descriptors, socket_of
from linscope.kernel.net import format_ip
from linscope.kernel.path import inode_kind
from linscope.kernel.told import told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
FAMILIES = (
    "UNSPEC", "UNIX", "INET", "AX25", "IPX", "APPLETALK", "NETROM", "BRIDGE", "ATMPVC", "X25", "INET6", "ROSE",
    "DECnet", "NETBEUI", "SECURITY", "KEY", "NETLINK", "PACKET", "ASH", "ECONET", "ATMSVC", "RDS", "SNA", "IRDA",
    "PPPOX", "WANPIPE", "LLC", "IB", "MPLS", "CAN", "TIPC", "BLUETOOTH", "IUCV", "RXRPC", "ISDN", "PHONET",
    "IEEE802154", "CAIF", "ALG", "NFC", "VSOCK", "KCM", "QIPCRTR", "SMC", "XDP", "MCTP",
)  # fmt: skip
TYPES = {1: "STREAM", 2: "DGRAM", 3: "RAW", 4: "RDM", 5: "SEQPACKET", 6: "DCCP", 10: "PACKET"}
_NETLINKS = {
    0: "ROUTE", 1: "UNUSED", 2: "USERSOCK", 3: "FIREWALL", 4: "SOCK_DIAG", 5: "NFLOG", 6: "XFRM", 7: "SELINUX",
    8: "ISCSI", 9: "AUDIT", 10: "FIB_LOOKUP", 11: "CONNECTOR", 12: "NETFILTER", 13: "IP6_FW", 14: "DNRTMSG",
    15: "KOBJECT_UEVENT", 16: "GENERIC", 18: "SCSITRANSPORT", 19: "ECRYPTFS", 20: "RDMA", 21: "CRYPTO", 22: "SMC",
}  # fmt: skip
# TCP_*, include/net/tcp_states.h; also those of UNIX and UDP sockets
STATES = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
    "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV", "BOUND_INACTIVE",
)  # fmt: skip
_MOST_NAME = 110  # bytes of a sockaddr_un


class SocketFacts(NamedTuple):
    """An open socket."""

    fd: int
    socket: int  # addresses of the struct socket and struct sock
    sock: int
    family: str  # "INET", "NETLINK/ROUTE"
    kind: str  # "STREAM"
    source: str  # "127.0.0.1-80", the path of a UNIX socket ("@name" for an abstract one)
    destination: str
    state: str  # "LISTEN", "ESTABLISHED"
    inode: int  # its number, as in socket:[N]


def iter_sockets(kernel: Kernel, task: Object) -> Iterator[SocketFacts]:
    """The sockets that a task has open; what cannot be read is told in kernel.problems."""
    for number, file in told(kernel, f"files of the task at {task.address_:#x}", iter_descriptors(kernel, task)):
        try:
            inode = file.f_inode
            if inode_kind(int(inode.i_mode)) == "SOCK":
                yield _facts(number, inode)
        except LinscopeError as error:
            kernel.problems.append(f"socket {number} of the file at {file.address_:#x}: {error}")


def _facts(number: int, inode: Object) -> SocketFacts:
    socket = socket_of(inode.deref_())
    sock = socket.sk
    head = (number, socket.address_ or 0, int(sock))
    if not int(sock):
        return SocketFacts(*head, "", TYPES.get(int(socket.member_("type")), ""), "", "", "", int(inode.i_ino))
    common = sock.member_("__sk_common")
    family, kind, state = int(common.skc_family), int(sock.sk_type), int(common.skc_state)
    name = FAMILIES[family] if family < len(FAMILIES) else str(family)
    source = destination = ""
    if family == _INET:
        source = f"{format_ip(common.skc_rcv_saddr.bytes_())}-{int(common.skc_num)}"
        destination = f"{format_ip(common.skc_daddr.bytes_())}-{_port(common.skc_dport)}"
    elif family == _INET6:
        source = f"{format_ip(common.skc_v6_rcv_saddr.bytes_())}-{int(common.skc_num)}"
        destination = f"{format_ip(common.skc_v6_daddr.bytes_())}-{_port(common.skc_dport)}"
    elif family == _UNIX:
        one = sock.cast_("struct unix_sock *")
        source = _unix_name(one)
        destination = _unix_name(one.peer.cast_("struct unix_sock *")) if int(one.peer) else ""
    elif family == _NETLINK:
        protocol = int(sock.sk_protocol)
        name += f"/{_NETLINKS.get(protocol, protocol)}"
    return SocketFacts(
        *head, name, TYPES.get(kind, str(kind)), source, destination, STATES[state] if state < len(STATES) else "",
        int(inode.i_ino),
    )  # fmt: skip


def _port(port: Object) -> int:
    return int.from_bytes(port.bytes_(), "big")


def _unix_name(one: Object) -> str:
    """What a UNIX socket is bound to; "" for nothing."""
    address = one.addr
    if not int(address):
        return ""
    length = min(int(address.len), _MOST_NAME)
    start = int(address) + one.space_.types.offset("struct unix_address", "name")
    path = one.space_.memory.read(start + 2, max(length - 2, 0))  # behind the family
    if path[:1] == b"\0":
        return "@" + path[1:].decode("utf-8", "replace")
    return path.partition(b"\0")[0].decode("utf-8", "replace")
