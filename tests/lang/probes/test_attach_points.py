"""What is written -> its parts and its name; spellings, and what is wrong with others."""

from __future__ import annotations

import pytest

from linscope.errors import SourceError
from linscope.lang.probes.attach_points import parse_attach_point, parse_number
from linscope.lang.probes.wildcards import has_wildcard, longest_literal, matches


@pytest.mark.parametrize(("text", "name"), [
    ("BEGIN", "begin"), ("begin", "begin"), ("END", "end"), ("end", "end"),
    ("self:signal:SIGUSR1", "self:signal:SIGUSR1"), ("test:a", "test:a"), ("bench:b", "bench:b"),
    ("hardware:cache-misses:1000", "hardware:cache-misses:1000"), ("h:cycles", "hardware:cycles"),
    ("software:faults:100", "software:faults:100"), ("s:cpu:*", "software:cpu"), ("s:cpu:1e6", "software:cpu:1000000"),
    ("interval:s:1", "interval:s:1"), ("i:ms:10", "interval:ms:10"), ("interval:1s", "interval:us:1000000"),
    ("interval:1500us", "interval:us:1500"), ("i:hz:10", "interval:hz:10"), ("i:us:0x10", "interval:us:16"),
    ("profile:hz:99", "profile:hz:99"), ("p:10ms", "profile:us:10000"), ("p:1m", "profile:us:60000000"),
    ("iter:task", "iter:task"), ("it:task_file:pinned", "iter:task_file"),
    ("fentry:vfs_read", "fentry:vfs_read"), ("f:vfs_read", "fentry:vfs_read"), ("kfunc:a", "fentry:a"),
    ("fr:m:fn", "fexit:m:fn"), ("kretfunc:a", "fexit:a"), ("fentry:bpf:prog", "fentry:bpf:prog"),
    ("fentry:bpf:12:prog", "fentry:bpf:12:prog"), ("fentry:bpf:*:prog", "fentry:bpf:prog"),
    ("kprobe:vfs_read", "kprobe:vfs_read"), ("k:vfs_read", "kprobe:vfs_read"), ("k:a+0x10", "kprobe:a+16"),
    ("kprobe:m:a+5", "kprobe:m:a+5"), ("kr:vfs_read", "kretprobe:vfs_read"),
    ("k:a.constprop.0", "kprobe:a.constprop.0"),
    ("rawtracepoint:sched_switch", "rawtracepoint:*:sched_switch"), ("rt:m:e", "rawtracepoint:m:e"),
    ("tracepoint:sched:sched_switch", "tracepoint:sched:sched_switch"), ("t:a:b", "tracepoint:a:b"),
    ("t:sched*", "tracepoint:*:sched*"),
    ("uprobe:/bin/x:f", "uprobe:/bin/x:f"), ("u:x:f+16", "uprobe:x:f+16"), ("u:x:0x1234", "uprobe:x:4660"),
    ('u:x:cpp:"A::b(int, char)"', "uprobe:x:cpp:A::b(int, char)"), ("ur:x:f", "uretprobe:x:f"),
    ('u:"/with:colon":f', "uprobe:/with:colon:f"), (r'u:"a\"b":f', 'uprobe:a"b:f'),
    ("usdt:/x:p:n", "usdt:/x:p:n"), ("U:/x:n", "usdt:/x:n"), ("U:*:n", "usdt:*:n"),
    ("w:0x100:8:wr", "watchpoint:256:8:rw"), ("mine=kprobe:vfs_read", "mine"),
])  # fmt: skip
def test_names(text: str, name: str) -> None:
    assert parse_attach_point(text).name == name


def test_parts() -> None:
    point = parse_attach_point("kprobe:ext4:f+0x1f")
    assert (point.kind, point.target, point.function, point.offset) == ("kprobe", "ext4", "f", 31)
    point = parse_attach_point("iter:task_file:/run/pin")
    assert (point.function, point.pin) == ("task_file", "/run/pin")
    point = parse_attach_point("uprobe:./x@main.c:12:3")
    assert (point.target, point.line) == ("./x", "main.c:12:3")
    point = parse_attach_point("kprobe:0xffffffff81000000")
    assert point.address == 0xFFFFFFFF81000000


def test_positional_parameters() -> None:
    assert parse_attach_point("kprobe:$1", parameters=["vfs_read"]).name == "kprobe:vfs_read"
    assert parse_attach_point("u:$1:$2", parameters=["a", "b"]).name == "uprobe:a:b"
    assert parse_attach_point('u:"$1":f', parameters=["a"]).name == "uprobe:$1:f"
    with pytest.raises(SourceError, match="positional param"):
        parse_attach_point("k:$x")


