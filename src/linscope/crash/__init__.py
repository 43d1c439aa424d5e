"""The commands of crash over one kernel: one file each, one line here.  Names, options and columns are crash's own."""

from __future__ import annotations

from linscope.tables import Entry, Table

COMMANDS = Table(
    "crash command",
    {
        "bt": Entry("linscope.crash.bt:BT", "stack of a task"),
        "foreach": Entry("linscope.crash.foreach:FOREACH", "run a command for many tasks"),
        "log": Entry("linscope.crash.log:LOG", "the kernel's log"),
        "mod": Entry("linscope.crash.mod:MOD", "modules"),
        "p": Entry("linscope.crash.p:PRINT", "the value of an expression"),
        "ps": Entry("linscope.crash.ps:PS", "tasks"),
        "rd": Entry("linscope.crash.rd:RD", "memory as it is"),
        "set": Entry("linscope.crash.set:SET", "choose the task that other commands are about"),
        "struct": Entry("linscope.crash.struct:STRUCT", "a struct: its members, or what it holds at an address"),
        "sym": Entry("linscope.crash.sym:SYM", "symbols and their addresses"),
        "sys": Entry("linscope.crash.sys:SYS", "the system, and what happened to it"),
    },
)
