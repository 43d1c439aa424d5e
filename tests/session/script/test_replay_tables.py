"""Recordings as tables (linscope export --to parquet): a script prints the same over them as over the recording."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from replayed import Made, MadeContents, replay

from linscope.columns.profile import Loss
from linscope.errors import FormatError, LinscopeError, OutputError, UsageError
from linscope.session.script.replay.contents import Wanted, Window
from linscope.session.script.replay.main import list_recorded, open_contents
from linscope.session.script.replay.to_parquet import export_parquet

CONFORMANCE = Path(__file__).resolve().parents[4] / "shared" / "conformance"
TRACE_DAT = CONFORMANCE / "trace-dat" / "raw_trace.dat"
PERF_DATA = CONFORMANCE / "perf-data"
needs_conformance = pytest.mark.skipif(not TRACE_DAT.exists(), reason="needs ../shared/conformance")
needs_perf = pytest.mark.skipif(shutil.which("perf") is None or os.geteuid() != 0, reason="needs perf and root")
T = "tracepoint:test:one"


def tables(made: list[Made], folder: Path, **how: object) -> Path:
    """The tables of made-up events."""
    export_parquet(MadeContents(made, **how), str(folder))  # type: ignore[arg-type]
    return folder


def check(recording: Path, folder: Path, scripts: tuple[str, ...]) -> None:
    """A recording and its tables give the same, byte by byte."""
    export_parquet(open_contents(str(recording)), str(folder))
    for script in scripts:
        whole, code = replay(script, open_contents(str(recording)))
        assert len(whole) > 3
        assert replay(script, open_contents(str(folder))) == (whole, code)


@needs_conformance
def test_a_trace_dat(tmp_path: Path) -> None:
    check(TRACE_DAT, tmp_path / "tables", (
        "tracepoint:sched:sched_switch { @[args.prev_comm] = count(); @t[tid == args.prev_pid]++; "
        r'printf("%lu %d %d %s %s %ld\n", nsecs, cpu, tid, comm, args.next_comm, args.prev_state) }',
        r'tracepoint:ftrace:bprint { @[ksym(args.ip), pid] = count() } interval:ms:1 { printf("%d\n", elapsed) }',
    ))  # fmt: skip


@needs_conformance
@pytest.mark.parametrize("path", sorted(PERF_DATA.glob("perf.data.*")), ids=lambda path: path.name)
def test_the_samples_of_old_recordings(path: Path, tmp_path: Path) -> None:
    contents = open_contents(str(path))
    names = [name for name, is_tracepoint in zip(contents.events, contents.is_tracepoint, strict=True)
             if not is_tracepoint and name.startswith(("cycles", "cpu-cycles", "cpu-clock"))]  # fmt: skip
    script = (
        "profile:hz:99 { @n = count(); @c[comm, usermode] = count(); @p[pid, tid, cpu] = count(); "
        'printf("%lu %lx\\n", nsecs, reg("ip")); @s[kstack, ustack] = count() }'
    )
    scripts = (script,) if names else ("begin { print(1) } interval:s:1 { exit() }",)
    check(path, tmp_path / "tables", scripts)


@needs_perf
def test_a_recording_of_perf_with_all_kinds_of_events(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    program = (
        "import os, ctypes; ctypes.CDLL(None).prctl(15, b'n\\xff\\xfe', 0, 0, 0); os.system('ls / >/dev/null; true')"
    )
    events = "sched:sched_switch,sched:sched_process_exec,raw_syscalls:sys_enter,cpu-clock,page-faults,kmem:kmalloc"
    subprocess.run(
        ["perf", "record", "-q", "-g", "-e", events, "-o", str(path), "--", sys.executable, "-S", "-E", "-c", program],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    check(path, tmp_path / "tables", (
        "tracepoint:raw_syscalls:sys_enter { @[comm, args.id] = count(); @u[ustack(3)] = count(); "
        "@a = sum(args.args[1]) }",
        r'tracepoint:sched:sched_process_exec { printf("%s %d %d %s\n", args.filename, args.old_pid, pid, comm) }'
        r'tracepoint:sched:sched_switch { printf("%s %s %lu\n", args.prev_comm, args.next_comm, nsecs); print(args) }',
        "profile:hz:99 { @[kstack, comm] = count() } software:page-faults:1 { @p[ustack, pid] = count() }"
        "interval:ms:10 { print(@); clear(@) }",
        r'tracepoint:kmem:kmalloc { @[kstack(2)] = sum(args.bytes_alloc); time("%H:%M:%S "); '
        "@h = hist(args.bytes_req) }",
        r'tracepoint:syscalls:sys_enter_openat { printf("%d %lx %s\n", args.flags, args.filename, comm) }',
    ))  # fmt: skip


@needs_perf
@pytest.mark.kernel
def test_a_recording_for_a_script_keeps_what_it_read(tmp_path: Path) -> None:
    path, data = tmp_path / "script.bt", tmp_path / "recorded.data"
    path.write_text(
        r'BEGIN { printf("%d %d %s %llu\n", cpid, uid, comm, nsecs) } '
        r'tracepoint:syscalls:sys_enter_openat /pid == cpid/ { printf("%s %s\n", str(args.filename), username); '
        "@f[tid] = args.filename; @u[ustack(3)] = count() } tracepoint:syscalls:sys_exit_openat /@f[tid]/ { "
        r'printf("%s %d\n", str(@f[tid]), args.ret); delete(@f, tid) } interval:ms:5 { @i++; printf("%d\n", @i) } '
        r'profile:hz:997 { @p[comm] = count() } END { printf("%llu\n", nsecs) }'
    )
    workload = [sys.executable, "-S", "-E", str(Path(__file__).with_name("workload.py"))]
    words = [sys.executable, "-m", "linscope", "trace"]
    live = subprocess.run(
        [*words, "--record-for", str(path), "-o", str(data), "--", *workload], check=True, capture_output=True
    ).stdout  # fmt: skip
    export_parquet(open_contents(str(data)), str(tmp_path / "tables"))
    words += ["--replay", str(tmp_path / "tables"), str(path)]
    again = subprocess.run(words, check=True, capture_output=True)
    assert sorted(again.stdout.splitlines()) == sorted(live.splitlines())
    assert b"not recorded" not in again.stdout + again.stderr


def test_what_the_tables_say(tmp_path: Path) -> None:
    folder = tables(
        [Made(5, number=2**63, small=-3, text=b"hello", pid=10, tid=11, cpu=1, comm=b"n\xff"), Made(7, "cpu-clock", 9)],
        tmp_path / "new",
    )
    (row,) = pq.read_table(folder / "events" / "test.one.parquet").to_pylist()
    assert row == {
        "row": 0, "time_ns": 5, "cpu": 1, "pid": 10, "tid": 11, "comm": "n\N{REPLACEMENT CHARACTER}",
        "comm_bytes": b"n\xff", "stack": 0, "common_flags": 0, "common_preempt_count": 0, "common_pid": 11,
        "number": 2**63, "small": -3, "text": "hello", "pointer": 0, "record": None,
    }  # fmt: skip
    (sample,) = pq.read_table(folder / "samples.parquet").to_pylist()
    assert (sample["event"], sample["row"], sample["address"], sample["mode"]) == ("cpu-clock", 1, 9, 2)
    (stack,) = pq.read_table(folder / "stacks.parquet").to_pylist()
    assert stack == {"stack": 0, "kernel": [0x1000, 0x2000], "user": []}
    symbols = pq.read_table(folder / "kallsyms.parquet").to_pylist()
    assert symbols[0] == {"address": 0x1000, "name": "first", "module": None, "type": "T"}
    assert replay(T + '{ printf("%r\\n", comm) }', open_contents(str(folder)))[0].startswith("n\\xff")


def test_one_table_alone(tmp_path: Path) -> None:
    folder = tables([Made(n, number=n, comm=b"c%d" % (n % 2)) for n in range(6)], tmp_path / "new")
    table = folder / "events" / "test.one.parquet"
    out, _ = replay(T + "{ @[comm] = sum(args.number); @k[kstack] = count() }", open_contents(str(table)))
    assert [line for line in out.split("\n") if line] == ["@[c0]: 6", "@[c1]: 9", "@k[<not recorded>]: 6"]


def test_rows_that_were_taken_out_and_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table is replayed as it is now, whoever wrote it, as long as its schema says what it is."""
    folder = tables([Made(n, number=n) for n in range(9)], tmp_path / "new")
    place = folder / "events" / "test.one.parquet"
    table = pq.read_table(place)
    table = table.filter(pa.compute.greater(table["number"], 5)).drop_columns(["comm_bytes", "record"])
    table = table.set_column(table.schema.names.index("cpu"), "cpu", pa.array([300] * len(table), pa.int64()))
    pq.write_table(table, place)
    out, _ = replay(T + '{ printf("%d %d,", args.number, cpu) }', open_contents(str(folder)))
    assert out == "6 300,7 300,8 300,\n\n"
    assert list_recorded(str(folder), "") == 0
    assert capsys.readouterr().out == f"{T}\n"


