"""Whole recordings: both byte orders, groups read with their leader, time order, directories, records passed over."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import perf_oracle
import pytest
from perf_data_writer import Pipe

from linscope.abi import perf_event as pe
from linscope.columns.profile import Profile
from linscope.formats.perf_data.reader import open_perf_data

BASIC = pe.PERF_SAMPLE_IP | pe.PERF_SAMPLE_TID | pe.PERF_SAMPLE_TIME | pe.PERF_SAMPLE_ID | pe.PERF_SAMPLE_PERIOD
needs_perf = pytest.mark.skipif(perf_oracle.PERF is None, reason="apt-get install linux-perf")


def read(data: bytes | Path) -> Profile:
    with open_perf_data(io.BytesIO(data) if isinstance(data, bytes) else str(data)) as opened:
        return opened.read()


def path_of(profile: Profile, row: int) -> str:
    """Path of the mapping that a sample's address lies in."""
    frames = profile.stacks.frames_of(int(profile.samples.stack[row]))
    (frame,) = (frame for frame in frames if frame < len(profile.frames))
    address = int(profile.frames.address[frame])
    space = profile.spaces[int(profile.frames.space[frame])]
    return next((m.path for m in space.mappings if m.start <= address < m.end), "")


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders(order: str) -> None:
    pipe = Pipe(order)
    pipe.event(0, BASIC, [100, 101])
    pipe.event(2, BASIC, [200])
    trailer = pipe.pack("IIQQ", 7, 8, 5, 0)
    pipe.record(3, 0, pipe.pack("II", 7, 8) + pipe.text("worker") + trailer)
    pipe.record(1, 2, pipe.pack("iIQQQ", 7, 7, 0x1000, 0x1000, 0x3000) + pipe.text("/bin/a") + trailer)
    for time, one, address, weight in ((10, 101, 0x1234, 50), (20, 200, 0x1238, 60), (30, 100, 0x9000, 70)):
        pipe.record(9, 2, pipe.pack("QIIQQQ", address, 7, 8, time, one, weight))
    pipe.record(2, 0, pipe.pack("QQ", 200, 12) + pipe.pack("IIQQ", 7, 8, 25, 200))
    profile = read(pipe.data())
    samples = profile.samples
    assert not profile.problems
    assert [event.name for event in profile.events] == ["cpu-clock:HG", "page-faults:HG"]
    assert samples.event.tolist() == [0, 1, 0]
    assert samples.weight.tolist() == [50, 60, 70]
    assert samples.time_ns.tolist() == [10, 20, 30]
    assert (samples.pid.tolist(), samples.tid.tolist()) == ([7] * 3, [8] * 3)
    assert [profile.comms[i] for i in samples.comm.tolist()] == ["worker"] * 3
    assert [path_of(profile, row) for row in range(3)] == ["/bin/a", "/bin/a", ""]
    assert [(loss.time_ns, loss.lost, loss.event) for loss in profile.losses] == [(25, 12, 1)]


def test_records_of_several_cpus_are_taken_by_time() -> None:
    """What one CPU's buffer holds comes before what another one's does: time decides what was mapped."""
    pipe = Pipe()
    pipe.event(0, BASIC & ~pe.PERF_SAMPLE_ID, [1])
    for time in (10, 60):
        pipe.record(9, 2, pipe.pack("QIIQQ", 0x1234, 7, 7, time, 1))
    for time, path in ((50, "/new"), (5, "/old")):
        trailer = pipe.pack("IIQ", 7, 7, time)
        pipe.record(1, 2, pipe.pack("iIQQQ", 7, 7, 0x1000, 0x1000, 0) + pipe.text(path) + trailer)
    profile = read(pipe.data())
    assert [path_of(profile, row) for row in range(2)] == ["/old", "/new"]


