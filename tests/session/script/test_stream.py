"""``linscope.trace`` and `linscope trace -f parquet`: what a script tells, as Arrow."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import linscope
from linscope.errors import SourceError, UsageError
from linscope.lang import ir
from linscope.lang import types as t
from linscope.session.script.batches import Batch
from linscope.session.script.columns import Statement, split_arguments, unique
from linscope.session.script.folder import file_name
from linscope.session.script.resolver import Resolver

Run = Callable[..., tuple[int, str, str]]
BUSY = [
    sys.executable,
    "-c",
    "import os, time\nend = time.time() + 0.5\nwhile time.time() < end: os.getppid(); time.sleep(0.0002)",
]
GETPPID = "tracepoint:syscalls:sys_enter_getppid /pid == cpid/"


def test_names_of_columns() -> None:
    assert split_arguments('("%s,)", comm, f(a[1, 2], "x\\"") , $y )') == ['"%s,)"', "comm", 'f(a[1, 2], "x\\"")', "$y"]
    assert split_arguments("[pid, comm] = count()") == ["pid", "comm"]
    assert split_arguments("(never closed") == []
    assert split_arguments("x") == []
    assert unique(["a", "", "a", "a"]) == ["a", "value", "a_2", "a_3"]
    assert [file_name(one) for one in ("@", "@us", "printf-3")] == ["map", "map-us", "printf-3"]


def test_records_become_columns() -> None:
    text = 'begin { printf("%d %s %d", pid, comm, $x); }'
    span = (text.index("printf"), text.index(";"))
    event = ir.Event("printf", (t.INT64, t.String(16), t.Int(2)), b"", span=span)
    unit = ir.Unit(text, "x", [], [event], [], {}, [])
    statement = Statement(unit, event, Resolver({}))
    number, length, small = (-5).to_bytes(8, "little", signed=True), (2).to_bytes(4, "little"), b"\x07\x00"
    batch = statement.batch([bytes(8) + number + length + small + b"ab"] * 2)
    assert batch.schema.names == ["pid", "comm", "x"]
    assert batch.schema.types == [pa.int64(), pa.string(), pa.int16()]
    assert batch.to_pylist() == [{"pid": -5, "comm": "ab", "x": 7}] * 2


def test_numbers_are_taken_all_at_once() -> None:
    event = ir.Event("printf", (t.Int(1, False), t.INT64), b"")
    statement = Statement(ir.Unit("", "x", [], [event], [], {}, []), event, Resolver({}))
    records = [bytes(8) + bytes([n]) + bytes(7) + (n - 3).to_bytes(8, "little", signed=True) for n in range(5)]
    assert statement.batch(records).to_pydict() == {"value_0": [0, 1, 2, 3, 4], "value_1": [-3, -2, -1, 0, 1]}


@pytest.fixture
def live(run: Run) -> None:
    """Skips where programs are not for us to load."""


@pytest.mark.kernel
@pytest.mark.usefixtures("live")
def test_batches_by_statement_and_maps() -> None:
    program = f"""
        begin {{ printf("start\\n"); warnf("careful %d", 1); }}
        {GETPPID} {{ @n[comm, pid] = count(); @h = hist(5); printf("%s %d %d", comm, pid, -1); print((tid, "x")); }}
        interval:ms:50 {{ print(@h); time("%Y"); }}
        end {{ printf("end"); print(3); }}"""
    rows: dict[str, int] = {}
    first: dict[str, Batch] = {}
    with linscope.trace(program, command=BUSY) as session:
        for batch in session:
            assert len(batch) == batch.to_arrow().num_rows
            assert len(batch) or batch.kind == "map"  # printed before anything was in it
            rows[batch.name] = rows.get(batch.name, 0) + len(batch)
            first.setdefault(batch.name, batch)
        now = session.maps["@n"].to_arrow()
    assert session.exit_code is None
    assert {"printf-2", "printf-3", "print-3", "@h", "time", "printf-5", "print-5", "warnf"} == set(rows)
    assert first["printf-3"].kind == "printf"
    assert first["printf-3"].to_arrow().schema.names == ["comm", "pid", "value"]
    assert first["print-3"].to_arrow().schema.names == ["tid", "value"]
    assert first["warnf"].to_arrow().to_pylist() == [{"text": "careful 1", "line": 2}]
    assert first["print-5"].to_arrow().to_pylist() == [{"value": 3}]
    assert now.schema.names == ["comm", "pid", "count"]
    count = now.to_pylist()[0]["count"]
    assert rows["printf-3"] + session.lost_events >= count == session.maps["@n"].to_arrow()["count"][0].as_py()
    assert session.maps["@h"].to_arrow().to_pylist() == [{"low": 4, "high": 8, "count": count}]


@pytest.mark.kernel
@pytest.mark.usefixtures("live")
def test_all_kinds_of_maps() -> None:
    program = (
        'begin { @i = 3; @s = sum(-2); @m = max(7); @a = avg(4); @st["k"] = stats(5); @l = lhist(25, 0, 20, 10);'
        ' @t = tseries(9, 1s, 5); @u = (1, "b"); @r[(a=1, b="c")] = 1; @k[kstack(2)] = count(); exit(7); }'
    )
    with linscope.trace(program) as session:
        assert list(session) == []
    assert session.exit_code == 7
    found = {name: view.to_arrow().to_pylist() for name, view in session.maps.items()}
    assert found["@i"] == [{"value": 3}]
    assert found["@s"] == [{"sum": -2}]
    assert found["@m"] == [{"max": 7}]
    assert found["@a"] == [{"avg": 4}]
    assert found["@st"] == [{"key": "k", "count": 1, "average": 5, "total": 5}]
    assert found["@l"] == [{"low": 20, "high": None, "count": 1}]
    assert found["@t"][0]["value"] == 9
    assert abs(found["@t"][0]["time"].timestamp() - time.time()) < 30
    assert found["@u"] == [{"value": {"0": 1, "1": "b"}}]
    assert found["@r"] == [{"a": 1, "b": "c", "value": 1}]
    assert len(found["@k"]) == 1


@pytest.mark.kernel
@pytest.mark.usefixtures("live")
def test_sessions_in_threads_end_by_duration_and_by_stop() -> None:
    done: list[str] = []

    def lasting() -> None:
        with linscope.trace("interval:ms:20 { @n = count(); }", duration="300ms") as session:
            list(session)
        done.append(f"{session.maps['@n'].to_arrow()['count'][0].as_py() > 3}")

    def stopped() -> None:
        with linscope.trace("interval:s:1000 { @n = count(); }") as session:
            timer = threading.Timer(0.2, session.stop)
            timer.start()
            list(session)
            timer.join()
        done.append("stopped")

    threads = [threading.Thread(target=one) for one in (lasting, stopped)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)
    assert sorted(done) == ["True", "stopped"]


@pytest.mark.kernel
@pytest.mark.usefixtures("live")
def test_what_is_wrong_is_an_error_and_nothing_stays_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(SourceError, match="nothing_like_this"), linscope.trace("begin { nothing_like_this(); }"):
        pass
    with pytest.raises(UsageError, match="no process"), linscope.trace("begin { }", pid=4_000_000):
        pass
    with pytest.raises(UsageError, match="cannot run"), linscope.trace("begin { }", command=["/no/such/command"]):
        pass
    with pytest.raises(UsageError, match="cannot read"):
        linscope.trace("nowhere.bt")
    with pytest.raises(UsageError, match="does not run"):
        next(iter(linscope.trace("begin { }")))
    with pytest.raises(ZeroDivisionError), linscope.trace("interval:ms:1 { print(1); }") as session:
        for _ in session:
            raise ZeroDivisionError
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.kernel
def test_a_folder_of_parquet_files(run: Run, tmp_path: Path) -> None:
    program = f'{GETPPID} {{ @n[pid] = count(); printf("%s %d", comm, pid); }} end {{ print("last"); }}'
    path = tmp_path / "busy.py"
    path.write_text(BUSY[2])
    folder = tmp_path / "out"
    code, out, _ = run("-f", "parquet", "-o", str(folder), "-e", program, "-c", f"{sys.executable} {path}")
    assert (code, out) == (0, "")
    assert sorted(one.name for one in folder.iterdir()) == ["map-n.parquet", "print-1.parquet", "printf-1.parquet"]
    events = pq.read_table(folder / "printf-1.parquet")
    assert events.schema.names == ["read_time", "comm", "pid"]
    count = pq.read_table(folder / "map-n.parquet")["count"][0].as_py()
    assert 0 < events.num_rows <= count
    assert pq.read_table(folder / "print-1.parquet")["value"].to_pylist() == ["last"]


@pytest.mark.kernel
def test_parquet_needs_a_folder(run: Run, tmp_path: Path) -> None:
    code, _, err = run("-f", "parquet", "-e", "begin { exit(); }")
    assert code == 1
    assert "-o DIR" in err
    (tmp_path / "file").write_text("")
    code, _, err = run("-f", "parquet", "-o", str(tmp_path / "file"), "-e", "begin { exit(); }")
    assert code == 1
    assert "cannot make the folder" in err
