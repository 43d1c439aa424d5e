"""What a replay writes beside text: pictures on the recording's clock, files of typed columns."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from replayed import Made, MadeContents

from linscope.lang.bpftrace.options import Options
from linscope.session.script.output import Output
from linscope.session.script.replay.plan import compile_for
from linscope.session.script.replay.runner import Replay
from linscope.session.script.replay.to_parquet import export_parquet
from linscope.session.script.sampling import Sampler
from linscope.session.script.stack_rows import stack_rows

SECOND = 1_000_000_000
T = "tracepoint:test:one"
AHEAD = 1_700_000_000 * SECOND  # of wall time


def made_replay(script: str, made: list[Made], **how: Any) -> Replay:
    """A script over made-up events, before it runs; its output goes nowhere."""
    contents = MadeContents(made, **how)
    plan = compile_for(contents, script, "test", Options(start_ns=contents.start_ns or 0))
    return Replay(plan, contents, Output(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)), quiet=True)


def linscope(*words: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "linscope", *words], capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stderr
    return done


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """20 events, a tenth of a second apart."""
    made = [Made(5 * SECOND + n * SECOND // 10, number=1 << n % 4, comm=b"c%d" % (n % 2)) for n in range(20)]
    export_parquet(MadeContents(made, ahead_ns=AHEAD), str(tmp_path / "tables"))
    return str(tmp_path / "tables")


# -- heat


@pytest.mark.parametrize("window", [1, 4, 1000])
def test_histograms_are_looked_at_on_the_recordings_clock(window: int) -> None:
    made = [Made(SECOND + n * SECOND // 4, number=4) for n in range(9)]
    script = T + "{ @h = hist(args.number) } interval:s:1 { if (@i++ == 0) { clear(@h) } }"
    run = made_replay(script, made, window=window, ahead_ns=7)
    run.sampler = sampler = Sampler(run.script_maps.values(), SECOND // 2)
    run.run()
    (samples,) = sampler.samples
    assert [(column, count) for column, _, _, count in samples.grown] == [(0, 2), (1, 2), (2, 2), (3, 2), (4, 1)]
    assert sampler.started_wall_ns == SECOND + 7
    assert run.seconds == 2.0


def test_a_heat_map(recording: str, tmp_path: Path) -> None:
    out = tmp_path / "heat.txt"
    script = T + "{ @us[comm] = hist(args.number) }"
    done = linscope("trace", "--replay", recording, "--heat", str(out), "--heat-interval", "200ms", "-e", script)
    assert "@us is drawn" in done.stderr
    text = out.read_text()
    assert "a column is 200 ms" in text
    assert "time from 1700000005" in text
    assert "1.9 s" in text


# -- flame


def test_a_flame_graph(recording: str, tmp_path: Path) -> None:
    out = tmp_path / "flame.txt"
    script = T + "{ @[comm, kstack] = sum(args.number); @n = count() }"
    done = linscope("trace", "--replay", recording, "--flame", str(out), "-e", script)
    assert "@n: 20" in done.stdout
    assert "first" not in done.stdout
    text = out.read_text()
    assert "second → first" in text
    assert "c0" in text


def test_keys_that_were_not_recorded_have_a_label() -> None:
    script = T + "{ @[uid, kstack] = count(); @v[kstack] = uid }"
    run = made_replay(script, [Made(1), Made(2)])
    run.run()
    maps = {one.name: one for one in run.script_maps.values()}
    (row,) = stack_rows(maps["@"], run.resolver)
    assert [frame.name for frame in row.frames] == ["<not recorded>", "second", "first"]
    assert row.weight == 2
    assert stack_rows(maps["@v"], run.resolver) == []


def test_a_script_without_such_a_map_is_refused(recording: str, tmp_path: Path) -> None:
    for option in ("--flame", "--heat"):
        words = ("trace", "--replay", recording, option, str(tmp_path / "x.html"), "-e", T + "{ @ = count() }")
        assert "no map of the script" in linscope(*words, expected=1).stderr


# -- files


def test_typed_columns(recording: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = (
        T + '{ printf("%d %s %d %s", args.number, comm, uid, str(args.pointer)); print((args.small, uid, nsecs)); '
        '@c[comm, uid] = sum(args.number); @v[comm] = uid; @t = nsecs; printf("%s", strftime("%s", nsecs)) } '
    )
    done = linscope("trace", "--replay", recording, "-f", "parquet", "-o", str(out), "-e", script)
    assert done.stdout == ""
    rows = pq.read_table(out / "printf-1.parquet").to_pylist()
    assert len(rows) == 20
    assert {name: rows[1][name] for name in ("args.number", "comm", "uid", "str(args.pointer)")} == {
        "args.number": 2, "comm": "c1", "uid": None, "str(args.pointer)": None,
    }  # fmt: skip
    when = [row["read_time"].timestamp() - AHEAD / SECOND for row in rows]
    assert when == sorted(when)
    assert 5 <= when[0] <= when[-1] <= 7
    row = pq.read_table(out / "print-1.parquet").to_pylist()[19]
    assert (row["args.small"], row["uid"], row["nsecs"]) == (0, None, 69 * SECOND // 10)
    assert [list(row.values())[1:] for row in pq.read_table(out / "map-c.parquet").to_pylist()] == [
        ["c0", None, 25], ["c1", None, 50],
    ]  # fmt: skip
    assert [list(row.values())[1:] for row in pq.read_table(out / "map-v.parquet").to_pylist()] == [
        ["c0", None], ["c1", None],
    ]  # fmt: skip
    at = pq.read_table(out / "printf-1-2.parquet").to_pylist()[0]['strftime("%s", nsecs)']
    assert at == datetime.datetime.fromtimestamp(AHEAD // SECOND + 5, datetime.UTC)


def test_without_wall_time_there_is_no_time(tmp_path: Path) -> None:
    export_parquet(MadeContents([Made(1)]), str(tmp_path / "tables"))
    words = ("trace", "--replay", str(tmp_path / "tables"), "-f", "parquet", "-o", str(tmp_path / "out"), "-e")
    linscope(*words, T + '{ printf("%s %d", strftime("%s", nsecs), pid) }')
    (row,) = pq.read_table(tmp_path / "out" / "printf-1.parquet").to_pylist()
    assert row == {"read_time": None, 'strftime("%s", nsecs)': None, "pid": 100}


def test_elements_of_tuples_inside_of_values(recording: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = T + "{ print((comm, (uid, args.small))); $x = (uid, args.number); print($x) }"
    linscope("trace", "--replay", recording, "-f", "parquet", "-o", str(out), "-e", script)
    row = pq.read_table(out / "print-1.parquet").to_pylist()[0]
    assert row["comm"] == "c0"
    assert None in row.values()


def test_parquet_needs_a_folder(recording: str) -> None:
    refused = linscope("trace", "--replay", recording, "-f", "parquet", "-e", T + "{ @ = count() }", expected=1)
    assert "-o DIR" in refused.stderr
