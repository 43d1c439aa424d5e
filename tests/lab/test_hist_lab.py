"""Histograms that the kernel counts, beside the same triggers set by hand."""

from __future__ import annotations

import json

import pytest

from linscope.sources.histograms import bucket_start, parse_histograms

pytestmark = pytest.mark.kernel


def by_hand(lab, event: str, trigger: str, command: str) -> str:
    """The event's hist file after a command, in an instance made by hand."""
    return lab.out(
        f"""mkdir $T/instances/byhand; cd $T/instances/byhand
        echo '{trigger}' > events/{event}/trigger; {command}
        sed '' events/{event}/hist
        echo '!{trigger}' > events/{event}/trigger; cd /; rmdir $T/instances/byhand"""
    )


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_counts_are_those_of_the_same_trigger_by_hand(clean) -> None:
    """Keys with text, with modifiers, several values, a filter: a command that always does the same."""
    command = "sh -c 'exec cat /etc/passwd > /dev/null'"
    for event, keys, condition in (
        ("syscalls:sys_enter_read", "keys=count:vals=hitcount,count", ""),
        ("raw_syscalls:sys_enter", "keys=id.syscall:vals=hitcount", " && id != 12"),
        ("syscalls:sys_enter_openat", "keys=flags.hex", ""),
        ("syscalls:sys_enter_read", "keys=count.log2", ""),
    ):
        histogram = f'{keys} if comm == "cat"{condition}'
        theirs = parse_histograms(by_hand(clean, event.replace(":", "/"), f"hist:{histogram}", command))
        ours = rows(clean.out(f"$linscope hist --json '{event}:{histogram}' -- {command}"))
        assert theirs[0].rows
        expected = {str(key[0]): values for key, values in theirs[0].rows}
        names = [f"{name}.sum" if name in theirs[0].keys else name for name in theirs[0].values]
        assert {str(row[theirs[0].keys[0]]): [row[name] for name in names] for row in ours} == expected


def test_buckets_in_order_and_sums(clean) -> None:
    """Values, buckets= and percent: the table's own arithmetic."""
    keys = "keys=count.buckets=500:vals=count"
    text = clean.out(f"$linscope hist --json 'syscalls:sys_enter_read:{keys}' -- cat /etc/passwd")
    table = rows(text)
    starts = [bucket_start(row["count.buckets=500"]) for row in table]
    assert starts == sorted(starts)
    assert all(
        start * row["hitcount"] <= row["count"] <= (start + 499) * row["hitcount"]
        for start, row in zip(starts, table, strict=True)
    )


def test_latency_inside_the_kernel_is_that_of_the_events(clean) -> None:
    """The synthetic event's histogram beside the same pairs found in a recording of the same instance's events."""
    clean.out(
        """$linscope hist --json --latency raw_syscalls:sys_enter..raw_syscalls:sys_exit --if 'id == 35' \\
            -- sh -c 'for i in 1 2 3 4; do sleep 0.03; done' > sleep.json
        $linscope hist --json --latency raw_syscalls:sys_enter..raw_syscalls:sys_exit --if 'id == 230' \\
            -- sh -c 'for i in 1 2 3 4; do sleep 0.03; done' >> sleep.json"""
    )
    table = rows((clean.folder / "sleep.json").read_text())  # nanosleep or clock_nanosleep, by the C library
    assert sum(row["hitcount"] for row in table) == 4
    assert sum(row["lat"] for row in table) >= 4 * 30_000
    assert all(row["lat.log2"] in ("2^15", "2^16", "2^17") for row in table)  # 30 ms and more


def test_wakeup_latency_by_default_keys(clean) -> None:
    out = clean.out("$linscope hist --latency sched_waking..sched_switch -- sh -c 'sleep 0.01; ls / >/dev/null'")
    assert "sched_waking..sched_switch" in out
    assert "█" in out


def test_variables_actions_and_synthetic_events(clean) -> None:
    """onmatch() into a synthetic event, onmax() with save(), a histogram of the synthetic event; all gone after."""
    action = "onmatch(sched.sched_waking).wlat($wl,next_pid,next_comm):onmax($wl).save(next_comm,prev_pid)"
    out = clean.out(
        f"""$linscope hist --json --synthetic 'wlat u64 lat; pid_t pid; char comm[16]' \\
        'sched:sched_waking:keys=pid:ts0=common_timestamp.usecs' \\
        'sched:sched_switch:keys=next_pid:wl=common_timestamp.usecs-$ts0:{action}' \\
        'synthetic:wlat:keys=comm,lat.buckets=100' -- sh -c 'for i in 1 2 3; do sleep 0.01; done'"""
    )
    table = rows(out)
    events = {row["event"] for row in table}
    assert events == {"sched:sched_waking", "sched:sched_switch", "synthetic:wlat"}
    assert any(row.get("next_comm") == "sleep" and row["max"] > 0 for row in table)
    assert any("sleep" in str(row.get("key")) for row in table if row["event"] == "synthetic:wlat")


def test_what_the_kernel_refuses_is_shown_with_its_place(clean) -> None:
    result = clean.sh(
        """$linscope hist 'kmem:kmalloc:keys=nosuch' -- true; echo $?
        $linscope hist 'kmem:kmalloc:vals=bytes_req' -- true; echo $?
        $linscope hist 'kmem:kmaloc:keys=bytes_req' -- true; echo $?
        $linscope hist --synthetic 'bad nosuchtype x' 'kmem:kmalloc:keys=bytes_req' -- true; echo $?"""
    )
    assert result.stdout.split() == ["2", "2", "2", "2"]
    assert "Couldn't find field\n    hist:keys=nosuch\n              ^" in result.stderr
    assert "needs keys" in result.stderr
    assert "did you mean kmem:kmalloc" in result.stderr
    assert "Illegal" in result.stderr or "the synthetic event" in result.stderr


def test_nothing_is_left_after_a_kill(debian) -> None:
    """kill -9 while triggers, a synthetic event and an instance are there; doctor --clean takes back exactly these."""
    out = debian.out(
        """mkdir $T/instances/notours; echo 'notours u64 x' > $T/synthetic_events
        echo 'echo $$ > child; echo $PPID > pid; exec sleep 1000' > work
        $linscope hist --latency sched_waking..sched_switch -- sh work > /dev/null 2>&1 &
        until [ -s pid ]; do busybox usleep 10000; done
        ls $T/instances | wc -l; ls /run/linscope | wc -l; wc -l < $T/synthetic_events
        kill -9 $(cat pid); wait
        ls $T/instances | wc -l
        $linscope doctor --clean
        ls $T/instances; cat $T/synthetic_events; ls /run/linscope | wc -l
        kill $(cat child); rmdir $T/instances/notours; echo '!notours u64 x' > $T/synthetic_events; rm pid"""
    )
    assert out.splitlines()[:4] == ["2", "1", "2", "2"]
    assert "undone: synthetic_events" in out
    assert out.splitlines()[-3:] == ["notours", "notours\tu64 x", "0"]


def test_two_sessions_do_not_disturb_each_other(clean) -> None:
    """Two at once, each with its own instance and synthetic event: each counts its own command only."""
    out = clean.out(
        """for n in 3 5; do
            $linscope hist --json 'syscalls:sys_enter_getppid:keys=common_pid' \\
                -- perl -e "getppid() for 1..$n" > count$n &
        done
        wait
        cat count3 count5"""
    )
    assert [row["hitcount"] for row in rows(out)] == [3, 5]
