"""What the name of a program's section says: SEC("tp_btf/sched_switch") and all others of libbpf.

Source: libbpf 1.5, src/libbpf.c, section_defs; Documentation/bpf/libbpf/program_types.rst.
"""

from __future__ import annotations

from typing import NamedTuple

from linscope.abi import bpf as b

# libbpf's SEC_* flags that change what is loaded
_SLEEPABLE = b.BPF_F_SLEEPABLE
_FRAGS = b.BPF_F_XDP_HAS_FRAGS


class Kind(NamedTuple):
    """What programs of a section are."""

    type: int  # BPF_PROG_TYPE_*
    attach_type: int  # BPF_* of enum bpf_attach_type
    flags: int  # of BPF_PROG_LOAD
    attach: str  # how it is attached: "raw_tracepoint", "kprobe"...; "" when a section name cannot say it
    target: str  # what follows the slash: "sched_switch", "sched/sched_switch", "/bin/true:main"


# name -> type, attach type, flags, attach; "/" at the end: a target follows, or may follow when it is "/?"
_TABLE: dict[str, tuple[int, int, int, str]] = {}


def _add(names: str, type: int, attach_type: int = 0, flags: int = 0, attach: str = "") -> None:
    for name in names.split():
        _TABLE[name] = (type, attach_type, flags, attach)


_add("socket", b.BPF_PROG_TYPE_SOCKET_FILTER, attach="socket")
_add("sk_reuseport/migrate", b.BPF_PROG_TYPE_SK_REUSEPORT, b.BPF_SK_REUSEPORT_SELECT_OR_MIGRATE)
_add("sk_reuseport", b.BPF_PROG_TYPE_SK_REUSEPORT, b.BPF_SK_REUSEPORT_SELECT)
_add("kprobe/", b.BPF_PROG_TYPE_KPROBE, attach="kprobe")
_add("kretprobe/", b.BPF_PROG_TYPE_KPROBE, attach="kretprobe")
_add("uprobe/", b.BPF_PROG_TYPE_KPROBE, attach="uprobe")
_add("uprobe.s/", b.BPF_PROG_TYPE_KPROBE, 0, _SLEEPABLE, "uprobe")
_add("uretprobe/", b.BPF_PROG_TYPE_KPROBE, attach="uretprobe")
_add("uretprobe.s/", b.BPF_PROG_TYPE_KPROBE, 0, _SLEEPABLE, "uretprobe")
_add("kprobe.multi/", b.BPF_PROG_TYPE_KPROBE, b.BPF_TRACE_KPROBE_MULTI, 0, "kprobe.multi")
_add("kretprobe.multi/", b.BPF_PROG_TYPE_KPROBE, b.BPF_TRACE_KPROBE_MULTI, 0, "kretprobe.multi")
_add("kprobe.session/", b.BPF_PROG_TYPE_KPROBE, b.BPF_TRACE_KPROBE_SESSION, 0, "kprobe.session")
_add("uprobe.multi/", b.BPF_PROG_TYPE_KPROBE, b.BPF_TRACE_UPROBE_MULTI, 0, "uprobe.multi")
_add("uretprobe.multi/", b.BPF_PROG_TYPE_KPROBE, b.BPF_TRACE_UPROBE_MULTI, 0, "uretprobe.multi")
_add("uprobe.session/", b.BPF_PROG_TYPE_KPROBE, b.BPF_TRACE_UPROBE_SESSION, 0, "uprobe.session")
_add("uprobe.multi.s/", b.BPF_PROG_TYPE_KPROBE, b.BPF_TRACE_UPROBE_MULTI, _SLEEPABLE, "uprobe.multi")
_add("uretprobe.multi.s/", b.BPF_PROG_TYPE_KPROBE, b.BPF_TRACE_UPROBE_MULTI, _SLEEPABLE, "uretprobe.multi")
_add("uprobe.session.s/", b.BPF_PROG_TYPE_KPROBE, b.BPF_TRACE_UPROBE_SESSION, _SLEEPABLE, "uprobe.session")
_add("ksyscall/", b.BPF_PROG_TYPE_KPROBE, attach="ksyscall")
_add("kretsyscall/", b.BPF_PROG_TYPE_KPROBE, attach="kretsyscall")
_add("usdt/", b.BPF_PROG_TYPE_KPROBE, attach="usdt")
_add("usdt.s/", b.BPF_PROG_TYPE_KPROBE, 0, _SLEEPABLE, "usdt")
_add("tc/ingress tcx/ingress", b.BPF_PROG_TYPE_SCHED_CLS, b.BPF_TCX_INGRESS)
_add("tc/egress tcx/egress", b.BPF_PROG_TYPE_SCHED_CLS, b.BPF_TCX_EGRESS)
_add("tc classifier", b.BPF_PROG_TYPE_SCHED_CLS)
_add("action", b.BPF_PROG_TYPE_SCHED_ACT)
_add("netkit/primary", b.BPF_PROG_TYPE_SCHED_CLS, b.BPF_NETKIT_PRIMARY)
_add("netkit/peer", b.BPF_PROG_TYPE_SCHED_CLS, b.BPF_NETKIT_PEER)
_add("tracepoint/ tp/", b.BPF_PROG_TYPE_TRACEPOINT, attach="tracepoint")
_add("raw_tracepoint/ raw_tp/", b.BPF_PROG_TYPE_RAW_TRACEPOINT, attach="raw_tracepoint")
_add("raw_tracepoint.w/ raw_tp.w/", b.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE, attach="raw_tracepoint")
_add("tp_btf/", b.BPF_PROG_TYPE_TRACING, b.BPF_TRACE_RAW_TP, 0, "tracing")
for _name, _attach in (("fentry", b.BPF_TRACE_FENTRY), ("fexit", b.BPF_TRACE_FEXIT), ("fmod_ret", b.BPF_MODIFY_RETURN)):
    _add(f"{_name}/", b.BPF_PROG_TYPE_TRACING, _attach, 0, "tracing")
    _add(f"{_name}.s/", b.BPF_PROG_TYPE_TRACING, _attach, _SLEEPABLE, "tracing")