def test_a_process_needs_no_file() -> None:
    assert parse_attach_point("uprobe:f", pid=7).target == "/proc/7/exe"
    assert parse_attach_point('uprobe:cpp:"A::b"', pid=7).language == "cpp"
    assert parse_attach_point("usdt:n", pid=7).target == ""


def test_a_kind_with_wildcards_is_several() -> None:
    found = parse_attach_point("*probe:vfs_read").alternatives
    assert [one.name for one in found] == ["kprobe:vfs_read"]
    assert [one.kind for one in parse_attach_point("*ware:c*").alternatives] == ["hardware", "software"]
    kinds = [one.kind for one in parse_attach_point("*:*").alternatives]
    assert kinds == ["fentry", "hardware", "iter", "kprobe", "rawtracepoint", "software", "tracepoint"]
    assert [one.kind for one in parse_attach_point("*:/bin/sh:*").alternatives] == ["uprobe", "usdt"]
    assert next(one.kind for one in parse_attach_point("*sleep*").alternatives) == "fentry"


@pytest.mark.parametrize(("text", "what"), [
    ("nope:x", "Invalid probe type: nope"), ("begin:x", "begin probe type requires 0 arguments, found 1"),
    ("kprobe", "kprobe probe type requires 1 or 2 arguments, found 0"),
    ("kprobe:", "kprobes should be attached to a function"), ("kretprobe:a+1", "Offset not allowed"),
    ("kprobe:a+b", "Invalid offset: invalid integer: b"), ("kprobe:a+1+2", "Cannot take more than one offset"),
    ("tracepoint:x", "tracepoint probe type requires 2 arguments, found 1"),
    ("tracepoint:a:b:c", "tracepoint probe type requires 2 arguments, found 3"),
    ("tracepoint::b", "tracepoint probe must have a target"),
    ("interval:5", "Invalid rate of interval probe. Minimum is 1000 or 1us. Found: 5 nanoseconds"),
    ("interval:s:x", "Invalid rate of interval probe: invalid integer: x"),
    ("interval:s:1x", "Invalid rate of interval probe: invalid trailing bytes: 1x"),
    ("interval", "interval probe type requires 1 or 2 arguments, found 0"),
    ("self:signal:SIGKILL", "SIGKILL is not a supported signal"), ("self:x:y", "x is not a supported trigger"),
    ("uprobe:x", "uprobe probe type requires 2 or 3 arguments, found 1"),
    ("uprobe::f", "uprobe should have a target"), ("uprobe:x:java:f", "unsupported language type: java"),
    ("usdt::n", "usdt probe must specify at least path or pid to probe. To target all paths/pids set the path to '*'."),
    ("watchpoint:0:8:w", "watchpoint must be attached to a non-zero address"),
    ("watchpoint:1:3:w", "watchpoint length must be one of (1,2,4,8)"),
    ("watchpoint:1:4:z", "watchpoint mode must be combination of (r,w,x)"),
    ("watchpoint:1:4:ww", "watchpoint modes may not be duplicated"),
    ("fentry:bpf:x:y", "bpf program id must be a number or '*'"),
    ("fentry:a:b:c", "Only the 'bpf' variant of this probe supports 4 arguments"),
    ("fentry:bpf", "the 'bpf' variant of this probe requires a bpf program name and optional bpf program id"),
])  # fmt: skip
def test_what_is_wrong(text: str, what: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_attach_point(text)
    assert caught.value.diagnostics[0].what == what


def test_a_near_kind_is_offered() -> None:
    with pytest.raises(SourceError) as caught:
        parse_attach_point("kprob:vfs_read")
    assert caught.value.diagnostics[0].hint == "did you mean kprobe?"


@pytest.mark.parametrize(("text", "value"), [
    ("0", 0), ("12", 12), ("1_000", 1000), ("0x1F", 31), ("0b101", 5), ("017", 15), ("1e3", 1000), ("10u", 10),
    ("2ms", 2_000_000), ("1h", 3_600_000_000_000), ("", None), ("x", None), ("1q", None), ("0x", None), ("09", None),
    ("99999999999999999999", None),
])  # fmt: skip
def test_numbers(text: str, value: int | None) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(("pattern", "name", "expected"), [
    ("*", "", True), ("a*", "abc", True), ("*c", "abc", True), ("a*c", "abc", True), ("a*c", "ac", True),
    ("a*b*c", "axxbyyc", True), ("a*b*c", "acb", False), ("ab*ba", "aba", False), ("a", "a", True), ("a", "ab", False),
    ("a?c", "abc", False), ("a?c", "a?c", True), ("sys_[re]*", "sys_exit", True), ("sys_[re]*", "sys_open", False),
    ("*aa*aa", "aaa", False),
])  # fmt: skip
def test_wildcards(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected
    assert has_wildcard(pattern) == ("*" in pattern or "[" in pattern)
    assert longest_literal(pattern) in pattern
