"""Stacks of tasks: blocked ones, those that run, and where the dump has no registers.

Source: arch/x86/include/asm/switch_to.h (struct inactive_task_frame), arch/x86/include/asm/processor.h.
"""

from __future__ import annotations

from linscope.errors import MemoryFault
from linscope.kernel.task import running_tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
    from linscope.target.unwind import Frame
else:
    from linscope.binfmt.records import NamedTuple

_MOST_STACK = 1 << 16


class Stack(NamedTuple):
    """The frames of a task, innermost first."""

    frames: list[Frame]
    why: str  # why they end there; "" for their proper end
    cpu: int  # that it runs on, -1 for a task that does not


def stack_size(kernel: Kernel) -> int:
    """Bytes of a task's stack in the kernel.  Source: include/linux/sched.h, union thread_union."""
    found = kernel.types.find("union thread_union")
    return min(found.size if found is not None and found.size else 4 * 4096, _MOST_STACK)


class Stacks:
    """Stacks of one kernel's tasks."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.running = running_tasks(kernel)  # CPU by address of the task
        self.frame = kernel.types.get("struct inactive_task_frame")

    def of(self, task: Object) -> Stack:
        """The stack of a task.  What cannot be read ends it and is told."""
        assert task.address_ is not None
        cpu = self.running.get(task.address_, -1)
        if cpu >= 0:
            found = self._running(task, cpu)
            if found is not None:
                return found
        try:
            sp = int(task.thread.sp)
            saved = self.kernel.object(self.frame, sp)
            pc, bp = int(saved.ret_addr), int(saved.bp)
        except MemoryFault as fault:
            return Stack([], str(fault), cpu)
        frames, why = self.kernel.unwinder.unwind(pc, sp + self.frame.size, bp, interrupted=False)
        return Stack(frames, why, cpu)

    def _running(self, task: Object, cpu: int) -> Stack | None:
        """By the registers that the dump has of a CPU; None when it has none."""
        registers = self._registers(task, cpu)
        if registers is None:
            return None
        frames, why = self.kernel.unwinder.unwind(registers["rip"], registers["rsp"], registers["rbp"], registers)
        if len(frames) > 1 or registers["cs"] & 3:
            return Stack(frames, why, cpu)
        guessed = self._guess(task, registers["rsp"], registers["rbp"])
        return Stack(frames, why, cpu) if guessed is None else Stack(frames + guessed, "", cpu)

    def _registers(self, task: Object, cpu: int) -> dict[str, int] | None:
        """Those of a CPU: the note whose GS is the CPU's, else that of the task, else the one at its place."""
        physical = self.kernel.physical
        if physical is None or not physical.cpus:
            return None
        own = self.kernel.per_cpu_address(0, cpu)
        for one in physical.cpus:
            if own in (one.registers["gs_base"], one.qemu.get("kernel_gs_base")):
                return one.registers
        pid = int(task.pid)
        if pid and not any(one.qemu for one in physical.cpus):
            return next((one.registers for one in physical.cpus if one.pid == pid), None)
        return physical.cpus[cpu].registers if cpu < len(physical.cpus) else None

    def _guess(self, task: Object, sp: int, bp: int) -> list[Frame] | None:
        """Where the kernel's rules end: from the first word on the stack that is an address of code and whose callers
        reach the stack's end.  The frame that it is of is marked as guessed.
        """
        start = int(task.stack)
        end = start + stack_size(self.kernel)
        if not start <= sp < end:
            return None
        try:
            words = memoryview(self.kernel.memory.read(sp & ~7, end - (sp & ~7))).cast("Q")
        except MemoryFault:
            return None
        for place, word in enumerate(words):
            if self.kernel.is_text(word):
                at = (sp & ~7) + 8 * place
                frames, why = self.kernel.unwinder.unwind(word, at + 8, bp, interrupted=False)
                if not why and len(frames) > 1:
                    return [one._replace(reliable=False) for one in frames[:1]] + frames[1:]
        return None