_add("freplace/", b.BPF_PROG_TYPE_EXT, 0, 0, "freplace")
_add("lsm/", b.BPF_PROG_TYPE_LSM, b.BPF_LSM_MAC, 0, "tracing")
_add("lsm.s/", b.BPF_PROG_TYPE_LSM, b.BPF_LSM_MAC, _SLEEPABLE, "tracing")
_add("lsm_cgroup/", b.BPF_PROG_TYPE_LSM, b.BPF_LSM_CGROUP, 0, "cgroup")
_add("iter/", b.BPF_PROG_TYPE_TRACING, b.BPF_TRACE_ITER, 0, "iter")
_add("iter.s/", b.BPF_PROG_TYPE_TRACING, b.BPF_TRACE_ITER, _SLEEPABLE, "iter")
_add("syscall", b.BPF_PROG_TYPE_SYSCALL, 0, _SLEEPABLE)
for _name, _flags in (("xdp", 0), ("xdp.frags", _FRAGS)):
    _add(f"{_name}/devmap", b.BPF_PROG_TYPE_XDP, b.BPF_XDP_DEVMAP, _flags)
    _add(f"{_name}/cpumap", b.BPF_PROG_TYPE_XDP, b.BPF_XDP_CPUMAP, _flags)
    _add(_name, b.BPF_PROG_TYPE_XDP, b.BPF_XDP, _flags, "xdp")
