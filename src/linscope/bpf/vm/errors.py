"""What can go wrong in the user-space eBPF machine.

MachineError           a program cannot be run, or was ended
|-- InvalidProgram     refused before it runs: one instruction breaks a rule of the instruction set
|-- UnavailableError   it asks for something that a recording does not have (a helper, a kernel function, a map type)
|   `-- NoExecutableMemory   the system allows no new machine code
`-- Fault              ended while it ran: the record, the instruction and the address
"""

from __future__ import annotations

from linscope.errors import LinscopeError

# codes of faults; the same numbers in src/linscope/_native/bpf_vm.h, enum Fault
READ, WRITE, BUDGET, DEPTH, ARGUMENT, BAD_CALL, HELPER_FAILED = range(1, 8)
FAULTS = {
    READ: "read outside of what the program may read",
    WRITE: "write outside of what the program may write",
    BUDGET: "the instruction budget is used up",
    DEPTH: "calls deeper than 8 frames",
    ARGUMENT: "a helper function got an argument of the wrong kind",
    BAD_CALL: "call of something that is not a function",
    HELPER_FAILED: "a helper function written in Python raised an error",
}


class MachineError(LinscopeError):
    """A program cannot be run, or was ended; ``slot`` is the instruction, -1 when there is none to name."""

    def __init__(self, what: str, *, slot: int = -1, where: str = "", why: str = "", next_step: str = "") -> None:
        self.slot = slot
        if slot >= 0:
            where = f"{where}: instruction {slot}" if where else f"instruction {slot}"
        super().__init__(what, where=where, why=why, next_step=next_step)


class InvalidProgram(MachineError):
    """One instruction breaks a rule of the instruction set; ``what`` names the rule."""


class UnavailableError(MachineError):
    """The program asks for something that only a running kernel has."""


class NoExecutableMemory(UnavailableError):
    """The system allows no new machine code (SELinux, seccomp)."""


class Fault(MachineError):
    """A program was ended while it ran."""

    def __init__(self, code: int, *, slot: int, address: int = 0, record: int = 0, where: str = "") -> None:
        """code: a key of FAULTS; address: in this process, 0 when there is none; record: its place in the batch."""
        self.code = code
        self.address = address
        self.record = record
        why = f"address {address:#x}" if address else ""
        super().__init__(FAULTS.get(code, f"fault {code}"), slot=slot, where=where, why=why)
