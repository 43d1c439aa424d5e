"""Contexts of eBPF programs: what a program may read and write through the pointer it gets in r1, by program type.

Each line of a layout is: field, offset, size in bytes, how it may be read.  Ways: n, any aligned access of up to the
unit (4 bytes); N, the same with a unit of 8; f, the same at the beginning of the field only; a, any aligned access; a
number, accesses of just that size; w, as n, or an aligned 8 that stays in the field; h, 2 or 4 bytes; d, as n with a
unit of 2, or 4 at its beginning.  "-": not readable.
Source: include/uapi/linux/bpf.h; net/core/filter.c (the *_is_valid_access functions), kernel/bpf/cgroup.c,
kernel/trace/bpf_trace.c, drivers/media/rc/bpf-lirc.c of Linux 6.1.
"""

from __future__ import annotations

from linscope.abi import bpf as b

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from collections import namedtuple

_LAYOUTS = {
    "__sk_buff": """
        len 0 4 n;pkt_type 4 4 n;mark 8 4 n;queue_mapping 12 4 n;protocol 16 4 n;vlan_present 20 4 n;vlan_tci 24 4 n
        vlan_proto 28 4 n;priority 32 4 n;ingress_ifindex 36 4 n;ifindex 40 4 n;tc_index 44 4 n;cb 48 20 a;hash 68 4 n
        tc_classid 72 4 n;data 76 4 4;data_end 80 4 4;napi_id 84 4 n;family 88 4 n;remote_ip4 92 4 4;local_ip4 96 4 4
        remote_ip6 100 16 4;local_ip6 116 16 4;remote_port 132 4 n;local_port 136 4 n;data_meta 140 4 4
        flow_keys 144 8 -;tstamp 152 8 8;wire_len 160 4 n;gso_segs 164 4 n;sk 168 8 8;gso_size 176 4 n
        tstamp_type 180 1 -;hwtstamp 184 8 8
    """,
    "xdp_md": """
        data 0 4 4;data_end 4 4 4;data_meta 8 4 4;ingress_ifindex 12 4 4;rx_queue_index 16 4 4;egress_ifindex 20 4 4
    """,
    "bpf_sock": """
        bound_dev_if 0 4 4;family 4 4 f;type 8 4 f;protocol 12 4 f;mark 16 4 4;priority 20 4 4;src_ip4 24 4 n
        src_ip6 28 16 n;src_port 44 4 f;dst_port 48 2 d;dst_ip4 52 4 n;dst_ip6 56 16 n;state 72 4 f
        rx_queue_mapping 76 4 f
    """,
    "bpf_tcp_sock": """
        counters 0 80 4;bytes_received 80 8 8;bytes_acked 88 8 8;more_counters 96 20 4
    """,
    "bpf_xdp_sock": "queue_id 0 4 4",
    "bpf_sock_addr": """
        user_family 0 4 4;user_ip4 4 4 n;user_ip6 8 16 w;user_port 24 4 n;family 28 4 4;type 32 4 4;protocol 36 4 4
        msg_src_ip4 40 4 n;msg_src_ip6 44 16 w;sk 64 8 8
    """,
    "bpf_sock_ops": """
        op 0 4 4;reply 4 4 4;replylong 8 12 4;family 20 4 4;remote_ip4 24 4 4;local_ip4 28 4 4;remote_ip6 32 16 4
        local_ip6 48 16 4;remote_port 64 4 4;local_port 68 4 4;state 72 92 4;sk_txhash 164 4 4;bytes_received 168 8 8
        bytes_acked 176 8 8;sk 184 8 8;skb_data 192 8 8;skb_data_end 200 8 8;skb_len 208 4 4;skb_tcp_flags 212 4 n
        skb_hwtstamp 216 8 8
    """,
    "sk_msg_md": """
        data 0 8 8;data_end 8 8 8;family 16 4 4;remote_ip4 20 4 4;local_ip4 24 4 4;remote_ip6 28 16 4
        local_ip6 44 16 4;remote_port 60 4 4;local_port 64 4 4;size 68 4 4;sk 72 8 8
    """,
    "sk_reuseport_md": """
        data 0 8 8;data_end 8 8 8;len 16 4 n;eth_protocol 20 4 h;ip_protocol 24 4 n;bind_inany 28 4 n;hash 32 4 4
        sk 40 8 8;migrating_sk 48 8 8
    """,
    "bpf_sk_lookup": """
        sk 0 8 8;family 8 4 n;protocol 12 4 n;remote_ip4 16 4 n;remote_ip6 20 16 n;remote_port 36 4 n;local_ip4 40 4 n
        local_ip6 44 16 n;local_port 60 4 n;ingress_ifindex 64 4 n
    """,
    "bpf_cgroup_dev_ctx": "access_type 0 4 n;major 4 4 4;minor 8 4 4",
    "bpf_sysctl": "write 0 4 n;file_pos 4 4 n",
    "bpf_sockopt": """
        sk 0 8 8;optval 8 8 8;optval_end 16 8 8;level 24 4 4;optname 28 4 4;optlen 32 4 4;retval 36 4 4
    """,
    "bpf_perf_event_data": "regs 0 168 8;sample_period 168 8 N;addr 176 8 N",
    "pt_regs": "regs 0 168 a",  # x86-64
    "tracepoint": "record 8 8184 a",  # PERF_MAX_TRACE_SIZE, behind the 8 bytes of common fields
    "raw_tracepoint": "args 0 96 a",  # MAX_BPF_FUNC_ARGS of 8 bytes
    "raw_tracepoint_writable": "buffer 0 8 8;args 8 88 a",
    "syscall": "ctx 0 65535 a",
    "lirc": "sample 0 4 4",
    "nf": "state 0 8 8;skb 8 8 8",
}

