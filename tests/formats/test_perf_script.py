"""perf script's text: the many forms of its lines, and what is done with lines that are none of them."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linscope.analysis.collapse import ALL, CollapseOptions, collapse
from linscope.analysis.filters import Filter
from linscope.analysis.frames import ResolvedFrames, resolve
from linscope.columns.profile import Profile
from linscope.contracts import ReadOptions
from linscope.errors import FormatError
from linscope.formats import read_profile
from linscope.formats.perf_script import PERF_SCRIPT, kind_of_object, split_object
from linscope.recording import Recording, open_recording
from linscope.symbols.objects import Symbolizer

MODES = {
    "": CollapseOptions(),
    "addrs": CollapseOptions(addrs=True),
    "all": ALL,
    "pid": CollapseOptions(pid=True),
    "tid": CollapseOptions(tid=True),
}
STACK = "\tffffffff81000130 do_syscall_64+0x71 ([kernel.kallsyms])\n\t    1189 main+0x9 (/tmp/a b/prog)\n\n"


def parse(text: str | bytes) -> Profile:
    data = text.encode() if isinstance(text, str) else text
    return PERF_SCRIPT.read(io.BytesIO(data), ReadOptions(where="text"))


def folded(
    profile: Profile,
    options: CollapseOptions | None = None,
    event: str | None = None,
    resolved: ResolvedFrames | None = None,
) -> list[tuple[str, int]]:
    recording = Recording(profile)
    keep = Filter(event=event)
    rows = recording.mask_of(keep, recording.event_number(keep))
    return list(collapse(profile, resolved or recording.resolved, rows, profile.samples.weight, options))


@pytest.mark.parametrize(
    ("header", "comm", "pid", "tid", "cpu", "time_ns", "period", "event"),
    [
        ("java 19983 cycles:", "java", -1, 19983, -1, 0, 1, "cycles"),
        ("perf  3278 cpu-clock: ", "perf", -1, 3278, -1, 0, 1, "cpu-clock"),
        ("dd 29776 66.771979:   1010 cpu-clock: ", "dd", -1, 29776, -1, 66771979000, 1010, "cpu-clock"),
        ("iperf 27409/28744 [000] 44.133575: cpu-clock: ", "iperf", 27409, 28744, 0, 44133575000, 1, "cpu-clock"),
        ("swapper     0 [012]  13.768765123: cycles:ppp: ", "swapper", -1, 0, 12, 13768765123, 1, "cycles:ppp"),
        ("Web Content 2 12/13 [001] 1.5:  7 cycles:u: ", "Web Content 2", 12, 13, 1, 1500000000, 7, "cycles:u"),
        ("prog 10623 U      49.760382:     3334 cpu-clock: ", "prog", -1, 10623, -1, 49760382000, 3334, "cpu-clock"),
        (":-1    -1 [002] 2.000001: cpu/event=0x3c/: ", ":-1", -1, -1, 2, 2000001000, 1, "cpu/event=0x3c/"),
        ("kw/0:1  44/44 [000] 5.1:  1 sched:x: prev_comm=x y: pid=2", "kw/0:1", 44, 44, 0, 5100000000, 1, "sched:x"),
    ],
)  # fmt: skip
def test_headers(
    header: str, comm: str, pid: int, tid: int, cpu: int, time_ns: int, period: int, event: str
) -> None:
    assert PERF_SCRIPT.detect((header + "\n" + STACK).encode())
    profile = parse(header + "\n" + STACK)
    assert not profile.problems
    samples = profile.samples
    assert len(samples) == 1
    numbers = [int(np.int32(column[0])) for column in (samples.pid, samples.tid, samples.cpu)]
    assert (profile.comms[samples.comm[0]], *numbers) == (comm, pid, tid, cpu)
    assert (int(samples.time_ns[0]), int(samples.weight[0])) == (time_ns, period)
    assert profile.events[samples.event[0]].name == event
    assert len(profile.stacks.frames_of(int(samples.stack[0]))) == 2


def test_names_objects_and_kinds() -> None:
    profile = parse(
        "x 1 2.5: cycles: \n"
        "\t          dd777 v8::Call(int, v8::Handle<v8::Object>*, bool) (/tmp/node-v011)\n"
        "\t           12 LazyCompile:~f file (x86).js:1 (/tmp/perf-7.map)\n"
        "\t           13 (anonymous namespace)::f(int) (/opt/my app (x86)/bin/a)\n"
        "\t           14 operator()() const+0x5 (/memfd:x y (deleted))\n"
        "\t           15 tiny (inlined)\n"
        "\t           16 [unknown] ([unknown])\n"
        "\t           17 [unknown] (/lib/libc.so.6)\n"
        "\t           18  (/lib/libc.so.6)\n"
        "\t           19 ext4_read+0x1 ([ext4])\n"
        "\t           1a no_object\n\n"
    )
    assert not profile.problems and profile.named is not None
    named = list(zip(*profile.named, strict=True))
    assert named == [
        ("v8::Call(int, v8::Handle<v8::Object>*, bool)", "/tmp/node-v011", "user"),
        ("LazyCompile:~f file (x86).js:1", "/tmp/perf-7.map", "jit"),
        ("(anonymous namespace)::f(int)", "/opt/my app (x86)/bin/a", "user"),
        ("operator()() const+0x5", "/memfd:x y (deleted)", "user"),
        ("tiny", "", "inlined"),
        ("[unknown]", "[unknown]", "user"),
        ("[unknown]", "/lib/libc.so.6", "user"),
        ("", "/lib/libc.so.6", "user"),
        ("ext4_read+0x1", "[ext4]", "kernel"),
        ("no_object", "", "user"),
    ]
    resolved = Recording(profile).resolved
    assert [resolved.name(f) for f in (3, 5, 6)] == ["operator()() const", "[unknown]", "[unknown]"]
    assert resolved.offset(3) == 5 and resolved.offset(0) == 0
    assert resolved.places[resolved.place[6]].name == "libc.so.6"
    assert resolved.inlines(0) == [] and resolved.source_line(0) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"f (/a)", (b"f", b"/a")),
        (b"f(int) (/a (b) c)", (b"f(int)", b"/a (b) c")),
        (b"(/a)", (b"", b"/a")),
        (b"f((( (/a)", (b"f(((", b"/a")),
        (b"f ()", (b"f", b"")),
        (b"f", (b"f", b"")),
        (b"f))", (b"f))", b"")),
    ],
)
def test_the_object_is_in_the_last_parentheses(text: bytes, found: tuple[bytes, bytes]) -> None:
    assert split_object(text) == found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("[kernel.kallsyms]", "kernel"), ("/boot/vmlinux", "kernel"), ("/lib/modules/6.1/ext4.ko.xz", "kernel"),
        ("[vdso]", "user"), ("[unknown]", "user"), ("/tmp/perf-12.map", "jit"), ("/x/jitted-1-2.so", "jit"),
        ("/lib/libc.so.6", "user"), ("bpf_prog_6deef7357e7b4530", "kernel"), ("[heap]", "user"),
    ],
)  # fmt: skip
def test_kinds_of_objects(name: str, kind: str) -> None:
    assert kind_of_object(name) == kind


def test_without_call_chains_the_place_is_behind_the_event() -> None:
    profile = parse(
        "            dd 11606  5012.197563:     500000 cpu-clock:ppp:      7fb8433c24ed check+0x19d (/lib/ld.so)\n"
        "            dd 11606  5012.198060:     500000 cpu-clock:ppp:      7fb84311a9a1 __random+0x21 (/lib/libc.so)\n"
    )
    assert not profile.problems
    assert folded(profile) == [("dd;__random", 500000), ("dd;check", 500000)]


def test_comments_blank_lines_carriage_returns_and_source_lines() -> None:
    text = (
        "# ========\n# hostname : box\n# cmdline : /usr/bin/perf record -g -- sleep 1\n# ========\n#\n\n\n"
        f"a 1 2.5: cycles: \n{STACK}\n\na 1 2.6: cycles: \n\t 12 f (/a)\n  dir/file.c:12\n\t 13 g (/a)\n  a[13]\n\n"
    )
    plain = parse(text)
    assert not plain.problems and plain.features["HOSTNAME"] == "box"
    assert Recording(plain).command() == "sleep 1"
    assert folded(plain) == [("a;g;f", 1), ("a;main;do_syscall_64", 1)]
    assert folded(parse(text.replace("\n", "\r\n"))) == folded(plain)


def test_lines_that_are_not_understood_are_counted_and_the_rest_is_kept() -> None:
    profile = parse(f"a 1 2.5: cycles: \n{STACK}what is this\n{STACK}a 1 2.6: cycles: \n!!\n{STACK}")
    assert len(profile.problems) == 1
    problem = profile.problems[0]
    assert isinstance(problem, FormatError) and "2 lines not understood, the first is line 5" in str(problem)
    assert problem.offset == len(f"a 1 2.5: cycles: \n{STACK}")
    assert folded(profile) == [("[unknown];main;do_syscall_64", 1), ("a;main;do_syscall_64", 2)]


def test_a_sample_without_its_end_is_left_out_and_told() -> None:
    whole = f"a 1 2.5: cycles: \n{STACK}"
    profile = parse(whole + whole[:-1])
    assert len(profile.samples) == 1 and "ends within a sample" in str(profile.problems[0])
    assert len(parse(whole + "a 1 2.6: cycles: \n").samples) == 2


def test_the_first_event_is_shown_unless_told() -> None:
    profile = parse(f"a 1 2.5: instructions: \n{STACK}a 1 2.6: 50 cycles: \n{STACK}b 1 2.7: instructions: \n{STACK}")
    assert [text for text, _ in folded(profile)] == ["a;main;do_syscall_64", "b;main;do_syscall_64"]
    assert folded(profile, event="cycles") == [("a;main;do_syscall_64", 50)]
    assert [event.period_unit for event in profile.events] == ["samples", "cycles"]


def test_names_are_tidied() -> None:
    def one(symbol: str, place: str = "/a", comm: str = "x", options: CollapseOptions | None = None) -> str:
        return folded(parse(f"{comm} 1 2.5: cycles: \n\t 12 {symbol} ({place})\n\n"), options)[0][0]

    assert one("f(int, char)") == "x;f"
    assert one("(anonymous namespace)::f(int)") == "x;(anonymous namespace)::f"
    assert one("net/http.(*Client).Do") == "x;net/http.(*Client).Do"
    assert one("a;b") == "x;a:b"
    assert one("say\"hello'") == "x;sayhello"
    assert one("Ljava/lang/Thread;::run", comm="java") == "java;java/lang/Thread:::run"
    shown = one("Ljava/lang/Thread;::run", comm="java", options=CollapseOptions(pid=True))
    assert shown == "java-?;Ljava/lang/Thread:::run"
    assert one("f", comm="Web Content") == "Web_Content;f"
    assert one("A::f->B::g", "/tmp/perf-1.map", options=ALL) == "x;A::f_[j];B::g_[i]"
    assert one("P::operator->() const") == "x;P::operator->"
    assert one("f", "inlined", options=ALL) == "x;f_[i]" and one("f", "inlined") == "x;f"
    assert one("[unknown]", "/x/y (deleted)") == "x;[y]"
    assert one("[unknown]", "/x/y", options=CollapseOptions(addrs=True)) == "x;[y <12>]"


@pytest.mark.parametrize(
    "head",
    [
        b"", b"\0\0\0", b"PERFILE2", b"hello world\n", b"a;b;c 12\n", b"Jan 12 10:00:00 host kernel: foo bar\n",
        b"[   12.345678] foo: bar\n", b"total 12\n-rw-r--r-- 1 root root 12 Jan  1 10:00 x\n",
        b"import os\nx = {1: 2}\n", b"# a title\n\ntext\n", b"key: value\nother 12: thing\n",
    ],
)  # fmt: skip
def test_other_files_are_not_taken_for_it(head: bytes) -> None:
    assert not PERF_SCRIPT.detect(head)


def test_a_header_of_comments_alone_is_enough() -> None:
    """A pipe may hold no more than them when it is looked at."""
    assert PERF_SCRIPT.detect(b"# ========\n# captured on    : Thu Aug 17 14:14:43 2017\n# hostname : x\n# cmdline :")


WORDS = st.sampled_from(
    [
        b"a 1 2.5: cycles: ", b"\t 12 f (/a)", b"\n", b"\n\n", b"  ", b"(", b")", b"[unknown]", b"+0xffffffffffffffff",
        b"99999999999999999999", b"-1/-1", b"[000]", b"1.5:", b":", b"#", b"\r", b"\0", b"\xff", b";", b"->",
        b"deleted)", b"(inlined)", b"sched:x: y=z",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(WORDS, st.binary(max_size=8)), max_size=60))
def test_any_bytes_are_read_or_refused(parts: list[bytes]) -> None:
    data = b"a 1 2.5: cycles: \n\t 12 f (/a)\n\n" + b"".join(parts)
    profile = parse(data)
    assert len(profile.samples) >= 1
    folded(profile, ALL)
    with contextlib.suppress(FormatError):
        read_profile(io.BytesIO(data))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_loses_no_other_sample(data: st.DataObject) -> None:
    blocks = [f"task{i} {i + 1} {i}.5: cycles: \n\t {i + 16:x} f{i} (/a)\n\n".encode() for i in range(20)]
    hurt = data.draw(st.integers(0, 19))
    at = data.draw(st.integers(0, len(blocks[hurt]) - 3))
    blocks[hurt] = blocks[hurt][:at] + bytes([data.draw(st.integers(33, 126))]) + blocks[hurt][at + 1 :]
    profile = parse(b"".join(blocks))
    kept = {profile.comms[c] for c in profile.samples.comm.tolist()}
    assert {f"task{i}" for i in range(20) if i != hurt} <= kept
    assert len(profile.samples) == 20


def test_long_lines_and_large_blocks() -> None:
    """Lines and samples over the borders of blocks."""
    name = "n" * 5000
    text = "".join(f"a 1 {i}.5: cycles: \n\t {i:x} {name}{i % 7} (/a)\n\n" for i in range(1, 700))
    profile = parse(text)
    assert not profile.problems and len(profile.samples) == 699
    rows = folded(profile)
    assert len(rows) == 7 and sum(weight for _, weight in rows) == 699
    assert parse(f"a 1 2.5: cycles: \n\t 12 {'x' * (3 << 20)} (/a)\n\n").problems


@pytest.mark.kernel
@pytest.mark.peer
@pytest.mark.skipif(not shutil.which("perf"), reason="needs perf: apt-get install linux-perf")
@pytest.mark.parametrize(
    ("event", "code"),
    [
        ("cpu-clock", "import json\nfor i in range(300): json.loads(json.dumps(list(range(4000))))"),
        ("page-faults", "x = [bytearray(1 << 16) for i in range(300)]"),
        ("context-switches", "import time\nfor i in range(30): time.sleep(0)"),
    ],
)
def test_a_recording_and_perfs_text_of_it_give_the_same(tmp_path: Path, event: str, code: str) -> None:
    path = tmp_path / "perf.data"
    count = "200000" if event == "cpu-clock" else "1"
    command = ["perf", "record", "-q", "-e", event, "-c", count, "-g", "-o", str(path), sys.executable, "-c", code]
    subprocess.run(command, check=True, capture_output=True)
    ours = open_recording(str(path)).profile
    like_perf = resolve(ours, Symbolizer(plt_like_perf=True))
    for fields in (), ("-F", "+pid"):
        text = subprocess.run(["perf", "script", "--no-inline", "-i", path, *fields], check=True, capture_output=True)
        theirs = parse(text.stdout)
        assert not theirs.problems and len(theirs.samples)
        for name, mode in MODES.items():
            if (name in ("pid", "tid")) == bool(fields):
                assert_same(folded(ours, mode, resolved=like_perf), folded(theirs, mode), name)


def assert_same(ours: list[tuple[str, int]], theirs: list[tuple[str, int]], mode: str) -> None:
    """The same weight in all, and 99 % of it in the same stacks; perf's names of PLT stubs are its own."""
    here, there = dict(ours), dict(theirs)
    total = sum(there.values())
    assert sum(here.values()) == total
    assert sum(min(weight, there.get(text, 0)) for text, weight in here.items()) >= total * 0.99, mode
