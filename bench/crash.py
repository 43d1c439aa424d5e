"""A dump: ps, all stacks, the log and the modules, beside drgn with DWARF, and crash to its prompt, in the same run.

usage: bench/crash.py DUMP VMLINUX [PYTHON-WITH-DRGN]
The answers are compared first: a difference ends it.  Without arguments: ../shared's dump, beside nothing.
Goals (issue 6): ps + foreach bt + log + one struct <= 0.9 s and <= 120 MB; wall <= 0.8x of drgn's, 1/8 of crash's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import LINSCOPE, ROOT, Cost, median

SHARED = ROOT.parent / "shared" / "dumps" / "debian-6.1-lzo.kdump"
OURS = ("ps", "foreach bt", "log", "struct task_struct 1")


def line(name: str, peer: Cost | None, ours: Cost, goal: str) -> None:
    """Wall time and memory."""
    beside = "" if peer is None else f"peer {peer.wall_s:6.2f} s {peer.peak_mb:5.0f} MB   "
    ratio = "" if peer is None else f"wall ratio {ours.wall_s / peer.wall_s:5.2f}x   "
    print(f"{name:<28} {beside}ours {ours.wall_s:5.2f} s {ours.peak_mb:5.0f} MB   {ratio}goal {goal}", flush=True)


def ours_of(dump: str) -> dict[str, Any]:
    """The same that crash_drgn.py prints, by our library."""
    from linscope.kernel.printk import iter_messages
    from linscope.kernel.stacks import Stacks
    from linscope.kernel.task import iter_tasks, task_state
    from linscope.target.kernel import open_kernel

    with open_kernel(dump) as kernel:
        stacks = Stacks(kernel)
        tasks = [
            [int(task.pid), int(task.tgid), task.comm.string_(), task_state(task), task.address_,
             [frame.pc for frame in stacks.of(task).frames]]
            for task in iter_tasks(kernel)
        ]  # fmt: skip
        log = [message.text for message in iter_messages(kernel)]
        modules = sorted(module.name for module in kernel.modules)
        return {"tasks": tasks, "log": log, "modules": modules, "cpus": len(kernel.cpus())}


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """What is not the same."""
    found = [name for name in ("log", "modules", "cpus") if theirs[name] != ours[name]]
    first, second = ({task[4]: task for task in one["tasks"]} for one in (theirs, ours))
    for address in sorted(first.keys() | second.keys()):
        if first.get(address) != second.get(address):
            found.append(f"task {address:#x}:\n  drgn {first.get(address)}\n  ours {second.get(address)}")
    return found


def main() -> int:
    """Compare, then measure."""
    dump = sys.argv[1] if len(sys.argv) > 1 else str(SHARED)
    words = [LINSCOPE, "crash", dump, *(word for one in OURS for word in ("-c", one))]
    if len(sys.argv) < 3:
        line("ps, foreach bt, log, struct", None, median(words, 5), "0.9 s, 120 MB")
        return 0
    vmlinux = sys.argv[2]
    python = sys.argv[3] if len(sys.argv) > 3 else sys.executable
    drgn = [python, str(Path(__file__).with_name("crash_drgn.py"))]
    theirs = json.loads(subprocess.run([*drgn, "facts", dump, vmlinux], check=True, capture_output=True).stdout)
    ours = ours_of(dump)
    found = differences(theirs, ours)
    frames = sum(len(task[5]) for task in ours["tasks"])
    print(f"{len(ours['tasks'])} tasks, {frames} frames, {len(ours['log'])} messages, {len(ours['modules'])} modules: "
          f"{len(found)} differences from drgn")  # fmt: skip
    print("\n".join(found[:10]))
    peer = median([*drgn, "text", dump, vmlinux], 5)
    line("ps, foreach bt, log, struct", peer, median(words, 5), "0.8x, 0.9 s, 120 MB")
    crash = shutil.which("crash")
    if crash:
        with tempfile.NamedTemporaryFile("w", suffix=".crash") as file:
            file.write("quit\n")
            file.flush()
            try:
                peer = median([crash, "-s", "-i", file.name, vmlinux, dump], 1)
            except subprocess.CalledProcessError:
                print("crash cannot open it")
                return bool(found)
        line("crash to its prompt", peer, median(words, 5), "0.125x")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