def test_two_processes_with_the_same_addresses() -> None:
    """One chain, two programs: the stacks' frames lie in different spaces."""
    pipe = Pipe()
    pipe.event(0, BASIC & ~pe.PERF_SAMPLE_ID, [1])
    for pid in (7, 8):
        trailer = pipe.pack("IIQ", pid, pid, 1)
        pipe.record(1, 2, pipe.pack("iIQQQ", pid, pid, 0x1000, 0x1000, 0) + pipe.text(f"/bin/{pid}") + trailer)
    for time, pid in ((10, 7), (20, 8), (30, 7)):
        pipe.record(9, 2, pipe.pack("QIIQQ", 0x1234, pid, pid, time, 1))
    profile = read(pipe.data())
    assert [path_of(profile, row) for row in range(3)] == ["/bin/7", "/bin/8", "/bin/7"]
    assert profile.samples.stack[0] == profile.samples.stack[2] != profile.samples.stack[1]


def test_a_group_read_with_its_leader() -> None:
    """Each member's weight is the change of its count; none without a change."""
    pipe = Pipe()
    form = pe.PERF_FORMAT_ID | pe.PERF_FORMAT_GROUP
    kind = pe.PERF_SAMPLE_IP | pe.PERF_SAMPLE_TIME | pe.PERF_SAMPLE_ID | pe.PERF_SAMPLE_READ
    pipe.event(0, kind, [100], form)
    pipe.event(2, kind, [200], form)
    for time, leader, member in ((1, 1000, 5), (2, 1500, 5), (3, 2500, 9)):
        pipe.record(9, 2, pipe.pack("8Q", 0x10, time, 100, 2, leader, 100, member, 200))
    profile = read(pipe.data())
    assert profile.record_counts[9] == 3
    samples = profile.samples
    rows = list(zip(samples.time_ns.tolist(), samples.event.tolist(), samples.weight.tolist(), strict=True))
    assert rows == [(1, 0, 1000), (1, 1, 5), (2, 0, 500), (3, 0, 1000), (3, 1, 4)]


def weights(profile: Profile) -> dict[str, tuple[int, int]]:
    """(samples, weight) by event."""
    found = {}
    for number, event in enumerate(profile.events):
        mine = profile.samples.event == number
        if mine.any():
            found[event.name] = (int(mine.sum()), int(profile.samples.weight[mine].sum()))
    return found


BUSY = "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); done; while [ $i -lt 40100 ]; do i=$((i+1)); : $(echo); done"


@needs_perf
@pytest.mark.peer
@pytest.mark.kernel
@pytest.mark.parametrize(
    "options",
    ["-e {cpu-clock,page-faults}:S", "-e cpu-clock,page-faults,context-switches -c 1000", "-z -e cpu-clock -g"],
)
def test_weights_are_perfs(tmp_path: Path, options: str) -> None:
    path = tmp_path / "perf.data"
    command = ["perf", "record", "-q", "-F", "2000", *options.split(), "-o", str(path), "--", "sh", "-c", BUSY]
    if "-c" in options.split():
        del command[3:5]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    with open_perf_data(str(path)) as opened:
        profile, attrs = opened.read(), opened.attrs
    theirs: dict[str, tuple[int, int]] = {}
    for sample in perf_oracle.samples(path, attrs):
        count, weight = theirs.get(sample.event, (0, 0))
        theirs[sample.event] = (count + 1, weight + (sample.period or 0))
    if not theirs or not any(weight for _, weight in theirs.values()):  # a fixed period is not in the samples
        assert {name: count for name, (count, _) in weights(profile).items()} == {n: c for n, (c, _) in theirs.items()}
    else:
        assert weights(profile) == theirs


@needs_perf
@pytest.mark.peer
@pytest.mark.kernel
def test_a_directory_and_records_that_are_only_counted(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    options = "--threads -e cpu-clock -F 1000 --namespaces --all-cgroups --switch-events".split()
    command = ["perf", "record", "-q", *options, "-o", str(path), "--", "sh", "-c", BUSY]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert path.is_dir()
    profile = read(path)
    assert profile.record_counts == perf_oracle.record_counts(path)
    assert len(profile.samples) > 0
    assert {14, 16, 19} <= profile.record_counts.keys()  # SWITCH, NAMESPACES, CGROUP
    assert not profile.problems
