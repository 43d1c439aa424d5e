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
        "ps": Entry("linscope.crash.ps:PS", "tasks"),
        "set": Entry("linscope.crash.set:SET", "choose the task that other commands are about"),
        "sys": Entry("linscope.crash.sys:SYS", "the system, and what happened to it"),
    },
)
