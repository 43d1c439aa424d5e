"""Folded stacks: FlameGraph's own results, reading what was written, and what a file may hold besides."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linscope.analysis.collapse import ALL, CollapseOptions, collapse
from linscope.columns.profile import Profile
from linscope.contracts import ReadOptions
from linscope.errors import FormatError, InputError
from linscope.formats import read_profile
from linscope.formats.folded import FOLDED, frame_text, write_folded
from linscope.recording import EVERYTHING, Recording

ROOT = Path(__file__).resolve().parents[2]
CONFORMANCE = ROOT.parent / "shared" / "conformance" / "folded"
MODES = {
    "addrs": CollapseOptions(addrs=True),
    "all": ALL,
    "jit": CollapseOptions(jit=True),
    "kernel": CollapseOptions(kernel=True),
    "pid": CollapseOptions(pid=True),
    "tid": CollapseOptions(tid=True),
}
RESULTS = sorted(path.name for path in (CONFORMANCE / "results").glob("*.txt"))


def read(data: bytes) -> Profile:
    return FOLDED.read(io.BytesIO(data), ReadOptions(where="stacks"))


def write(profile: Profile, options: CollapseOptions | None = None) -> bytes:
    recording = Recording(profile)
    rows = recording.mask_of(EVERYTHING, recording.event_number(EVERYTHING))
    out = io.BytesIO()
    write_folded(collapse(profile, recording.resolved, rows, profile.samples.weight, options), out)
    return out.getvalue()


def test_all_results_are_there(conformance: Path) -> None:
    assert len(RESULTS) == 78 and (conformance / "folded").is_dir()


@pytest.mark.parametrize("result", RESULTS)
def test_the_results_of_stackcollapse_perf(result: str) -> None:
    name, _, mode = result.removesuffix(".txt").rpartition("-collapsed-")
    profile = read_profile(CONFORMANCE / f"{name}.txt")
    assert write(profile, MODES[mode]) == (CONFORMANCE / "results" / result).read_bytes()


@pytest.mark.parametrize("result", [name for name in RESULTS if name.endswith("-all.txt")])
def test_reading_and_writing_changes_nothing(result: str) -> None:
    data = (CONFORMANCE / "results" / result).read_bytes()
    assert FOLDED.detect(data[: 64 << 10])
    profile = read(data)
    assert not profile.problems
    assert write(profile, ALL) == data


NAMES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", " ", "a b", "f(int)", 'say "x"', "[unknown]", "a->b", "x 12", "_[k]", "f+0x12", "\ufffd"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=6), st.integers(0, 2**40)), max_size=20))
def test_what_is_written_is_read(stacks: list[tuple[list[str], int]]) -> None:
    rows = [(";".join(map(frame_text, names)), weight) for names, weight in stacks]
    rows = [(text.encode("utf-8", "replace").decode(), weight) for text, weight in rows if text]
    rows.insert(0, ("no;number", 1))  # else names that all end in a number are a column of weights
    out = io.BytesIO()
    write_folded(rows, out)
    profile = read(out.getvalue())
    expected: dict[str, int] = {}
    for text, weight in rows:
        expected[text] = expected.get(text, 0) + weight
    lines = [f"{text} {weight}\n".encode() for text, weight in expected.items()]
    assert len(profile.samples) == len(rows)
    assert sorted(write(profile, ALL).splitlines()) == sorted(b"".join(lines).splitlines())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    FOLDED.detect(data)
    write(read(b"a;b 1\n" + data), ALL)
    with contextlib.suppress(InputError):
        read_profile(io.BytesIO(data))


def test_kinds_and_names() -> None:
    profile = read(b"java;call_stub_[j];f->g_[i];read_[k];a b (c) 7\r\n\nswapper 3")
    assert profile.named is not None and not profile.problems
    found = dict(zip(profile.named.symbols, profile.named.kinds, strict=True))
    assert found == {"call_stub": "jit", "f->g": "inlined", "read": "kernel", "a b (c)": "user"}
    assert write(profile) == b"java;call_stub;f->g;read;a b (c) 7\nswapper 3\n"
    assert [profile.comms[c] for c in profile.samples.comm.tolist()] == ["java", "swapper"]


def test_fractions_are_rounded_and_two_columns_told() -> None:
    profile = read(b"a;b 1.6\na;c 2\n")
    assert profile.samples.weight.tolist() == [2, 2] and "rounded" in str(profile.problems[0])
    profile = read(b"a;b 3 5\na;c 1 0\n")
    assert profile.samples.weight.tolist() == [5, 0] and "the last one is taken" in str(profile.problems[0])
    assert write(profile) == b"a;b 5\na;c 0\n"
    assert not read(b"a;b 3 5\na;c 0\n").problems  # a name that ends in a number


def test_lines_that_are_not_understood_are_counted() -> None:
    profile = read(b"a;b 1\nwithout a weight\na;c 99999999999999999999\n# a comment\na;d -2\na;e 4\n")
    assert profile.samples.weight.tolist() == [1, 4]
    problem = profile.problems[0]
    assert isinstance(problem, FormatError) and problem.offset == 6
    assert "3 lines not understood, the first is line 2" in str(problem)


@pytest.mark.parametrize(
    "head",
    [
        b"", b"\n\n", b"\0", b"\x7fELF", b"PERFILE2", b"hello\n", b"a 12\nb 13\n", b"x;y;z\n",
        b"int f() { return 1; }\n",
        b"a;b 1\nfor (i = 0; i < 2; i++)\n", b"date;value\n2020;1.5\n", b"  a;b 12\n",
    ],
)  # fmt: skip
def test_other_files_are_not_taken_for_it(head: bytes) -> None:
    assert not FOLDED.detect(head)


@pytest.mark.parametrize("head", [b"a;b 1\n", b"a;b;c 12\nmain 3\n", b"a;b c 1.5\n", b"a;b 1\na;c 2\nlonger;lin"])
def test_folded_stacks_are_known_by_content(head: bytes) -> None:
    assert FOLDED.detect(head)


# the command


def export(*words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "linscope", "export", *words]
    return subprocess.run(command, capture_output=True, check=False, **more)  # type: ignore[call-overload,no-any-return]


INPUT = str(CONFORMANCE / "perf-iperf-stacks-pidtid-01.txt")


@pytest.mark.parametrize("mode", ["pid", "tid"])
def test_pid_is_a_mode_alone_and_a_filter_with_a_number(mode: str, tmp_path: Path) -> None:
    golden = (CONFORMANCE / "results" / f"perf-iperf-stacks-pidtid-01-collapsed-{mode}.txt").read_bytes()
    for words in ((INPUT, "--to", "folded", f"--{mode}"), ("--to", "folded", f"--{mode}", INPUT)):
        assert export(*words).stdout == golden
    out = tmp_path / "out"
    done = export(INPUT, "--to", "folded", f"--{mode}", "-o", str(out), "--comm", "iperf")
    assert done.returncode == 0 and not done.stdout
    assert out.read_bytes() == b"".join(x for x in golden.splitlines(keepends=True) if x.startswith(b"iperf"))
    some = export(INPUT, "--to", "folded", "--pid", "27409", "--tid").stdout
    assert some and all(line.startswith(b"iperf-27409/") for line in some.splitlines())


def test_weights() -> None:
    path = str(CONFORMANCE / "perf-dd-stacks-01.txt")
    for weight, total in (("period", 101010100), ("samples", 10)):
        lines = export(path, "--to", "folded", "--weight", weight).stdout.splitlines()
        assert sum(int(line.rsplit(b" ", 1)[1]) for line in lines) == total


def test_what_cannot_be_done_is_told(tmp_path: Path) -> None:
    done = export(INPUT, "--to", "folded", "-o", "/dev/full")
    assert done.returncode == 1 and b"No space left" in done.stderr
    done = export(INPUT, "--to", "folded", "-o", str(tmp_path / "no" / "such"))
    assert done.returncode == 1 and b"cannot write the stacks" in done.stderr
    done = export(INPUT, "--to", "nothing")
    assert done.returncode == 2
    done = export(INPUT, "--to", "folded", "--pid", "x")
    assert done.returncode == 2 and b"not a list of numbers" in done.stderr


def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "linscope", "export", INPUT, "--to", "folded"]
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0 and b"Traceback" not in done.stderr and b"bug" not in done.stderr


def test_other_events_are_named() -> None:
    done = export(str(CONFORMANCE / "perf-cycles-instructions-01.txt"), "--to", "folded")
    assert b"only instructions is written; also recorded: cycles" in done.stderr