if TYPE_CHECKING:

    class Context(NamedTuple):
        """What programs of a type may do with their context."""

        layout: str  # key of LAYOUTS
        writable: frozenset[str]
        denied: frozenset[str]
        pointers: dict[str, str]  # field -> packet, packet_meta, packet_end, sock_common?, socket, socket?, ...

    class Field(NamedTuple):
        """A field of a context."""

        name: str
        offset: int
        size: int  # bytes
        ways: str

else:
    Context = namedtuple("Context", "layout writable denied pointers")
    Field = namedtuple("Field", "name offset size ways")


def _fields(text: str) -> tuple[Field, ...]:
    found = []
    for line in text.replace("\n", ";").split(";"):
        if line.strip():
            name, offset, size, ways = line.split()
            found.append(Field(name, int(offset), int(size), ways))
    return tuple(found)


LAYOUTS = {name: _fields(text) for name, text in _LAYOUTS.items()}


def _context(layout: str, writable: str = "", denied: str = "", pointers: str = "") -> Context:
    pairs = dict(pair.split("=") for pair in pointers.split())
    return Context(layout, frozenset(writable.split()), frozenset(denied.split()), pairs)


_ADDRESSES = "family remote_ip4 local_ip4 remote_ip6 local_ip6 remote_port local_port"
_PACKET = "data=packet data_end=packet_end"
_SK = "sk=sock_common?"
_TC = _context(
    "__sk_buff", "mark tc_index priority tc_classid cb tstamp queue_mapping", _ADDRESSES,
    f"{_PACKET} data_meta=packet_meta {_SK}",
)  # fmt: skip
_LWT = _context(
    "__sk_buff", "mark priority cb", f"tc_classid {_ADDRESSES} data_meta tstamp wire_len hwtstamp", f"{_PACKET} {_SK}"
)

CONTEXTS: dict[int, Context] = {
    b.BPF_PROG_TYPE_SOCKET_FILTER: _context(
        "__sk_buff", "cb", f"tc_classid data data_meta data_end {_ADDRESSES} tstamp wire_len hwtstamp", _SK
    ),
    b.BPF_PROG_TYPE_CGROUP_SKB: _context(
        "__sk_buff", "mark priority cb tstamp", "tc_classid data_meta wire_len", f"{_PACKET} {_SK}"
    ),
    b.BPF_PROG_TYPE_LWT_IN: _LWT,
    b.BPF_PROG_TYPE_LWT_OUT: _LWT,
    b.BPF_PROG_TYPE_LWT_XMIT: _LWT,
    b.BPF_PROG_TYPE_LWT_SEG6LOCAL: _LWT,
    b.BPF_PROG_TYPE_SCHED_CLS: _TC,
    b.BPF_PROG_TYPE_SCHED_ACT: _TC,
    b.BPF_PROG_TYPE_SK_SKB: _context(
        "__sk_buff", "tc_index priority", "tc_classid data_meta tstamp wire_len hwtstamp mark", f"{_PACKET} {_SK}"
    ),
    b.BPF_PROG_TYPE_FLOW_DISSECTOR: _context(
        "__sk_buff",
        "",
        "len pkt_type mark queue_mapping protocol vlan_present vlan_tci vlan_proto priority ingress_ifindex ifindex "
        "tc_index cb hash tc_classid napi_id data_meta tstamp wire_len gso_segs sk gso_size hwtstamp " + _ADDRESSES,
        f"{_PACKET} flow_keys=flow_keys",
    ),
    b.BPF_PROG_TYPE_XDP: _context("xdp_md", "", "", f"{_PACKET} data_meta=packet_meta"),
    b.BPF_PROG_TYPE_CGROUP_SOCK: _context("bpf_sock", "bound_dev_if mark priority"),
    b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR: _context(
        "bpf_sock_addr", "user_ip4 user_ip6 user_port msg_src_ip4 msg_src_ip6", "", "sk=socket"
    ),
    b.BPF_PROG_TYPE_SOCK_OPS: _context(
        "bpf_sock_ops", "reply sk_txhash", "", "sk=socket? skb_data=packet skb_data_end=packet_end"
    ),
    b.BPF_PROG_TYPE_SK_MSG: _context("sk_msg_md", "", "", f"{_PACKET} sk=socket"),
    b.BPF_PROG_TYPE_SK_REUSEPORT: _context("sk_reuseport_md", "", "", f"{_PACKET} sk=socket migrating_sk=sock_common?"),
    b.BPF_PROG_TYPE_SK_LOOKUP: _context("bpf_sk_lookup", "", "", "sk=socket?"),
    b.BPF_PROG_TYPE_CGROUP_DEVICE: _context("bpf_cgroup_dev_ctx"),
    b.BPF_PROG_TYPE_CGROUP_SYSCTL: _context("bpf_sysctl", "file_pos"),
    b.BPF_PROG_TYPE_CGROUP_SOCKOPT: _context(
        "bpf_sockopt", "level optname optlen retval", "", "sk=socket optval=packet optval_end=packet_end"
    ),
    b.BPF_PROG_TYPE_KPROBE: _context("pt_regs"),
    b.BPF_PROG_TYPE_PERF_EVENT: _context("bpf_perf_event_data"),
    b.BPF_PROG_TYPE_TRACEPOINT: _context("tracepoint"),
    b.BPF_PROG_TYPE_RAW_TRACEPOINT: _context("raw_tracepoint"),
    b.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE: _context("raw_tracepoint_writable", "", "", "buffer=tp_buffer"),
    b.BPF_PROG_TYPE_SYSCALL: _context("syscall", "ctx"),
    b.BPF_PROG_TYPE_LIRC_MODE2: _context("lirc"),
    b.BPF_PROG_TYPE_NETFILTER: _context("nf", "", "", "state=btf:nf_hook_state skb=btf:sk_buff"),
}

