"""linscope events stream: the lines of script, in time order, at once, until somebody has seen enough."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linscope.formats.trace_dat.container import read_container
from linscope.formats.trace_dat.live import LiveEvents
from linscope.formats.trace_dat.parts import read_contents
from linscope.formats.trace_dat.writer import TraceDatContents
from linscope.views.live_events import live_event_rows

LINSCOPE = [sys.executable, "-m", "linscope"]
PAGE = os.sysconf("SC_PAGE_SIZE")

# Two threads on two CPUs that wake each other; some calls between.
PING_PONG = """
import os, threading
cpus = sorted(os.sched_getaffinity(0))
a, b = os.pipe(), os.pipe()
def run(at):
    os.sched_setaffinity(0, [cpus[at % len(cpus)]])
    r, w = (a[0], b[1]) if at else (b[0], a[1])
    if not at: os.write(w, b"x")
    for _ in range(400):
        os.read(r, 1); os.getppid(); os.write(w, b"x")
threads = [threading.Thread(target=run, args=(at,)) for at in (0, 1)]
for one in threads: one.start()
for one in threads: one.join()
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace.dat with events of two CPUs, stacks, and a mark."""
    if os.geteuid() != 0:
        pytest.skip("needs CAP_PERFMON: run the tests as root")
    path = tmp_path_factory.mktemp("stream") / "trace.dat"
    words = ["record", "-e", "sched:*", "-e", "raw_syscalls", "--trigger", "stacktrace:20", "-o", str(path)]
    script = 'echo mark > "$LINSCOPE_TRACE_MARKER"; exec "$@"'
    words += ["--file-version", "7", "--", "sh", "-c", script, "sh", sys.executable, "-c", PING_PONG]
    done = subprocess.run([*LINSCOPE, "events", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return path


def replay(path: Path, cuts: list[int], *, late: int = 0) -> str:
    """The text of a recording whose pages come in pieces, round by round.

    cuts: how many pages of each CPU a round brings, again and again; late: a CPU that has only half as many to give.
    """
    data = path.read_bytes()
    container = read_container(data, str(path))
    (buffer,) = container.buffers
    events = LiveEvents(read_contents(data, str(path)), buffer.clock, buffer.page_size)
    cmdlines = "".join(f"{pid} {name}\n" for pid, name in container.cmdlines.items()).encode()
    left = {one.cpu: data[one.offset : one.offset + one.size] for one in buffer.cpus}

    def batches() -> Iterator[object]:
        at = 0
        while any(left.values()):
            events.begin_round()
            for cpu in left:
                pages = cuts[at % len(cuts)] // (2 if cpu == late else 1)
                at += 1
                part, left[cpu] = left[cpu][: pages * PAGE], left[cpu][pages * PAGE :]
                events.add(cpu, part, whole=not left[cpu])
            if events.take():
                events.set_names(cmdlines)
                yield events.profile
        if events.take(last=True):
            events.set_names(cmdlines)
            yield events.profile

    rows = live_event_rows(batches, lambda: 0)  # type: ignore[arg-type]
    assert rows.text is not None
    return "".join(rows.text())


@pytest.mark.kernel
@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.integers(0, 1))
def test_lines_are_those_of_script_in_the_same_order(recorded: Path, cuts: list[int], late: int) -> None:
    """However the pages come: the same text as that of the recording, which is sorted as a whole."""
    expected = subprocess_script(recorded)
    assert len(expected.splitlines()) > 3_000
    assert replay(recorded, [2 * cut for cut in cuts], late=late) == expected


_SCRIPTS: dict[Path, str] = {}


def subprocess_script(path: Path) -> str:
    """What linscope script prints."""
    if path not in _SCRIPTS:
        done = subprocess.run([*LINSCOPE, "script", str(path)], capture_output=True, text=True, check=True)
        _SCRIPTS[path] = done.stdout
    return _SCRIPTS[path]


def page(time: int) -> bytes:
    """A page of the ring with one event, of type 1."""
    record = struct.pack("=HBBi", 1, 0, 0, 7)
    event = struct.pack("=I", len(record) // 4) + record  # type_len: words of data; no time since the page's
    return struct.pack("=QQ", time, len(event)) + event.ljust(PAGE - 16, b"\0")


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 2)), max_size=60),
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
)
def test_no_event_overtakes_another(happened: list[tuple[int, int]], pauses: list[int]) -> None:
    """Three CPUs, read one after the other while time goes on; each gives what has happened until then."""
    form = "name: e\nID: 1\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    events = LiveEvents(TraceDatContents(formats={"test": [form.encode()]}), "local", PAGE)
    left = sorted(happened)
    shown: list[int] = []
    now = 0
    whole_rounds = [*pauses, 1000, *[0] * (-(len(pauses) + 1) % 3 + 3)]
    for at, pause in enumerate(whole_rounds):
        cpu = at % 3
        if cpu == 0:
            if at:
                events.take()
                shown += np.sort(events.profile.samples.time_ns).tolist()
            events.begin_round()
        now += pause
        there = [one for one in left if one[1] == cpu and one[0] <= now]
        left = [one for one in left if one not in there]
        events.add(cpu, b"".join(page(time) for time, _ in there), whole=True)
    events.take()
    shown += np.sort(events.profile.samples.time_ns).tolist()
    for cpu in range(3):
        events.add(cpu, b"".join(page(time) for time, which in left if which == cpu), whole=True)
    events.take(last=True)
    shown += np.sort(events.profile.samples.time_ns).tolist()
    assert shown == sorted(time for time, _ in happened)


def stream(*words: str, **options: object) -> subprocess.Popen[str]:
    """Start linscope events stream."""
    command = [*LINSCOPE, "events", "stream", *words]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, text=True, **{**pipes, **options})  # type: ignore[call-overload,no-any-return]


@pytest.mark.kernel
@pytest.mark.usefixtures("needs_root", "nothing_is_left")
class TestLive:
    """On the running kernel."""

    def test_an_event_is_shown_while_the_command_still_runs(self) -> None:
        """The command waits for us, and we for the line."""
        script = 'echo "are you there?" > "$LINSCOPE_TRACE_MARKER"; read answer; exit $answer'
        child = stream("-e", "sched:sched_process_exit", "--", "sh", "-c", script)
        assert child.stdout is not None
        line = child.stdout.readline()
        assert re.fullmatch(r" +sh-\d+ +\[\d+\] +\d+\.\d{6}: print: +tracing_mark_write: are you there\?\n", line)
        rest, errors = child.communicate("23\n")
        assert child.returncode == 23, errors
        assert re.search(r"sched_process_exit: +comm=sh ", rest)

    def test_objects_come_one_by_one(self) -> None:
        child = stream("-f", "json", "-e", "sched:sched_process_exec", "--", "sh", "-c", "read x; exec true")
        assert child.stdout is not None
        first = json.loads(child.stdout.readline())
        assert first["event"] == "sched:sched_process_exec"
        assert first["fields"]["pid"] == first["tid"]
        assert first["fields"]["filename"].endswith("/sh")
        rest, _ = child.communicate("\n")
        (last,) = map(json.loads, rest.splitlines())
        assert last["fields"]["filename"].endswith("/true")
        assert (last["tid"], last["time_ns"] > first["time_ns"]) == (first["tid"], True)

    def test_every_call_is_shown_in_time_order(self) -> None:
        child = stream("-e", "raw_syscalls:sys_enter", "--filter", "id == 110", "--", sys.executable, "-c", PING_PONG)
        out, errors = child.communicate()
        assert child.returncode == 0, errors
        times = [float(time) for time in re.findall(r" +(\d+\.\d{6}): sys_enter:", out)]
        assert len(times) == 800
        assert times == sorted(times)

    def test_a_closed_pipe_ends_it_without_noise(self) -> None:
        """And the command, which would run for ever."""
        script = "echo $$ > $0; while :; do /bin/true; done"
        read_end, write_end = os.pipe()
        child = stream(
            *("-e", "sched:sched_process_exec", "--", "sh", "-c", script, f"/proc/self/fd/{write_end}"),
            pass_fds=(write_end,),
            close_fds=True,
        )
        os.close(write_end)
        assert child.stdout is not None
        assert "sched_process_exec" in child.stdout.readline()
        child.stdout.close()
        assert child.wait() == 0
        assert child.stderr is not None
        assert child.stderr.read() == ""
        os.close(read_end)

    def test_interrupted(self) -> None:
        child = stream("-e", "sched:sched_process_exec", "--", "sh", "-c", "exec sleep 1000")
        assert child.stdout is not None
        while "sleep" not in child.stdout.readline():
            pass
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate()
        assert (child.returncode, errors) == (130, "")

    def test_losses_stand_where_they_were_and_are_summed_up(self) -> None:
        """A reader that is stopped while its buffer overflows."""
        code = "import os\nos.sched_setaffinity(0, [0])\nos.kill(os.getppid(), 19)\n"
        code += "for _ in range(20000): os.getppid()\nos.kill(os.getppid(), 18)"
        words = ("-e", "raw_syscalls:sys_enter", "-m", "16K", "-C", "0")
        child = stream(*words, "--", sys.executable, "-c", code)
        out, errors = child.communicate()
        assert "EVENTS DROPPED]" in out
        told = re.search(r"([\d,]+) events LOST", errors)
        assert told is not None
        shown = len(re.findall("sys_enter:", out))
        assert int(told[1].replace(",", "")) + shown > 20_000
        assert shown < 20_000
        child = stream("-f", "json", *words, "--", sys.executable, "-c", code)
        rows = [json.loads(line) for line in child.communicate()[0].splitlines()]
        assert next(row["cpu"] for row in rows if row["event"] == "lost") == 0

    def test_without_events(self) -> None:
        for words, text in ((("--", "true"), "no event to show"), (("-e", "sched:sched_switch"), "nothing to trace")):
            child = stream(*words)
            assert text in child.communicate()[1]
            assert child.returncode == 2