_add("perf_event", b.BPF_PROG_TYPE_PERF_EVENT, attach="perf_event")
_add("lwt_in", b.BPF_PROG_TYPE_LWT_IN)
_add("lwt_out", b.BPF_PROG_TYPE_LWT_OUT)
_add("lwt_xmit", b.BPF_PROG_TYPE_LWT_XMIT)
_add("lwt_seg6local", b.BPF_PROG_TYPE_LWT_SEG6LOCAL)
_add("sockops", b.BPF_PROG_TYPE_SOCK_OPS, b.BPF_CGROUP_SOCK_OPS, 0, "cgroup")
_add("sk_skb/stream_parser", b.BPF_PROG_TYPE_SK_SKB, b.BPF_SK_SKB_STREAM_PARSER)
_add("sk_skb/stream_verdict", b.BPF_PROG_TYPE_SK_SKB, b.BPF_SK_SKB_STREAM_VERDICT)
_add("sk_skb/verdict", b.BPF_PROG_TYPE_SK_SKB, b.BPF_SK_SKB_VERDICT)
_add("sk_skb", b.BPF_PROG_TYPE_SK_SKB)
_add("sk_msg", b.BPF_PROG_TYPE_SK_MSG, b.BPF_SK_MSG_VERDICT)
_add("lirc_mode2", b.BPF_PROG_TYPE_LIRC_MODE2, b.BPF_LIRC_MODE2)
_add("flow_dissector", b.BPF_PROG_TYPE_FLOW_DISSECTOR, b.BPF_FLOW_DISSECTOR)
_add("cgroup_skb/ingress", b.BPF_PROG_TYPE_CGROUP_SKB, b.BPF_CGROUP_INET_INGRESS, 0, "cgroup")
_add("cgroup_skb/egress", b.BPF_PROG_TYPE_CGROUP_SKB, b.BPF_CGROUP_INET_EGRESS, 0, "cgroup")
_add("cgroup/skb", b.BPF_PROG_TYPE_CGROUP_SKB)
_add("cgroup/sock_create cgroup/sock", b.BPF_PROG_TYPE_CGROUP_SOCK, b.BPF_CGROUP_INET_SOCK_CREATE, 0, "cgroup")
_add("cgroup/sock_release", b.BPF_PROG_TYPE_CGROUP_SOCK, b.BPF_CGROUP_INET_SOCK_RELEASE, 0, "cgroup")
_add("cgroup/post_bind4", b.BPF_PROG_TYPE_CGROUP_SOCK, b.BPF_CGROUP_INET4_POST_BIND, 0, "cgroup")
_add("cgroup/post_bind6", b.BPF_PROG_TYPE_CGROUP_SOCK, b.BPF_CGROUP_INET6_POST_BIND, 0, "cgroup")
for _name, _attach in (
    ("bind4", b.BPF_CGROUP_INET4_BIND), ("bind6", b.BPF_CGROUP_INET6_BIND), ("connect4", b.BPF_CGROUP_INET4_CONNECT),
    ("connect6", b.BPF_CGROUP_INET6_CONNECT), ("connect_unix", b.BPF_CGROUP_UNIX_CONNECT),
    ("sendmsg4", b.BPF_CGROUP_UDP4_SENDMSG), ("sendmsg6", b.BPF_CGROUP_UDP6_SENDMSG),
    ("sendmsg_unix", b.BPF_CGROUP_UNIX_SENDMSG), ("recvmsg4", b.BPF_CGROUP_UDP4_RECVMSG),
    ("recvmsg6", b.BPF_CGROUP_UDP6_RECVMSG), ("recvmsg_unix", b.BPF_CGROUP_UNIX_RECVMSG),
    ("getpeername4", b.BPF_CGROUP_INET4_GETPEERNAME), ("getpeername6", b.BPF_CGROUP_INET6_GETPEERNAME),
    ("getpeername_unix", b.BPF_CGROUP_UNIX_GETPEERNAME), ("getsockname4", b.BPF_CGROUP_INET4_GETSOCKNAME),
    ("getsockname6", b.BPF_CGROUP_INET6_GETSOCKNAME), ("getsockname_unix", b.BPF_CGROUP_UNIX_GETSOCKNAME),
):  # fmt: skip
    _add(f"cgroup/{_name}", b.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, _attach, 0, "cgroup")
_add("cgroup/sysctl", b.BPF_PROG_TYPE_CGROUP_SYSCTL, b.BPF_CGROUP_SYSCTL, 0, "cgroup")
_add("cgroup/getsockopt", b.BPF_PROG_TYPE_CGROUP_SOCKOPT, b.BPF_CGROUP_GETSOCKOPT, 0, "cgroup")
_add("cgroup/setsockopt", b.BPF_PROG_TYPE_CGROUP_SOCKOPT, b.BPF_CGROUP_SETSOCKOPT, 0, "cgroup")
_add("cgroup/dev", b.BPF_PROG_TYPE_CGROUP_DEVICE, b.BPF_CGROUP_DEVICE, 0, "cgroup")
_add("struct_ops/ struct_ops.s/", b.BPF_PROG_TYPE_STRUCT_OPS, attach="struct_ops")
_add("sk_lookup", b.BPF_PROG_TYPE_SK_LOOKUP, b.BPF_SK_LOOKUP, 0, "netns")
_add("netfilter", b.BPF_PROG_TYPE_NETFILTER, b.BPF_NETFILTER)


def section_names() -> list[str]:
    """All names, those that take a target with a slash at the end."""
    return list(_TABLE)


def find_kind(section: str) -> Kind | None:
    """What programs of a section are; None when the name says nothing.

    section: without the leading "?" of programs that are loaded only when asked for.  "kprobe" alone is a kind with no
    target, to be attached by who knows where.
    """
    found = _TABLE.get(section)
    if found is not None:
        return Kind(*found, "")
    head, _, target = section.partition("/")
    found = _TABLE.get(head + "/")
    return Kind(*found, target) if found is not None else None