# fields of cgroup sock and sock_addr programs that only some attach types have
_V4 = frozenset(
    (
        b.BPF_CGROUP_INET4_BIND, b.BPF_CGROUP_INET4_CONNECT, b.BPF_CGROUP_INET4_GETPEERNAME,
        b.BPF_CGROUP_INET4_GETSOCKNAME, b.BPF_CGROUP_UDP4_SENDMSG, b.BPF_CGROUP_UDP4_RECVMSG,
    )
)  # fmt: skip
_V6 = frozenset(
    (
        b.BPF_CGROUP_INET6_BIND, b.BPF_CGROUP_INET6_CONNECT, b.BPF_CGROUP_INET6_GETPEERNAME,
        b.BPF_CGROUP_INET6_GETSOCKNAME, b.BPF_CGROUP_UDP6_SENDMSG, b.BPF_CGROUP_UDP6_RECVMSG,
    )
)  # fmt: skip
_CREATE = frozenset((b.BPF_CGROUP_INET_SOCK_CREATE, b.BPF_CGROUP_INET_SOCK_RELEASE))
_POST4, _POST6 = frozenset((b.BPF_CGROUP_INET4_POST_BIND,)), frozenset((b.BPF_CGROUP_INET6_POST_BIND,))
ATTACH_FIELDS: dict[tuple[int, str], frozenset[int]] = {
    (b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "user_ip4"): _V4,
    (b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "user_ip6"): _V6,
    (b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "msg_src_ip4"): frozenset((b.BPF_CGROUP_UDP4_SENDMSG,)),
    (b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "msg_src_ip6"): frozenset((b.BPF_CGROUP_UDP6_SENDMSG,)),
    (b.BPF_PROG_TYPE_CGROUP_SOCK, "bound_dev_if"): _CREATE,
    (b.BPF_PROG_TYPE_CGROUP_SOCK, "mark"): _CREATE,
    (b.BPF_PROG_TYPE_CGROUP_SOCK, "priority"): _CREATE,
    (b.BPF_PROG_TYPE_CGROUP_SOCK, "src_ip4"): _POST4,
    (b.BPF_PROG_TYPE_CGROUP_SOCK, "src_ip6"): _POST6,
    (b.BPF_PROG_TYPE_CGROUP_SOCK, "src_port"): _POST4 | _POST6,
    (b.BPF_PROG_TYPE_CGROUP_SOCKOPT, "retval"): frozenset((b.BPF_CGROUP_GETSOCKOPT,)),
    (b.BPF_PROG_TYPE_XDP, "egress_ifindex"): frozenset((b.BPF_XDP_DEVMAP,)),
}
# writes that only some attach types may do
ATTACH_WRITES: dict[tuple[int, str], frozenset[int]] = {
    (b.BPF_PROG_TYPE_CGROUP_SOCKOPT, "level"): frozenset((b.BPF_CGROUP_SETSOCKOPT,)),
    (b.BPF_PROG_TYPE_CGROUP_SOCKOPT, "optname"): frozenset((b.BPF_CGROUP_SETSOCKOPT,)),
}
FLOW_KEYS_SIZE = 56  # struct bpf_flow_keys
