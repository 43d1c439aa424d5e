"""Scripts over recordings: order, intervals, what is printed in between, what was not recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from replayed import Made, MadeContents, replay

from linscope.errors import SourceError
from linscope.session.script.replay.contents import Names

SECOND = 1_000_000_000
T = "tracepoint:test:one"


@pytest.fixture(params=["as it was recorded", "as tables"], autouse=True)
def form(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each recording is replayed itself, and from the tables (Parquet) that it is exported to."""
    if request.param == "as tables":
        monkeypatch.setattr(MadeContents, "tables", tmp_path)


def lines(script: str, *made: Made, **how: object) -> list[str]:
    """The lines of the output, without empty ones."""
    contents = MadeContents(made, **how)  # type: ignore[arg-type]
    return [line for line in replay(script, contents)[0].split("\n") if line]


def test_fields_and_what_is_known_of_records() -> None:
    made = Made(5, number=7, small=-3, text=b"hello", pid=10, tid=11, cpu=1, comm=b"me")
    values = "args.number, args.small, args.text, pid, tid, cpu, comm, nsecs"
    script = T + '{ printf("%d %d %s %d %d %d %s %lu\\n", ' + values + ") }"
    assert lines(script, made) == ["7 -3 hello 10 11 1 me 5"]


def test_probes_run_in_the_order_of_time_and_of_the_script() -> None:
    script = (
        'begin { printf("begin\\n") } tracepoint:test:two { printf("two %d\\n", args.number) }'
        + T + '{ printf("one %d\\n", args.number) } '
        + T + '{ printf("again %d\\n", args.number) } end { printf("end\\n") }'
    )  # fmt: skip
    found = lines(script, Made(1, number=1), Made(2, "test:two", 2), Made(3, number=3), window=2)
    assert found == ["begin", "one 1", "again 1", "two 2", "one 3", "again 3", "end"]


@pytest.mark.parametrize("window", [1, 3, 1000])
def test_maps_are_printed_as_they_were_when_they_were_printed(window: int) -> None:
    """Also when a batch holds more events than one."""
    script = T + "{ @n = count(); @k[args.number] = 1; print(@n); if (args.number == 2) { clear(@k) } }"
    found = lines(script, *(Made(n, number=n) for n in range(4)), window=window)
    assert found == ["@n: 1", "@n: 2", "@n: 3", "@n: 4", "@k[3]: 1", "@n: 4"]