def test_more_rows_than_a_batch_in_several_tables(tmp_path: Path) -> None:
    """All come in the order in which they were recorded, also those of one time."""
    kinds = ("test:one", "test:two", "cpu-clock")
    made = [Made(n // 7, kinds[(n * n // 5) % 3], n) for n in range(150_000)]
    folder = tables(made, tmp_path / "new", window=40_000)
    numbers = []
    contents = open_contents(str(folder))
    for window in contents.windows(Wanted((True,) * 3, samples=True)):
        assert isinstance(window, Window)
        raw = np.frombuffer(window.data, np.uint8)
        at = window.at.astype(np.int64)
        is_record = window.size > 0
        values = window.address.copy()
        values[is_record] = raw[(at[is_record] + 8)[:, None] + np.arange(8)].view(np.uint64)[:, 0]
        numbers.append(values)
    order = np.concatenate(numbers).tolist()
    assert order == [one.number for one in sorted(made, key=lambda one: one.time_ns)]


def test_losses_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    contents = MadeContents([Made(1)])
    contents.losses = [Loss(1, 0, 5, -1), Loss(1, 0, 7, 0, of_event=True)]
    export_parquet(contents, str(tmp_path / "new"))
    replay(T + "{ @ = count() }", open_contents(str(tmp_path / "new")))
    assert "WARNING: 7 events were lost when it was recorded" in capfd.readouterr().err


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(OutputError, match="something already"):
        tables([Made(1)], tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


def test_nothing_is_left_of_what_went_wrong(tmp_path: Path) -> None:
    contents = MadeContents([Made(1)])
    contents.read_format = lambda system, event: None  # type: ignore[method-assign,assignment]
    contents.windows = lambda wanted: iter([None])  # type: ignore[method-assign,assignment,list-item]
    with pytest.raises(AttributeError):
        export_parquet(contents, str(tmp_path / "new"))
    assert not list(tmp_path.iterdir())


def damaged(place: Path) -> None:
    whole = bytearray(place.read_bytes())
    whole[4:60] = bytes(56)
    place.write_bytes(whole)


def without_metadata(place: Path) -> None:
    pq.write_table(pq.read_table(place).replace_schema_metadata({}), place)


def unsorted(place: Path) -> None:
    pq.write_table(pq.read_table(place).take(pa.array([2, 1, 0])), place)


def without_a_column(place: Path) -> None:
    pq.write_table(pq.read_table(place).drop_columns(["small"]), place)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (damaged, "the table is damaged"),
        (lambda place: place.write_bytes(b"PAR1 and then nothing"), "no Parquet"),
        (without_metadata, "no table of a recording"),
        (unsorted, "rows are not in order"),
        (without_a_column, "there is no column"),
    ],
    ids=["damaged", "cut off", "no metadata", "unsorted", "a column is missing"],
)
def test_tables_that_cannot_be_replayed(change: object, what: str, tmp_path: Path) -> None:
    folder = tables([Made(n, number=n) for n in range(3)], tmp_path / "new")
    place = folder / "events" / "test.one.parquet"
    change(place)  # type: ignore[operator]
    with pytest.raises(FormatError, match=what):
        replay(T + '{ printf("%d\\n", args.number) }', open_contents(str(place)))


def test_a_folder_without_tables(tmp_path: Path) -> None:
    with pytest.raises((LinscopeError, OSError)):
        open_contents(str(tmp_path))
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(LinscopeError):
        open_contents(str(tmp_path))


def linscope(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "linscope", *words], capture_output=True, text=True, check=False
    )  # fmt: skip


