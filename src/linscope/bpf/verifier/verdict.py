"""What a verification ends with: accepted with facts, or refused with place, path and reason."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import NamedTuple

    from linscope.bpf.program import Line
else:
    from collections import namedtuple

if TYPE_CHECKING:

    class Step(NamedTuple):
        """A branch on the way to the place where a program was refused."""

        slot: int
        text: str  # the jump
        taken: bool
        values: str  # of what was compared: ``r1=scalar(umax=7) r2=5``

    class Verdict(NamedTuple):
        """Whether a program is accepted, and why not.

        slot, text, line, path, register, known, rule, message and suggestion are of a refusal; -1, "", None and () on
        an accepted program.
        """

        accepted: bool
        instructions: int  # that were looked at, each as often as it was
        states: int  # kept
        stack_depth: int  # bytes, of the deepest chain of calls
        proven: frozenset[int]  # slots whose memory access never faults, on any path; empty when refused
        reached: frozenset[int]  # slots that some path reaches
        slot: int
        text: str  # the instruction
        line: Line | None  # where it comes from, when the program knows
        path: tuple[Step, ...]  # the last branches, first one first
        register: int  # number of the register that is to blame, -1 when none is
        known: str  # what was known of it
        rule: str  # short and stable
        message: str  # in the kernel's words
        suggestion: str  # what to do

else:
    Step = namedtuple("Step", "slot text taken values")
    Verdict = namedtuple(
        "Verdict",
        "accepted instructions states stack_depth proven reached slot text line path register known rule message "
        "suggestion",
    )
