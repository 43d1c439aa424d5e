"""Where a program runs: one place in kernel or user space, or a clock."""

from __future__ import annotations

from linscope.lang.nodes import Node

TYPED = "typed"  # Probe.arguments of a raw tracepoint that is loaded as one whose arguments the verifier knows


class Probe(Node):
    """A probe without wildcards.  Which fields count depends on ``kind`` (bpftrace's long names).

    begin, end; self (target: SIGUSR1); test, bench (target: the name);
    hardware, software (target: event, count: events between two hits);
    interval, profile (count: period in ns; profile runs on every CPU);
    iter (target: task, task_file, task_vma; path: where to pin it);
    fentry, fexit, kprobe, kretprobe (target: function, module: "" for vmlinux, offset; address instead of a function);
    rawtracepoint (target: event, module), tracepoint (module: subsystem, target: event);
    uprobe, uretprobe (path: file, target: function, address: of the instruction in the file, offset from its symbol);
    usdt (path, module: provider, target: probe, address: as uprobe's, semaphore: its offset in the file, 0 for none);
    watchpoint (address, count: bytes, target: mode r, w, x).
    """

    kind: str
    name: str  # in full, as the script's ``probe`` prints it
    module: str = ""
    target: str = ""
    path: str = ""
    address: int = 0
    offset: int = 0
    count: int = 0
    semaphore: int = 0
    pid: int = 0  # only in this process (tgid); 0: in all
    arguments: str = ""  # of a USDT probe: the note's operands; of others see lang/bpftrace/arguments.py
    span: tuple[int, int] = (0, 0)  # of the attach point in the script

    @property
    def is_in_user_space(self) -> bool:
        """Whether pointers without another mark are the process's."""
        return self.kind in ("uprobe", "uretprobe", "usdt")