@needs_conformance
def test_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    words = ("export", str(TRACE_DAT), "--to", "parquet", "-o", str(folder))
    done = linscope(*words, "--cpu", "1", "--comm", "^trace-cmd")
    assert done.returncode == 0, done.stderr
    table = pq.read_table(folder / "events" / "sched.sched_switch.parquet")
    assert set(table["cpu"].to_pylist()) == {1}
    assert set(table["comm"].to_pylist()) == {"trace-cmd"}
    assert f"{len(table)} samples and events in {folder}" in done.stderr
    assert "something already" in linscope(*words).stderr
    for words, what in (
        ((), "-o DIR"), (("-o", "x", "--dso", "a"), "--dso says nothing"), (("-o", "x", "--event", "none"), "no event"),
        (("-o", "x", "--time", "1%,2%"), "takes seconds"),
    ):  # fmt: skip
        refused = linscope("export", str(TRACE_DAT), "--to", "parquet", *words)
        assert (refused.returncode, what in refused.stderr) == (2, True), refused.stderr


def test_what_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recording"):
        path = tmp_path / "text"
        path.write_text("text")
        open_contents(str(path))


# -- all that reads recordings reads tables


@needs_perf
def test_reports_and_scripts_of_tables_are_those_of_the_recording(tmp_path: Path) -> None:
    path, folder = tmp_path / "perf.data", tmp_path / "tables"
    events = "sched:sched_switch,raw_syscalls:sys_enter,cpu-clock"
    words = ("perf", "record", "-q", "-g", "-e", events, "-o", str(path), "--", "sh", "-c")
    subprocess.run([*words, "ls -R /usr/share/doc >/dev/null"], check=True, stderr=subprocess.DEVNULL)
    assert linscope("export", str(path), "--to", "parquet", "-o", str(folder)).returncode == 0
    ours, theirs = (linscope("script", str(one)).stdout for one in (folder, path))
    assert len(ours) > 1000
    assert ours == theirs
    for event in events.split(","):
        words = ("--event", event, "--no-children", "-g", "none", "--sort", "comm,dso,sym")
        ours, theirs = (linscope("report", str(one), *words).stdout for one in (folder, path))
        assert sorted(ours.splitlines()) == sorted(theirs.splitlines())
    alone = linscope("script", str(folder / "events" / "sched.sched_switch.parquet"), "-F", "comm,tid,time,event,trace")
    assert alone.returncode == 0, alone.stderr
    assert "next_comm=" in alone.stdout


@needs_conformance
def test_tables_of_a_trace_dat_as_a_recording(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    export_parquet(open_contents(str(TRACE_DAT)), str(folder))
    ours, theirs = (
        linscope("script", str(one), "--event", "sched:sched_switch", "-F", "tid,time,event,trace").stdout
        for one in (folder, TRACE_DAT)
    )
    assert len(ours.splitlines()) == 755
    assert ours == theirs