def test_intervals_come_at_the_clock_of_the_recording() -> None:
    script = T + '{ @n = count() } interval:s:1 { printf("%d: ", elapsed / 1000000); print(@n); clear(@n) }'
    made = [Made(100 + n * SECOND // 4) for n in range(11)]
    assert lines(script, *made, window=3) == ["1000: @n: 4", "2000: @n: 4", "@n: 3"]


def test_nothing_runs_after_exit_but_end() -> None:
    script = T + '{ printf("%d\\n", args.number); if (args.number == 3) { exit(4) } } end { printf("end\\n") }'
    out, code = replay(script, MadeContents([Made(n, number=n) for n in range(9)]))
    assert out == "0\n1\n2\n3\nend\n\n\n"
    assert code == 4


def test_more_text_than_the_buffer_holds() -> None:
    count = 300_000
    script = T + '{ printf("%s %d\\n", args.text, args.number) }'
    found = lines(script, *(Made(n, number=n, text=b"x" * 90) for n in range(count)), window=100_000)
    assert len(found) == count
    assert found[-1].endswith(f" {count - 1}")


def test_samples_run_profile_and_software_probes() -> None:
    script = 'profile:hz:99 { @p = count() } software:cpu-clock:1000 { printf("%lx %d\\n", reg("ip"), usermode) }'
    found = lines(script, Made(1, "cpu-clock", 0x1234), Made(2, "cpu-clock", 0x5678))
    assert found == ["1234 1", "5678 1", "@p: 2"]


def test_stacks_and_symbols_are_the_recordings() -> None:
    script = T + "{ @[kstack] = count(); @f[ksym(args.number)] = count() }"
    found = lines(script, Made(1, number=0x1004), Made(2, number=0x2000))
    assert found == ["@[", "        first+0", "        second+0", "]: 2", "@f[first]: 1", "@f[second]: 1"]


def test_times_of_day_are_the_recordings() -> None:
    script = T + '{ time("%s\\n"); printf("%s\\n", strftime("%s", nsecs)) }'
    assert lines(script, Made(3 * SECOND), ahead_ns=7 * SECOND) == ["10", "10"]
    assert lines(script, Made(3 * SECOND)) == ["<not recorded>", "<not recorded>"]


# -- what was not recorded


def test_a_value_that_was_not_recorded_is_printed_as_such(capfd: pytest.CaptureFixture[str]) -> None:
    script = T + '{ printf("[%s] [%5d] [%-16d] %d\\n", str(args.pointer), uid, *args.pointer, args.number) }'
    assert lines(script, Made(1, number=9, pointer=0xDEAD0000)) == [
        "[<not recorded>] [<not recorded>] [<not recorded>  ] 9"
    ]
    assert "WARNING: 2 values were not recorded" in capfd.readouterr().err


def test_the_task_was_not_recorded_and_is_no_number() -> None:
    script = T + '{ printf("%p %d\\n", curtask, ppid); @[curtask] = count() } '
    script += 'interval:ms:1 { printf("%s\\n", pcomm); exit() }'
    found = lines(script, Made(1), Made(SECOND))
    assert found == ["<not recorded> <not recorded>", "<not recorded>", "@[<not recorded>]: 1"]


def test_only_the_part_of_a_tuple_that_was_not_recorded() -> None:
    assert lines(T + "{ print((uid, args.number, str(args.pointer))) }", Made(1, number=4, pointer=0x1000)) == [
        "(<not recorded>, 4, <not recorded>)"
    ]


def test_keys_that_were_not_recorded_are_one_entry() -> None:
    script = T + "{ @[uid, args.number] = count(); @u[gid] = sum(args.number); @s[str(args.pointer)] = count() }"
    found = lines(script, Made(1, number=2, pointer=1 << 40), Made(2, number=2, pointer=2 << 40))
    assert found == ["@[<not recorded>, 2]: 2", "@s[<not recorded>]: 2", "@u[<not recorded>]: 4"]


def test_keys_some_of_which_were_recorded() -> None:
    script = T + "{ if (args.number) { @[args.number] = count() } else { @[(uint64)*args.pointer] = count() } }"
    found = lines(script, Made(1, number=2), Made(2, pointer=1 << 40), Made(3, number=2), Made(4, number=3))
    assert found == ["@[<not recorded>]: 1", "@[3]: 1", "@[2]: 2"]


def test_a_condition_that_is_not_known_runs_neither_branch() -> None:
    script = T + "{ if (uid == 0) { @yes = count() } else { @no = count() } @all = count() } "
    assert lines(script + T + " /uid/ { @p = count() }", Made(1)) == ["@all: 1", "@no: 0", "@p: 0", "@yes: 0"]


def test_what_is_not_known_is_not_added() -> None:
    assert lines(T + "{ @s = sum(uid); @h = hist(uid); @n = stats(args.number) }", Made(1, number=6)) == [
        "@h:", "@n: { .count = 1, .average = 6, .total = 6 }", "@s: 0",
    ]  # fmt: skip


def test_variables_and_values_of_maps_carry_it_on() -> None:
    script = '{ $a = uid + 1; @v[args.number] = $a; printf("%d %d\\n", $a, @v[args.number] * 2); $a = 3; print($a) }'
    assert lines(T + script, Made(1, number=5)) == ["<not recorded> <not recorded>", "3", "@v[5]: <not recorded>"]


def test_loops_end_where_their_condition_is_not_known() -> None:
    script = T + "{ $i = 0; while ($i < uid) { $i++; if ($i > 9) { break } } print($i) }"
    assert lines(script, Made(1)) == ["0"]


def test_loops_over_maps_see_plain_values() -> None:
    script = T + "{ @[args.number] = uid; @[7] = 1; for ($kv : @) { print($kv) } }"
    assert lines(script, Made(1, number=5)) == ["(7, 1)", "@[7]: 1"]


def test_the_process_of_a_recording_with_threads_only() -> None:
    assert lines(T + '{ printf("%d %d\\n", pid, tid) }', Made(1, pid=4, tid=5), has_process=False) == [
        "<not recorded> 5"
    ]


def test_names_of_workers_are_their_own() -> None:
    """Recorders take names from /proc, which adds what a worker does."""
    names = Names()
    names.name(7, b"kworker/1:2-events_long")
    names.name(8, b"kworker/u8:0+flush-8:0")
    names.name(9, b"kworker/R-rcu_gp")
    ids = np.array([7, 8, 9], np.uint32)
    assert names.texts(names.at(ids), ids, ids).tolist() == [b"kworker/1:2", b"kworker/u8:0", b"kworker/R-rcu_g"]


def test_json() -> None:
    script = T + '{ printf("%d\\n", uid); @[uid] = 1; @x = uid }'
    out, _ = replay(script, MadeContents([Made(1)]), json=True)
    assert out.splitlines() == [
        '{"type": "printf", "data": "<not recorded>\\n"}',
        '{"type": "map", "data": {"@": {"<not recorded>": 1}}}',
        '{"type": "map", "data": {"@x": "<not recorded>"}}',
    ]


# -- probes that a recording does not have


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("tracepoint:test:on { exit() }", "tracepoint not recorded: test:on"),
        ("tracepoint:none:* { exit() }", "No recorded tracepoint matches none:*"),
        ("kprobe:vfs_read { exit() }", "kprobe probes are not in a recording"),
        ("profile:hz:99 { exit() }", "no samples of profile:hz:99 were recorded"),
    ],
)
def test_probes_that_were_not_recorded(script: str, what: str) -> None:
    with pytest.raises(SourceError, match=r".") as raised:
        replay(script, MadeContents([Made(1)]))
    assert what in str(raised.value)


def test_wildcards_stand_for_what_was_recorded() -> None:
    found = lines("tracepoint:test:* { @[probe] = count() }", Made(1), Made(2, "test:two"), Made(3, "test:two"))
    assert found == ["@[tracepoint:test:one]: 1", "@[tracepoint:test:two]: 2"]


def test_a_function_whose_condition_is_not_known_gives_nothing_that_is() -> None:
    """Not the number of the call before it either."""
    known = "fn f($x: uint64): int64 { if ($x) { return 5; } return 6; } "
    script = known + T + '{ printf("%d %d\\n", f(args.number), f(uid)); if (f(uid) == 6) { @never = count() } }'
    assert lines(script, Made(1, number=1), Made(2)) == ["5 <not recorded>", "6 <not recorded>", "@never: 0"]
