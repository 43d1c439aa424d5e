"""drgn over a dump with the kernel's DWARF; runs under a Python that has drgn.

usage: crash_drgn.py facts|text DUMP VMLINUX
facts: JSON of tasks, stacks, log, modules, to be compared.  text: what `ps`, `foreach bt`, `log` and a struct print.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import drgn
from drgn.helpers.linux.cpumask import for_each_online_cpu
from drgn.helpers.linux.mm import task_rss
from drgn.helpers.linux.module import for_each_module
from drgn.helpers.linux.pid import find_task, for_each_task
from drgn.helpers.linux.printk import get_printk_records
from drgn.helpers.linux.sched import task_cpu, task_state_to_char

_KERNEL = 1 << 63


def frames_of(program: Any, task: Any) -> Iterator[Any]:
    """Frames down to the first of user space; without inlined functions, which have no address of their own."""
    for frame in program.stack_trace(task):
        if not frame.is_inline:
            yield frame
        if frame.pc < _KERNEL:
            return


def facts(program: Any) -> None:
    """As JSON."""
    tasks = []
    for task in for_each_task(program):
        try:
            pcs = [frame.pc for frame in frames_of(program, task)]
        except (ValueError, LookupError) as error:
            pcs = [str(error)]
        tasks.append([
            task.pid.value_(), task.tgid.value_(), task.comm.string_().decode(errors="replace"),
            task_state_to_char(task), task.value_(), pcs,
        ])  # fmt: skip
    log = [record.text.decode(errors="replace") for record in get_printk_records(program)]
    modules = sorted(module.name.string_().decode() for module in for_each_module(program))
    cpus = len(list(for_each_online_cpu(program)))
    json.dump({"tasks": tasks, "log": log, "modules": modules, "cpus": cpus}, sys.stdout)


def text(program: Any) -> None:
    """As lines."""
    tasks = list(for_each_task(program))
    for task in tasks:
        mm, comm = task.mm, task.comm.string_().decode(errors="replace")
        total, rss = (mm.total_vm.value_() * 4, task_rss(task).total * 4) if mm else (0, 0)
        print(
            f"{task.pid.value_():7} {task.real_parent.tgid.value_():7} {task_cpu(task):3} {task.value_():x}"
            f" {task_state_to_char(task)} {total:8} {rss:8} {comm}"
        )
    for task in tasks:
        print(f"PID: {task.pid.value_()} TASK: {task.value_():x} COMMAND: {task.comm.string_().decode()}")
        for number, frame in enumerate(frames_of(program, task)):
            print(f"#{number} [{frame.sp:x}] {frame.name} at {frame.pc:x}")
    for record in get_printk_records(program):
        print(f"[{record.timestamp / 1e9:12.6f}] {record.text.decode(errors='replace')}")
    print(find_task(program, 1)[0])


def main() -> None:
    """Open, and do one of them."""
    program = drgn.Program()
    program.set_core_dump(sys.argv[2])
    program.load_debug_info(sys.argv[3:])
    (facts if sys.argv[1] == "facts" else text)(program)


main()
