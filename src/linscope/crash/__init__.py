"""The commands of crash over one kernel: one file each, one line here.  Names, options and columns are crash's own."""

from __future__ import annotations

from linscope.tables import Entry, Table

COMMANDS = Table(
    "crash command",
    {
        "alias": Entry("linscope.crash.alias:ALIAS", "shorter names for commands"),
        "ascii": Entry("linscope.crash.ascii:ASCII", "numbers as characters"),
        "bt": Entry("linscope.crash.bt:BT", "stack of a task"),
        "dev": Entry("linscope.crash.dev:DEV", "character and block devices, ports, PCI, requests of disks"),
        "dis": Entry("linscope.crash.dis:DIS", "machine code of a function"),
        "eval": Entry("linscope.crash.eval:EVAL", "a number in all bases"),
        "files": Entry("linscope.crash.files:FILES", "open files of tasks"),
        "findings": Entry("linscope.crash.findings:FINDINGS", "what to look at first"),
        "foreach": Entry("linscope.crash.foreach:FOREACH", "run a command for many tasks"),
        "help": Entry("linscope.crash.help:HELP", "what the commands are"),
        "ipcs": Entry("linscope.crash.ipcs:IPCS", "shared memory, semaphores, message queues"),
        "irq": Entry("linscope.crash.irq:IRQ", "interrupts, their handlers and counts"),
        "kmem": Entry("linscope.crash.kmem:KMEM", "how the kernel's memory is used, and what an address belongs to"),
        "list": Entry("linscope.crash.list:LIST", "what is linked to a list"),
        "log": Entry("linscope.crash.log:LOG", "the kernel's log"),
        "mach": Entry("linscope.crash.mach:MACH", "the machine"),
        "mod": Entry("linscope.crash.mod:MOD", "modules"),
        "mount": Entry("linscope.crash.mount:MOUNT", "what is mounted where"),
        "p": Entry("linscope.crash.p:PRINT", "the value of an expression"),
        "ps": Entry("linscope.crash.ps:PS", "tasks"),
        "pte": Entry("linscope.crash.pte:PTE", "what the bits of a page table's entry say"),
        "ptov": Entry("linscope.crash.ptov:PTOV", "from a physical address to a virtual one"),
        "rd": Entry("linscope.crash.rd:RD", "memory as it is"),
        "runq": Entry("linscope.crash.runq:RUNQ", "who runs, and who waits for a CPU"),
        "set": Entry("linscope.crash.set:SET", "choose the task that other commands are about"),
        "sig": Entry("linscope.crash.sig:SIG", "signals of tasks"),
        "struct": Entry("linscope.crash.struct:STRUCT", "a struct: its members, or what it holds at an address"),
        "swap": Entry("linscope.crash.swap:SWAP", "swap areas"),
        "sym": Entry("linscope.crash.sym:SYM", "symbols and their addresses"),
        "sys": Entry("linscope.crash.sys:SYS", "the system, and what happened to it"),
        "task": Entry("linscope.crash.task:TASK", "the task_struct of tasks"),
        "timer": Entry("linscope.crash.timer:TIMER", "timers that wait"),
        "tree": Entry("linscope.crash.tree:TREE", "what is in a tree"),
        "vm": Entry("linscope.crash.vm:VM", "the address space of tasks"),
        "vtop": Entry("linscope.crash.vtop:VTOP", "from a virtual address to its physical one"),
        "waitq": Entry("linscope.crash.waitq:WAITQ", "who sleeps on a wait queue"),
        "wr": Entry("linscope.crash.wr:WR", "refuses: nothing is written here"),
    },
)
