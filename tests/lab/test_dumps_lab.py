"""Dumps beside what the same kernel said of itself just before: tasks, stacks, modules, log; moved by KASLR or not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from linscope.crash.session import Session
from linscope.kernel.printk import iter_messages
from linscope.kernel.task import iter_tasks, task_state
from linscope.lab.guest import Guest, GuestOptions
from linscope.target.kernel import open_kernel

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

# what the kernel says of itself, as JSON
SAYS = r"""
import json, os, subprocess
def read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
tasks = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    for tid in os.listdir(f"/proc/{pid}/task"):
        stat = read(f"/proc/{pid}/task/{tid}/stat")
        name, _, rest = stat.partition("(")[2].rpartition(") ")
        words = rest.split()
        stack = [line.split()[1].partition("+")[0] for line in read(f"/proc/{pid}/task/{tid}/stack").splitlines()]
        comm = read(f"/proc/{pid}/task/{tid}/comm")[:-1]
        tasks[tid] = [int(pid), comm, words[0], int(words[1]), int(words[17]), stack]
print(json.dumps({
    "tasks": tasks, "modules": sorted(line.split()[0] for line in read("/proc/modules").splitlines()),
    "log": subprocess.run(["dmesg"], capture_output=True, text=True).stdout.splitlines(),
    "release": os.uname().release, "text": read("/proc/kallsyms").partition(" T _stext\n")[0].rpartition("\n")[2],
    "irqs": read("/proc/interrupts"), "mounts": read("/proc/mounts"), "slabs": read("/proc/slabinfo"),
}))
"""


class Dump(NamedTuple):
    """A session over a dump, and what the kernel had said."""

    session: Session
    said: dict[str, Any]


@pytest.fixture(scope="module", params=["elf", "kdump-zlib kaslr"])
def dump(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dump]:
    form, _, append = request.param.partition(" ")
    request.getfixturevalue("debian")  # QEMU is there, and the kernel
    folder = tmp_path_factory.mktemp("dump")
    with Guest(GuestOptions(kernel="debian", cpus=2, memory="512M", append=append)) as guest:
        done = guest.run(["python3", "-c", SAYS], timeout_s=60)
        assert done.exit_code == 0, done
        guest.dump(str(folder / "vmcore"), form)
    with open_kernel(str(folder / "vmcore")) as kernel:
        yield Dump(Session(kernel), json.loads(done.stdout))
    (folder / "vmcore").unlink()


def test_tasks(dump: Dump) -> None:
    found = {}
    for task in iter_tasks(dump.session.kernel):
        parent = int(task.real_parent.tgid)
        threads = int(task.signal.nr_threads)
        found[str(int(task.pid))] = [int(task.tgid), task.comm.string_(), task_state(task), parent, threads]
    said = {pid: facts[:5] for pid, facts in dump.said["tasks"].items()}
    common = found.keys() & said.keys()
    assert len(common) >= len(said) - 5  # those that asked have ended
    for pid in common:
        assert said[pid][1].startswith(found[pid][1])  # threads of the kernel have longer names in /proc only
        found[pid][1] = said[pid][1]
        if found[pid][2] in "ZX":
            continue  # it has ended since
        assert found[pid][2] == said[pid][2] or "R" in (found[pid][2], said[pid][2])
        assert found[pid][:2] + found[pid][3:] == said[pid][:2] + said[pid][3:], pid


def test_stacks_of_sleeping_tasks(dump: Dump) -> None:
    """The kernel shows no functions of the scheduler itself, and none of inlined parts."""
    kernel, same, others = dump.session.kernel, 0, []
    for task in iter_tasks(kernel):
        said = dump.said["tasks"].get(str(int(task.pid)))
        if said is None or not said[5] or task_state(task) == "R":
            continue
        names = []
        for frame in dump.session.stacks.of(task).frames:
            place = kernel.place_of(frame.pc) if kernel.is_text(frame.pc) else None
            if place is not None:
                names.append(place.symbol)
        shown = [name for name in names if not re.fullmatch(r"_*schedule\w*|io_schedule\w*|preempt_schedule\w*", name)]
        wanted = [name for name in said[5] if not re.fullmatch(r"_*schedule\w*|io_schedule\w*", name)]
        if shown == wanted:
            same += 1
        else:
            others.append((task.comm.string_(), shown, wanted))
    assert same >= 30
    # what went to sleep elsewhere between the two: workers and what the command was run by
    assert len(others) <= 4, others


def test_modules_and_where_the_kernel_is(dump: Dump) -> None:
    kernel = dump.session.kernel
    assert sorted(module.name for module in kernel.modules) == dump.said["modules"]
    assert kernel.info.release == dump.said["release"]
    assert f"{kernel.symbol('_stext'):016x}" == dump.said["text"]


def test_the_log(dump: Dump) -> None:
    texts = [
        (f"[{message.time_ns // 10**9:5d}.{message.time_ns % 10**9 // 1000:06d}] " if not place else " " * 15) + line
        for message in iter_messages(dump.session.kernel)
        for place, line in enumerate(message.text.split("\n"))
    ]
    said = dump.said["log"]
    assert texts[: len(said)] == said and len(texts) <= len(said) + 3


def test_interrupts(dump: Dump) -> None:
    from linscope.kernel.interrupts import iter_interrupts

    names = {str(one.number): one.names for one in iter_interrupts(dump.session.kernel) if one.actions}
    for line in dump.said["irqs"].splitlines()[1:]:
        number, _, rest = line.strip().partition(":")
        if number.isdigit():
            assert rest.rstrip().endswith(", ".join(names.pop(number)))
    assert not names
