"""`linscope kdump`: one file a subcommand, one line each."""

from __future__ import annotations

from linscope.tables import Entry, Group

KDUMP = Group(
    "Dumps of crashes: is this machine ready; load, capture, try it out.",
    (
        "linscope kdump status",
        "linscope kdump load",
        "linscope kdump capture vmcore -o small.kdump -d 31",
        "linscope kdump test",
    ),
    {
        "status": Entry("linscope.commands.kdump.status:STATUS", "would a crash be captured, and if not, why"),
        "estimate": Entry("linscope.commands.kdump.estimate:ESTIMATE", "how much memory to reserve here, and why"),
        "load": Entry("linscope.commands.kdump.load:LOAD", "load the kernel that captures the next crash"),
        "capture": Entry("linscope.commands.kdump.capture:CAPTURE", "write a filtered, compressed dump of a memory"),
        "test": Entry("linscope.commands.kdump.test:TEST", "crash a guest of the lab, capture it, look into the dump"),
    },
)
